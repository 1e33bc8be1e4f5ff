"""The auxiliary gradients have the factor of the loss: read off the scaler, given, or asked for in words."""

import copy
import warnings

import pytest
import torch

from gatewise.nn import Anneal, finish_step, set_loss_scale
from gatewise.testing.layers import draw_tokens, make_layer

OPTIONS = {"balance_weight": 0.5, "z_weight": 0.1}


def scaler(**options):
    return torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=1, **options)  # doubles at every step


def gradients(layer, scale=None, steps=3):
    """The gradients of the gate at every step, after the scale is undone; the parameters stand still."""
    optimiser, found = torch.optim.SGD(layer.parameters(), 0.0), []
    for _ in range(steps):
        optimiser.zero_grad()
        loss = layer(draw_tokens(layer)).square().mean()
        (loss if scale is None else scale.scale(loss)).backward()
        if scale is None:
            optimiser.step()
        else:
            scale.unscale_(optimiser)
            scale.step(optimiser)
            scale.update()
        found.append(layer.router.gates[0].weight.grad.clone())
    return torch.stack(found)


def test_the_scale_of_the_scaler_that_steps_the_optimiser_is_read():
    expected = gradients(make_layer("softmax", **OPTIONS))
    assert float((expected[1] - expected[0]).abs().max()) > 1e-3  # the auxiliary loss acts from the second step on
    torch.testing.assert_close(gradients(make_layer("softmax", **OPTIONS), scaler()), expected)


def test_a_scaler_that_does_nothing_and_none_after_one():
    layer = make_layer("softmax", **OPTIONS)
    expected = gradients(copy.deepcopy(layer))
    torch.testing.assert_close(gradients(copy.deepcopy(layer), scaler(enabled=False)), expected)
    gradients(layer, scaler())
    gradients(layer, steps=1)  # the scale is that of the last step: this one is the first without it
    torch.testing.assert_close(gradients(layer, steps=1)[0], expected[1])


def test_a_scaler_can_be_given_where_training_goes_on():
    layer = make_layer("softmax", **OPTIONS)
    gradients(layer)
    resumed = make_layer("softmax", **OPTIONS)
    resumed.load_state_dict(layer.state_dict())
    expected, scale = gradients(layer, steps=2), scaler()
    set_loss_scale(resumed, scale)
    torch.testing.assert_close(gradients(resumed, scale, steps=2), expected)
    set_loss_scale(resumed, scaler(enabled=False))
    torch.testing.assert_close(gradients(resumed, steps=2), expected)
    set_loss_scale(resumed, None)
    torch.testing.assert_close(gradients(resumed, steps=2), expected)


def test_a_factor_of_the_user_stays_whatever_steps():
    layer = make_layer("softmax", **OPTIONS)
    set_loss_scale(layer, 4.0)
    scale = scaler()
    gradients(layer, scale)
    assert float(layer.balancer.loss_scale) == 4.0
    set_loss_scale(layer, 2.0)
    assert scale.get_scale() == 8192.0


def trained_with_skips(layer, optimiser, bad, **options):
    """What the statistics are after every update, where the gradients of some steps are not finite."""
    scale, found = scaler(**options), []
    set_loss_scale(layer, scale)
    for step, count in enumerate((24, 20, 16, 12, 8)):
        optimiser.zero_grad()
        for tokens in draw_tokens(layer, count, seed=step).chunk(2):
            scale.scale(layer(tokens).square().mean()).backward()
        if step in bad:
            layer.router.gates[0].weight.grad[0] = torch.inf
        scale.step(optimiser)
        scale.update()
        found.append((float(layer.tally().tokens), int(layer.balancer.steps)))
    return found


@pytest.mark.parametrize("fused", [False, True])
def test_a_step_that_the_scaler_skips_counts_for_nothing(fused):
    layer = make_layer("dense-to-sparse", balance="bias", bias_rate=0.1, temperature=Anneal(2.0, 0.5, 8))
    optimiser = torch.optim.Adam(layer.parameters(), 1e-2, fused=fused)
    found = trained_with_skips(layer, optimiser, bad=(0, 1, 3))
    assert found == [(0, 0), (0, 0), (16, 1), (16, 1), (8, 2)]
    other = make_layer("dense-to-sparse", balance="bias", bias_rate=0.1, temperature=Anneal(2.0, 0.5, 8))
    update = torch.optim.Adam(other.parameters(), 1e-2, fused=fused)
    for step, count in ((2, 16), (4, 8)):  # the steps that were not skipped, alone
        update.zero_grad()
        for tokens in draw_tokens(other, count, seed=step).chunk(2):
            other(tokens).square().mean().backward()
        update.step()
    torch.testing.assert_close(layer.state_dict(), other.state_dict(), rtol=1e-4, atol=1e-6)


def test_two_scalers_serve_the_layers_of_their_optimisers():
    layers = [make_layer("softmax", **OPTIONS) for _ in range(2)]
    scales = [torch.amp.GradScaler("cpu", init_scale=value) for value in (8.0, 32.0)]
    for layer, scale in zip(layers, scales, strict=True):
        gradients(layer, scale, steps=1)
    assert [float(layer.balancer.loss_scale) for layer in layers] == [8.0, 32.0]


def test_the_scale_is_read_through_the_optimiser_of_accelerate():
    """The Trainer of transformers and Accelerate keep scaler and optimiser inside one of their own."""
    accelerate = pytest.importorskip("accelerate")
    accelerate.Accelerator(cpu=True)  # optimisers ask for its state
    expected = gradients(make_layer("softmax", **OPTIONS))
    layer, scale, found = make_layer("softmax", **OPTIONS), scaler(), []
    inner = torch.optim.SGD(layer.parameters(), 0.0)
    optimiser = accelerate.optimizer.AcceleratedOptimizer(inner, scaler=scale)
    for _ in range(3):
        scale.scale(layer(draw_tokens(layer)).square().mean()).backward()
        scale.unscale_(inner)
        found.append(layer.router.gates[0].weight.grad.clone())
        optimiser.step()
        optimiser.zero_grad()
    torch.testing.assert_close(torch.stack(found), expected)
    assert int(layer.balancer.steps) == 3
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)


def half_step(layer):
    optimiser = torch.optim.SGD(layer.parameters(), 0.0)
    with torch.autocast("cpu", torch.float16):
        out = layer(draw_tokens(layer))
    out.float().square().mean().backward()
    optimiser.step()


def test_training_in_float16_without_a_scaler_is_told_once():
    layer = make_layer("softmax", **OPTIONS)
    with pytest.warns(UserWarning, match=r"no GradScaler stepped its optimiser.*set_loss_scale\(model, factor\)"):
        half_step(layer)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        half_step(layer)
        half_step(make_layer("softmax", balance="bias"))  # adds no gradient
        known = make_layer("softmax", **OPTIONS)
        set_loss_scale(known, 1.0)
        half_step(known)
        finish_step(known)
