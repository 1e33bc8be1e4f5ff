"""Voronoi losses between fitted and true mixing measures, invariant to translations of the gate."""

from gatewise.theory.voronoi.errors import CellErrors, ParameterErrors, cell_errors, errors
from gatewise.theory.voronoi.flat import voronoi_loss
from gatewise.theory.voronoi.hierarchical import Hierarchical, hierarchical_loss
from gatewise.theory.voronoi.losses import LOSSES, Loss, all_powers, two_level
from gatewise.theory.voronoi.result import Shift, Voronoi
from gatewise.theory.voronoi.sets import distance_to_set

__all__ = [
    "LOSSES",
    "CellErrors",
    "Hierarchical",
    "Loss",
    "ParameterErrors",
    "Shift",
    "Voronoi",
    "all_powers",
    "cell_errors",
    "distance_to_set",
    "errors",
    "hierarchical_loss",
    "two_level",
    "voronoi_loss",
]
