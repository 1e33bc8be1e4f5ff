"""What goes wrong in use: numbers that are not finite, experts that return something else, odd sizes, one optimiser."""

import gc

import numpy as np
import pytest
import torch
from torch import nn

from gatewise.nn import MoE, finish_step, set_loss_scale
from gatewise.nn.balance import BALANCE_METHODS
from gatewise.testing import assert_close
from gatewise.testing.layers import LAYER_BACKENDS, LAYER_BRANCHINGS, TOLERANCE, draw_tokens, make_layer

both_depths = pytest.mark.parametrize("branching", LAYER_BRANCHINGS)
both_backends = pytest.mark.parametrize("backend", LAYER_BACKENDS)
every_method = pytest.mark.parametrize("balance", BALANCE_METHODS)
BAD = [float("nan"), float("inf"), -float("inf")]


def with_a_bad_token(x, value):
    bad = x.clone()
    bad[3] = value
    return bad


@both_backends
@both_depths
@pytest.mark.parametrize("value", BAD)
def test_a_bad_token_changes_no_other_token(value, branching, backend):
    layer = make_layer("softmax", branching, backend).eval()
    x = draw_tokens(layer)
    others = torch.arange(len(x)) != 3
    found = layer(with_a_bad_token(x, value))
    assert_close(found[others], layer(x)[others], "the other tokens", TOLERANCE[x.dtype])


@both_depths
@every_method
@pytest.mark.parametrize("value", BAD)
def test_a_step_with_a_bad_token_leaves_the_statistics_as_they_were(value, balance, branching):
    layer = make_layer("softmax", branching, balance=balance, z_weight=0.1)
    x = draw_tokens(layer)
    layer(x).sum().backward()
    finish_step(layer)
    before, offsets = layer.tally().packed(), [offset.clone() for offset in layer.router.selection_bias]
    layer(with_a_bad_token(x, value)).sum().backward()
    finish_step(layer)
    assert torch.equal(layer.tally().packed(), before)
    assert all(torch.equal(a, b) for a, b in zip(layer.router.selection_bias, offsets, strict=True))
    layer.zero_grad()
    layer(x).sum().backward()
    assert all(bool(p.grad.isfinite().all()) for p in layer.parameters())


@every_method
def test_training_under_a_scaler_goes_on_after_a_bad_batch(balance):
    """The layer knows the factor of the scaler alone: tokens of the step that it skips count with those of the next."""
    layer = make_layer("softmax", balance=balance)
    x, optimiser = draw_tokens(layer), torch.optim.SGD(layer.parameters(), 0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    for step in range(4):
        optimiser.zero_grad()
        set_loss_scale(layer, scaler.get_scale())
        out = layer(with_a_bad_token(x, float("nan")) if step == 1 else x)
        scaler.scale(out.square().mean()).backward()
        scaler.step(optimiser)
        scaler.update()
    assert scaler.get_scale() == 4.0
    assert float(layer.tally().tokens) == len(x)
    assert int(layer.balancer.steps) == 3
    assert all(bool(p.isfinite().all()) for p in layer.parameters())


def test_a_schedule_that_reaches_zero_is_told_in_words():
    layer = make_layer("dense-to-sparse", temperature=lambda step: 1.0 - step)
    with pytest.raises(ValueError, match=r"the temperature at step 1 is 0.0: a schedule must stay positive"):
        finish_step(layer)


class Returns(nn.Module):
    """An expert that returns what a function makes of its rows."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


WRONG = {
    "one number per token": lambda x: x.sum(-1),
    "one row for all": lambda x: x.mean(0, keepdim=True),
    "every other row": lambda x: x[::2],
    "a dimension more": lambda x: x[..., None],
}


@pytest.mark.parametrize("function", WRONG.values(), ids=WRONG)
def test_an_expert_that_returns_another_shape_is_told_in_words(function):
    layer = MoE(6, n_experts=2, experts=lambda: Returns(function))
    with pytest.raises(
        ValueError, match=r"an expert returned the shape \(.*\) for 24 tokens: it must be \(24, d_out\)"
    ):
        layer(torch.randn(24, 6))


def test_experts_that_disagree_are_told_in_words():
    layer = MoE(6, n_experts=2, experts=[nn.Linear(6, 4), nn.Linear(6, 1)])
    with pytest.raises(ValueError, match=r"an expert returned the shape \(24, 1\) for 24 tokens: it must be \(24, 4\)"):
        layer(torch.randn(24, 6))


def test_an_expert_that_returns_several_things_is_told_in_words():
    layer = MoE(6, n_experts=2, experts=lambda: Returns(lambda x: (x, x)))
    with pytest.raises(
        TypeError, match=r"an expert returned a tuple: wrap it so that it returns one tensor \(n, d_out\)"
    ):
        layer(torch.randn(24, 6))


def test_second_derivatives_through_the_grouped_backend_name_the_loop():
    layer = make_layer("softmax", backend="grouped")
    x = draw_tokens(layer).requires_grad_()
    (slope,) = torch.autograd.grad(layer(x).sum(), x, create_graph=True)
    with pytest.raises(NotImplementedError, match=r"first derivatives only: use backend='loop'"):
        slope.square().sum().backward()


def test_sizes_may_be_numbers_of_numpy_and_are_kept_as_plain_ones():
    two, six = np.int64(2), np.int64(6)
    layer = MoE(six, six, [two, two], top_k=two, dim_out=six)
    kept = (layer.dim, layer.dim_out, *layer.router.branching, *layer.router.top_k, layer.experts.hidden)
    assert {type(size) for size in kept} == {int}
    assert MoE(6, 8, np.int64(4), top_k=[two]).router.top_k == (2,)
    with pytest.raises(TypeError, match=r"n_experts=4\.0 is a float: give a whole number"):
        MoE(6, 8, 4.0)


@every_method
@both_depths
def test_masks_of_padding_alone_do_no_harm(branching, balance):
    layer = make_layer("softmax", branching, balance=balance, capacity=1.0, z_weight=0.1)
    x, optimiser = draw_tokens(layer), torch.optim.SGD(layer.parameters(), 0.1)
    for real in (False, False, True, False, True):
        optimiser.zero_grad()
        layer(x, torch.full((len(x),), real)).square().mean().backward()
        optimiser.step()
    assert all(bool(p.isfinite().all()) for p in layer.parameters())


def test_a_layer_inside_an_expert_balances_its_own_tokens():
    layer = MoE(6, n_experts=3, experts=lambda: MoE(6, 8, 2, balance="bias"))
    optimiser = torch.optim.SGD(layer.parameters(), 0.1)
    for _ in range(2):
        layer(torch.randn(24, 6)).square().mean().backward()
        optimiser.step()
    assert [int(inner.balancer.steps) for inner in layer.experts] == [2, 2, 2]
    assert sum(float(inner.tally().tokens) for inner in layer.experts) == 48


def test_closures_that_are_called_often_end_one_step():
    layer = make_layer("softmax", balance="bias")
    x, optimiser, calls = draw_tokens(layer), torch.optim.LBFGS(layer.parameters(), max_iter=4), []

    def closure():
        optimiser.zero_grad()
        loss = layer(x).square().mean()
        loss.backward()
        calls.append(loss)
        return loss

    optimiser.step(closure)
    assert len(calls) > 1
    assert int(layer.balancer.steps) == 1
    assert float(layer.tally().tokens) == 24 * len(calls)


def test_an_average_of_the_weights_does_not_end_steps_of_its_own():
    layer = make_layer("softmax", balance="bias")
    average = torch.optim.swa_utils.AveragedModel(layer)
    layer(draw_tokens(layer)).sum().backward()
    torch.optim.SGD(layer.parameters(), 0.1).step()
    assert int(average.module.balancer.steps) == 0
    average.update_parameters(layer)
    assert torch.equal(average.module.router.offset_0, layer.router.offset_0)


def test_parameters_can_be_given_from_outside():
    layer = make_layer("softmax")
    x = draw_tokens(layer)
    given = {name: (2 * p.detach()).requires_grad_() for name, p in layer.named_parameters()}
    torch.func.functional_call(layer, given, (x,)).sum().backward()
    assert all(p.grad is not None for p in given.values())
    assert all(p.grad is None for p in layer.parameters())


def test_layers_that_nobody_holds_are_forgotten():
    from gatewise.nn.steps import _live

    gc.collect()
    before = len(_live)
    for _ in range(5):
        layer = make_layer("softmax")
        layer(draw_tokens(layer)).sum().backward()
    del layer
    gc.collect()
    assert len(_live) == before
