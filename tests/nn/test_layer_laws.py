"""Every law of layers, for every gate, one and two levels, on both backends; and for a gate of the user's own."""

from dataclasses import dataclass

import pytest
import torch

from gatewise.core.gates import GATES, Gate
from gatewise.core.links import Softmax
from gatewise.core.parameters import Parameter
from gatewise.core.scores import Score
from gatewise.testing.layers import (
    LAYER_BACKENDS,
    LAYER_BRANCHINGS,
    LAYER_LAWS,
    check_layer,
    check_layer_gate,
    make_layer,
)

from ..covering import pairs_and_slow_rest, slow_rest

FACTORS = {"law": LAYER_LAWS, "gate": tuple(GATES), "branching": LAYER_BRANCHINGS, "backend": LAYER_BACKENDS}
OPTIONS = {
    "before": {"normalise": "before"},
    "one expert per token": {"top_k": 1},
    "dense": {"top_k": None},
    "no bias": {"bias": False},
    "swiglu": {"activation": "swiglu"},
    "shared expert": {"shared": 2, "scale": 0.5},
    "other outputs": {"dim_out": 3},
    "switch": {"balance": "switch", "z_weight": 1e-3},
    "bias": {"balance": "bias"},
    "no balance": {"balance": "none"},
}
TREES = {
    "per level": {"branching": (2, 3), "gate": ("laplace", "softmax"), "top_k": (1, 2)},
    "three levels": {"branching": (2, 2, 2), "gate": ("softmax", "laplace", "cosine"), "top_k": 3},
    "one branch": {"branching": (1, 3), "gate": "equal"},
}


@dataclass(frozen=True)
class Ridge(Score):
    """A score of a user's own: ``-|w . x - level|``."""

    def parameters(self, dim):
        return {"direction": Parameter((dim,)), "level": Parameter(())}

    def __call__(self, params, x):
        return -(params["direction"] @ x - params["level"].unsqueeze(-1)).abs()

    def value_and_derivatives(self, params, x):
        raise NotImplementedError("layers need no derivatives")


def named(case):
    shape = "x".join(map(str, case["branching"]))
    return f"{case['gate']}-{shape}-{case['backend']}-{case['law'].__name__}"


@pytest.mark.parametrize(tuple(FACTORS), pairs_and_slow_rest(FACTORS, named))
def test_every_gate_keeps_every_law(law, gate, branching, backend):
    law(make_layer(GATES[gate], branching, backend))


CASES = [(name, backend) for name in OPTIONS for backend in LAYER_BACKENDS]
IN_TURN = [(name, LAYER_BACKENDS[at % len(LAYER_BACKENDS)]) for at, name in enumerate(OPTIONS)]


@pytest.mark.parametrize(("name", "backend"), slow_rest(CASES, IN_TURN))
def test_every_option_keeps_every_law(name, backend):
    check_layer(make_layer("laplace", (2, 3), backend, **OPTIONS[name]))


@pytest.mark.parametrize("backend", LAYER_BACKENDS)
@pytest.mark.parametrize("options", TREES.values(), ids=TREES)
def test_every_tree_keeps_every_law(options, backend):
    check_layer(make_layer(backend=backend, **options))


def test_a_gate_of_the_users_own_keeps_every_law():
    check_layer_gate(Gate(Ridge(), Softmax()))


def test_layers_of_the_laws_do_not_touch_the_global_generator():
    before = torch.random.get_rng_state()
    one, other, third = (make_layer("laplace", seed=seed) for seed in (4, 4, 5))
    assert torch.equal(before, torch.random.get_rng_state())
    assert torch.equal(one.experts.w_in, other.experts.w_in)
    assert not torch.equal(one.experts.w_in, third.experts.w_in)
