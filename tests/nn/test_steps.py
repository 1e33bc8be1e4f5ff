"""When a step ends: offsets, temperatures, copies, frozen parts, several optimisers; and which tokens find room."""

import copy
import pickle

import pytest
import torch

from gatewise.nn import Anneal, MoE, finish_step
from gatewise.testing import assert_close
from gatewise.testing.layers import LAYER_BRANCHINGS, draw_tokens, make_layer

both_depths = pytest.mark.parametrize("branching", LAYER_BRANCHINGS)


def test_offsets_move_once_per_optimiser_step_towards_the_idle():
    layer = make_layer("softmax", balance="bias", bias_rate=0.25)
    optimiser, x = torch.optim.AdamW(layer.parameters()), draw_tokens(layer)
    for _ in range(3):
        layer(x).sum().backward()
    assert not layer.router.offset_0.any()
    load = torch.bincount(layer.router(x).index.flatten(), minlength=5)
    optimiser.step()
    assert torch.equal(layer.tally().load, 3.0 * load)
    assert torch.equal(layer.router.offset_0[0], 0.25 * torch.sign(48 / 5 - load))
    assert int(layer.balancer.steps) == 1
    optimiser.step()  # without a token nothing moves
    assert torch.equal(layer.router.offset_0[0], 0.25 * torch.sign(48 / 5 - load))


def test_offsets_choose_but_do_not_weigh():
    layer = make_layer("softmax", top_k=None, balance="bias")
    x = draw_tokens(layer)
    expected = layer.router(x).weight
    layer.router.offset_0[0, 2] = 50.0
    assert torch.equal(layer.router(x).weight, expected)
    layer.router.top_k = (1,)
    assert bool((layer.router(x).index == 2).all())


def test_temperatures_cool_once_per_step():
    layer = make_layer("dense-to-sparse", (2, 3), temperature=Anneal(4.0, 1.0, 2), balance="none")
    optimiser, seen = torch.optim.SGD(layer.parameters(), 0.1), []
    for _ in range(4):
        for _ in range(2):
            layer(draw_tokens(layer)).sum().backward()
        seen.append([float(gate.log_temperature.exp().flatten()[0]) for gate in layer.router.gates])
        optimiser.step()
    assert torch.tensor(seen).allclose(torch.tensor([[4.0], [2.0], [1.0], [1.0]]))


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])  # noqa: S301
def test_copies_end_their_own_steps(copied):
    layer = make_layer("softmax", balance="bias")
    other = copied(layer)
    optimiser = torch.optim.SGD(other.parameters(), 0.1)
    other(draw_tokens(other)).sum().backward()
    optimiser.step()
    assert int(other.balancer.steps) == 1
    assert float(other.tally().tokens) == 24
    assert int(layer.balancer.steps) == 0


@pytest.mark.parametrize("frozen", ["router", "experts"])
def test_a_layer_with_a_frozen_part_ends_its_steps(frozen):
    layer = make_layer("softmax")
    getattr(layer, frozen).requires_grad_(False)
    optimiser = torch.optim.SGD([p for p in layer.parameters() if p.requires_grad], 0.1)
    layer(draw_tokens(layer)).sum().backward()
    optimiser.step()
    assert float(layer.tally().tokens) == 24


def test_two_optimisers_end_a_step_once():
    layer = make_layer("softmax")
    optimisers = [torch.optim.SGD(part.parameters(), 0.1) for part in (layer.router, layer.experts)]
    layer(draw_tokens(layer)).sum().backward()
    for optimiser in optimisers:
        optimiser.step()
    assert int(layer.balancer.steps) == 1


def test_a_layer_used_twice_in_a_pass_books_both():
    layer = make_layer("softmax")
    layer(layer(draw_tokens(layer))).sum().backward()
    finish_step(layer)
    assert float(layer.tally().tokens) == 48


@both_depths
def test_capacity_serves_earlier_tokens_first_and_padding_last(branching):
    layer = make_layer("softmax", branching, capacity=0.5, top_k=1)
    x, mask = draw_tokens(layer), torch.arange(24) >= 12
    leaves = layer.router.n_leaves
    room = -(-24 // (2 * leaves))
    index, left, served = layer.router(x).index[:, 0].tolist(), [room] * leaves, {}
    for t in sorted(range(24), key=lambda t: (not mask[t], t)):
        served[t] = left[index[t]] > 0
        left[index[t]] -= 1
    dense = make_layer("softmax", branching, top_k=1)(x)
    expected = torch.where(torch.tensor([served[t] for t in range(24)])[:, None], dense, 0.0)
    assert_close(layer(x, mask), expected, "tokens without room get nothing", 1e-6)
    layer(x, mask).sum().backward()
    finish_step(layer)
    assert float(layer.tally().served) == sum(served[t] for t in range(12, 24))
    assert float(layer.tally().offered) == 12


def test_the_room_is_exact():
    """1.1 times 10 assignments per expert is 11, though 1.1 * 10 is more in floating point."""
    layer = MoE(4, 4, n_experts=5, top_k=1, capacity=1.1)
    with torch.no_grad():
        layer.router.gates[0].weight.zero_()
        layer.router.gates[0].bias[0] = 9.0
    layer(torch.randn(50, 4)).sum().backward()
    finish_step(layer)
    assert float(layer.tally().served) == 11


def test_an_optimiser_steps_beside_a_layer_without_parameters():
    layer = MoE(4, n_experts=3, gate="equal", experts=torch.nn.Identity)
    dense = torch.nn.Linear(4, 4)
    layer(dense(torch.randn(5, 4))).sum().backward()
    torch.optim.SGD(dense.parameters(), 0.1).step()
    assert "MoE" in repr(layer)


@both_depths
@pytest.mark.parametrize("together", [True, False])
def test_an_optimiser_of_the_experts_alone_ends_the_steps(together, branching):
    """The gates are in no optimiser and nobody has frozen them: the selection bias moves and statistics are kept."""
    layer = make_layer("softmax", branching, balance="bias")
    parts = [list(layer.experts.parameters())] if together else [[p] for p in layer.experts.parameters()]
    optimisers = [torch.optim.SGD(part, 0.1) for part in parts]
    for size in (24, 24, 17, 11):
        layer.zero_grad()
        layer(draw_tokens(layer)[:size]).square().mean().backward()
        for optimiser in optimisers:
            optimiser.step()
    assert int(layer.balancer.steps) == 3  # the first step shows who trains the layer
    assert float(layer.tally().tokens) == 11
    assert bool((layer.router.offset_0 != 0).any())


def test_an_optimiser_of_the_gates_that_comes_later_ends_the_steps_from_there_on():
    layer = make_layer("softmax")
    experts, gates = (torch.optim.SGD(part.parameters(), 0.1) for part in (layer.experts, layer.router))
    for i in range(6):
        layer(draw_tokens(layer)).square().mean().backward()
        experts.step()
        if i in (3, 5):
            gates.step()
            layer.zero_grad()
            assert float(layer.tally().tokens) == 24 * (1 if i == 3 else 2)
