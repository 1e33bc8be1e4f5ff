"""Questions that are asked of a fit by a formula: what is refused, and in which words."""

import numpy as np
import pandas as pd
import pytest

from gatewise import bootstrap_test, compare, moe

RNG = np.random.default_rng(8)
N = 300
FRAME = pd.DataFrame(RNG.normal(size=(N, 3)), columns=list("abc"))
FRAME["site"] = RNG.choice(list("uvw"), N)
FIRST = RNG.random(N) < 0.5
FRAME["y"] = np.where(FIRST, 9 + FRAME.a, 5 - FRAME.b) + 0.4 * (FRAME.site == "v") + 0.4 * RNG.normal(size=N)
FRAME["w"] = RNG.integers(1, 4, N)
ONE = {"n_experts": 1, "n_init": 1}
TWO = {"gate_formula": "~ 1", "n_init": 3, "random_state": 0}


def test_only_models_of_the_same_values_are_compared():
    plain = moe("y ~ a + b + c", FRAME, **ONE)
    assert compare(plain, moe("y ~ a + site", FRAME, **ONE)).shape[0] == 2
    assert compare(moe("log(y) ~ a + b + c", FRAME, **ONE), moe("np.log(y) ~ a", FRAME, **ONE)).shape[0] == 2
    with pytest.raises(ValueError, match=r"y and log\(y\) have different responses"):
        compare(plain, moe("log(y) ~ a + b + c", FRAME, **ONE))
    with pytest.raises(ValueError, match="y and y have different responses"):
        compare(plain, moe("y ~ a + b + c", FRAME.assign(y=FRAME.y * 100), **ONE))
    twice = FRAME.assign(w=RNG.permutation(FRAME.w))
    with pytest.raises(ValueError, match="different weights"):
        compare(moe("y ~ a + b + c", FRAME, weights="w", **ONE), moe("y ~ a + b + c", twice, weights="w", **ONE))
    with pytest.raises(ValueError, match=r"299, 300 rows: .* missing values"):
        compare(plain, moe("y ~ a + b + c", FRAME.assign(a=FRAME.a.where(FRAME.index > 0)), **ONE))
    with pytest.raises(TypeError, match="compare has a dict"):
        compare({"plain": plain})


def test_the_smaller_mixture_stands_first():
    one, two = moe("y ~ a + b + c", FRAME, gate_formula="~ 1", **ONE), moe("y ~ a + b + c", FRAME, **TWO)
    with pytest.raises(ValueError, match="small has 2 experts, large has 1: give the smaller mixture first"):
        bootstrap_test(two, one, n_boot=3)


def test_shared_coefficients_are_tested_by_the_likelihood_ratio():
    model = moe("y ~ a + b + c + site", FRAME, shared="site", **TWO)
    under = moe("y ~ a + b + c + v", FRAME.assign(v=1.0 * (FRAME.site == "v")), shared="v", **TWO)
    for expert in range(2):
        found = model.test(f"site[T.w][{expert}] = 0", kind="lr")
        assert found.df == 1
        assert found.statistic == pytest.approx(2 * (model.log_likelihood_ - under.log_likelihood_), abs=1e-6)


def test_parameters_are_asked_for_by_the_names_of_the_summary():
    model = moe("y ~ a + b + c + site", FRAME, **TWO)
    errors = model.inference()
    wanted = errors.profile("experts.coef[0,0,0]")
    assert errors.profile("a[0]") == errors.profile("a[expert 0]") == wanted
    with pytest.raises(ValueError, match=r"no parameter: names are such as .*a\[0\]"):
        model.test("a = 0")
    with pytest.raises(ValueError, match=r"names are such as .*site\[T.v\]\[0\]"):
        model.test("site[T.x] 0 = 0")
    with pytest.raises(TypeError, match="is a list: give a text"):
        model.test(["a[0] = 0", "b[0] = 0"])


class Foreign:
    """A frame of another library."""

    def __init__(self, frame):
        self.frame = frame

    def to_pandas(self):
        return self.frame


REFUSED = {
    "classes": (lambda f: moe("site ~ a + b + c", f, **ONE), "or give family='categorical' for classes"),
    "other frame": (lambda f: moe("y ~ a + b + c", Foreign(f), **ONE), r"give data.to_pandas\(\)"),
    "number as name": (
        lambda f: moe("y ~ a + b + `0`", f.rename(columns={"c": 0}), **ONE),
        "the name of column 0 is of the type int",
    ),
    "reference level": (
        lambda f: moe("y ~ a + b + C(site, Treatment('x'))", f, **ONE),
        "'x'.*check its functions and levels: site has 'u', 'v', 'w'$",
    ),
    "groups": (
        lambda f: moe("y ~ a + b + c", f.assign(g=1), groups="g", gate_formula="~ 1"),
        "number of groups=1 for 2 experts: give at least one group per expert",
    ),
    "infinite beside missing": (
        lambda f: moe("y ~ a + b + c", f.assign(a=f.a.where(f.index > 4), b=f.b.where(f.index != 9, np.inf)), **ONE),
        "column 'b' is inf in row 9: .* leave out rows with infinite values",
    ),
    "logarithm beside missing": (
        lambda f: moe("log(y) ~ a + b + c", f.assign(a=f.a.where(f.index > 4), y=f.y.where(f.index != 9, 0)), **ONE),
        "is -inf in row 9",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_fitted_is_told_with_its_remedy(case):
    call, words = REFUSED[case]
    with pytest.raises((ValueError, TypeError), match=words):
        call(FRAME)


@pytest.mark.filterwarnings("ignore::gatewise.FitWarning")
def test_numbers_that_are_text_are_told():
    small = FRAME[:60].assign(a=FRAME.a.astype(str))
    with pytest.warns(UserWarning, match="the factor a has 60 levels in 60 rows"):
        moe("y ~ a + b + c", small, **ONE)


@pytest.mark.filterwarnings("error")
def test_dependent_columns_are_told_by_their_names():
    double = FRAME.assign(d=2 * FRAME.a, e=FRAME.a + FRAME.b)
    with pytest.warns(UserWarning, match="columns d, e of X are each constant or a linear combination") as told:
        moe("y ~ a + b + d + e", double, gate_formula="~ a + c", n_init=3, random_state=0)
    assert len(told) == 1
    with pytest.warns(UserWarning, match="column d of gate_X is constant or a linear combination") as told:
        moe("y ~ a + b + c", double, gate_formula="~ a + d", n_init=3, random_state=0)
    assert len(told) == 1
