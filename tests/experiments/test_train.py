"""Training as all experiments do it: what it tells of the gates, and a loss that becomes no number."""

import pytest
import torch

from gatewise.experiments.train import seeded, train
from gatewise.nn import MoE


def trained(loss_of, epochs=2, **options):
    generator = seeded(0, 0)
    layer = MoE(4, 8, (2, 2), ("softmax", "laplace"), top_k=None, dim_out=1)
    x = torch.randn(40, 4, generator=generator)
    return train(
        layer,
        lambda rows: loss_of(layer, x[rows]),
        torch.arange(40),
        epochs=epochs,
        rate=1e-2,
        generator=generator,
        **options,
    )


def test_gates_that_learn_have_moved():
    found = trained(lambda layer, x: (layer(x) - x[:, :1]).square().mean())
    assert found.moved
    assert not found.unreached
    assert len(found.loss) == 2


def test_gates_that_weight_decay_alone_moves_have_not():
    def of_experts_only(layer, x):
        routed = layer.router(x)
        weight = torch.stack([one.exp().sum() for one in routed.log_weights]).sum()
        experts = sum(parameter.square().sum() for name, parameter in layer.named_parameters() if "router" not in name)
        return experts + 0.0 * weight

    found = trained(of_experts_only, weight_decay=0.1)
    assert any(distance > 0 for distance in found.movement.values())
    assert found.unreached == set(found.movement)
    assert not found.moved


def test_a_loss_that_is_no_number_is_told_with_its_epoch_and_rate():
    with pytest.raises(FloatingPointError, match=r"the loss of epoch 1 is nan: lower the rate 0\.01"):
        trained(lambda layer, x: layer(x).sum() * float("nan"))


@pytest.mark.parametrize("warm_up", [0.0, 0.4])
def test_the_rate_rises_to_its_largest_in_the_warm_up_and_falls_to_zero(warm_up, monkeypatch):
    rates = []
    step = torch.optim.AdamW.step

    def noted(self, *args, **options):
        rates.append(self.param_groups[0]["lr"])
        return step(self, *args, **options)

    monkeypatch.setattr(torch.optim.AdamW, "step", noted)
    trained(lambda layer, x: (layer(x) - x[:, :1]).square().mean(), epochs=5, batch=4, warm_up=warm_up)
    rising = round(warm_up * len(rates))
    assert len(rates) == 50
    assert rates[:rising] == pytest.approx([1e-2 * (i + 1) / rising for i in range(rising)])
    assert rates[rising] == pytest.approx(1e-2)
    assert all(one > two for one, two in zip(rates[rising:], rates[rising + 1 :], strict=False))
    assert rates[-1] < 2e-4
