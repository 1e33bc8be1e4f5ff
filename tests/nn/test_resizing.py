"""Experts are left out, merged and split; what can stay of the output stays."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize, prune

from gatewise import GATES, Affine, Gate, ReLU
from gatewise.nn import (
    FFN,
    Anneal,
    Choice,
    MoE,
    Sparsity,
    TopP,
    add_experts,
    finish_step,
    merge_experts,
    prune_experts,
    upcycle,
)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def _pairs(layer):
    return merge_experts(layer, [[0, 1], [2, 3], [4, 5]])


OPTIONS = {
    "plain": {},
    "gated": {"activation": "geglu", "bias": True, "gate": "laplace"},
    "sigmoid": {"gate": "sigmoid", "balance": "bias", "normalise": "before", "scale": 2.0},
    "tempered": {"gate": "dense-to-sparse", "shared": 1},
    "chance": {"noise": "learned", "jitter": 0.1},
    "shared": {"shared": FFN(1, 5, 9, activation="relu"), "weigh_inputs": True, "backend": "loop"},
}


def trained(**options):
    layer = MoE(5, 7, 6, **options)
    optimizer = torch.optim.SGD(layer.parameters(), 0.3)
    for _ in range(3):
        optimizer.zero_grad()
        (layer(torch.randn(60, 5)) - 1).square().mean().backward()
        optimizer.step()
    return layer.eval()


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_tokens_of_kept_experts_keep_their_outputs(options):
    layer, x = trained(**options), torch.randn(300, 5)
    kept = [4, 0, 1, 2]
    smaller = prune_experts(layer, kept)
    stay = torch.isin(layer.router(x).index, torch.tensor(kept)).all(-1)
    assert 20 < int(stay.sum()) < 300
    torch.testing.assert_close(smaller(x)[stay], layer(x)[stay], rtol=1e-5, atol=1e-6)
    assert not torch.allclose(smaller(x)[~stay], layer(x)[~stay])
    assert torch.equal(smaller.experts.w_in, layer.experts.w_in[kept])
    again = smaller.train()
    again(x).sum().backward()
    finish_step(again)
    assert int(again.balancer.steps) == int(layer.balancer.steps) + 1


def test_the_scales_of_learned_noise_and_the_rule_of_choice_go_along():
    layer = trained(noise="learned", jitter=0.1, choice=TopP(0.7), token_entropy_weight=0.01)
    smaller = prune_experts(layer, [4, 0, 1])
    assert torch.equal(smaller.router.noises[0].weight, layer.router.noises[0].weight[[4, 0, 1]])
    assert bool((smaller.router.noises[0].weight != 0).any())
    assert smaller.router.choice == layer.router.choice
    assert (smaller.router.jitter, smaller.balancer.token_entropy_weight) == (0.1, 0.01)


@pytest.mark.parametrize("frozen", ["experts", "shared", "router.noises", "router.gates.0.bias", "experts.b_out"])
@pytest.mark.parametrize(
    "change",
    [lambda one: prune_experts(one, [4, 0, 1]), lambda one: add_experts(one, [2]), _pairs],
    ids=["pruned", "added", "merged"],
)
def test_what_is_frozen_stays_frozen(change, frozen):
    layer = MoE(5, 7, 6, bias=True, shared=1, noise="learned")
    for name, value in layer.named_parameters():
        value.requires_grad_(not name.startswith(frozen))
    trains = {name: value.requires_grad for name, value in layer.named_parameters()}
    assert False in trains.values()
    assert {name: value.requires_grad for name, value in change(layer).named_parameters()} == trains


def test_a_temperature_and_a_factor_that_adapts_go_on_where_they_were():
    """A schedule counts steps: it must not start anew, nor the factor climb from its first value."""
    layer = trained(gate="dense-to-sparse", temperature=Anneal(2.0, 0.5, 6))
    rectified = trained(gate=Gate(Affine(), ReLU()), top_k=None, normalise="before", balance=Sparsity(2, start=1e-3))
    for _ in range(4):
        finish_step(layer)
    for resized in (prune_experts(layer, [4, 0, 1]), add_experts(layer, [0])):
        finish_step(resized)
        assert resized.router.gates[0].values()["temperature"].tolist() == pytest.approx(0.5)
    assert float(rectified.balancer.loss_factor) != pytest.approx(1e-3)
    assert torch.equal(prune_experts(rectified, [4, 0, 1]).balancer.loss_factor, rectified.balancer.loss_factor)


def test_a_gate_that_is_wrapped_is_not_resized_without_its_wrapper():
    class Adapter(nn.Module):
        def __init__(self, gate):
            super().__init__()
            self.gate, self.shift = gate, nn.Parameter(torch.zeros(6))

        def forward(self, x):
            return self.gate(x) + self.shift[:, None]

    layer = MoE(16, 24, 6)
    layer.router.gates[0] = Adapter(layer.router.gates[0])
    with pytest.raises(ValueError, match="the gate of the layer is wrapped by Adapter"):
        prune_experts(layer, [0, 1])


class Halved(nn.Module):
    def forward(self, value):
        return value / 2


def test_parametrised_weights_are_resized_as_the_values_that_they_have():
    """As many hidden units as features: weights must not be taken for each other by their shapes."""
    layer, x = MoE(16, 16, 6, bias=True, top_k=None), torch.randn(30, 16)
    parametrize.register_parametrization(layer.experts, "w_in", Halved())
    prune.random_unstructured(layer.experts, "b_out", 0.5)
    torch.testing.assert_close(add_experts(layer, [0, 3])(x), layer(x), rtol=1e-5, atol=1e-6)
    assert torch.equal(prune_experts(layer, [4, 0]).experts.w_in, layer.experts.w_in[[4, 0]])


def test_copies_in_double_precision_are_exact():
    layer, x = MoE(5, 7, 6, top_k=None).double(), torch.randn(30, 5, dtype=torch.float64)
    torch.testing.assert_close(add_experts(layer, [0, 0, 3])(x), layer(x), rtol=1e-12, atol=1e-13)


def test_a_short_last_step_does_not_decide_which_experts_are_kept():
    layer = MoE(16, 24, 6, top_k=1)
    layer.train()
    for rows in (torch.tensor([0, 0, 0, 3, 3, 3, 5, 5, 1, 2]), torch.tensor([4])):
        layer(torch.randn(len(rows), 16), experts=rows[:, None]).sum().backward()
        finish_step(layer)
    assert layer.tally().load.tolist() == [0, 0, 0, 0, 1, 0]
    assert torch.equal(prune_experts(layer, 2).experts.w_in, layer.experts.w_in[[0, 3]])


def test_the_experts_with_the_largest_load_are_kept():
    layer = trained()
    load = layer.tally().load
    smaller = prune_experts(layer, 3)
    kept = sorted(torch.argsort(load, descending=True)[:3].tolist())
    assert torch.equal(smaller.experts.w_out, layer.experts.w_out[kept])
    assert prune_experts(layer, 1).router.slots == 1


@pytest.mark.parametrize("gate", ["softmax", "laplace", "dense-to-sparse", "cosine"])
def test_copies_are_made_and_merged_without_a_change_of_a_dense_layer(gate):
    layer, x = trained(gate=gate, top_k=None, bias=True), torch.randn(50, 5)
    more = add_experts(layer, [0, 0, 3])
    assert more.router.branching == (9,)
    exact = layer.router.kinds[0].score.names("intercept") != ()
    if exact:
        torch.testing.assert_close(more(x), layer(x), rtol=1e-4, atol=1e-5)
    less = merge_experts(more, [[0, 6, 7], [1], [2], [3, 8], [4], [5]])
    torch.testing.assert_close(less(x), layer(x), rtol=1e-4, atol=1e-5)


def test_merging_weighs_by_load_where_there_is_one():
    layer = trained()
    load = layer.tally().load
    less = merge_experts(layer, [[0, 1, 2], [3, 4, 5]])
    share = load[:3] / load[:3].sum()
    torch.testing.assert_close(less.experts.w_in[0], (share[:, None, None] * layer.experts.w_in[:3]).sum(0))
    torch.testing.assert_close(
        less.router.gates[0].weight[0], (share[:, None] * layer.router.gates[0].weight[:3]).sum(0)
    )
    fresh = merge_experts(MoE(5, 7, 4), [[0, 1], [2, 3]])
    assert fresh.router.branching == (2,)


def test_copies_with_jitter_differ_and_train():
    layer = trained(top_k=2)
    more = add_experts(layer, 2, jitter=0.1)
    assert more.router.branching == (8,)
    assert torch.equal(more.experts.w_in[:6], layer.experts.w_in)
    top = int(torch.argmax(layer.tally().load))
    assert not torch.equal(more.experts.w_in[6], layer.experts.w_in[top])
    torch.testing.assert_close(more.experts.w_in[6], layer.experts.w_in[top], rtol=0.6, atol=0.1)
    more.train()(torch.randn(40, 5)).square().sum().backward()
    assert all(value.grad is not None for value in more.parameters())


def test_an_upcycled_network_grows_without_a_change_of_its_output():
    network, x = nn.Sequential(nn.Linear(5, 7), nn.GELU(), nn.Linear(7, 5)), torch.randn(30, 5)
    layer = add_experts(upcycle(network, 4), [1, 2])
    torch.testing.assert_close(layer(x), network(x))
    torch.testing.assert_close(merge_experts(layer, [[0, 1, 2], [3, 4, 5]])(x), network(x))
    torch.testing.assert_close(prune_experts(layer, [0, 5])(x), network(x))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda layer: prune_experts(layer, []), "give some of them"),
        (lambda layer: prune_experts(layer, [0, 0]), "each once"),
        (lambda layer: prune_experts(layer, [9]), "of 6 experts"),
        (lambda layer: prune_experts(layer, 3), "no step has been finished"),
        (lambda layer: merge_experts(layer, [[0, 1], [2, 3]]), "every one of 6 experts"),
        (lambda layer: merge_experts(layer, [[0, 1, 2, 3, 4, 5], []]), "every one of 6 experts"),
        (lambda layer: add_experts(layer, [7]), "give experts to copy"),
        (lambda layer: add_experts(layer, []), "give experts to copy"),
        (lambda layer: prune_experts(MoE(5, 7, (2, 3)), [0]), "one level"),
        (lambda layer: prune_experts(MoE(5, n_experts=2, experts=lambda: nn.Linear(5, 5)), [0]), "built-in experts"),
        (lambda layer: prune_experts(MoE(5, 7, 6, choice=Choice(groups=3, kept=2)), [0]), "groups would not be equal"),
    ],
)
def test_what_cannot_be_done_is_refused_in_words(change, message):
    with pytest.raises(ValueError, match=message):
        change(MoE(5, 7, 6))


@pytest.mark.parametrize("gate", GATES)
def test_every_gate_is_resized(gate):
    layer = MoE(5, 7, 6, gate=gate, top_k=2)
    for other in (
        prune_experts(layer, [5, 1, 2]),
        merge_experts(layer, [[0, 1], [2, 3], [4, 5]]),
        add_experts(layer, [0]),
    ):
        assert other(torch.randn(9, 5)).shape == (9, 5)
        assert other.router.kinds == layer.router.kinds
