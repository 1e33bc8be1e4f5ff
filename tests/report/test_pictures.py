"""What a page shows below a fit, by what was fitted to what."""

import numpy as np
import pandas as pd
import pytest

from gatewise.report.formula import FormulaRoles, fit_formula
from gatewise.report.own_data import fit_table, page_of
from gatewise.report.page import render
from gatewise.report.pictures import classes_of, pictures_of
from gatewise.report.reading import Prepared, Roles

OPTIONS = {"n_experts": 2, "n_init": 2, "random_state": 0}
EFFECTS = ["effect of age", "effect of dose", "effect of time"]
TOLD = ["residuals against normal quantiles", "posterior probabilities of the experts"]
COEFFICIENTS = ["coefficients of the experts"]


@pytest.fixture(scope="module")
def frame():
    rng = np.random.default_rng(0)
    found = pd.DataFrame(rng.normal(size=(150, 3)), columns=["age", "dose", "time"])
    found["site"] = rng.choice(["north", "south", "west"], 150)
    first = rng.random(150) < 1 / (1 + np.exp(-2 * found["age"]))
    found["y"] = np.where(first, 2 + found["dose"], -1 - 0.5 * found["time"]) + 0.4 * rng.normal(size=150)
    return found


def prepared(frame, weight=None, groups=None):
    roles = Roles("y", ("age", "dose", "time"), (), None if weight is None else "w", None if groups is None else "g")
    return Prepared(roles, frame[["age", "dose", "time"]], frame["y"], None, weight, groups, 0)


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ({}, [*TOLD, *COEFFICIENTS, *EFFECTS]),
        ({"n_experts": 1}, [TOLD[0], *COEFFICIENTS, *EFFECTS]),
        ({"family": "student-t", "gate": "normalised-sigmoid"}, [*TOLD, *COEFFICIENTS, *EFFECTS]),
        ({"method": "ls"}, [*COEFFICIENTS, *EFFECTS]),
        ({"gate": "laplace", "n_experts": (2, 2)}, [*TOLD, *COEFFICIENTS, *EFFECTS]),
        ({"expert": "constant"}, [*TOLD, *COEFFICIENTS, *EFFECTS]),
    ],
)
def test_a_model_has_the_pictures_that_it_allows(frame, options, shown):
    data = prepared(frame)
    outcome = fit_table("rows.csv", data, {**OPTIONS, **options})
    found = pictures_of(outcome.model, data)
    assert [one.caption for one in found] == shown
    assert all(len(one.alt) > 60 and one.axes.has_data() for one in found)
    told = classes_of(outcome.model, data)
    assert ("relative entropy" in told) == (TOLD[1] in shown)


@pytest.mark.parametrize("role", ["weight", "groups"])
def test_rows_with_roles_have_them_too(frame, role):
    values = pd.Series(np.arange(150) // 3 if role == "groups" else 1 + np.arange(150) % 2)
    data = prepared(frame, **{role: values})
    outcome = fit_table("rows.csv", data, {**OPTIONS, "gate": "constant"})
    assert [one.caption for one in pictures_of(outcome.model, data)] == [*TOLD, *COEFFICIENTS, *EFFECTS]
    told = classes_of(outcome.model, data)
    assert ("groups" in told) == (role == "groups")
    counts = [int(line.split()[2]) for line in told.splitlines() if line.split()[0] in ("0", "1")]
    assert sum(counts) == (50 if role == "groups" else 225)  # weights are 1 and 2


def test_a_page_of_a_formula_shows_factors_and_classes(frame):
    roles = FormulaRoles("y ~ age + dose + C(site)", "~ age")
    data, outcome = fit_formula("rows.csv", frame, roles, OPTIONS)
    assert [one.caption for one in pictures_of(outcome.model, data)][-3:] == [
        "effect of age",
        "effect of dose",
        "effect of site",
    ]
    page = render(page_of("rows.csv", data, outcome, "gatewise fit", "1"))
    assert "Residuals and effects" in page
    assert "How well the experts are told apart" in page
    assert page.count("<svg") == 1 + 6
    ids = page.split(' id="')[1:]
    assert len({one.split('"')[0] for one in ids}) == len(ids)
