"""A step of a layer ends once per update of its parameters, whoever updates them: copies, several optimisers, none."""

import copy
import warnings

import pytest
import torch
from torch import nn
from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict
from torch.func import functional_call

from gatewise.nn import Anneal, MoE, finish_step
from gatewise.testing.layers import draw_tokens, make_layer

OPTIONS = {"gate": "dense-to-sparse", "balance": "bias", "bias_rate": 0.1, "temperature": Anneal(2.0, 0.5, 4)}
STEPS = 4


class Copies:
    """An optimiser of float32 copies that are written back, as mixed-precision trainers have them."""

    def __init__(self, module, write, flat=False):
        self.own = list(module.parameters())
        self.write, self.flat = write, flat
        copies = [p.detach().clone() for p in self.own]
        self.copies = [torch.cat([p.flatten() for p in copies])] if flat else copies
        self.optimiser = torch.optim.SGD([p.requires_grad_() for p in self.copies], 0.1)

    def step(self):
        gradients = [p.grad for p in self.own]
        gradients = [torch.cat([g.flatten() for g in gradients])] if self.flat else gradients
        for one, gradient in zip(self.copies, gradients, strict=True):
            one.grad = gradient.clone()
        self.optimiser.step()
        sizes = [p.numel() for p in self.own]
        new = self.copies[0].split(sizes) if self.flat else self.copies
        with torch.no_grad():
            for p, value in zip(self.own, new, strict=True):
                self.write(p, value.view_as(p))


class Calling(torch.optim.Optimizer):
    """An optimiser that calls another one of its own, on copies or on the parameters themselves."""

    def __init__(self, module, copies=False):
        self.inner = torch.optim.SGD(module.parameters(), 0.1) if not copies else Copies(module, nn.Parameter.copy_)
        super().__init__([torch.zeros(1)] if copies else module.parameters(), {})

    def step(self, closure=None):
        self.inner.step()


class Patient(torch.optim.SGD):
    """A subclass that calls the step of its parent."""

    def step(self, closure=None):
        return super().step(closure)


class Muon(torch.optim.SGD):
    """Stands for an optimiser of matrices."""


def several(module):
    """Two optimisers, the layer's first parameter in the second."""
    other = [Muon(module.experts.parameters(), 0.1), torch.optim.SGD(module.router.parameters(), 0.1)]

    class Both:
        def step(self):
            for optimiser in other:
                optimiser.step()

    return Both()


UPDATES = {
    "plain": lambda module: torch.optim.SGD(module.parameters(), 0.1),
    "copies": lambda module: Copies(module, nn.Parameter.copy_),
    "copies of data": lambda module: Copies(module, lambda p, value: p.data.copy_(value)),
    "one flat copy": lambda module: Copies(module, nn.Parameter.copy_, flat=True),
    "calls another": Calling,
    "calls another with copies": lambda module: Calling(module, copies=True),
    "calls its parent": lambda module: Patient(module.parameters(), 0.1),
    "several": several,
}


def train(layer, update, micro=2, gone=False):
    """What every step leaves behind, and the layer's output after it."""
    seen = []
    for step in range(STEPS):
        for part in draw_tokens(layer, 24, seed=step).chunk(micro):
            (layer(part).square().mean() / micro).backward()
        update.step()
        layer.zero_grad(set_to_none=not gone)
        out = layer(draw_tokens(layer, 5, seed=50))
        seen.append(torch.cat([layer.balancer.last, layer.router.offset_0.flatten(), out.detach().flatten()]))
    return torch.stack(seen)


@pytest.mark.parametrize("micro", [1, 2])
@pytest.mark.parametrize("kept", [False, True], ids=["freed", "zeroed"])
@pytest.mark.parametrize("update", UPDATES.values(), ids=UPDATES)
def test_steps_end_as_those_of_a_plain_optimiser(update, kept, micro):
    torch.optim.SGD([torch.zeros(1)])  # its step has the hooks of torch from here on
    expected = train(layer := make_layer(**OPTIONS), UPDATES["plain"](layer), micro)
    assert len(expected.unique(dim=0)) == STEPS
    found = train(layer := make_layer(**OPTIONS), update(layer), micro, kept)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
    assert int(layer.balancer.steps) == STEPS


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
def test_a_compiled_layer_ends_the_steps_of_an_optimiser_of_copies():
    """No forward pass can look at the parameters: the first step is seen when the second begins."""
    layer = make_layer(**OPTIONS, backend="grouped")
    compiled, update = torch.compile(layer, backend="aot_eager"), Copies(layer, nn.Parameter.copy_)
    done, tokens = [], []
    for count in (24, 20, 16, 12):
        compiled(draw_tokens(layer, 24), torch.arange(24) < count).square().mean().backward()
        update.step()
        layer.zero_grad()
        done.append(int(layer.balancer.steps))
        tokens.append(float(layer.tally().tokens))
    assert done == [0, 2, 3, 4]
    assert tokens[1:] == [20, 16, 12]


class Net(nn.Module):
    """A layer behind a linear map."""

    def __init__(self):
        super().__init__()
        self.first, self.moe = nn.Linear(6, 6), MoE(6, 8, 5, **{k: v for k, v in OPTIONS.items() if k != "seed"})

    def forward(self, x):
        return self.moe(self.first(x))


@pytest.mark.parametrize("generator_first", [False, True])
@pytest.mark.parametrize("early", [False, True], ids=["zeroed before backward", "zeroed before forward"])
@pytest.mark.parametrize("frozen", [False, True])
def test_two_networks_count_their_own_steps(generator_first, early, frozen):
    torch.manual_seed(0)
    maker, judge = Net(), Net()
    optimisers = {one: torch.optim.SGD(one.parameters(), 0.1) for one in (maker, judge)}
    tokens = {"judge": [], "maker": []}

    def step_judge():
        if early:
            optimisers[judge].zero_grad()
        fake = maker(torch.randn(7, 6)).detach()
        loss = judge(fake).mean() - judge(torch.randn(4, 6)).mean()
        optimisers[judge].zero_grad()
        loss.backward()
        optimisers[judge].step()
        tokens["judge"].append(float(judge.moe.tally().tokens))

    def step_maker():
        optimisers[maker].zero_grad()
        judge.requires_grad_(not frozen)
        judge(maker(torch.randn(3, 6))).mean().backward()
        judge.requires_grad_(True)
        optimisers[maker].step()
        tokens["maker"].append(float(maker.moe.tally().tokens))

    for _ in range(3):
        for step in (step_maker, step_judge) if generator_first else (step_judge, step_maker):
            step()
    assert tokens == {"judge": [11.0] * 3, "maker": [3.0] * 3}
    assert [int(one.moe.balancer.steps) for one in (maker, judge)] == [3, 3]


def test_what_is_accumulated_across_another_optimisers_step_counts():
    one, other = Net(), Net()
    first, second = (torch.optim.SGD(net.parameters(), 0.1) for net in (one, other))
    for _ in range(2):
        (one(torch.randn(5, 6)).sum() + other(torch.randn(5, 6)).sum()).backward()
        second.step()
    first.step()
    assert float(one.moe.tally().tokens) == 10
    assert [int(net.moe.balancer.steps) for net in (one, other)] == [1, 2]


def test_updates_by_hand_are_told_once_and_then_ended_by_hand():
    layer = make_layer(**OPTIONS)

    def update():
        layer(draw_tokens(layer)).square().mean().backward()
        with torch.no_grad():
            for p in layer.parameters():
                p -= 0.1 * p.grad
        layer.zero_grad()

    with pytest.warns(UserWarning, match=r"have changed 2 times, but no step .* Call gatewise.nn.finish_step"):
        [update() for _ in range(3)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        [update() for _ in range(3)]
        other = copy.deepcopy(layer)
        for _ in range(4):
            finish_step(layer)
            update()
    assert int(layer.balancer.steps) == 4
    assert int(other.balancer.steps) == 0


def test_a_climb_before_the_step_is_no_update():
    """Sharpness-aware minimisation moves the parameters and back within a step of its own."""
    layer = make_layer(**OPTIONS)
    optimiser = torch.optim.SGD(layer.parameters(), 0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(3):
            layer(draw_tokens(layer)).square().mean().backward()
            moves = [0.05 * p.grad for p in layer.parameters()]
            with torch.no_grad():
                [p.add_(move) for p, move in zip(layer.parameters(), moves, strict=True)]
            layer(draw_tokens(layer)).square().mean().backward()
            with torch.no_grad():
                [p.sub_(move) for p, move in zip(layer.parameters(), moves, strict=True)]
            optimiser.step()
            layer.zero_grad()
    assert int(layer.balancer.steps) == 3
    assert float(layer.tally().tokens) == 48


def test_parameters_of_an_inner_loop_are_no_updates():
    """Meta-learning calls a layer with its parameters after an inner step, and steps behind several tasks."""
    layer = make_layer(**OPTIONS, dim=16, backend="loop")
    optimiser = torch.optim.SGD(layer.parameters(), 0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(2):
            for _ in range(4):
                own = dict(layer.named_parameters())
                inner = functional_call(layer, own, (torch.randn(9, 16),)).square().mean()
                slopes = torch.autograd.grad(inner, list(own.values()), create_graph=True)
                moved = {name: p - 0.1 * slope for (name, p), slope in zip(own.items(), slopes, strict=True)}
                functional_call(layer, moved, (torch.randn(9, 16),)).square().mean().backward()
            optimiser.step()
            layer.zero_grad()
    assert int(layer.balancer.steps) == 2


def test_after_a_step_that_raised_other_optimisers_end_steps():
    layer = make_layer(**OPTIONS)
    broken = torch.optim.SGD(layer.parameters(), 0.1)

    def closure():
        raise ValueError("no data")

    with pytest.raises(ValueError, match="no data"):
        broken.step(closure)
    layer(draw_tokens(layer)).sum().backward()
    broken.step()
    assert int(layer.balancer.steps) == 1
    with pytest.raises(ValueError, match="no data"):
        broken.step(closure)
    del broken
    layer(draw_tokens(layer)).sum().backward()
    torch.optim.SGD(layer.parameters(), 0.1).step()
    assert int(layer.balancer.steps) == 2


@pytest.mark.parametrize("trained", ["router", "experts", "both", "neither"])
@pytest.mark.parametrize("before", [False, True])
def test_a_layer_counts_where_it_trains(trained, before):
    """Behind any network, a layer of which a part trains ends its steps; a frozen one has none."""
    net = Net()
    net.first.requires_grad_(before)
    net.moe.requires_grad_(False)
    for part in {"router": ["router"], "experts": ["experts"], "both": ["router", "experts"]}.get(trained, []):
        net.moe.get_submodule(part).requires_grad_(True)
    if not any(p.requires_grad for p in net.parameters()):
        return
    optimiser = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], 0.1)
    for _ in range(2):
        net(torch.randn(9, 6)).square().mean().backward()
        optimiser.step()
    steps = 0 if trained == "neither" else 2
    assert int(net.moe.balancer.steps) == steps
    assert float(net.moe.tally().tokens) == (9 if steps else 0)


def test_the_state_of_an_optimiser_that_torch_makes_to_load_it_ends_no_step():
    layer = make_layer(**OPTIONS)
    optimiser = torch.optim.AdamW(layer.parameters(), 0.1)
    before = copy.deepcopy(layer.state_dict())
    state = get_optimizer_state_dict(layer, optimiser)
    assert set(state["state"]) == {name for name, p in layer.named_parameters() if p.requires_grad}
    for name, value in layer.state_dict().items():
        assert torch.equal(value, before[name]), name
    layer(draw_tokens(layer)).sum().backward()
    optimiser.step()
    assert int(layer.balancer.steps) == 1
