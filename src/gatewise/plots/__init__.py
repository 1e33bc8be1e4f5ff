"""Plots of fits, studies and routing. Functions take results and an optional matplotlib Axes, and return the Axes.

pyplot and global settings are not used.
"""

from gatewise.plots.agreement import gating_regions, predicted_observed
from gatewise.plots.criteria import criteria
from gatewise.plots.curves import expert_curves, gate_curves
from gatewise.plots.overview import overview
from gatewise.plots.rates import dropped, rates
from gatewise.plots.replicates import active, from_start
from gatewise.plots.routing import figures_by_step, load_by_step, routing_table
from gatewise.plots.starts import objective_per_start

__all__ = [
    "active",
    "criteria",
    "dropped",
    "expert_curves",
    "figures_by_step",
    "from_start",
    "gate_curves",
    "gating_regions",
    "load_by_step",
    "objective_per_start",
    "overview",
    "predicted_observed",
    "rates",
    "routing_table",
]
