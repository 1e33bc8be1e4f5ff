"""Balancing: gradients against formulas by hand, and what counts in a tally."""

import copy
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

from gatewise import Affine, Gate, ReLU
from gatewise.nn import (
    BALANCE_METHODS,
    BalanceMethod,
    Choice,
    MoE,
    ShareSlopes,
    finish_step,
    load_layer,
    save_layer,
    set_loss_scale,
)
from gatewise.nn.balance import unpacked
from gatewise.nn.router import leaf_probabilities
from gatewise.testing import assert_close
from gatewise.testing.layers import LAYER_BRANCHINGS, draw_tokens, make_layer

both_depths = pytest.mark.parametrize("branching", LAYER_BRANCHINGS)


def second_step(layer, x, mask=None, cut=1, run=None):
    """Gradients of the router that the auxiliary loss alone gives in a second step on the same tokens."""
    for _ in range(2):
        layer.zero_grad(set_to_none=True)
        for part in range(cut):
            rows = x.chunk(cut)[part]
            real = () if mask is None else (mask.chunk(cut)[part],)
            out = layer(rows, *real) if run is None else run(layer, rows)
            (0 * out).sum().backward()
        finish_step(layer)
    return [p.grad for p in layer.router.parameters()]


def shares(parts):
    """Shares of branches: mean over tokens of the outer weights; inside a group, with its weights held fixed."""
    outer = parts[0].mean(0)
    if len(parts) == 1:
        return [outer]
    reach = parts[0].detach()[..., None]
    return [outer, *((reach * parts[1]).sum(0) / reach.sum(0))]


def squared_variation(share):
    return len(share) * (share - 1 / len(share)).square().sum()


def outer_and_mean_of_inner(values):
    return values[0] + (sum(values[1:]) / len(values[1:]) if values[1:] else 0)


def by_hand(layer, x, loss):
    routing = layer.router(x)
    parts = [torch.softmax(log, -1) for log in routing.log_weights]
    value = loss([parts[0][:, 0], *parts[1:]], routing)
    return float(value.detach()), torch.autograd.grad(value, list(layer.router.parameters()))


def importance(parts, routing):
    return outer_and_mean_of_inner([squared_variation(share) for share in shares(parts)])


def switch(parts, routing):
    """K sum_j f_j P_j with f the shares of assignments."""
    load = torch.bincount(routing.index.flatten(), minlength=6 if len(parts) > 1 else 5).to(parts[0].dtype)
    loads = [load / load.sum()]
    if len(parts) > 1:
        groups = load.view(2, 3)
        loads = [groups.sum(1) / load.sum(), *(groups / groups.sum(1, keepdim=True))]
    return outer_and_mean_of_inner([len(f) * (f * p).sum() for f, p in zip(loads, shares(parts), strict=True)])


@both_depths
@pytest.mark.parametrize("gate", ["softmax", "laplace", "normalised-sigmoid"])
@pytest.mark.parametrize("loss", [importance, switch], ids=lambda loss: loss.__name__)
def test_value_and_gradient_are_those_by_hand(loss, gate, branching):
    layer = make_layer(gate, branching, balance=loss.__name__, balance_weight=0.5).double()
    x = draw_tokens(layer)
    value, slopes = by_hand(layer, x, loss)
    for found, slope in zip(second_step(layer, x), slopes, strict=True):
        assert_close(found, 0.5 * slope, f"the gradient of {loss.__name__}", 1e-6)
    assert layer.balancer.values()[loss.__name__] == pytest.approx(value, rel=1e-5)


@both_depths
def test_the_z_loss_is_the_mean_squared_logsumexp(branching):
    layer = make_layer("softmax", branching, balance="none", z_weight=0.3).double()
    x = draw_tokens(layer)

    def z(parts, routing):
        return sum(torch.logsumexp(scores, -1).square().mean(0).mean() for scores in routing.scores)

    _, slopes = by_hand(layer, x, z)
    for found, slope in zip(second_step(layer, x), slopes, strict=True):
        assert_close(found, 0.3 * slope, "the gradient of the z-loss", 1e-6)


@both_depths
def test_the_load_loss_under_noise_is_that_by_hand(branching):
    """Noise drawn once: the loss is CV^2 of shares of the sums of Phi((rank - threshold) / noise), in every node."""
    layer = make_layer("softmax", branching, noise=0.5).double()
    x = draw_tokens(layer)
    torch.manual_seed(3)
    routing = layer.router(x)
    rank, noisy = routing.clean[0].flatten(1), routing.ranks[0].flatten(1)
    experts = range(rank.shape[1])
    columns = []
    for j in experts:
        others = noisy[:, [i for i in experts if i != j]].topk(2, -1).values[:, 1]
        columns.append(torch.special.ndtr((rank[:, j] - others) / 0.5))
    load = torch.stack(columns, -1).mean(0)
    values = [squared_variation(load / load.sum())]
    if len(routing.log_weights) > 1:
        groups = load.view(2, 3)
        shares_of_groups = groups.sum(1) / load.sum(), *(groups / groups.sum(1, keepdim=True))
        values = [squared_variation(share) for share in shares_of_groups]
    parts = [torch.softmax(log, -1) for log in routing.log_weights]
    value = outer_and_mean_of_inner(values) + importance([parts[0][:, 0], *parts[1:]], routing)
    slopes = torch.autograd.grad(value, list(layer.router.parameters()))
    for _ in range(2):
        layer.zero_grad()
        torch.manual_seed(3)
        (0 * layer(x)).sum().backward()
        finish_step(layer)
    for p, slope in zip(layer.router.parameters(), slopes, strict=True):
        assert_close(p.grad, 0.1 * slope, "the gradient under noise", 1e-6)


@pytest.mark.parametrize("seed", [0, 1])
def test_training_keeps_the_experts_of_every_group_in_use(seed):
    torch.manual_seed(seed)
    layer = MoE(32, 16, (2, 4), ("softmax", "softmax"), top_k=2, bias=True)
    optimizer = torch.optim.AdamW(layer.parameters(), 1e-2)
    for _ in range(150):
        x = torch.randn(512, 32) + 1.0
        optimizer.zero_grad()
        (layer(x) - x.roll(1, -1)).square().mean().backward()
        optimizer.step()
        finish_step(layer)
    assert layer.balancer.values()["load"] < 0.5  # 1 and more, with groups that end with one expert or without a token


@both_depths
@pytest.mark.parametrize("options", [{}, {"balance": "switch"}, {"noise": 0.5}, {"balance": "none", "z_weight": 0.1}])
def test_activation_checkpointing_changes_nothing(options, branching):
    def run(reentrant):
        torch.manual_seed(0)
        layer, wrap = make_layer("laplace", branching, **options), {"use_reentrant": reentrant}
        found = second_step(layer, x, run=None if reentrant is None else lambda fn, rows: checkpoint(fn, rows, **wrap))
        return found, layer.tally().packed()

    x = draw_tokens(make_layer("laplace")).requires_grad_()
    plain, tally = run(None)
    for reentrant in (False, True):
        found, booked = run(reentrant)
        assert_close(booked, tally, "tokens are booked once", 1e-6)
        for a, b in zip(found, plain, strict=True):
            assert_close(a, b, "gradients with and without checkpoints", 1e-7)


@both_depths
@pytest.mark.parametrize("options", [{}, {"balance": "switch"}, {"balance": "none", "z_weight": 0.1}])
def test_micro_batches_give_the_gradient_of_the_batch(options, branching):
    layer = make_layer("laplace", branching, **options)
    x = draw_tokens(layer)
    whole, halves = (second_step(copy.deepcopy(layer), x, cut=cut) for cut in (1, 2))
    for a, b in zip(whole, halves, strict=True):
        assert_close(b, a, "two halves give the gradient of the whole", 1e-6)


def steps_on(layer, batches, cut=1):
    """The auxiliary gradient of the gates in each of several steps, whose parameters stay as they are."""
    found = []
    for x in batches:
        layer.zero_grad(set_to_none=True)
        for rows in x.chunk(cut):
            (0 * layer(rows)).sum().backward()
        found.append([p.grad for p in layer.router.parameters()])
        finish_step(layer)
    return found


def uneven(layer, steps, tokens=24):
    """Tokens of several steps, each around another point, so that other experts get most of them."""
    generator = torch.Generator().manual_seed(5)
    dtype = layer.router.offset_0.dtype
    around = torch.randn(steps, 1, layer.dim, generator=generator, dtype=dtype)
    return list(2 * around + torch.randn(steps, tokens, layer.dim, generator=generator, dtype=dtype))


@both_depths
@pytest.mark.parametrize("cut", [2, 4])
@pytest.mark.parametrize("options", [{}, {"balance": "switch"}, {"noise": 0.0, "token_entropy_weight": 0.1}])
def test_micro_batches_of_other_tokens_in_every_step_give_the_gradients_of_the_batches(options, cut, branching):
    layer = make_layer("laplace", branching, balance_weight=1.0, **options).double()
    batches = uneven(layer, 4)
    whole, parts = (steps_on(copy.deepcopy(layer), batches, pieces) for pieces in (1, cut))
    for step, (one, other) in enumerate(zip(whole, parts, strict=True)):
        assert step == 0 or max(float(p.abs().max()) for p in one) > 1e-4
        for a, b in zip(one, other, strict=True):
            assert_close(b, a, "micro-batches give the gradient of the whole", 1e-5)


def mean_slopes(balance, layer, routing):
    """By hand, for every node: derivatives of the loss in its shares, and the mean share that reaches it."""
    parts = [torch.softmax(log, -1) for log in routing.log_weights]
    outer = parts[0][:, 0].mean(0)
    weights = shares([parts[0][:, 0], *parts[1:]])
    load = torch.bincount(routing.index.flatten(), minlength=layer.router.n_leaves).to(outer.dtype)
    inner = load.view(len(outer), -1) if len(parts) > 1 else load[None]
    loads = [inner.sum(1) / load.sum() if len(parts) > 1 else load / load.sum()]
    loads += list(inner / inner.sum(1, keepdim=True)) if len(parts) > 1 else []
    slope = {
        "switch": lambda weight, load: len(load) * load,
        "importance": lambda weight, load: 2 * (len(weight) * weight - 1),
    }[balance]
    return [slope(*one).detach() for one in zip(weights, loads, strict=True)], [outer.new_ones(()), *outer.detach()]


@both_depths
@pytest.mark.parametrize("balance", ["importance", "switch"])
def test_the_derivatives_of_two_steps_are_extrapolated_to_the_third(balance, branching):
    layer = make_layer("softmax", branching, balance=balance, balance_weight=0.5).double()
    batches = uneven(layer, 3)
    (old, _), (new, reach), _ = (mean_slopes(balance, layer, layer.router(x)) for x in batches)
    routing = layer.router(batches[2])
    parts = [torch.softmax(log, -1) for log in routing.log_weights]
    arrived = [parts[0][:, 0].mean(0)]
    if len(parts) > 1:
        arrived += list((parts[0][:, 0].detach()[..., None] * parts[1]).mean(0))
    values = [((2 * n - o) * mass).sum() / total for n, o, mass, total in zip(new, old, arrived, reach, strict=False)]
    expected = torch.autograd.grad(outer_and_mean_of_inner(values), list(layer.router.parameters()))
    found = steps_on(layer, batches)[2]
    for a, b in zip(found, expected, strict=True):
        assert_close(a, 0.5 * b, "the gradient of the third step", 1e-5)


@both_depths
@pytest.mark.parametrize("sizes", [(24, 24, 3), (24, 3, 24), (24, 24, 60), (24, 60, 3)])
def test_no_line_is_drawn_through_a_step_of_another_size(sizes, branching):
    layer = make_layer("softmax", branching).double()
    batches = uneven(layer, 6, 60)
    steps_on(layer, [x[:size] for x, size in zip(batches, sizes, strict=False)])
    assert not layer.balancer.earlier.any()
    steps_on(layer, [x[:24] for x in batches[3:]])
    assert float(unpacked(layer.balancer.earlier).tokens) == 24


def test_extrapolated_derivatives_keep_the_loads_more_even_at_a_high_rate():
    """Clusters of inputs, Adam at .03: loads known one step late swing, those of a straight line less."""

    def variation(line, seed):
        torch.manual_seed(seed)
        layer = MoE(16, 16, 8, top_k=1)
        optimizer = torch.optim.Adam(layer.parameters(), 3e-2)
        centres, found = torch.randn(5, 16), []
        for _ in range(120):
            x = centres[torch.randint(5, (256,))] + 0.5 * torch.randn(256, 16)
            if not line:
                layer.balancer.earlier.zero_()
            optimizer.zero_grad()
            (layer(x) - x.roll(1, -1)).square().mean().backward()
            optimizer.step()
            found.append(layer.balancer.values()["load"])
        return sum(found[20:]) / len(found[20:])

    late, line = (sum(variation(kind, seed) for seed in range(3)) for kind in (False, True))
    assert line < 0.8 * late


@both_depths
@pytest.mark.parametrize("options", [{}, {"balance": "switch"}, {"noise": 0.5}, {"z_weight": 0.1}, {"capacity": 1.0}])
def test_masked_tokens_count_in_nothing(options, branching):
    layer = make_layer("laplace", branching, **options)
    x, mask = draw_tokens(layer), torch.arange(24) % 3 > 0
    garbage = torch.where(mask[:, None], x, 100.0)
    runs = []
    for rows in (x, garbage):
        torch.manual_seed(0)
        own = copy.deepcopy(layer)
        runs.append((second_step(own, rows, mask), own.tally().packed()))
    assert_close(runs[1][1], runs[0][1], "the tally does not see padding", 1e-6)
    for a, b in zip(runs[1][0], runs[0][0], strict=True):
        assert_close(a, b, "the auxiliary gradient does not see padding", 1e-6)
    assert runs[0][1][-3:-1].tolist() == [16, 32]
    if not options:
        alone = copy.deepcopy(layer)
        for a, b in zip(second_step(alone, x[mask]), runs[0][0], strict=True):
            assert_close(a, b, "masking is leaving out", 1e-6)


def test_a_batch_of_padding_alone_leaves_the_statistics_as_they_were():
    layer = make_layer("softmax", balance="bias")
    x = draw_tokens(layer)
    layer(x).sum().backward()
    finish_step(layer)
    before, offset = layer.tally().packed(), layer.router.offset_0.clone()
    layer(x, torch.zeros(24, dtype=torch.bool)).sum().backward()
    finish_step(layer)
    assert torch.equal(layer.tally().packed(), before)
    assert torch.equal(layer.router.offset_0, offset)


@pytest.mark.parametrize("balance", BALANCE_METHODS)
def test_evaluation_and_passes_without_gradient_add_nothing(balance):
    layer = make_layer("softmax", balance=balance, z_weight=0.1)
    x = draw_tokens(layer)
    layer.eval()(x).sum().backward()
    with torch.no_grad():
        layer.train()(x)
    assert not layer.balancer.now.any()
    finish_step(layer)
    assert layer.balancer.values() == {}
    assert not layer.router.offset_0.any()


def test_evaluation_has_no_auxiliary_gradient():
    layer = make_layer("softmax", balance_weight=1.0)
    second_step(layer, draw_tokens(layer))
    layer.zero_grad()
    (0 * layer.eval()(draw_tokens(layer))).sum().backward()
    assert not any(p.grad.any() for p in layer.router.parameters())


@pytest.mark.parametrize("after_the_forward_pass", [False, True])
def test_the_loss_scale_multiplies_the_auxiliary_gradient_alone(after_the_forward_pass):
    layer = make_layer("softmax", balance_weight=1.0)
    x = draw_tokens(layer)
    expected = second_step(layer, x)
    layer.zero_grad()
    if not after_the_forward_pass:
        set_loss_scale(layer, 128.0)
    out = layer(x)
    if after_the_forward_pass:
        set_loss_scale(layer, 128.0)
    (0 * out).sum().backward()
    for p, slope in zip(layer.router.parameters(), expected, strict=True):
        assert_close(p.grad, 128 * slope, "the scaled gradient", 1e-6)


@pytest.mark.parametrize("branching", [6, (2, 3)])
@pytest.mark.parametrize("gate", ["softmax", "laplace", "sigmoid", Gate(Affine(), ReLU()), "top-k"])
@pytest.mark.parametrize("masked", [False, True])
def test_the_tally_is_that_by_hand(gate, branching, masked):
    layer = make_layer(gate, branching)
    x = draw_tokens(layer)
    mask = torch.arange(len(x)) % 3 > 0 if masked else None
    layer(x, mask=mask).sum().backward()
    finish_step(layer)
    real = x if mask is None else x[mask]
    routing = layer.router(real)
    share = leaf_probabilities(routing).detach()
    tally = layer.tally()
    assert_close(tally.importance, share.sum(0), "importance", 1e-6)
    assert_close(tally.entropy, torch.special.entr(share).sum(), "entropy", 1e-6)
    assert float(tally.tokens) == len(real)
    chosen = int((routing.weight != 0).sum())
    assert float(tally.load.sum()) == float(tally.offered) == float(tally.served) == chosen


@pytest.mark.parametrize(
    "options", [{}, {"balance": "switch"}, {"balance": "none", "z_weight": 0.1}, {"gate": "top-k"}]
)
@both_depths
def test_gradients_under_noise_are_finite_from_the_first_step(options, branching):
    layer = make_layer(**{"gate": "laplace", "branching": branching, "top_k": 3, "noise": 0.3, **options})
    for _ in range(3):
        layer(draw_tokens(layer)).sum().backward()
        finish_step(layer)
        assert all(bool(p.grad.isfinite().all()) for p in layer.parameters())


def test_the_guide_says_what_every_method_does():
    text = (Path(__file__).parents[2] / "docs/guide/engineer/balancing.md").read_text("utf-8")
    cells = [line.strip("|").split("|") for line in text.splitlines() if line.startswith('| `"')]
    told = {row[0].replace("(default)", "").strip(' `"'): row[1].strip() for row in cells}
    assert told == {name: method.description for name, method in BALANCE_METHODS.items()}


@dataclass(frozen=True)
class Own(BalanceMethod):
    """The importance loss by another class, and offsets that all rise."""

    description = "both"
    settings = ("weight", "rate")

    def loss(self, shares):
        return ShareSlopes([2 * s.shape[-1] * (s - 1 / s.shape[-1]) for s in shares.importance])

    def offset_steps(self, load):
        return [torch.ones_like(share) for share in load]


@both_depths
def test_a_method_of_ones_own_is_given_as_an_object_and_acts(branching):
    own, known = (make_layer("laplace", branching, balance=one, bias_rate=0.5) for one in (Own(), "importance"))
    x = draw_tokens(own)
    first, second = second_step(own, x), second_step(known, x)
    assert all(bool((p != 0).any()) for p in second)
    offsets = own.router.selection_bias
    assert all(bool((offset > 0).all()) and bool((offset == offset.flatten()[0]).all()) for offset in offsets)
    for found, expected in zip(first, second, strict=True):
        assert_close(found, expected, "the loss of a method of one's own acts as that of the catalogue")
    assert "Own(), weight=0.1, rate=0.5" in repr(own.balancer)


def test_a_method_without_a_name_is_not_written_to_a_file_and_one_with_a_name_is(tmp_path, monkeypatch):
    layer = make_layer("softmax", balance=Own())
    with pytest.raises(ValueError, match=r"balance=Own\(\) is a method of your own: a file holds names, not code"):
        save_layer(layer, tmp_path / "layer")
    monkeypatch.setitem(BALANCE_METHODS, "own", Own())
    save_layer(layer, tmp_path / "layer")
    assert load_layer(tmp_path / "layer").balancer.rule == Own()


@pytest.mark.parametrize("balance", ["importance+load", "switch"])
def test_the_loss_follows_whatever_changes_the_last_tally(balance):
    """The coefficients of the loss are kept while it stays: a step, a change behind autograd's back, a copy."""
    layer = make_layer("softmax", balance=balance)
    x = draw_tokens(layer)

    def gradients(one):
        one.zero_grad(set_to_none=True)
        (0 * one(x)).sum().backward()
        return [p.grad for p in one.router.parameters()]

    def as_a_new_layer_has_it(one):
        fresh = make_layer("softmax", balance=balance)
        fresh.load_state_dict(one.state_dict())
        return all(torch.equal(a, b) for a, b in zip(gradients(one), gradients(fresh), strict=True))

    seen = []
    for change in (lambda: finish_step(layer), lambda: layer.balancer.last.data[:15].mul_(torch.arange(1.0, 16.0))):
        gradients(layer)
        change()
        other = copy.deepcopy(layer)
        assert as_a_new_layer_has_it(layer)
        assert as_a_new_layer_has_it(other)
        seen.append(gradients(layer)[0])
    assert not torch.equal(*seen)


SHORT = {
    "z": {"balance": "none", "z_weight": 1e-2},
    "entropy": {"balance": "none", "token_entropy_weight": 1e-2},
    **{name: {"balance": name} for name in ("importance+load", "importance", "switch", "sequence")},
}


def gate_gradients(layer, sizes, x):
    """The auxiliary gradient of the first gate in each of several steps, whose parameters stay as they are."""
    found = []
    for size in sizes:
        layer.zero_grad()
        (0 * layer(x[:size])).sum().backward()
        found.append(layer.router.gates[0].weight.grad.clone())
        finish_step(layer)
    return found


@both_depths
@pytest.mark.parametrize("options", SHORT.values(), ids=SHORT)
def test_a_short_step_does_not_swell_the_loss_of_the_next(options, branching):
    """The rest of an epoch, between whole batches: the next step has half of the tokens before it at least."""
    layer = make_layer("softmax", branching, **options)
    x = torch.randn(400, layer.dim)
    *_, usual, _, behind, again = gate_gradients(layer, [400, 400, 1, 400, 400], x)
    assert float(behind.norm()) < 6 * float(usual.norm())
    assert_close(again, usual, "a whole step stands by itself", 1e-6)
    gate_gradients(layer, [1], x)
    assert float(layer.tally().tokens) == 1
    layer.balancer.last.copy_(2 * layer.balancer.recent)
    layer.balancer.carried.zero_()
    assert_close(2 * gate_gradients(layer, [400], x)[0], behind, "its shares are those of both steps", 1e-6)


@both_depths
@pytest.mark.parametrize("options", SHORT.values(), ids=SHORT)
def test_a_large_step_behind_a_small_one_divides_by_half_of_its_own_tokens(options, branching):
    layer = make_layer("softmax", branching, **options)
    x = torch.randn(400, layer.dim)
    _, behind = gate_gradients(layer, [20, 400], x)
    gate_gradients(layer, [400, 20], x)
    layer.balancer.last.mul_(20)
    layer.balancer.carried.zero_()
    assert_close(2 * gate_gradients(layer, [400], x)[0], behind, "the shares of few tokens, and 200 tokens", 1e-6)


def test_what_short_steps_carry_on_is_part_of_the_state_and_states_without_it_load():
    layer, x = make_layer("softmax"), torch.randn(400, 6)
    gate_gradients(layer, [400, 3], x)
    state = layer.state_dict()
    again = make_layer("softmax")
    again.load_state_dict(state)
    assert torch.equal(again.balancer.recent, layer.balancer.recent)
    assert float(unpacked(again.balancer.recent).tokens) == pytest.approx(200)  # half of those of the step before
    del state["balancer.carried"]
    again.load_state_dict(state)
    assert torch.equal(again.balancer.recent, layer.balancer.last)
    layer.balancer.reset_parameters()
    assert not layer.balancer.recent.any()


class Watching(TorchDispatchMode):
    """Sees every operator, so that layers leave all derivatives to them."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return func(*args, **(kwargs or {}))


RECTIFIED = {"gate": Gate(Affine(), ReLU()), "normalise": "before"}
BY_HAND = {
    "no noise": {},
    "padding": {"mask": True},
    "noise": {"noise": 0.5},
    "learned noise": {"noise": "learned"},
    "a choice per level": {"top_k": (1, 2), "branching": (2, 3)},
    "all": {"top_k": None},
    "by weights": {"gate": "sigmoid"},
    "groups": {"choice": Choice(groups=2, kept=1), "branching": (6,)},
    "weights of zero": RECTIFIED,
    "weights of zero, two levels": {**RECTIFIED, "branching": (2, 3), "top_k": (2, 2)},
    "learned noise per level": {"noise": "learned", "top_k": (1, 2), "branching": (2, 3), "mask": True},
    "two losses": {"balance": "switch", "z_weight": 0.1, "branching": (2, 3)},
}


@pytest.mark.parametrize("case", BY_HAND)
def test_derivatives_by_hand_are_those_of_the_operators(case):
    """The gradient of the auxiliary loss in a second step, and the product of its derivative and a vector."""
    options = {"gate": "laplace", "balance_weight": 1.0} | BY_HAND[case]
    mask = (torch.arange(24) % 3 > 0,) if options.pop("mask", False) else ()
    layer = make_layer(**options).double()
    x = draw_tokens(layer)
    second_step(layer, x, *mask)
    found = []
    for mode in (nullcontext(), Watching()):
        with mode:
            torch.manual_seed(3)
            held = list(layer.router.parameters())
            slopes = torch.autograd.grad((0 * layer(x, *mask)).sum(), held, create_graph=True)
            along = sum((slope * torch.linspace(-1, 1, slope.numel()).view_as(slope)).sum() for slope in slopes)
            second = torch.autograd.grad(along, held, allow_unused=True)
        torch.manual_seed(3)
        first = torch.autograd.grad((0 * layer(x, *mask)).sum(), held)
        found.append((first, slopes, second))
    (by_hand, with_graph, second), (_, watched, wanted) = found
    assert max(float(slope.detach().abs().max()) for slope in watched) > 1e-4
    assert any(one is not None and float(one.abs().max()) > 1e-5 for one in wanted)
    for one, other, slope in zip(by_hand, with_graph, watched, strict=True):
        assert_close(one, slope, "the gradient", 1e-10)
        assert_close(other, slope, "the gradient with a graph", 1e-10)
    for one, other in zip(second, wanted, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            assert_close(one, other, "the second derivative", 1e-9)
