"""Upcycling in pieces, with shared experts, and with one expert per token."""

import pytest
import torch
from torch import nn

from gatewise import GATES
from gatewise.nn import MoE, finish_step, replace_ffn, upcycle


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


class Gated(nn.Module):
    def __init__(self, bias):
        super().__init__()
        self.gate_proj, self.up_proj = nn.Linear(6, 12, bias=bias), nn.Linear(6, 12, bias=bias)
        self.down_proj = nn.Linear(12, 5, bias=bias)

    def forward(self, x):
        return self.down_proj(nn.functional.gelu(self.gate_proj(x)) * self.up_proj(x))


def plain(bias=True):
    return nn.Sequential(nn.Linear(6, 12, bias=bias), nn.ReLU(), nn.Linear(12, 5, bias=bias))


NETWORKS = {"plain": plain(), "no bias": plain(False), "gated": Gated(True), "gated, no bias": Gated(False)}
PIECES = [(2, 0, 8, 4), (3, 0, 12, 3), (4, 1, 12, 6), (4, 2, 8, 2), (6, 5, 4, 2), (2, 0, 8, None)]


def difference(layer, module, dim=6):
    x = torch.randn(200, dim)
    with torch.no_grad():
        wanted = module(x)
        return float((layer(x) - wanted).abs().max() / wanted.abs().max())


@pytest.mark.parametrize("module", NETWORKS.values(), ids=NETWORKS)
@pytest.mark.parametrize(("granularity", "shared", "n_experts", "top_k"), PIECES)
def test_pieces_of_copies_give_what_the_network_gives(module, granularity, shared, n_experts, top_k):
    layer = upcycle(module, n_experts, granularity=granularity, shared=shared, top_k=top_k)
    assert layer.experts.hidden == 12 // granularity
    assert (layer.shared is None) if shared == 0 else (layer.shared.hidden == shared * layer.experts.hidden)
    assert difference(layer, module) < 1e-6
    assert difference(layer.eval(), module) < 1e-6
    layer.backend = "loop"
    assert difference(layer, module) < 1e-6


TIED = {"relu-dense-to-sparse"}  # its scores of several copies are zero at once


@pytest.mark.parametrize("gate", [name for name in GATES if name != "top-k" and name not in TIED])
def test_pieces_are_exact_for_every_gate(gate):
    module = plain()
    layer = upcycle(module, 8, granularity=2, gate=gate)
    assert layer.router.slots == 4
    assert difference(layer, module) < 1e-6


def test_a_token_selects_whole_copies_until_training_separates_the_pieces():
    layer = upcycle(plain(), 12, granularity=3, top_k=3, jitter=0.1)
    x = torch.randn(100, 6)
    assert bool((layer.router(x).index.sort(-1).values % 3 == torch.arange(3)).all())
    optimizer = torch.optim.SGD(layer.parameters(), 1.0)
    for _ in range(3):
        optimizer.zero_grad()
        (layer(x) - x[:, :5]).square().mean().backward()
        optimizer.step()
    assert not bool((layer.router(x).index.sort(-1).values % 3 == torch.arange(3)).all())


def test_the_only_expert_of_a_token_has_weight_one_and_its_gate_a_gradient():
    module, x = plain(), torch.randn(50, 6)
    layer = upcycle(module, 4, top_k=1, normalise="always", balance="none", jitter=0.2)
    routing = layer.router(x)
    assert torch.equal(routing.weight, torch.ones(50, 1))
    loss = layer(x).square().mean(-1)
    gradient = torch.autograd.grad(loss.sum(), layer.router.gates[0].weight, retain_graph=True)[0]
    log = routing.log_weights[0][:, 0].gather(1, routing.index)[:, 0]
    with torch.no_grad():
        out = layer(x)
        pull = (2 * out * out / out.shape[-1]).sum(-1)  # of the loss in the weight of the expert
    wanted = torch.autograd.grad((pull * log).sum(), layer.router.gates[0].weight)[0]
    torch.testing.assert_close(gradient, wanted, rtol=1e-4, atol=1e-5)
    finish_step(layer)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"granularity": 5}, "granularity=5, shared=0 for 12 hidden units"),
        ({"granularity": 3, "shared": 3}, "shared is less than it"),
        ({"shared": 1}, "granularity=1, shared=1"),
        ({"granularity": 3, "n_experts": 8}, "a multiple of the 3 routed pieces"),
        ({"granularity": 2, "n_experts": (2, 4)}, "give one level"),
        ({"granularity": 2, "top_k": 3}, "top_k a multiple of the 2 pieces"),
        ({"granularity": 2, "scale": 2.0}, "scale=2.0: use 1"),
        ({"granularity": 2, "gate": "relu-dense-to-sparse"}, "do not sum to one"),
        ({"granularity": 2, "noise": 0.1}, "noise in training selects pieces"),
        ({"weigh_inputs": True}, "weigh_inputs=True"),
        ({"null_experts": 2}, "null_experts=2 are no copies"),
    ],
)
def test_what_would_not_be_exact_is_refused_in_words(options, message):
    with pytest.raises(ValueError, match=message):
        upcycle(plain(), **{"n_experts": 8} | options)


def test_experts_that_return_their_input_are_no_copies():
    network = nn.Sequential(nn.Linear(16, 24), nn.GELU(), nn.Linear(24, 16))
    with pytest.raises(ValueError, match="identity_experts=1 are no copies"):
        upcycle(network, 8, identity_experts=1)
    assert upcycle(network, 8, identity_experts=1, exact=False).networks == 7


def test_a_single_expert_of_weight_one_may_have_its_weight_on_its_input():
    network, x = plain(), torch.randn(20, 6)
    layer = upcycle(network, 4, top_k=1, normalise="always", weigh_inputs=True)
    torch.testing.assert_close(layer(x), network(x))


def test_models_are_replaced_in_pieces():
    model = nn.ModuleDict({"a": plain(), "b": plain()})
    x = torch.randn(9, 6)
    before = model["b"](x)
    replace_ffn(model, "*", {"n_experts": 9, "granularity": 4, "shared": 1, "top_k": 3})
    assert isinstance(model["b"], MoE)
    torch.testing.assert_close(model["b"](x), before)
