"""Losses of routings: in every sequence, of the number of experts per token, of the entropy of weights."""

import copy

import pytest
import torch

from gatewise import Affine, Gate, ReLU
from gatewise.nn import BalanceMethod, ShareSlopes, Sparsity, TopP, finish_step
from gatewise.testing import assert_close
from gatewise.testing.layers import make_layer

RECTIFIED = Gate(Affine(), ReLU())


def second_step(layer, *calls):
    """Gradients of the router that the auxiliary loss alone gives in a second step on the same calls."""
    for _ in range(2):
        layer.zero_grad(set_to_none=True)
        for call in calls:
            (0 * layer(*call)).sum().backward()
        gradients = [p.grad.clone() for p in layer.router.parameters()]
        finish_step(layer)
    return gradients


def layer_of(gate="softmax", branching=(8,), **options):
    return make_layer(gate, branching, dim=5, **{"balance_weight": 0.5} | options).double()


def batch(shape=(4, 10), seed=0):
    draws = torch.Generator().manual_seed(seed)
    x = torch.randn(*shape, 5, generator=draws, dtype=torch.float64)
    return x, torch.rand(shape, generator=draws) < 0.8


def deepseek(layer, x, mask):
    """2412.19437, equations 17 to 20: the mean over tokens of ``sum_i f_i P_i`` of their sequences."""
    value = 0.0
    for rows, real in zip(x, mask, strict=True):
        routing = layer.router(rows[real])
        s = routing.log_weights[0][:, 0].exp()
        count = len(s)
        f = torch.bincount(routing.index.flatten(), minlength=8).double() * 8 / (2 * count)
        p = (s / s.sum(-1, keepdim=True)).mean(0)
        value = value + count * (f * p).sum()
    return value / int(mask.sum())


@pytest.mark.parametrize("gate", ["softmax", "sigmoid"])
@pytest.mark.parametrize("balance", ["sequence", "bias+sequence"])
def test_the_loss_of_sequences_is_that_of_the_paper(balance, gate):
    layer, (x, mask) = layer_of(gate, balance=balance, bias_rate=0.0), batch()
    wanted = torch.autograd.grad(0.5 * deepseek(layer, x, mask), list(layer.router.parameters()))
    for one, other in zip(second_step(layer, (x, mask)), wanted, strict=True):
        assert_close(one, other, "gradient of the loss of sequences", 1e-10)


def test_the_loss_of_sequences_on_a_tree_is_the_outer_one_plus_the_mean_of_the_inner_ones():
    layer, (x, mask) = layer_of(("softmax", "laplace"), (2, 4), balance="sequence"), batch()
    value = 0.0
    for rows, real in zip(x, mask, strict=True):
        routing = layer.router(rows[real])
        outer, inner = (log.exp() for log in routing.log_weights)
        load = torch.bincount(routing.index.flatten(), minlength=8).double().view(2, 4)
        whole = 2 * (load.sum(1) / load.sum() * outer[:, 0].mean(0)).sum()
        reach = outer[:, 0].detach()[..., None]
        parts = (reach * inner).sum(0) / reach.sum(0)
        inside = [4 * (load[i] / load[i].sum().clamp_min(1) * parts[i]).sum() for i in range(2)]
        value = value + int(real.sum()) * (whole + sum(inside) / 2)
    wanted = torch.autograd.grad(0.5 * value / int(mask.sum()), list(layer.router.parameters()))
    for one, other in zip(second_step(layer, (x, mask)), wanted, strict=True):
        assert_close(one, other, "gradient", 1e-10)


@pytest.mark.parametrize("balance", ["sequence", "sparsity"])
def test_these_losses_do_not_depend_on_how_sequences_are_cut_into_micro_batches(balance):
    gate = RECTIFIED if balance == "sparsity" else "softmax"
    layer, (x, mask) = layer_of(gate, balance=balance, top_k=None if balance == "sparsity" else 2), batch()
    whole = second_step(copy.deepcopy(layer), (x, mask))
    cut = second_step(layer, *((x[i : i + 1], mask[i : i + 1]) for i in range(4)))
    for one, other in zip(cut, whole, strict=True):
        assert_close(one, other, "gradient", 1e-10)


def test_sequences_are_balanced_where_the_batch_is_balanced_already():
    """Two sequences that each use half of the experts: even as a batch, and uneven by themselves."""
    layer = layer_of(balance="sequence", top_k=4)
    with torch.no_grad():
        layer.router.gates[0].weight.zero_()
        layer.router.gates[0].weight[:4, 0], layer.router.gates[0].weight[4:, 0] = 0.5, -0.5
    x = torch.randn(2, 64, 5, dtype=torch.float64)
    x[0, :, 0], x[1, :, 0] = 1.0, -1.0
    by_sequence = second_step(copy.deepcopy(layer), (x,))[0][:, 0].norm()
    as_one = second_step(copy.deepcopy(layer), (x.flatten(0, 1),))[0][:, 0].norm()
    assert float(as_one) < 1e-9 < 0.1 < float(by_sequence)


def test_the_factor_of_the_entropy_loss_multiplies_the_mean_entropy_of_tokens():
    options = {"balance": "none", "token_entropy_weight": 0.3, "choice": TopP(0.5), "top_k": None}
    for branching in ((8,), (2, 4)):
        layer, (x, mask) = layer_of("sigmoid", branching, **options), batch()
        value = 0.0
        for log in layer.router(x[mask]).log_weights:
            p = torch.softmax(log, -1)
            value = value - (p * p.log()).sum(-1).mean()
        wanted = torch.autograd.grad(0.3 * value, list(layer.router.parameters()))
        for one, other in zip(second_step(layer, (x, mask)), wanted, strict=True):
            assert_close(one, other, "gradient", 1e-10)


def test_the_loss_of_rectified_weights_is_that_of_the_paper():
    """2412.14711: ``lambda / T sum_te f_e R(x_t)_e`` with ``f_e = E / (k T) sum_t [R(x_t)_e > 0]``."""
    method = Sparsity(3.0, start=0.25, growth=1.5)
    layer, (x, mask) = layer_of(RECTIFIED, top_k=None, normalise="before", balance=method), batch()
    weight = torch.relu(x[mask] @ layer.router.gates[0].weight.T + layer.router.gates[0].bias)
    f = 8 / 3 * (weight > 0).double().mean(0)
    active = float((weight > 0).sum(-1).double().mean())
    factor = 0.25 * (1.5 if active > 3 else 1 / 1.5)  # after the first step
    wanted = torch.autograd.grad(factor * (weight * f).sum(-1).mean(), list(layer.router.parameters()))
    for one, other in zip(second_step(layer, (x, mask)), wanted, strict=True):
        assert_close(one, other, "gradient", 1e-6)  # the factor is kept in float32


def test_the_factor_steers_the_number_of_experts_per_token():
    torch.manual_seed(0)
    layer = make_layer(
        RECTIFIED, (16,), dim=5, top_k=None, normalise="before", balance=Sparsity(2.0), backend="grouped"
    )
    optimiser = torch.optim.Adam(layer.parameters(), 1e-2)
    target, means = torch.nn.Linear(5, 5), []
    for _ in range(500):
        x = torch.randn(256, 5)
        optimiser.zero_grad()
        (layer(x) - target(x).detach()).square().mean().backward()
        optimiser.step()
        means.append(float(layer.tally().load.sum() / layer.tally().tokens))
    assert means[0] > 5
    assert 1.5 < sum(means[-100:]) / 100 < 2.5
    assert len(set((layer.tally().load > 0).tolist())) >= 1


def test_the_factor_is_part_of_the_state_and_forgotten_with_the_steps():
    layer = layer_of(RECTIFIED, balance="sparsity", top_k=None)
    x, mask = batch()
    second_step(layer, (x, mask))
    moved = layer.balancer.loss_factor.clone()
    assert float(moved) == pytest.approx(1.2e-8 * 1.2)
    other = layer_of(RECTIFIED, balance="sparsity", top_k=None)
    other.load_state_dict(layer.state_dict())
    assert torch.equal(other.balancer.loss_factor, moved)
    assert other.half().balancer.loss_factor.dtype == torch.float32
    layer.balancer.reset_parameters()
    assert float(layer.balancer.loss_factor) == pytest.approx(1e-8)
    assert "balancer.loss_factor" not in layer_of().state_dict()


class Even(BalanceMethod):
    """A method of a user's own for sequences: the squared coefficient of variation of the weights."""

    of_sequences = True

    def loss(self, shares):
        return ShareSlopes([2 * s.shape[-1] * (s - 1 / s.shape[-1]) for s in shares.importance])


def test_a_method_of_ones_own_acts_in_every_sequence():
    layer, (x, mask) = layer_of(balance=Even()), batch()
    value = 0.0
    for rows, real in zip(x, mask, strict=True):
        share = torch.softmax(layer.router(rows[real]).log_weights[0][:, 0], -1).mean(0)
        value = value + int(real.sum()) * 8 * (share - 1 / 8).square().sum()
    wanted = torch.autograd.grad(0.5 * value / int(mask.sum()), list(layer.router.parameters()))
    for one, other in zip(second_step(layer, (x, mask)), wanted, strict=True):
        assert_close(one, other, "gradient", 1e-10)
