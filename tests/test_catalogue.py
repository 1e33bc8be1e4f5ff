"""The law of the catalogues: every part goes the whole path with every other.

Fit, summary, standard errors, predictions, a file and a layer, for any gate, expert and family, by any method, at both
depths and for several numbers of features and outputs. A part that enters a catalogue enters these tests by itself.
In the default run any two levels of different factors meet, but for gates and experts; in the slow one any three.
"""

import pytest

from gatewise import EXPERTS, FAMILIES, GATES

from .covering import covering
from .whole_path import REFUSED, Case, few_neighbours, more_steps, refusals, short_searches, walk  # noqa: F401

pytestmark = [
    pytest.mark.filterwarnings("ignore::gatewise.FitWarning"),
    pytest.mark.usefixtures("short_searches", "few_neighbours"),
]

FACTORS = {
    "gate": tuple(GATES),
    "expert": tuple(EXPERTS),
    "family": tuple(FAMILIES),
    "method": ("ml", "em", "ls"),
    "inner": (None, "as outside", "laplace"),  # the gate of a second level
    "d": (1, 3, 6),
    "q": (1, 2, 3),
    "rows": ("standardised", "as they are", "weighted"),
}
WIDE = ("cubic", "polynomial")  # experts with many columns


def resolved(levels):
    """The case that the levels of the factors name."""
    gate, inner = GATES[levels["gate"]], levels["inner"]
    gates = (gate,) if inner is None else (gate, GATES.get(inner, gate))
    expert, family = EXPERTS[levels["expert"]], FAMILIES[levels["family"]]
    rows = {"standardize": levels["rows"] != "as they are", "weighted": levels["rows"] == "weighted"}
    return Case(gates, (2,) * len(gates), expert, family, levels["method"], levels["d"], levels["q"], **rows)


FIRST = {name: levels[0] for name, levels in FACTORS.items()}


def is_fitted(levels):
    return not refusals(resolved({**FIRST, **levels}))


def is_small(levels):
    """Whether no tree has many inputs and outputs, and no wide expert two of many leaves, inputs and outputs."""
    many = (levels["inner"] is not None, levels["d"] == max(FACTORS["d"]), levels["q"] == max(FACTORS["q"]))
    wide = (levels["inner"] is not None, levels["d"] > 1, levels["q"] > 1)
    return sum(many) < 3 and (levels["expert"] not in WIDE or sum(wide) < 2)


REFUSED_BY = ("gate", "family", "method", "inner")  # all that the table of refusals of a fit reads
FITTED = {REFUSED_BY: is_fitted}
SMALL = {**FITTED, ("expert", "inner", "d", "q"): is_small}


def label(levels):
    words = {"d": "d{}", "q": "q{}", "inner": "inner {}"}
    return "-".join(words.get(name, "{}").format(level) for name, level in levels.items())


def pytest_generate_tests(metafunc):
    """The thousands of slow cases, which are not computed for a run that leaves the slow tests out."""
    if metafunc.function.__name__ == "test_any_three_parts_go_the_whole_path":
        left_out = metafunc.config.getoption("markexpr") == "not slow"
        cases = [] if left_out else covering({**FACTORS, "d": (1, 2, 3, 6)}, 3, FITTED)
        metafunc.parametrize("levels", cases, ids=label)


@pytest.mark.parametrize("levels", covering(FACTORS, 2, SMALL, apart=("gate", "expert")), ids=label)
def test_any_two_parts_go_the_whole_path(levels, tmp_path):
    walk(resolved(levels), tmp_path)


@pytest.mark.slow
@pytest.mark.usefixtures("more_steps")
def test_any_three_parts_go_the_whole_path(levels, tmp_path):
    walk(resolved(levels), tmp_path)


@pytest.mark.parametrize("levels", covering(FACTORS, 1, {REFUSED_BY: lambda levels: not is_fitted(levels)}), ids=label)
def test_what_is_not_fitted_is_refused_in_the_words_of_the_table(levels, tmp_path):
    walk(resolved(levels), tmp_path)


@pytest.mark.parametrize("entry", REFUSED, ids=lambda entry: f"{entry.step}-{entry.words[:30]}")
def test_every_refusal_of_the_table_is_one(entry, tmp_path):
    assert entry in refusals(entry.example, entry.step)
    walk(entry.example, tmp_path)


def test_every_level_of_every_factor_is_fitted():
    found = covering(FACTORS, 1, FITTED)
    missing = {(name, level) for name, levels in FACTORS.items() for level in levels}
    missing -= {pair for levels in found for pair in levels.items()}
    jumping = {("gate", name) for name, gate in GATES.items() if not gate.link.smooth}
    assert missing == jumping
