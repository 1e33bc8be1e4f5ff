"""Plots of fits, studies and routing. Functions take results and an optional matplotlib Axes, and return the Axes.

`COLOURS` holds the colour of expert 0, 1, ... in all of them, for plots of your own. pyplot and global settings are not
used.
"""

from gatewise.plots.agreement import gate_surface, gating_regions, predicted_observed
from gatewise.plots.criteria import criteria
from gatewise.plots.curves import expert_curves, gate_curves
from gatewise.plots.diagnosis import residual_quantiles, rootogram
from gatewise.plots.effects import coefficients, marginal_effects
from gatewise.plots.overview import overview
from gatewise.plots.rates import dropped, rates
from gatewise.plots.ratios import rows_needed, rows_ratio
from gatewise.plots.replicates import active, from_start
from gatewise.plots.routing import figures_by_step, load_by_step, routing_table
from gatewise.plots.standing import verdict_map
from gatewise.plots.starts import objective_per_start
from gatewise.plots.style import COLOURS

__all__ = [
    "COLOURS",
    "active",
    "coefficients",
    "criteria",
    "dropped",
    "expert_curves",
    "figures_by_step",
    "from_start",
    "gate_curves",
    "gate_surface",
    "gating_regions",
    "load_by_step",
    "marginal_effects",
    "objective_per_start",
    "overview",
    "predicted_observed",
    "rates",
    "residual_quantiles",
    "rootogram",
    "routing_table",
    "rows_needed",
    "rows_ratio",
    "verdict_map",
]
