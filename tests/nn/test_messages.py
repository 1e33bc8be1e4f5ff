"""Every message of the room says what was given, why it cannot be, and what to do."""

from dataclasses import dataclass

import pytest
import torch
from torch import nn

from gatewise.core.gates import Gate
from gatewise.core.parameters import Parameter
from gatewise.core.scores import Affine
from gatewise.nn import (
    FFN,
    Anneal,
    Choice,
    ExpertChoice,
    FusionMoE,
    HMoE,
    MoE,
    Router,
    Sinkhorn,
    Sparsity,
    TopP,
    add_experts,
    expert_similarity,
    finish_step,
    merge_experts,
    prune_experts,
    set_loss_scale,
)
from gatewise.nn.balance import Balancer
from gatewise.nn.params import GateParameters

LAYER = MoE(6, 8, 4)
X = torch.randn(3, 6)


def own(leaves=4):
    return [nn.Linear(6, 6) for _ in range(leaves)]


CASES = {
    "features": (lambda: LAYER(torch.randn(3, 5)), r"x has the shape \(3, 5\): its last dimension must be dim=6"),
    "scalar": (lambda: LAYER(torch.tensor(1.0)), r"x has the shape \(\): its last dimension"),
    "whole numbers": (lambda: LAYER(torch.arange(6)), r"x has the dtype torch.int64: give features in floating point"),
    "mask": (lambda: LAYER(X, torch.ones(3, 1)), r"mask has the shape \(3, 1\), x \(3, 6\): give \(3,\)"),
    "mask to add": (
        lambda: LAYER(X, torch.tensor([0.0, 0.0, -torch.inf])),
        "mask has the dtype torch.float32: give true for real tokens, false for padding",
    ),
    "noise in words": (
        lambda: MoE(6, 8, noise="strong"),
        "noise='strong': give a standard deviation, zero or more, or 'learned'",
    ),
    "jitter": (lambda: MoE(6, 8, jitter=1.5), "jitter=1.5: give a number below 1, zero or more"),
    "top-p": (lambda: TopP(1.5), r"TopP\(p=1.5\): p is a share of the weights, above zero and at most one"),
    "sinkhorn": (lambda: Sinkhorn(0.0), r"Sinkhorn\(temperature=0.0, rounds=8\): give a positive temperature"),
    "sparsity": (lambda: Sparsity(growth=1.0), "give positive numbers, and a growth above one"),
    "no rule": (lambda: MoE(6, 8, choice=Choice(rule=TopP)), "give an instance of a rule, such as TopP"),
    "expert choice by level": (
        lambda: MoE(6, 8, (2, 3), top_k=(1, 2), choice=ExpertChoice()),
        r"ExpertChoice\(\) with top_k=\(1, 2\), a number for every level: .* give one top_k for the leaves, .*top_k=2",
    ),
    "given experts of another shape": (
        lambda: LAYER(X, experts=torch.zeros(2, 1, dtype=torch.long)),
        r"experts has the shape \(2, 1\), x \(3, 6\): give \(3, S\)",
    ),
    "given experts that are not there": (
        lambda: LAYER(X, experts=torch.tensor([[0], [9], [1]])),
        "experts holds 9 of . experts: count from 0, and give -1 for none",
    ),
    "given experts in floating point": (
        lambda: LAYER(X, experts=torch.zeros(3, 1)),
        r"experts has the shape \(3, 1\) and the dtype torch.float32: give whole numbers \(3, S\)",
    ),
    "gate": (lambda: MoE(6, 8, gate="sofmax"), r"sofmax.*softmax"),
    "gates": (
        lambda: MoE(6, 8, (2, 3), gate=("laplace",)),
        "gate has 1 entries for 2 levels: give one gate",
    ),
    "no branches": (lambda: MoE(6, 8, (2, 0)), r"branching \(2, 0\): every level needs at least one branch"),
    "no levels": (lambda: MoE(6, 8, ()), r"branching \(\): every level needs at least one branch"),
    "top_k zero": (lambda: MoE(6, 8, 4, top_k=0), r"top_k=0 with the branching \(4,\): give a number.* from 1 to 4"),
    "top_k too large": (lambda: MoE(6, 8, (2, 3), top_k=7), r"top_k=7 with the branching \(2, 3\).* from 1 to 6"),
    "top_k per level": (lambda: MoE(6, 8, (2, 3), top_k=(3, 1)), r"top_k=\(3, 1\).*one number per level no larger"),
    "top_k levels": (lambda: MoE(6, 8, (2, 3), top_k=(2, 2, 2)), r"top_k=\(2, 2, 2\).*or None for all"),
    "normalise": (
        lambda: MoE(6, 8, normalise="both"),
        "normalise='both' is unknown: the choices are 'before', 'after'",
    ),
    "noise": (lambda: MoE(6, 8, noise=-1.0), "noise=-1.0: give a standard deviation, zero or more"),
    "noise infinite": (lambda: MoE(6, 8, noise=float("inf")), "noise=inf: give a standard deviation, zero or more"),
    "noise nan": (lambda: MoE(6, 8, noise=float("nan")), "noise=nan: give a standard deviation"),
    "temperature": (lambda: MoE(6, 8, gate="dense-to-sparse", temperature=0.0), "temperature=0.0: give 'learned', a"),
    "temperature word": (lambda: MoE(6, 8, gate="dense-to-sparse", temperature="hot"), "temperature='hot': give"),
    "no temperature": (lambda: MoE(6, 8, temperature=2.0), "temperature=2.0, but the gates softmax have none: use"),
    "cold start": (
        lambda: MoE(6, 8, gate="dense-to-sparse", temperature=lambda step: step),
        "temperature at step 0 is 0: a schedule must stay positive",
    ),
    "anneal to zero": (
        lambda: MoE(6, 8, gate="dense-to-sparse", temperature=Anneal(1.0, 0.0)),
        r"Anneal\(start=1.0, end=0.0, steps=1000\): give two positive temperatures and a positive number of steps",
    ),
    "anneal at once": (
        lambda: MoE(6, 8, gate="dense-to-sparse", temperature=Anneal(steps=0)),
        "a positive number of steps",
    ),
    "activation": (lambda: MoE(6, 8, activation="tan"), "activation 'tan' is unknown: did you mean 'tanh'"),
    "hidden": (lambda: MoE(6), r"hidden is missing: give the hidden units of every expert, or experts=\[...\]"),
    "sizes": (lambda: FFN(2, 6, 0), "n_experts=2, dim=6, hidden=0, dim_out=6: each at least one"),
    "shared": (lambda: MoE(6, n_experts=4, experts=own(), shared=1), "shared=1 without hidden: give the hidden units"),
    "experts": (lambda: MoE(6, n_experts=4, experts=own(3)), "3 experts for 4 leaves: give one per leaf"),
    "one module": (lambda: MoE(6, experts=nn.Linear(6, 6)), "experts is one Linear: give one per leaf, or a function"),
    "backend": (
        lambda: MoE(6, 8, backend="fast"),
        "backend='fast' is unknown: the choices are 'auto', 'loop', 'grouped'",
    ),
    "width of experts": (
        lambda: MoE(6, n_experts=2, experts=lambda: nn.Linear(6, 5), dim_out=4)(torch.zeros(3, 6)),
        "the experts return 5 features, not dim_out=4",
    ),
    "no layers": (lambda: set_loss_scale(nn.Linear(2, 2), 8.0), "Linear has no MoE layer: build it with MoE"),
    "no steps": (lambda: finish_step(nn.Linear(2, 2)), "Linear has no MoE layer: build it with MoE"),
    "grouped modules": (
        lambda: MoE(6, n_experts=4, experts=own(), backend="grouped"),
        "runs the built-in experts only",
    ),
    "capacity": (lambda: MoE(6, 8, capacity=0.0), "capacity=0.0: give a positive factor, or None to drop nothing"),
    "capacity nan": (lambda: MoE(6, 8, capacity=float("nan")), "capacity=nan: give a positive factor"),
    "capacity infinite": (lambda: MoE(6, 8, capacity=float("inf")), "capacity=inf: give a positive factor"),
    "balance": (
        lambda: MoE(6, 8, balance="all"),
        "balance='all' is unknown: the choices are 'importance\\+load', 'importance', 'switch', 'bias', 'sequence'",
    ),
    "dim": (lambda: MoE(-16, 8), "dim=-16: a token has at least one feature"),
    "shared experts": (lambda: MoE(16, 8, shared=-1), "shared=-1: give the number of shared experts, zero or more"),
    "no such expert": (
        lambda: MoE(16, 8, 4)(torch.zeros(3, 16), experts=torch.tensor([[0], [-2], [1]])),
        "experts holds -2 of 4 experts: count from 0, and give -1 for none",
    ),
    "balancer": (lambda: Balancer((4,), "loss"), "balance='loss' is unknown: the choices are"),
    "balance weight": (
        lambda: MoE(6, 8, balance_weight=float("nan")),
        "balance_weight=nan: give a finite number, zero",
    ),
    "bias rate": (lambda: MoE(6, 8, bias_rate=-1.0), "bias_rate=-1.0: give a finite number, zero or more"),
    "levels of HMoE": (lambda: HMoE(6, 8, 8), r"n_experts=8: give \(groups, experts per group\), or use MoE"),
    "three levels of HMoE": (lambda: HMoE(6, 8, (2, 2, 2)), r"n_experts=\(2, 2, 2\): give \(groups"),
    "values of a gate": (
        lambda: Router(6, 4).gates[0].assign({"weight": torch.zeros(4, 5), "bias": torch.zeros(4)}),
        r"weight has shape \(4, 5\), the layer's has \(4, 6\): build the layer with the same branching",
    ),
}


@pytest.mark.parametrize(("action", "message"), CASES.values(), ids=CASES)
def test_a_wrong_argument_is_told_in_words(action, message):
    with pytest.raises(ValueError, match=message):
        action()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_experts": 8.0}, "n_experts=8.0 is a float: give a whole number"),
        ({"n_experts": "8"}, "n_experts='8' is a str: give a whole number"),
        ({"n_experts": (2, 4.0)}, "n_experts=4.0 is a float"),
        ({"top_k": 2.0}, "top_k=2.0 is a float"),
        ({"hidden": 8.0}, "hidden=8.0 is a float"),
        ({"dim_out": "8"}, "dim_out='8' is a str"),
        ({"shared": 0.5}, "shared=0.5 is a float"),
        ({"activation": nn.GELU()}, r"activation=GELU\(.* is a GELU: give a name, such as 'gelu'"),
    ],
)
def test_an_argument_of_another_type_is_named(options, message):
    with pytest.raises(TypeError, match=message):
        MoE(**{"dim": 16, "hidden": 24, "n_experts": 8} | options)


@pytest.mark.parametrize(
    "call",
    [
        lambda one: prune_experts(one, [0]),
        lambda one: add_experts(one, [0]),
        lambda one: merge_experts(one, [[0, 1]]),
        lambda one: expert_similarity(one, torch.randn(5, 16)),
    ],
)
def test_a_model_in_the_place_of_a_layer_is_told_its_layers(call):
    model = nn.Sequential(nn.Linear(16, 16), MoE(16, 24, 2), nn.ModuleDict({"mlp": MoE(16, 24, 2)}))
    with pytest.raises(TypeError, match=r"Sequential is no MoE: give one of its layers, '1', '2\.mlp'"):
        call(model)
    with pytest.raises(TypeError, match="Linear is no MoE: give a layer"):
        call(model[0])


def test_a_gate_of_another_type_is_told_in_words():
    with pytest.raises(TypeError, match="Gate"):
        MoE(6, 8, gate=3.0)


@dataclass(frozen=True)
class Divided(Affine):
    """An affine score over the entries of a width, whose transform a test chooses."""

    transform: str | tuple[str, ...] = "reciprocal"

    def parameters(self, d):
        width = Parameter((2,), "temperature", "node", self.transform, (0.01, 100.0), initial=2.0)
        return {**super().parameters(d), "width": width}

    def __call__(self, params, x):
        return super().__call__({**params}, x) / params["width"].prod(-1)[..., None, None]


@pytest.mark.parametrize("transform", ["reciprocal", ("log", "reciprocal")])
def test_a_parameter_with_a_reciprocal_transform_stays_positive(transform):
    layer = MoE(6, 8, 4, gate=Gate(Divided(transform=transform)))
    level = layer.router.gates[0]
    optimizer = torch.optim.SGD(layer.parameters(), 1e3)
    layer(X).square().sum().backward()
    optimizer.step()
    assert bool((level.values()["width"] >= 0).all())
    level.assign({**level.values(), "width": torch.tensor([0.5, 3.0])})
    torch.testing.assert_close(level.values()["width"], torch.tensor([0.5, 3.0]))


def test_transforms_of_positive_and_other_entries_are_told_in_words():
    with pytest.raises(ValueError, match=r"width has the transforms .* make two parameters of it"):
        GateParameters(Gate(Divided(transform=("log", "identity"))), (), 4, 6, "learned")


def test_grouped_says_why_it_cannot_run(monkeypatch):
    for user in ("dispatch", "layer"):
        monkeypatch.setattr(f"gatewise.nn.{user}.grouped_reason", lambda x: "F.grouped_mm has no float64")
    layer = MoE(6, 8, 4, backend="grouped")
    with pytest.raises(ValueError, match=r"backend='grouped' cannot run here: F.grouped_mm has no float64; use back"):
        layer(X)
    assert MoE(6, 8, 4).backend_for(X) == "loop"


def test_a_layer_is_printed_also_where_its_backend_cannot_run():
    layer = MoE(4, 8, 3, backend="grouped")
    assert "backend=grouped (here: grouped)" in repr(layer)
    assert "backend=auto (here: grouped)" in repr(MoE(4, 8, 3))
    assert "here: cannot run: F.grouped_mm has no float64" in repr(layer.double().to("meta"))


WRONG_NAMES = {
    "num_experts": "MoE has no option 'num_experts': use n_experts",
    "num_experts_per_tok": "use top_k",
    "intermediate_size": "use hidden",
    "ballance": "use balance",
    "xyz": "use one of dim, hidden, n_experts, gate",
}


@pytest.mark.parametrize("name", WRONG_NAMES)
def test_a_name_of_another_package_is_told_ours(name):
    for make in (MoE, HMoE):
        with pytest.raises(TypeError, match=WRONG_NAMES[name]):
            make(6, 8, **{name: 4})
    with pytest.raises(TypeError, match=WRONG_NAMES[name]):
        FusionMoE({"a": 3, "b": 4, "c": 5}, 6, 8, **{name: 4})
