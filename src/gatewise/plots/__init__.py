"""Pictures of fits: functions from result values to matplotlib Axes, without pyplot and without global settings."""

from gatewise.plots.agreement import gating_regions, predicted_observed
from gatewise.plots.curves import expert_curves, gate_curves
from gatewise.plots.overview import overview
from gatewise.plots.starts import objective_per_start

__all__ = [
    "expert_curves",
    "gate_curves",
    "gating_regions",
    "objective_per_start",
    "overview",
    "predicted_observed",
]
