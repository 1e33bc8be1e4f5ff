"""The pictures of a study carry its numbers: read back from the artists."""

import numpy as np
import pytest
from matplotlib.colors import to_hex

from gatewise.plots import active, dropped, from_start, rates, style, verdict_map
from gatewise.plots.replicates import inherited
from gatewise.plots.words import asked, recorded, short, unit_of
from gatewise.theory.claims import allowed
from gatewise.theory.curves import curve
from gatewise.theory.rate_verdicts import GROUPS, judged_rates
from gatewise.theory.slopes import slope


def legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def ends(line):
    (x0, x1), (y0, y1) = line.get_data()
    return float(np.log(y1 / y0) / np.log(x1 / x0))


def test_rates_draw_means_intervals_and_both_slopes(studied):
    ax = rates(studied, "softmax", ["experts.coef over"])
    one = curve(studied.frame, studied.study.arm("softmax"), "experts.coef over")
    (bars,) = ax.containers
    np.testing.assert_allclose(bars.lines[0].get_ydata(), [e.mean() for e in one.errors], rtol=1e-12)
    np.testing.assert_allclose(bars.lines[0].get_xdata(), one.axis, rtol=1e-12)
    assert legend(ax)[0].startswith("over: −0.25")  # the axis names the parameter
    assert ax.get_ylabel() == "error of experts.coef"
    for segment, errors in zip(bars.lines[2][0].get_segments(), one.errors, strict=True):
        standard = errors.std(ddof=1) / len(errors) ** 0.5
        width = segment[1, 1] - segment[0, 1]
        assert 0.8 < width / (2 * 1.96 * standard) < 1.2
    lines = {line.get_label(): line for line in ax.lines if not line.get_label().startswith("_")}
    fitted, claimed = lines.values()
    assert ends(fitted) == pytest.approx(one.slope.value, abs=1e-12)
    assert ends(claimed) == pytest.approx(-0.25, abs=1e-12)
    low, high = (f"{v:.3f}".replace("-", "−") for v in (one.slope.low, one.slope.high))
    assert f"[{low}, {high}]" in legend(ax)[0]
    assert "published" in legend(ax)[1]
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert ax.get_xlabel() == "sample size n (rows)"


def test_the_claimed_line_meets_the_fitted_one_in_the_middle(studied):
    ax = rates(studied, "softmax", ["loss exact"])
    fitted, claimed = (line for line in ax.lines if not line.get_label().startswith("_"))
    middles = [np.exp(np.log(line.get_ydata()).mean()) for line in (fitted, claimed)]
    assert middles[0] == pytest.approx(middles[1], rel=1e-12)


def test_series_differ_by_colour_and_marker(studied):
    names = ["experts.coef exact", "experts.coef over", "experts.coef over_largest"]
    ax = rates(studied, "softmax", names)
    looks = {(to_hex(c.lines[0].get_color()), c.lines[0].get_marker()) for c in ax.containers}
    assert looks == {(style.colour(i).lower(), style.marker(i)) for i in range(3)}


def test_a_claim_of_no_rate_is_a_flat_line(studied):
    ax = rates(studied, "plain", ["gates.0.temperature exact"])
    flat = next(line for line in ax.lines if "slower than every power" in line.get_label())
    assert ends(flat) == 0.0


def test_an_unknown_series_is_refused(studied):
    with pytest.raises(ValueError, match=r"no series 'experts\.slope over': it has"):
        rates(studied, "softmax", ["experts.slope over"])


def test_dropped_draws_the_slopes_of_shorter_windows(studied):
    ax = dropped(studied, "softmax", ["loss exact"])
    one = curve(studied.frame, studied.study.arm("softmax"), "loss exact")
    expected = [slope(one.axis[k:], one.errors[k:]).value for k in range(4)]
    (bars,) = ax.containers
    np.testing.assert_allclose(bars.lines[0].get_ydata(), expected, rtol=1e-12)
    allowed_bar = next(line for line in ax.lines if line.get_linewidth() == 4)
    np.testing.assert_allclose(allowed_bar.get_ydata(), [-0.3, -0.2])
    assert [t.get_text() for t in ax.get_xticklabels()][-2:] == ["3\nn ≥ 3k", "claimed"]


def test_an_open_end_of_a_claim_is_an_arrow_inside_the_axes(studied):
    ax = dropped(studied, "softmax", ["experts.coef over"])
    (arrow,) = ax.texts
    low, high = allowed(studied.verdicts[0].claim)
    assert (low, arrow.xyann[1]) == (-np.inf, high)
    assert arrow.xy[1] < high
    assert ax.get_ylim()[0] < arrow.xy[1]


def test_from_start_shows_an_inherited_error(studied):
    ax = from_start(studied, "near")
    drawn = np.concatenate([c.get_offsets() for c in ax.collections])
    mine = studied.frame[studied.frame["arm"] == "near"]
    assert len(drawn) == len(mine)
    np.testing.assert_allclose(np.sort(drawn[:, 0]), np.sort(mine["start"]), rtol=1e-12)
    assert inherited(mine, "loss exact unweighted") > 0.9
    shuffled = mine.assign(start=np.random.default_rng(0).permutation(mine["start"]))
    assert abs(inherited(shuffled, "loss exact unweighted")) < 0.2


def test_blind_starts_have_no_distance(studied):
    with pytest.raises(ValueError, match=r"starts are DataDrivenStarts\(count=10\); NearTruth has one"):
        from_start(studied, "softmax")


def test_active_draws_shares_by_size(studied):
    ax = active(studied, "softmax")
    by = studied.frame[studied.frame["arm"] == "softmax"].groupby("axis")
    np.testing.assert_allclose(ax.lines[0].get_ydata(), by["active"].apply(lambda c: (c > 0).mean()))
    np.testing.assert_allclose(ax.lines[1].get_ydata(), 1 / 60)
    assert any("5%" in text for text in legend(ax))
    assert ax.get_ylabel() == "share of replicates (%)"


def test_replicates_beyond_the_study_are_left_out(studied):
    more = studied.frame.assign(replicate=studied.frame["replicate"] + 30)
    ax = active(studied._replace(frame=more), "softmax")
    by = studied.frame[(studied.frame["arm"] == "softmax") & (studied.frame["replicate"] < 30)].groupby("axis")
    np.testing.assert_allclose(ax.lines[0].get_ydata(), by["active"].apply(lambda c: (c > 0).mean()))


def test_only_series_with_numbers_are_recorded(studied):
    assert "gates.0.temperature exact" in recorded(studied, "plain")
    assert "gates.0.temperature exact" not in recorded(studied, "softmax")
    assert not {"n", "hits", "start", "empty", "axis"} & set(recorded(studied, "near"))


def test_words(studied):
    at_most, _, equal, *_ = (v.claim for v in studied.verdicts)
    assert [asked(c).replace("\N{NO-BREAK SPACE}", " ") for c in (at_most, equal)] == [
        "at most −0.250 + 0.05",
        "−0.250 ± 0.05",
    ]
    assert unit_of(["hellinger", "total variation"]) == "distance (0 to 1)"
    assert unit_of(["mean"]).endswith("(units of y)")
    assert [short(n) for n in (99_999, 9_970, 1_778)] == ["100k", "10k", "1.8k"]


def test_verdicts_stand_where_their_rates_do(studied):
    ax = verdict_map([studied, studied])
    models = [row for row in judged_rates([studied]) if row.judgements()]
    assert [t.get_text() for t in ax.get_xticklabels()] == [
        g.replace(", ", ",\n").replace(" param", "\nparam") for g in GROUPS
    ]
    labels = [t.get_text() for t in ax.get_yticklabels()]
    assert labels[0] == "Maximum likelihood"
    words = {"exact": "exact", "over": "over-specified"}
    assert labels[1:] == [f"{m.gate}; {m.experts} experts; {words[m.specification]}" for m in models]
    marks = [line for line in ax.lines if line.get_marker() != "None"]
    cells = [(y, x) for y, m in enumerate(models, 1) for x, g in enumerate(GROUPS) if m.judgements(g)]
    assert {(round(float(m.get_ydata()[0])), round(float(m.get_xdata()[0]))) for m in marks} == set(cells)
    numbers = [int(t.get_text()) for t in ax.texts if t.get_text().isdigit()]
    assert sum(numbers) == 2 * sum(len(m.judgements()) for m in models)  # every study was given twice
    with pytest.raises(ValueError, match="no verdict is about a rate"):
        verdict_map([studied._replace(verdicts=())])
