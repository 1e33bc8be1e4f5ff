"""Plots show themselves in a notebook when they have a figure of their own, and leave foreign ones to their owners."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from gatewise import plots

LOAD = np.full((4, 6), 1 / 6)
DRAWN = {
    "load_by_step": lambda ax: plots.load_by_step(LOAD, ax, branching=(2, 3)),
    "routing_table": lambda ax: plots.routing_table(np.arange(18).reshape(3, 6), ax),
    "figures_by_step": lambda ax: plots.figures_by_step({"dead fraction": [0.5, 0.2]}, ax),
}


@pytest.mark.parametrize("name", DRAWN)
def test_a_plot_of_its_own_is_a_picture(name):
    data, size = DRAWN[name](None)._repr_png_()
    assert data.startswith(b"\x89PNG")
    assert size == {"width": 460, "height": 320}


@pytest.mark.parametrize("name", DRAWN)
def test_a_plot_on_given_axes_is_left_to_their_figure(name):
    ax = Figure().add_subplot()
    assert DRAWN[name](ax) is ax
    assert not hasattr(ax, "_repr_png_")


def test_plots_of_fits_are_pictures(plane, flat, tone):
    X, y, model = plane
    for drawn in (
        plots.gating_regions(model, X),
        plots.predicted_observed(model, X, y),
        plots.objective_per_start(model),
        plots.expert_curves(flat, *tone),
        plots.overview(model, X, y),
    ):
        assert drawn._repr_png_()[0].startswith(b"\x89PNG")
