"""A sample of the fuzz benchmark, and that it can fail: right fits and clear errors alone pass."""

import numpy as np
import pandas as pd
import pytest
from benchmarks.fuzz import checked, example, judged, one_line, outcome

from gatewise import MixtureOfExpertsRegressor, moe

SOME = [*range(0, 24), 1, 7, 96, 137, 2049, 2177, 5207, 5214, 5250]  # the last ones once ended badly


@pytest.mark.parametrize("seed", dict.fromkeys(SOME))
def test_a_hostile_example_ends_well(seed):
    found = outcome(seed)
    assert found.verdict in ("fit", "clear"), found


def test_examples_are_hostile_and_repeat():
    many = [example(seed) for seed in range(300)]
    again = example(17)
    pd.testing.assert_frame_equal(many[17][1], again[1])
    assert many[17][2:] == again[2:]
    assert {kind for kind, *_ in many} == {"moe", "arrays", "classes"}
    sizes = {len(frame) for _, frame, _, _ in many}
    assert {0, 1, 2} < sizes
    kinds = {str(dtype) for _, frame, _, _ in many for dtype in frame.dtypes}
    assert {"bool", "category", "complex128", "Int64", "object"} < kinds
    assert any(frame.columns.duplicated().any() for _, frame, _, _ in many)


def raised(error):
    try:
        raise error
    except (KeyError, ValueError) as caught:
        return judged(caught)[0]


def test_unclear_errors_are_seen():
    assert raised(KeyError("x")) == "another error"
    assert raised(ValueError("x has a wrong value: give another one")) == "a foreign error"  # not raised in gatewise
    with pytest.raises(TypeError) as caught:
        MixtureOfExpertsRegressor(gate=3).fit([[1.0], [2.0]], [1.0, 2.0])
    assert judged(caught.value)[0] == "clear"
    short = caught.value.with_traceback(caught.value.__traceback__)
    short.args = ("no",)
    assert judged(short)[0] == "no remedy"


def test_wrong_fits_are_seen():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": rng.normal(size=60)})
    frame["y"] = np.where(rng.random(60) < 0.5, 3 + frame.x, -3.0) + 0.3 * rng.normal(size=60)
    model = moe("y ~ x", frame, gate="constant", n_init=2, random_state=0)
    assert checked(model, frame, (), "moe") == ""
    assert one_line(model) < model.log_likelihood_
    model.log_likelihood_ = one_line(model) - 1.0
    assert "log-likelihood" in checked(model, frame, (), "moe")
    other = moe("y ~ x", frame, gate="constant", n_init=2, random_state=0)
    other.predict = lambda rows: np.full(len(rows), np.nan)
    assert "not finite" in checked(other, frame, (), "moe")
