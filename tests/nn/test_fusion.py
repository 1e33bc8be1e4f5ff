"""Fusion: shapes, missing modalities, gradients at every gate, the entropy loss, attention over time."""

import copy
from math import log

import pytest
import torch

from gatewise.nn import set_loss_scale
from gatewise.nn.fusion import ROUTERS, EntropyBalancer, FusionMoE, modality_entropy
from gatewise.nn.router import leaf_probabilities

DIMS = {"vitals": 5, "notes": 9, "image": 3}


SHAPES = [(6,), (2, 4), (2, 3, 2)]


EXPERTS = [(4, "laplace", 2), ((2, 3), ("laplace", "softmax"), 2), ((2, 3), "cosine", (1, 2))]


def fusion(router="joint", n_experts=4, gate="laplace", top_k=2, **options):
    torch.manual_seed(5)
    return FusionMoE(DIMS, 8, 16, n_experts, router, gate, top_k, **options)


def inputs(shape=(12,), seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(*shape, d, generator=generator) for name, d in DIMS.items()}


def masks(shape=(12,), seed=1):
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.rand(shape, generator=generator) < 0.6 for name in DIMS}


@pytest.mark.parametrize("router", ROUTERS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("n_experts", "gate", "top_k"), EXPERTS)
def test_shapes(router, shape, n_experts, gate, top_k):
    layer = fusion(router, n_experts, gate, top_k)
    assert layer(inputs(shape)).shape == (*shape, 8)
    assert layer(inputs(shape), masks(shape)).isfinite().all()
    assert layer({name: value[:0] for name, value in inputs(shape).items()}).shape == (0, *shape[1:], 8)


@pytest.mark.parametrize("router", ROUTERS)
@pytest.mark.parametrize("worst", [100.0, float("nan"), float("inf")])
def test_the_content_of_a_missing_modality_has_no_influence(router, worst):
    layer, x, there = fusion(router), inputs(), masks()
    expected = layer(x, there)
    expected.square().sum().backward()
    slopes = [p.grad.clone() for p in layer.parameters() if p.grad is not None]
    changed = {name: torch.where(there[name][:, None], value, worst) for name, value in x.items()}
    layer.zero_grad()
    found = layer(changed, there)
    found.square().sum().backward()
    assert torch.equal(found, expected)
    assert all(map(torch.equal, slopes, (p.grad for p in layer.parameters() if p.grad is not None)))
    assert not torch.allclose(layer(x), expected)


@pytest.mark.parametrize("router", ROUTERS)
def test_a_modality_not_given_is_missing_everywhere(router):
    layer, x = fusion(router), inputs()
    nowhere = {"notes": torch.zeros(12, dtype=torch.bool)}
    some = {name: value for name, value in x.items() if name != "notes"}
    assert torch.equal(layer(some), layer(x, nowhere))
    assert torch.equal(layer(some, {"notes": torch.ones(12, dtype=torch.bool)}), layer(some))


@pytest.mark.parametrize("router", ["per-modality", "disjoint"])
def test_the_result_is_the_mean_over_the_modalities_there(router):
    layer, x, there = fusion(router), inputs(), masks()
    there["vitals"][0] = there["notes"][0] = there["image"][0] = False
    found = layer(x, there)
    for row in range(12):
        parts = [
            one(embed(x[name][row : row + 1]))[0]
            for name, embed, one in zip(DIMS, layer.embeddings, layer.layers, strict=True)
            if there[name][row]
        ]
        expected = torch.stack(parts).mean(0) if parts else torch.zeros(8)
        torch.testing.assert_close(found[row], expected)


def test_a_mask_of_rows_holds_for_all_their_tokens():
    layer, x, rows = fusion("per-modality"), inputs((2, 4)), torch.tensor([True, False])
    assert torch.equal(layer(x, {"notes": rows}), layer(x, {"notes": rows[:, None].expand(2, 4)}))


@pytest.mark.parametrize("router", ROUTERS)
@pytest.mark.parametrize(("n_experts", "gate", "top_k"), EXPERTS)
def test_gradients_reach_every_gate_and_embedding_and_move_them(router, n_experts, gate, top_k):
    layer = fusion(router, n_experts, gate, top_k)
    before = copy.deepcopy(layer.state_dict())
    optimiser = torch.optim.SGD(layer.parameters(), lr=0.1)
    layer(inputs((64,)), masks((64,))).square().sum().backward()
    assert all(p.grad is not None for p in layer.parameters())
    optimiser.step()
    # a shift of all scores leaves softmax weights as they are: biases may stay
    still = [n for n, p in layer.named_parameters() if torch.equal(p, before[n]) and not n.endswith("bias")]
    assert still == []


def test_routers_share_or_own_their_experts():
    shared, own, joint = fusion("per-modality"), fusion("disjoint"), fusion("joint")
    assert len({id(layer.experts) for layer in shared.layers}) == 1
    assert len({id(layer.experts) for layer in own.layers}) == 3
    assert [layer.dim for layer in joint.layers] == [24]
    assert len({id(layer.router) for layer in shared.layers}) == 3


@pytest.mark.parametrize("router", ROUTERS)
def test_the_table_counts_the_tokens_that_are_there(router):
    layer, there = fusion(router, top_k=2), masks()
    optimiser = torch.optim.SGD(layer.parameters(), lr=0.1)
    layer(inputs(), there).sum().backward()
    optimiser.step()
    sums = {name: int(load.sum()) for name, load in layer.routing_table().items()}
    if router == "joint":
        assert sums == {"joint": 2 * int(torch.stack(list(there.values())).any(0).sum())}
    else:
        assert sums == {name: 2 * int(mask.sum()) for name, mask in there.items()}


def entropy(p):
    return -sum(float(v) * log(v) for v in p if v > 0)


def test_modality_entropy_by_hand():
    p = torch.tensor([[0.5, 0.5, 0.0], [0.1, 0.2, 0.7], [1.0, 0.0, 0.0]], dtype=torch.float64)
    expected = sum(entropy(row) for row in p) / 3 - entropy(p.mean(0))
    assert float(modality_entropy(p)) == pytest.approx(expected, abs=1e-14)
    assert float(modality_entropy(torch.eye(4))) == pytest.approx(-log(4))
    assert float(modality_entropy(p[:1].expand(3, 3))) == pytest.approx(0, abs=1e-14)


def settled(weight, **options):
    """A layer whose last step saw just the batch that comes next, so that the slope is exact."""
    layer = fusion("per-modality", entropy_weight=weight, **options)
    optimiser = torch.optim.SGD(layer.parameters(), lr=0.0)
    layer(inputs((40,)), masks((40,))).sum().backward()
    optimiser.step()
    layer.zero_grad()
    return layer


@torch.no_grad()
def entropy_now(layer, x, there):
    return float(modality_entropy(mean_gates(layer, x, there)))


def mean_gates(layer, x, there):
    tokens = [embed(x[name]) for name, embed in zip(DIMS, layer.embeddings, strict=True)]
    shares = [leaf_probabilities(one.router(t)) for one, t in zip(layer.layers, tokens, strict=True)]
    return torch.stack([share[there[name]].mean(0) for name, share in zip(DIMS, shares, strict=True)])


@pytest.mark.parametrize("n_experts", [4, (2, 3)])
@pytest.mark.parametrize("pieces", [1, 2, 4])
def test_the_entropy_loss_enters_the_backward_pass_however_the_batch_is_cut(n_experts, pieces):
    layer, x, there = settled(0.7, n_experts=n_experts), inputs((40,)), masks((40,))
    gates = [p for one in layer.layers for p in one.router.parameters()]
    expected = torch.autograd.grad(0.7 * modality_entropy(mean_gates(layer, x, there)), gates, allow_unused=True)
    cut = [{name: value.chunk(pieces) for name, value in part.items()} for part in (x, there)]
    for i in range(pieces):
        part, mask = ({name: value[i] for name, value in whole.items()} for whole in cut)
        (0 * layer(part, mask).sum()).backward()
    for found, slope in zip(gates, expected, strict=True):
        torch.testing.assert_close(found.grad, torch.zeros_like(found) if slope is None else slope)
    assert max(float(slope.abs().max()) for slope in expected if slope is not None) > 1e-4


def test_the_entropy_loss_follows_the_loss_scale_and_evaluation_adds_nothing():
    layer, x, there = settled(0.7), inputs((40,)), masks((40,))
    (0 * layer(x, there).sum()).backward()
    once = layer.layers[0].router.gates[0].center.grad.clone()
    layer.zero_grad()
    set_loss_scale(layer, 8.0)
    (0 * layer(x, there).sum()).backward()
    torch.testing.assert_close(layer.layers[0].router.gates[0].center.grad, 8 * once)
    layer.zero_grad()
    (0 * layer.eval()(x, there).sum()).backward()
    assert not layer.layers[0].router.gates[0].center.grad.any()


def test_a_modality_never_seen_takes_no_part_in_the_entropy():
    layer, x = fusion("per-modality", entropy_weight=1.0), inputs((40,))
    there = masks((40,)) | {"image": torch.zeros(40, dtype=torch.bool)}
    optimiser = torch.optim.SGD(layer.parameters(), lr=0.0)
    layer(x, there).sum().backward()
    optimiser.step()
    layer.zero_grad()
    gates = [p for one in list(layer.layers)[:2] for p in one.router.parameters()]
    tokens = mean_gates(layer, x, masks((40,)))[:2]
    expected = torch.autograd.grad(modality_entropy(tokens), gates)
    (0 * layer(x, there).sum()).backward()
    for found, slope in zip(gates, expected, strict=True):
        torch.testing.assert_close(found.grad, slope)
    assert not layer.layers[2].router.gates[0].center.grad.any()
    (0 * layer(x).sum()).backward()  # nothing is known of the images of the last step
    assert not layer.layers[2].router.gates[0].center.grad.any()


def test_descent_on_the_entropy_alone_separates_the_modalities():
    layer, x = fusion("per-modality", n_experts=6, entropy_weight=1.0), inputs((60,))
    everywhere = {name: torch.ones(60, dtype=torch.bool) for name in DIMS}
    optimiser = torch.optim.Adam(layer.parameters(), lr=0.05)
    start = entropy_now(layer, x, everywhere)
    for _ in range(60):
        optimiser.zero_grad()
        (0 * layer(x).sum()).backward()
        optimiser.step()
    assert start > -0.2
    assert entropy_now(layer, x, everywhere) < -0.8  # the least is -log 3 = -1.1


def test_copies_have_an_entropy_of_their_own():
    layer = settled(0.7)
    other = copy.deepcopy(layer)
    balancers = [one.balancer for one in other.layers]
    assert all(isinstance(one, EntropyBalancer) and one.everyone == balancers for one in balancers)
    state = layer.state_dict()
    fusion("per-modality").load_state_dict(state)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fusion("mixed"), "router='mixed' is unknown: the choices are 'joint', 'per-modality', 'disjoint'"),
        (lambda: FusionMoE({}, 4, 4), r"dims={}: give the features of every modality by its name"),
        (lambda: fusion()({}), "no modality is given"),
        (lambda: fusion()(inputs() | {"sound": torch.ones(12, 2)}), "'sound' is unknown: this layer fuses vitals"),
        (lambda: fusion()(inputs(), {"sound": torch.ones(12)}), "'sound' is unknown"),
        (lambda: fusion()(inputs() | {"notes": torch.ones(12, 2)}), r"notes has the shape \(12, 2\).*\(12, 9\)"),
        (lambda: fusion()(inputs(), {"notes": torch.ones(3)}), r"mask of notes has the shape \(3,\), notes \(12, 9\)"),
    ],
)
def test_errors_say_what_was_given(call, message):
    with pytest.raises(ValueError, match=message):
        call()
