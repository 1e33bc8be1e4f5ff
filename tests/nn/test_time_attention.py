"""Attention over time: irregular observations become a vector, in no order, masked ones left out."""

import pytest
import torch

from gatewise.nn.fusion import FusionMoE, TimeAttention


def attention(**options):
    torch.manual_seed(2)
    return TimeAttention(3, 8, torch.linspace(0, 1, 5), **options)


def observations(n=7):
    generator = torch.Generator().manual_seed(4)
    values, times = torch.randn(2, n, 3, generator=generator), torch.rand(2, n, generator=generator)
    return values, times, torch.tensor([[True] * n, [True, False] * (n // 2) + [True]])


@pytest.mark.parametrize("heads", [1, 3])
def test_time_attention_does_not_depend_on_the_order_of_observations(heads):
    attend, (values, times, mask) = attention(heads=heads), observations()
    order = torch.randperm(7, generator=torch.Generator().manual_seed(0))
    expected = attend(values, times, mask)
    torch.testing.assert_close(attend(values[:, order], times[:, order], mask[:, order]), expected)
    assert not torch.allclose(attend(values, times[:, order], mask), expected, atol=1e-4)


def test_time_attention_ignores_masked_observations_and_their_gradient():
    attend, (values, times, mask) = attention(), observations()
    expected = attend(values, times, mask)
    hidden = torch.where(mask[..., None], values, float("nan")), torch.where(mask, times, float("inf"))
    found = attend(*hidden, mask)
    assert torch.equal(found, expected)
    found.square().sum().backward()
    assert all(
        p.grad.isfinite().all() and p.grad.abs().max() > 1e-9 for p in attend.parameters() if p is not attend.key.bias
    )
    alone = attend(values[1:, ::2], times[1:, ::2])
    torch.testing.assert_close(alone, expected[1:])


def test_time_attention_without_observations_gives_its_constant():
    attend, (values, times, mask) = attention(), observations()
    nothing = attend(values, times, torch.zeros_like(mask))
    assert torch.equal(nothing, attend.out.bias.expand(2, 5, 8))
    assert torch.equal(attend(values[:, :0], times[:, :0]), nothing)


def test_time_attention_by_hand():
    attend, (values, times, mask) = attention(heads=1), observations()
    attend = attend.double()
    values, times = values.double(), times.double()
    query, key = attend.query(attend.embed(attend.references)), attend.key(attend.embed(times[1]))
    for r in range(5):
        powers = torch.stack([(query[r] @ key[i] / 4).exp() * mask[1, i] for i in range(7)])
        expected = attend.out((powers / powers.sum()) @ values[1])
        torch.testing.assert_close(attend(values, times, mask)[1, r], expected)


def test_times_and_mask_of_another_shape_are_told_in_words():
    with pytest.raises(ValueError, match=r"times \(2, 5\): give times and mask.*\(2, 4\)"):
        attention()(torch.ones(2, 4, 3), torch.ones(2, 5))


def test_irregular_series_and_a_still_image_fuse():
    attend, (values, times, mask) = attention(), observations()
    layer = FusionMoE({"series": 8, "image": 3}, 6, 12, n_experts=(2, 2), router="per-modality")
    image = torch.randn(2, 1, 3).expand(2, 5, 3)
    out = layer({"series": attend(values, times, mask), "image": image}, {"image": torch.tensor([True, False])})
    out.square().sum().backward()
    assert out.shape == (2, 5, 6)
    assert attend.query.weight.grad.abs().max() > 0
