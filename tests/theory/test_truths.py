"""Whether a model holds the truth, and what a fit that is worse than it says."""

from dataclasses import replace

import pytest
import torch
from torch.distributions import Normal

from gatewise.core.experts import EXPERTS
from gatewise.core.families import MeanOnly
from gatewise.core.gates import GATES
from gatewise.core.mixture import Measure, Mixture
from gatewise.theory import Arm, Data, DataDrivenStarts, Model, NearTruth, Study, Uniform
from gatewise.theory import run_study as run
from gatewise.theory.records import draw, near_truth, work
from gatewise.theory.runner import blocks
from gatewise.theory.store import read
from gatewise.theory.truths import behind, holds_truth, truths_outside_box


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


TRUTH = Measure(
    ({"weight": tensor([[1.5], [0.0]]), "bias": tensor([0.3, 0.0])},),
    {"coef": tensor([[[1.5]], [[-1.0]]]), "intercept": tensor([[1.0], [-1.0]])},
    {"scale": tensor([[0.3], [0.4]])},
)
TWO, THREE = (Mixture((GATES["softmax"],), (k,)) for k in (2, 3))
ARM = Arm("two", Data(TWO, TRUTH), Model(TWO, min_scale=0.05), (100, 200), 20)


def means(gate, k):
    return Mixture((GATES[gate],), (k,), family=MeanOnly())


def squares(gate, k, true=None):
    return replace(
        ARM,
        data=Data(means(true or gate, 2), TRUTH._replace(family={}), noise=0.1),
        model=Model(means(gate, k), "ls"),
    )


@pytest.mark.parametrize(
    ("arm", "held"),
    [
        (ARM, True),
        (replace(ARM, model=Model(THREE, min_scale=0.05)), True),
        (replace(ARM, model=Model(TWO, min_scale=0.35)), False),
        (replace(ARM, model=Model(TWO, box={"experts.coef": (-1.2, 1.2)}, min_scale=0.05)), False),
        (replace(ARM, model=Model(replace(TWO, expert=EXPERTS["polynomial"]), min_scale=0.05)), False),
        (squares("sigmoid", 2), True),
        (squares("sigmoid", 3), False),
        (squares("softmax", 3), True),
        (squares("softmax", 2, "sigmoid"), False),
    ],
)
def test_a_model_holds_the_truth_of_its_own_kind_inside_its_box(arm, held):
    assert holds_truth(arm, arm.levels()[0]) is held


def test_how_far_a_fit_is_behind_the_truth():
    one = Mixture((GATES["constant"],), (1,))
    truth = Measure(
        ({"bias": tensor([0.0])},),
        {"coef": tensor([[[2.0]]]), "intercept": tensor([[1.0]])},
        {"scale": tensor([[0.5]])},
    )
    arm = replace(ARM, data=Data(one, truth), model=Model(one, min_scale=0.05))
    study = Study("s", "S", "", (arm,))
    rows = draw(study, arm, arm.levels()[0], 0)
    x, _, y = rows.read(0, rows.n)[:3]
    right = float(Normal(2 * x + 1, 0.5).log_prob(y).sum())
    assert behind(arm, truth, rows, right - 3.0) == pytest.approx(3.0)
    best = replace(
        arm,
        data=Data(replace(one, family=MeanOnly()), truth._replace(family={}), noise=0.5),
        model=Model(replace(one, family=MeanOnly()), "ls"),
    )
    residual = y - 2 * x - 1
    profile = float(Normal(0.0, residual.square().mean().sqrt()).log_prob(residual).sum())
    assert behind(best, truth, rows, profile - 3.0) == pytest.approx(3.0)


def test_a_fit_that_is_worse_than_the_truth_is_not_certified(tmp_path, monkeypatch):
    study = Study("s", "S", "", (replace(ARM, replicates=4),))
    run(study, tmp_path / "right")
    records = read(tmp_path / "right").records.values()
    assert all(record["behind"] < 0 and record["certified"] for record in records)
    monkeypatch.setattr("gatewise.theory.records.behind", lambda *given: 0.5)
    run(study, tmp_path / "wrong")
    records = read(tmp_path / "wrong").records.values()
    assert not any(record["certified"] for record in records)
    assert {record["status"] for record in records} <= {"converged"}


def test_starts_near_the_truth_keep_the_order_of_a_gate_that_is_held():
    outer = {"weight": tensor([[1.5], [0.0]]), "bias": tensor([0.3, 0.0])}
    inner = {"weight": tensor([[[1.0], [0.0]], [[-1.0], [0.0]]]), "bias": torch.zeros(2, 2, dtype=torch.float64)}
    leaves = {"coef": tensor([[[[1.0]], [[2.0]]], [[[3.0]], [[4.0]]]]), "intercept": torch.zeros(2, 2, 1).double()}
    truth = Measure((outer, inner), leaves, {"scale": torch.ones(2, 2, 1).double()})
    mixture = Mixture((GATES["softmax"],) * 2, (2, 2))
    held = {f"gates.0.{name}": value for name, value in outer.items()}
    groups = set()
    for fixed in (None, held):
        model = Model(mixture, min_scale=0.05, fixed=fixed)
        arm = replace(ARM, data=Data(mixture, truth), model=model, starts=NearTruth(1e-6, 0.0))
        study = Study("s", "S", "", (arm,))
        starts = [near_truth(study, arm, arm.levels()[0], replicate)[0] for replicate in range(20)]
        groups.add(frozenset(bool(start.experts["coef"][0].mean() < 2.5) for start in starts))
        assert len({tuple(start.experts["coef"].round().flatten().tolist()) for start in starts}) > 1
    assert groups == {frozenset({True, False}), frozenset({True})}


def test_a_fit_worse_than_the_truth_is_searched_for_from_more_starts():
    weight, bias = tensor([[1.5, -1.0, 0.5], [0.0, 0.0, 0.0]]), tensor([0.3, 0.0])
    truth = Measure(
        ({"weight": weight, "bias": bias},),
        {"coef": tensor([[[1.5, 0.5, -0.5]], [[-1.0, 0.5, 1.0]]]), "intercept": tensor([[1.0], [-1.0]])},
        {"scale": tensor([[0.3], [0.4]])},
    )
    few = Model(TWO, "em", min_scale=0.05, max_iter=1)  # EM that stops early is worse than the truth, now and then
    arm = Arm("two", Data(TWO, truth, Uniform(d=3)), few, (1000,), 5, DataDrivenStarts(1))
    found = {}
    for more in (0, 15):
        study = Study("s", "S", "", (replace(arm, starts=DataDrivenStarts(1, more=more)),))
        found[more] = [record for block in blocks(study) for record in work(study, block)]
    pairs = list(zip(found[0], found[15], strict=True))
    assert all(one == other for one, other in pairs if one["behind"] < 0)
    gains = [one["behind"] - other["behind"] for one, other in pairs if one["behind"] > 1]
    assert len(gains) > 1
    assert min(gains) >= 0
    assert max(gains) > 1


def test_starts_without_more_are_written_as_before_there_were_any():
    assert repr(DataDrivenStarts(10)) == "DataDrivenStarts(count=10)"
    assert DataDrivenStarts(10) != DataDrivenStarts(10, more=40)


def test_fixed_values_that_no_true_leaf_has_exclude_the_truth():
    """Leaves have no order, and entries of NaN are estimated."""
    nan = float("nan")
    for mixture, values, held in (
        (TWO, [[[-1.0]], [[1.5]]], True),
        (TWO, [[[nan]], [[1.5]]], True),
        (THREE, [[[1.5]], [[-1.0]], [[1.5]]], True),
        (TWO, [[[nan]], [[1.4]]], False),
        (THREE, [[[1.5]], [[-1.0]], [[0.0]]], False),
    ):
        model = Model(mixture, min_scale=0.05, fixed={"experts.coef": tensor(values)})
        arm = replace(ARM, model=model)
        assert holds_truth(arm, arm.levels()[0]) is held
        told = truths_outside_box(Study("s", "S", "", (arm,)))
        assert [f"fixed at {values[-1]}, which no true leaf has" in words for words in told] == [True] * (not held)
