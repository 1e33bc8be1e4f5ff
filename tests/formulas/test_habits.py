"""Formulas as users of R and Stata write them: read where they can be, else answered by what to write."""

import numpy as np
import pandas as pd
import pytest

from gatewise import moe
from gatewise.formulas.dots import without_dot
from gatewise.formulas.habits import with_powers


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(60, 4)), columns=["y", "x", "z", "w"])
    frame["blood pressure"], frame["id"], frame["hours"] = frame.x**2, np.arange(60) // 3, 1 + np.arange(60) % 5
    return frame


def fit(formula, data, **options):
    return moe(formula, data, n_experts=1, **options)


def test_a_dot_is_all_columns_without_another_role(data):
    model = fit("y ~ .", data, groups="id", offset="np.log(hours)")
    assert list(model.feature_names_in_) == ["x", "z", "w", "blood pressure"]
    same = fit("y ~ x + z + w + `blood pressure`", data, groups="id", offset="np.log(hours)")
    assert model.log_likelihood_ == same.log_likelihood_
    assert model.predict(data).tolist() == same.predict(data).tolist()


@pytest.mark.parametrize(
    ("formula", "written"),
    [
        ("y ~ . - z", "y ~ (x + z + w) - z"),
        ("log(w) + y ~ .", "log(w) + y ~ (x + z)"),
        ("y ~ .:z", "y ~ (x + z + w):z"),
        ("~ x * .", "~ x * (x + z + w)"),
        ("y ~ x + poly(w, 2) + bs(x, lower_bound=-.5, df=4)", None),
        ("y ~ `a . b` + x.z + 1.5*x + C(x, Treatment(' . '))", None),
    ],
)
def test_a_dot_inside_a_name_or_number_is_none(formula, written):
    taken = ["y", "w"] if "log" in formula else ["y"]
    assert without_dot(formula, ["y", "x", "z", "w"], taken) == (written or formula)


def test_inputs_of_gates_may_be_a_dot(data):
    model = moe("y ~ x", data[["y", "x", "z", "w"]], gate_formula="~ .", n_init=1, random_state=0)
    assert model.measure_.gates[0]["weight"].shape[-1] == 3


def test_powers_of_r_are_powers(data):
    assert with_powers("a^2 + `p^q` + I(x^2)") == "a**2 + `p^q` + I(x**2)"
    one, two = (fit(f"y ~ x + I(x{sign}2) + z", data) for sign in ("^", "**"))
    assert one.log_likelihood_ == two.log_likelihood_


@pytest.mark.parametrize(
    ("formula", "words"),
    [
        ("cbind(x, z) ~ w", "trials='n'"),
        ("y ~ s(x)", r"bs\(x, df=5\)"),
        ("y ~ factor(x)", r"C\(x\)"),
        ("y ~ as.factor(x)", r"C\(x\)"),
        ("Surv(x, z) ~ w", "time [+] event ~ x with family='weibull'"),
        ("y ~ x + offset(log(hours))", "offset='log"),
        ("y ~ i.x", r"C\(x\)"),
        ("y ~ c.x##c.z", r"x \* z"),
        ("y ~ x + (1 | id)", "groups='id'"),
        ("y ~ x == 1", "compute it as a column"),
        ("y ~ ifelse(x, 1, 0)", "compute it as a column"),
        ("y ~ log(x, 2)", r"log2\(x\)"),
    ],
)
def test_words_of_others_are_answered_by_what_to_write(data, formula, words):
    with pytest.raises(ValueError, match=words):
        fit(formula, data)


def test_a_dot_of_no_columns_is_refused(data):
    with pytest.raises(ValueError, match="has a dot, and the data have no other columns"):
        fit("y ~ .", data[["y"]])
