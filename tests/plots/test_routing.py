"""Pictures of routing show the numbers they are given."""

import numpy as np
import pytest

from gatewise.plots import figures_by_step, load_by_step, routing_table


def test_every_expert_has_a_band_of_its_share():
    load = np.array([[0.5, 0.3, 0.2], [0.2, 0.2, 0.6]])
    ax = load_by_step(load, steps=[10, 20])
    tops = [band.get_paths()[0].vertices[:, 1].max() for band in ax.collections]
    assert tops == pytest.approx([0.5, 0.8, 1.0])
    assert ax.get_xlim() == (10, 20)
    assert [text.get_text() for text in ax.texts] == ["0", "1", "2"]


def test_load_needs_steps_and_experts():
    with pytest.raises(ValueError, match=r"load has the shape \(3,\)"):
        load_by_step(np.ones(3))


def test_cells_are_shares_of_their_row():
    ax = routing_table(np.array([[3, 1, 0, 0], [0, 0, 0, 0]]), groups=["$a$", "b"], by="domain", branching=(2, 2))
    assert [text.get_text() for text in ax.texts] == ["75%", "25%", "0%", "0%"] + ["0%"] * 4
    assert ax.get_yticklabels()[0].get_text() == r"\$a\$"
    assert ax.get_ylabel() == "domain"
    assert [line.get_xdata()[0] for line in ax.lines] == [1.5]


def test_figures_have_a_line_each():
    ax = figures_by_step({"dead fraction": [0.0, 0.5], "normalised entropy": [1.0, 0.9]})
    assert [list(line.get_ydata()) for line in ax.lines] == [[0.0, 0.5], [1.0, 0.9]]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["dead fraction", "normalised entropy"]
