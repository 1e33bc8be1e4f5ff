"""Convergence studies: Voronoi losses, published rates, population exponents, simulations, verdicts.

A `Study` declares arms and claims; `run_study` fits, `collect` reads the records and judges the claims. The guide is
``docs/guide/theorist``.
"""

from gatewise.theory.arms import Arm, Data, DataDrivenStarts, Model, NearTruth
from gatewise.theory.checks import check, series_of
from gatewise.theory.claims import Claim, Probe
from gatewise.theory.curves import Curve, curve
from gatewise.theory.efficiency import Efficiency, efficiency
from gatewise.theory.inputs import Inputs, Lattice, Normal, Uniform
from gatewise.theory.joining import join_folders
from gatewise.theory.orders import TWO, Power
from gatewise.theory.packing import pack, unpack
from gatewise.theory.papers import STUDIES
from gatewise.theory.population.exponent import Population, population_exponent
from gatewise.theory.population.moving import MovingTruth, moving_truth
from gatewise.theory.population.rules import Ball, Cube
from gatewise.theory.probes import run_probes
from gatewise.theory.protocol import confirmatory, registration
from gatewise.theory.replaying import Replay, replay
from gatewise.theory.result import StudyResult, collect
from gatewise.theory.runner import load_study, run_study
from gatewise.theory.study import Study, long, quick
from gatewise.theory.truths import truths_outside_box
from gatewise.theory.voronoi import Loss, hierarchical_loss, voronoi_loss

__all__ = [
    "STUDIES",
    "TWO",
    "Arm",
    "Ball",
    "Claim",
    "Cube",
    "Curve",
    "Data",
    "DataDrivenStarts",
    "Efficiency",
    "Inputs",
    "Lattice",
    "Loss",
    "Model",
    "MovingTruth",
    "NearTruth",
    "Normal",
    "Population",
    "Power",
    "Probe",
    "Replay",
    "Study",
    "StudyResult",
    "Uniform",
    "check",
    "collect",
    "confirmatory",
    "curve",
    "efficiency",
    "hierarchical_loss",
    "join_folders",
    "load_study",
    "long",
    "moving_truth",
    "pack",
    "population_exponent",
    "quick",
    "registration",
    "replay",
    "run_probes",
    "run_study",
    "series_of",
    "truths_outside_box",
    "unpack",
    "voronoi_loss",
]
