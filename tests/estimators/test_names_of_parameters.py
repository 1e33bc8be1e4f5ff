"""The name of every parameter stands for one number, whatever the family and however many responses there are."""

import numpy as np
import pandas as pd
import pytest

from gatewise import OrderedLogit, bootstrap, moe

RNG = np.random.default_rng(6)
N = 300
FRAME = pd.DataFrame(RNG.normal(size=(N, 3)), columns=list("abc"))
FIRST = RNG.random(N) < 0.5
FRAME["u"] = np.where(FIRST, 3 + FRAME.a, -3 - FRAME.b) + 0.4 * RNG.normal(size=N)
FRAME["v"] = np.where(FIRST, 1 + FRAME.c, -1 + FRAME.a) + 0.3 * FRAME.u + 0.3 * RNG.normal(size=N)
FRAME["grade"] = np.searchsorted([-1.0, 0.5, 1.5], FRAME.a - 0.5 * FRAME.b + RNG.logistic(size=N))
OPTIONS = {"n_init": 3, "random_state": 0}


def test_a_full_covariance_has_errors_by_name():
    model = moe("u + v ~ a + b + c", FRAME, gate_formula="~ 1", covariance="full", **OPTIONS)
    found = model.confint()
    assert found.index.is_unique
    entries = [name for name in found.index if name.startswith("cholesky")]
    assert entries[:3] == ["cholesky u u[expert 0]", "cholesky v u[expert 0]", "cholesky v v[expert 0]"]
    for i, name in enumerate(entries):
        assert found.loc[name, "estimate"] == model.measure_.family["cholesky"].reshape(-1)[i]
    assert list(model.vcov().index) == list(found.index)
    tested = model.test("u a[0] = v a[1]")
    assert tested.estimate[0] == pytest.approx(model.coef_[0, 0, 0] - model.coef_[1, 1, 0])
    assert (np.diff(model.relabel("u a").coef_[:, 0, 0]) > 0).all()
    assert list(bootstrap(model, n_boot=3).confint().index) == list(found.index)


def test_several_gaps_are_told_apart():
    model = moe("grade ~ a + b + c", FRAME, n_experts=1, family=OrderedLogit(levels=4), **OPTIONS)
    found, gap = model.confint(), model.measure_.family["gap"].reshape(-1)
    assert found.index.is_unique
    for i in range(2):
        assert found.loc[f"gap {i}[expert 0]", "estimate"] == gap[i]
        assert model.test(f"gap {i}[0] = 0").estimate[0] == pytest.approx(float(gap[i]))
    three = FRAME.assign(grade=FRAME.grade.clip(upper=2))
    model = moe("grade ~ a + b + c", three, n_experts=1, family=OrderedLogit(levels=3), **OPTIONS)
    assert "gap[expert 0]" in model.confint().index  # the only one needs no number
