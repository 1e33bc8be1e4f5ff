"""The five figures, observation, history, collapse in words, and the measures of routing and experts."""

from math import log

import pytest
import torch
from torch import nn

from gatewise.nn import MoE, RoutingStatistics, finish_step
from gatewise.nn.diagnostics import KEYS, History, Observation, collapse, diagnostics, observe, summarise
from gatewise.nn.finding import layers
from gatewise.nn.metrics import (
    change_rate,
    domain_table,
    expert_similarity,
    gate_movement,
    gate_state,
    jain,
    logit_norm,
    mutual_information,
    overlap,
    saturation,
)


def tally(load, importance, entropy, tokens):
    load, importance = torch.tensor(load), torch.tensor(importance)
    scalars = (torch.tensor(float(v)) for v in (entropy, tokens, load.sum(), load.sum()))
    return RoutingStatistics(load, importance, load, *scalars)


def trained(model, tokens, steps=2):
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        model(tokens).square().mean().backward()
        optimizer.step()


@pytest.fixture
def layer():
    torch.manual_seed(0)
    return MoE(8, 16, n_experts=(2, 3), gate=("laplace", "softmax"))


def test_the_five_figures_by_hand():
    # two tokens with gate weights (1, 0, 0, 0) and (.5, .5, 0, 0); three assignments to expert 0, one to expert 1
    found = summarise(tally([3.0, 1.0, 0.0, 0.0], [1.5, 0.5, 0.0, 0.0], log(2), 2))
    mixed = -(0.75 * log(0.75) + 0.25 * log(0.25))
    assert tuple(found) == KEYS
    assert list(found.values()) == pytest.approx([3.0, log(2) / 2 / log(4), 0.5, 0.75, mixed - log(2) / 2])


def test_no_token_no_figures(layer):
    assert summarise(layer.tally()) == {}
    assert diagnostics(layer) == {"": {}}


def test_figures_of_a_step_are_those_observed_in_it(layer):
    x = torch.randn(50, 8)
    with observe(layer) as seen:
        trained(layer, x, steps=1)
    assert diagnostics(layer)[""] == pytest.approx(seen.figures()[""], rel=1e-5)


def test_padding_is_left_out(layer):
    x = torch.randn(4, 10, 8)
    mask = torch.rand(4, 10) > 0.4
    with observe(layer) as all_, torch.no_grad():
        layer(x, mask)
    with observe(layer) as real, torch.no_grad():
        layer(x[mask])
    assert all_.figures()[""] == pytest.approx(real.figures()[""], rel=1e-5)


def test_observation_keeps_choices_and_marks_padding(layer):
    x, mask = torch.randn(2, 5, 8), torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    with observe(layer, keep=True) as seen:
        layer(x, mask)
    (index,) = seen.index[""]
    assert torch.equal(index.view(2, 5, 2)[1, 3:], torch.full((2, 2), -1))
    expected = layer.router(x.reshape(-1, 8)).index
    assert torch.equal(index[:8], expected[:8])


def test_observation_ends_with_the_block_and_nests(layer):
    with observe(layer) as outer:
        with observe(layer) as inner:
            layer(torch.randn(3, 8))
        layer(torch.randn(4, 8))
    layer(torch.randn(5, 8))
    assert float(inner.tallies[""].tokens) == 3
    assert float(outer.tallies[""].tokens) == 4
    assert layer.observer is None


def test_layers_of_a_model_have_its_names(layer):
    model = nn.Sequential(nn.Linear(8, 8), layer, nn.ReLU(), MoE(8, 4, n_experts=2))
    assert list(layers(model)) == ["1", "3"]
    trained(model, torch.randn(20, 8))
    found = diagnostics(model)
    assert set(found) == {"1", "3"}
    assert all(len(figures) == 5 for figures in found.values())


def test_history_has_one_row_per_step(layer):
    history = History(layer)
    optimizer = torch.optim.SGD(layer.parameters(), 0.1)
    for _ in range(3):
        layer(torch.randn(20, 8)).square().mean().backward()
        optimizer.step()
        history.add()
    assert history.load("").shape == (3, 6)
    assert torch.allclose(history.load("").sum(1), torch.ones(3))
    assert len(history.figure("", "dead fraction")) == 3


def seen(**loads):
    """Return an observation of 100 tokens with two experts each."""
    found = Observation(keep=False)
    found.tallies = {name: tally(load, [1.0] * len(load), 50.0, 100) for name, load in loads.items()}
    return found


def test_collapse_is_told_in_words():
    even = [25.0] * 8
    gone, crowd = [100.0, 100.0] + [0.0] * 6, [96.0] + [104.0 / 15] * 15
    assert collapse(seen(a=even)) == []
    (words,) = collapse(seen(a=even, b=gone))
    assert "layer b: 75% of the experts served no token and the busiest has 50%" in words
    assert "busiest has 48% of the assignments, 7.7 times" in collapse(seen(c=crowd))[0]
    assert collapse(seen(d=[60.0] + [140.0 / 15] * 15)) == []


def test_collapse_of_a_model_is_that_of_its_last_step():
    model = nn.Sequential(nn.Linear(8, 8), MoE(8, 4, 8, balance="none"))
    assert collapse(model) == ["layer 1: no step has finished yet, so nothing is known"]
    with torch.no_grad():
        model[1].router.gates[0].bias[:2] = 50.0
    model(torch.randn(64, 8)).sum().backward()
    finish_step(model)
    assert "layer 1: 75% of the experts served no token" in collapse(model)[0]


def test_few_tokens_are_no_collapse():
    """The rest of an epoch: one token has two experts of eight, which says nothing about the router."""
    layer = MoE(16, 24, 8, balance="none")
    for size in (64, 1):
        layer(torch.randn(size, 16)).sum().backward()
        finish_step(layer)
    assert float(layer.tally().tokens) == 1
    assert collapse(layer) == []
    with observe(layer) as one:
        layer(torch.randn(1, 16))
    assert collapse(one) == ["layer itself: 2 assignments are too few for 8 experts to tell"]


def test_gates_that_moved(layer):
    start = gate_state(layer)
    assert set(gate_movement(layer, start).values()) == {0.0}
    trained(layer, torch.randn(50, 8))
    assert all(moved > 0 for moved in gate_movement(layer, start).values())
    with pytest.raises(ValueError, match="in only one of model and start"):
        gate_movement(nn.Sequential(layer), start)


def test_gate_movement_is_relative(layer):
    start = gate_state(layer)
    with torch.no_grad():
        layer.router.gates[0].center.mul_(1.5)
        layer.router.gates[1].bias.fill_(2.0)
    moved = gate_movement(layer, start)
    assert moved["router.gates.0.center"] == pytest.approx(0.5)
    assert moved["router.gates.1.bias"] == pytest.approx(2.0 * 6**0.5)


def test_logit_norm(layer):
    routing = layer.router(torch.randn(7, 8))
    outer, inner = logit_norm(routing)
    assert outer == pytest.approx(float(routing.scores[0].detach().square().sum(-1).sqrt().mean()))
    assert inner > 0


def test_similarity_of_equal_and_opposite_experts():
    layer = MoE(4, n_experts=2, experts=[nn.Linear(4, 3, bias=False) for _ in range(2)])
    x = torch.randn(40, 4)
    first, second = layer.experts
    with torch.no_grad():
        second.weight.copy_(first.weight)
    assert expert_similarity(layer, x)[1:] == pytest.approx((1.0, 1.0, 1.0))
    with torch.no_grad():
        second.weight.neg_()
    assert expert_similarity(layer, x).mean == pytest.approx(-1.0)
    with pytest.raises(ValueError, match="needs at least two of each"):
        expert_similarity(layer, x[:1])


def test_interval_of_similarity_covers_the_mean_of_many_tokens(layer):
    truth = expert_similarity(layer, torch.randn(20000, 8)).mean
    generator = torch.Generator().manual_seed(3)
    covered = 0
    for seed in range(40):
        found = expert_similarity(layer, torch.randn(200, 8, generator=generator), seed=seed)
        covered += found.low <= truth <= found.high
    assert 33 <= covered <= 40


def test_saturation_and_change_rate():
    before = torch.tensor([[0, 1], [2, 3]])
    after = torch.tensor([[1, 4], [3, 2]])
    assert saturation(before, after) == pytest.approx(0.75)
    assert change_rate(before, after) == pytest.approx(0.25)
    with pytest.raises(ValueError, match="two selections for the same tokens"):
        saturation(before, after[:1])


def test_saturation_with_a_number_of_experts_that_differs_from_token_to_token():
    before = torch.tensor([[0, -1], [2, 3], [-1, -1], [1, -1]])
    after = torch.tensor([[1, 0], [3, -1], [-1, -1], [2, -1]])
    assert overlap(before, after).tolist() == [1.0, 0.5, 0.0, 0.0]
    assert saturation(before, after) == pytest.approx(0.5)  # the third token has none, like padding
    assert change_rate(before, after) == pytest.approx(1 - (0.5 + 1 + 0) / 3)


def test_domain_table_counts_and_leaves_padding_out():
    index = torch.tensor([[0, 1], [1, 2], [-1, -1], [2, 2]])
    table = domain_table(index, torch.tensor([0, 1, 1, 1]), 4)
    assert table.tolist() == [[1, 1, 0, 0], [0, 1, 3, 0]]
    with pytest.raises(ValueError, match="one per token"):
        domain_table(index, torch.tensor([0]), 4)


def test_mutual_information_of_tables():
    assert mutual_information(torch.tensor([[5, 0], [0, 5]])) == pytest.approx(log(2))
    assert mutual_information(torch.tensor([[2, 4], [1, 2]])) == pytest.approx(0.0, abs=1e-12)


def test_jain_of_one_expert():
    assert jain(torch.tensor([0.0, 7.0, 0.0, 0.0])) == 0.25
