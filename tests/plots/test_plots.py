"""The pictures carry the numbers of the fit: read back from the artists, never compared by pixel."""

import subprocess
import sys
import warnings

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from gatewise import MixtureOfExpertsRegressor
from gatewise.estimators.warnings import FitWarning
from gatewise.plots import (
    expert_curves,
    gate_curves,
    gating_regions,
    objective_per_start,
    overview,
    predicted_observed,
    rows_needed,
    rows_ratio,
    style,
    values,
)
from gatewise.theory import Efficiency


def points(ax):
    """Rows drawn as scatter, sorted, with their face colours."""
    offsets = np.concatenate([c.get_offsets() for c in ax.collections if len(c.get_offsets())])
    return offsets[np.lexsort(offsets.T)]


def sorted_rows(*columns):
    table = np.column_stack(columns)
    return table[np.lexsort(table.T)]


def test_expert_curves_draw_every_row_and_every_expert(flat, tone):
    X, y = tone
    ax = expert_curves(flat.fit_, X, y, labels=("ratio", "tuned"))
    np.testing.assert_array_equal(points(ax), sorted_rows(X[:, 0], y))
    grid = ax.lines[0].get_xdata()
    for leaf in range(2):
        expected = flat.intercept_[leaf] + flat.coef_[leaf, 0] * grid
        np.testing.assert_allclose(ax.lines[2 * leaf].get_ydata(), expected, rtol=1e-12)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("ratio", "tuned")
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["expert 0", "expert 1"]
    assert ax.get_ylim()[0] < y.min() <= y.max() < ax.get_ylim()[1]


def test_a_curve_is_thick_only_where_its_gate_weight_counts():
    x = np.linspace(-4, 4, 80)[:, None]
    y = np.where(x[:, 0] < 0, x[:, 0], -2 * x[:, 0]) + 0.1 * np.cos(9 * x[:, 0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FitWarning)
        model = MixtureOfExpertsRegressor(2, n_init=4, random_state=0).fit(x, y)
    ax = expert_curves(model, x, y)
    weights = model.gate_proba(ax.lines[0].get_xdata()[:, None])
    for leaf in range(2):
        thick = ax.lines[2 * leaf + 1].get_ydata()
        np.testing.assert_array_equal(np.isnan(thick), weights[:, leaf] < 0.05)
        assert np.isnan(thick).any()


def test_rows_take_the_colours_of_their_responsibilities(flat, tone):
    X, y = tone
    ax = expert_curves(flat, X, y)
    shares = flat.responsibilities(X, y)
    expected = shares @ np.array([to_rgb(style.colour(leaf)) for leaf in range(2)])
    for leaf, drawn in enumerate(ax.collections):
        mine = shares.argmax(1) == leaf
        np.testing.assert_allclose(drawn.get_facecolors()[:, :3], expected[mine], atol=1e-12)
        np.testing.assert_array_equal(drawn.get_offsets(), np.column_stack([X[mine, 0], y[mine]]))


def test_rows_of_a_group_share_their_responsibility(flat, tone):
    X, y = tone
    groups = np.arange(len(y)) // 3
    model = MixtureOfExpertsRegressor(2, "constant", random_state=0).fit(X, y, groups=groups)
    np.testing.assert_allclose(
        values.shares(model.fit_, X, y, groups=groups).T, model.responsibilities(X, y, groups=groups), atol=1e-12
    )


def test_gate_curves_are_the_gate_and_add_up_to_one(flat, tone):
    ax = gate_curves(flat, tone[0], label="ratio")
    drawn = np.array([line.get_ydata() for line in ax.lines])
    np.testing.assert_allclose(drawn.T, flat.gate_proba(ax.lines[0].get_xdata()[:, None]), rtol=1e-12)
    np.testing.assert_allclose(drawn.sum(0), 1.0)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("ratio", "gate weight")


def test_leaves_of_a_tree_are_named_by_their_path(tone):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FitWarning)
        tree = MixtureOfExpertsRegressor((2, 2), n_init=1, random_state=0).fit(*tone)
    labels = [line.get_label() for line in gate_curves(tree, tone[0]).lines]
    assert labels == ["expert 0/0", "expert 0/1", "expert 1/0", "expert 1/1"]
    assert [label[7:] for label in labels] == ["/".join(map(str, path)) for path in np.ndindex(tree.coef_.shape[:2])]


def starts_of(fit, reached, sound):
    reached = torch.tensor(reached, dtype=torch.float64)
    starts = fit.starts._replace(log_likelihood=reached, sound=torch.tensor(sound))
    return fit._replace(starts=starts, log_likelihood=3.0)


def test_starts_are_drawn_best_first_and_unsound_ones_apart(flat):
    fit = starts_of(flat.fit_, [1.0, 3.0, 4.0, float("-inf")], [True, True, False, True])
    ax = objective_per_start(fit)
    sound, unsound = ax.collections
    np.testing.assert_array_equal(sound.get_offsets(), [[2, 3.0], [3, 1.0]])
    np.testing.assert_array_equal(unsound.get_offsets(), [[1, 4.0]])
    assert ax.lines[0].get_ydata()[0] == 3.0
    assert ax.get_xlabel() == "start, best first, 1 without a value"


def test_starts_that_agree_keep_a_readable_axis(flat):
    ax = objective_per_start(starts_of(flat.fit_, [3.0, 3.0 + 1e-12], [True, True]))
    low, high = ax.get_ylim()
    assert high - low >= 2
    assert not ax.yaxis.get_major_formatter().get_offset()


@pytest.mark.parametrize("reached", [[float("nan")], [float("-inf"), float("nan")]])
def test_starts_that_all_failed_are_counted(flat, reached):
    ax = objective_per_start(starts_of(flat.fit_, reached, [False] * len(reached)))
    assert f"{len(reached)} without a value" in ax.get_xlabel()


def test_predicted_observed_uses_the_mean_of_the_mixture(plane):
    X, y, model = plane
    ax = predicted_observed(model, X, y, label="y (mm)")
    np.testing.assert_allclose(points(ax), sorted_rows(model.predict(X), y), rtol=1e-12)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("predicted y (mm)", "observed y (mm)")


def test_gating_regions_show_the_leading_leaf(plane):
    X, _, model = plane
    ax = gating_regions(model, X, points=31)
    mesh = next(c for c in ax.collections if c.get_array() is not None and c.get_array().size == 31 * 31)
    across = values.section(X, 0, 31)[0]
    up = values.section(X, 1, 31)[0]
    grid = np.column_stack([np.tile(across, 31), np.repeat(up, 31)])
    np.testing.assert_array_equal(np.ravel(mesh.get_array()), model.gate_proba(grid).argmax(1))


def test_overview_shares_the_x_axis_of_data_and_gate(flat, tone):
    figure = overview(flat, *tone, names=["ratio"], target="tuned")
    upper, middle, lower = figure.axes
    assert upper.get_shared_x_axes().joined(upper, middle)
    assert upper.get_xlim() == middle.get_xlim()
    assert (middle.get_xlabel(), upper.get_ylabel()) == ("ratio", "tuned")
    assert lower.get_ylabel() == "log-likelihood"


def test_overview_of_several_features_follows_the_liveliest_gate_input(plane):
    X, y, model = plane
    upper, middle, _ = overview(model, X, y, names=["a", "b"]).axes
    moves = [np.ptp(gate_curves(model, X, feature=j).lines[0].get_ydata()) for j in range(2)]
    assert middle.get_xlabel() in "ab"
    assert upper.get_ylabel() == "observed y"
    assert min(moves) >= 0


def test_axes_that_are_given_are_used_and_returned(flat, tone):
    ax = Figure().add_subplot()
    assert expert_curves(flat, *tone, ax) is ax
    assert gate_curves(flat, tone[0], ax) is ax
    assert objective_per_start(flat, ax) is ax


def test_a_palette_moves_looks_but_not_names(flat, tone):
    ax = gate_curves(flat, tone[0], palette=[1, 0])
    assert [line.get_color() for line in ax.lines] == [style.colour(1), style.colour(0)]
    assert [line.get_label() for line in ax.lines] == ["expert 0", "expert 1"]
    with pytest.raises(ValueError, match="palette has 1 entries for 2 experts"):
        gate_curves(flat, tone[0], palette=[0])


def test_matching_undoes_a_permutation():
    shares = np.eye(3)[[0, 0, 1, 2, 2, 2]].T
    assert values.matched(shares, shares[[2, 0, 1]]) == [2, 0, 1]


def test_an_unknown_feature_is_an_error(flat, tone):
    with pytest.raises(ValueError, match="feature=1, but there are 1 columns"):
        gate_curves(flat, tone[0], feature=1)


def test_many_experts_are_told_apart_by_colour_and_marker():
    assert len({(style.colour(leaf), style.marker(leaf)) for leaf in range(16)}) == 16


def test_axes_have_the_names_of_the_columns():
    rng = np.random.default_rng(0)
    x = pd.DataFrame(rng.normal(size=(80, 3)), columns=["income", "age", "years"])
    gates = pd.DataFrame({"region": rng.normal(size=80)})
    y = x.to_numpy() @ [1.0, 0.5, 0.0] + np.where(gates.region > rng.normal(size=80), 4, 0) + 0.3 * rng.normal(size=80)
    model = MixtureOfExpertsRegressor(1, n_init=1).fit(x, y)
    for feature in (1, "age"):
        assert expert_curves(model, x, y, feature=feature).get_xlabel() == "age"
    assert expert_curves(model, x.to_numpy(), y).get_xlabel() == "income"
    assert expert_curves(model.fit_, x.to_numpy(), y, feature=2).get_xlabel() == "x2"
    assert overview(model, x, y).axes[1].get_xlabel() in x.columns
    dollars = x.rename(columns=r"${}\frac$".format)
    overview(MixtureOfExpertsRegressor(1, n_init=1).fit(dollars, y), dollars, y).canvas.draw()
    gated = MixtureOfExpertsRegressor(2, n_init=2, random_state=0).fit(x, y, gate_X=gates)
    assert overview(gated, x, y, gate_X=gates).axes[1].get_xlabel() == "region"
    with pytest.raises(ValueError, match=r"feature='agee': give the number of a column of X, from 0, or its name"):
        expert_curves(model, x, y, feature="agee")


def test_neighbouring_leaves_differ_in_colour_dash_and_marker():
    looks = [(style.colour(i), style.dash(i), style.marker(i)) for i in range(5)]
    assert all(len(set(kind)) == 5 for kind in zip(*looks, strict=True))


def test_foreign_labels_are_not_formulas():
    ax = Figure().add_subplot()
    ax.set_xlabel(style.plain("a$\\frac$b"))
    ax.figure.draw_without_rendering()
    assert len(style.plain("x" * 100)) == 44


def test_importing_leaves_pyplot_and_settings_alone():
    before = dict(mpl.rcParams)
    code = "import sys, gatewise.plots; print('matplotlib.pyplot' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
    overview_of = Figure().add_subplot()
    style.canvas(overview_of)
    assert dict(mpl.rcParams) == before


def test_ratios_of_rows_are_drawn_with_bands_where_intervals_are_closed():
    errors = np.geomspace(0.3, 0.01, 12)
    ratio, high = errors**-0.8, 1.5 * errors**-0.8
    high[10:] = np.inf
    one = Efficiency("laplace", "softmax", "experts.coef", errors, errors**-2, errors**-2.8, ratio, 0.7 * ratio, high)
    ax = rows_ratio([one, one._replace(second="sigmoid", ratio=0.5 * ratio)])
    lines = {line.get_label(): line for line in ax.lines}
    np.testing.assert_allclose(lines["softmax over laplace"].get_ydata(), ratio)
    np.testing.assert_allclose(lines["sigmoid over laplace"].get_ydata(), 0.5 * ratio)
    band = ax.collections[0].get_paths()[0].vertices
    assert band[:, 0].min() == pytest.approx(errors[9])
    assert ax.get_xlim()[0] > ax.get_xlim()[1]  # errors fall to the right
    assert "experts.coef" in ax.get_xlabel()
    mixed = rows_ratio([one, one._replace(series="mean")])
    assert [text.get_text() for text in mixed.get_legend().get_texts()] == [
        "softmax over laplace: experts.coef",
        "softmax over laplace: mean",
    ]
    with pytest.raises(ValueError, match="at least one"):
        rows_ratio([])


def test_all_ratios_of_rows_stand_in_one_picture_with_arrows_where_intervals_are_open():
    errors = np.geomspace(0.3, 0.01, 9)
    ratio = errors**-0.8
    one = Efficiency(
        "laplace, d=3", "softmax, d=3", "mean", errors, errors**-2, errors**-2.8, ratio, ratio / 2, 2 * ratio
    )
    open_ends = one._replace(first="laplace", second="sigmoid", low=0 * ratio, high=np.inf * ratio)
    ax = rows_needed([one, open_ends])
    assert [tick.get_text() for tick in ax.get_yticklabels()] == [
        "softmax / laplace: d=3, mean",
        "sigmoid / laplace: mean",
    ]
    marks = [[line.get_marker() for line in ax.lines if list(line.get_ydata()) == [y]] for y in (0, 1)]
    assert marks == [["o"], ["<", "o", ">"]]
    (closed,) = [line.get_xdata() for line in ax.lines if list(line.get_ydata()) == [0, 0]]
    np.testing.assert_allclose(closed, [ratio[-2] / 2, 2 * ratio[-2]])
    assert [text.get_text() for text in ax.texts] == [f"error {errors[-2]:.2g}"] * 2
    with pytest.raises(ValueError, match="at least one"):
        rows_needed([])


def test_a_branch_of_noise_has_points_and_no_curve():
    rng = np.random.default_rng(0)
    x = rng.uniform(-2, 2, size=(120, 1))
    y = np.where(rng.random(120) < 0.2, rng.uniform(-20, 20, 120), x[:, 0]) + 0.1 * rng.normal(size=120)
    model = MixtureOfExpertsRegressor(1, "constant", noise=True, n_init=1, random_state=0).fit(x, y)
    ax = expert_curves(model, x, y)
    assert [line.get_label() for line in ax.lines] == ["_expert 0", "_expert 0, active"]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["expert 0", "noise"]
    assert model.predict_experts(x).shape[1] == len(ax.collections)
