"""What layers of public models need beside gates and experts: choices, units, shared experts, weighed inputs."""

import pytest
import torch

from gatewise import Affine, Gate, SqrtSoftplus
from gatewise.nn import FFN, Choice, MoE, Router, diagnostics, finish_step
from gatewise.nn.units import UNITS, ClampedSwiGLU, unit
from gatewise.testing import check_layer_gate

CLAMPED = [
    ClampedSwiGLU(0.7, 0.4),
    ClampedSwiGLU(0.7, 0.4, alpha=1.702, shift=1.0),
    ClampedSwiGLU(0.3, 0.4, bound="after"),
    ClampedSwiGLU(0.7, 0.4, bound="soft"),
    ClampedSwiGLU(alpha=1.3, bound="soft"),
]


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.mark.parametrize("name", [*UNITS, *(one.name for one in CLAMPED)])
def test_units_pull_gradients_back_as_autograd_does(name):
    one = unit(name)
    pre = torch.randn(40, 6, dtype=torch.float64, requires_grad=True)
    value = one.apply(pre)
    assert value.shape == (40, 3 if one.gated else 6)
    gradient = torch.randn_like(value)
    (slope,) = torch.autograd.grad(value, pre, gradient)
    value, through = one.differentiated(pre.detach())
    torch.testing.assert_close(value, one.apply(pre.detach()))
    torch.testing.assert_close(through(gradient), slope)


def test_bounds_are_those_of_the_formula():
    pre = torch.tensor([[9.0, -9.0, 0.5, 9.0, -9.0, 0.25]])
    clamped = unit("swiglu(limit=7.0, up=7.0, alpha=1.702, shift=1.0)").apply(pre)
    a, b = torch.tensor([7.0, -9.0, 0.5]), torch.tensor([7.0, -7.0, 0.25])
    torch.testing.assert_close(clamped[0], a * torch.sigmoid(1.702 * a) * (b + 1))
    after = unit("swiglu(limit=0.2, bound=after)").apply(pre)
    torch.testing.assert_close(after[0], torch.tensor([0.2 * 9, 9 * 9 / (1 + torch.tensor(9.0).exp()), 0.2 * 0.25]))


@pytest.mark.parametrize("one", CLAMPED)
def test_a_bounded_unit_is_found_by_its_name(one):
    assert unit(one.name) == one
    assert ClampedSwiGLU().name == "swiglu"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("swiglu(limits=7)", "has limits: limit, up, alpha, shift, bound"),
        ("swiglu(limit=a)", "could not convert.*write numbers"),
        ("swiglu(limit=-1)", "limits are positive"),
        ("swiglu(limit=1, bound=within)", "bound='within' is unknown"),
        ("swigly", "did you mean 'swiglu'"),
    ],
)
def test_units_that_do_not_exist_are_refused_in_words(name, message):
    with pytest.raises(ValueError, match=message):
        MoE(4, 8, 3, activation=name)


@pytest.mark.parametrize("activation", ["geglu", "relu-squared", CLAMPED[1].name])
@pytest.mark.parametrize("bias", [False, True])
def test_backends_agree_for_these_units(activation, bias):
    layer, x = MoE(5, 7, 6, activation=activation, bias=bias), torch.randn(30, 5, requires_grad=True)
    outputs = []
    for backend in ("grouped", "loop"):
        layer.backend = backend
        out = layer.eval()(x)
        outputs += [out, *torch.autograd.grad(out.square().sum(), [x, *layer.experts.parameters()])]
    half = len(outputs) // 2
    for one, other in zip(outputs[:half], outputs[half:], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_a_choice_from_groups_keeps_to_the_best_groups():
    router = Router(6, 8, "sigmoid", 3, choice=Choice("weights", groups=4, kept=2))
    router.offset_0.normal_(std=0.3)
    routing = router(torch.randn(50, 6))
    rank = routing.log_weights[0][:, 0].detach().exp() + router.offset_0
    group = rank.unflatten(-1, (4, 2)).sum(-1).topk(2).indices
    allowed = (routing.index[..., None] // 2 == group[:, None]).any(-1)
    assert bool(allowed.all())
    for row, kept, groups in zip(rank, routing.index, group, strict=True):
        inside = [int(e) for g in groups for e in (2 * g, 2 * g + 1)]
        assert set(kept.tolist()) == set(sorted(inside, key=lambda e: -float(row[e]))[:3])


@pytest.mark.parametrize("balance", ["importance+load", "switch", "bias"])
@pytest.mark.parametrize("gate", ["softmax", "sigmoid", "laplace"])
def test_layers_with_a_limited_choice_train_and_balance(gate, balance):
    layer = MoE(6, 8, 12, gate=gate, top_k=3, choice=Choice("weights", groups=4, kept=2), balance=balance)
    optimizer = torch.optim.SGD(layer.parameters(), 0.05)
    for _ in range(3):
        optimizer.zero_grad()
        layer(torch.randn(64, 6)).square().mean().backward()
        assert all(bool(p.grad.isfinite().all()) for p in layer.parameters())
        optimizer.step()
    assert diagnostics(layer)
    assert bool((layer.router.offset_0 != 0).any()) == (balance == "bias")


def test_ranks_by_weights_and_by_log_weights_differ_under_offsets():
    x, chosen = torch.randn(200, 6), {}
    for by in ("log weights", "weights", "scores"):
        torch.manual_seed(1)
        router = Router(6, 8, "softmax", 2, choice=Choice(by))
        router.offset_0.copy_(torch.linspace(-0.2, 0.2, 8)[None])
        chosen[by] = router(x).index.sort(-1).values
    assert torch.equal(chosen["log weights"], chosen["scores"])
    assert not torch.equal(chosen["weights"], chosen["scores"])


@pytest.mark.parametrize(
    ("choice", "options", "message"),
    [
        (Choice("rank"), {}, "by='rank' is unknown"),
        (Choice(groups=3, kept=2), {}, "groups must divide them"),
        (Choice(groups=4, kept=5), {}, "kept lies between 1 and groups"),
        (Choice(groups=4, kept=1, best=1), {"top_k": 3}, "fewer than top_k=3"),
        (Choice("weights"), {"n_experts": (2, 4)}, "ranks the experts of one level"),
    ],
)
def test_choices_that_no_router_can_make_are_refused_in_words(choice, options, message):
    with pytest.raises(ValueError, match=message):
        MoE(5, 4, **{"n_experts": 8, "choice": choice} | options)


@pytest.mark.parametrize("backend", ["grouped", "loop"])
def test_weights_on_inputs_multiply_what_experts_read(backend):
    layer = MoE(5, 7, 6, gate="sigmoid", top_k=3, weigh_inputs=True, backend=backend, bias=True, scale=2.0).eval()
    x = torch.randn(20, 5)
    routing, experts = layer.router(x), layer.experts.singles()
    wanted = torch.zeros(20, 5)
    for t in range(20):
        for e, w in zip(routing.index[t], routing.weight[t], strict=True):
            wanted[t] += 2.0 * experts[int(e)](w * x[t : t + 1])[0]
    torch.testing.assert_close(layer(x), wanted, rtol=1e-5, atol=1e-5)
    layer.train()(x).square().sum().backward()
    finish_step(layer)
    assert all(bool((p.grad != 0).any()) for p in layer.parameters())


def test_weights_on_inputs_leave_out_what_finds_no_room():
    layer = MoE(5, 7, 4, top_k=2, weigh_inputs=True, capacity=0.25, bias=True).eval()
    x = torch.randn(40, 5)
    assert bool((layer(x) == 0).all(-1).any())


def test_a_shared_network_has_its_own_width_and_activation():
    network = FFN(1, 5, 9, activation="geglu", bias=True)
    layer, x = MoE(5, 7, 6, shared=network), torch.randn(8, 5)
    with_it = layer(x)
    layer.shared = None
    torch.testing.assert_close(with_it - layer(x), network.singles()[0](x))
    with pytest.raises(ValueError, match="one expert from 5 to 5 features"):
        MoE(5, 7, 6, shared=FFN(2, 5, 9))


def test_the_square_root_of_a_softplus_gates_layers():
    gate = Gate(Affine(), SqrtSoftplus())
    check_layer_gate(gate)
    score = torch.tensor([-200.0, -60.0, -3.0, 0.0, 2.0, 60.0], dtype=torch.float64, requires_grad=True)
    log = gate.link.log_weights(score)
    torch.testing.assert_close(log[2:].exp(), torch.nn.functional.softplus(score[2:]).sqrt())
    torch.testing.assert_close(gate.link.weights(score), log.exp())
    (slope,) = torch.autograd.grad(log.sum(), score)
    torch.testing.assert_close(gate.link.slopes(score.detach()), slope)
    torch.testing.assert_close(slope[:2], torch.full((2,), 0.5, dtype=torch.float64))


@pytest.mark.parametrize("backend", ["grouped", "loop"])
@pytest.mark.parametrize("options", [{}, {"gate": "sigmoid", "weigh_inputs": True}, {"capacity": 0.7, "shared": 1}])
def test_identity_experts_return_their_input(backend, options):
    layer = MoE(5, 7, 6, top_k=3, identity_experts=2, backend=backend, scale=2.0, **options).eval()
    assert layer.experts.n_experts == 4
    x = torch.randn(30, 5)
    routing = layer.router(x)
    room = layer._within_capacity(routing, routing.index, None)
    weight = routing.weight if room is None else routing.weight * room
    wanted = torch.zeros(30, 5)
    for t in range(30):
        for e, w in zip(routing.index[t].tolist(), weight[t], strict=True):
            row = x[t : t + 1]
            if e >= 4:
                wanted[t] += 2.0 * w * row[0]
            elif layer.weigh_inputs:
                wanted[t] += 2.0 * layer.experts.singles()[e](w * row)[0]
            else:
                wanted[t] += 2.0 * w * layer.experts.singles()[e](row)[0]
    shared = 0 if layer.shared is None else layer.shared.singles()[0](x)
    torch.testing.assert_close(layer(x), wanted + shared, rtol=1e-5, atol=1e-5)
    layer.train()(x).square().sum().backward()
    finish_step(layer)
    assert all(bool((p.grad != 0).any()) for p in layer.parameters())
    assert layer.tally().load.shape == (6,)


@pytest.mark.parametrize(
    "options", [{"identity_experts": 6}, {"identity_experts": -1}, {"identity_experts": 1, "dim_out": 4}]
)
def test_identity_experts_that_cannot_be_are_refused(options):
    with pytest.raises(ValueError, match="identity_experts="):
        MoE(5, 7, 6, **options)
