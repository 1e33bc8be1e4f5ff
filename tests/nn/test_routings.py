"""Which experts a token gets: every routing against its formula, its laws, and what it composes with."""

import copy
import json
from dataclasses import dataclass
from itertools import product

import pytest
import torch
from torch.func import vmap

from gatewise import GATES, Affine, Gate, ReLU, SqrtSoftplus
from gatewise.nn import (
    BALANCE_METHODS,
    CHOICE_RULES,
    Choice,
    ChoiceRule,
    ExpertChoice,
    MoE,
    Router,
    Sinkhorn,
    Sparsity,
    TopP,
    finish_step,
    load_layer,
    observe,
    save_layer,
    summarise,
)
from gatewise.nn.balance import kept_probability
from gatewise.nn.router import leaf_probabilities
from gatewise.testing import assert_close, check_layer
from gatewise.testing.layers import LAYER_BACKENDS, make_layer, same_draws

from ..covering import covering, slow_rest

RECTIFIED = Gate(Affine(), ReLU())
ROUTINGS = {
    "top-p": {"choice": TopP(0.4), "top_k": None, "normalise": "before"},
    "top-p, at most three": {"choice": TopP(0.6), "top_k": 3},
    "expert choice": {"choice": ExpertChoice(), "normalise": "before"},
    "expert choice, divided": {"choice": ExpertChoice(), "balance": "switch"},
    "sinkhorn": {"choice": Sinkhorn(), "balance": "none"},
    "learned noise": {"noise": "learned"},
    "jitter": {"jitter": 0.2},
    "null experts": {"null_experts": 2, "top_k": 3},
    "null and identity experts": {"null_experts": 1, "identity_experts": 1, "top_k": 3},
    "sequences": {"balance": "bias+sequence"},
    "entropy": {"choice": TopP(0.7), "top_k": None, "token_entropy_weight": 0.1},
}
BRANCHINGS = ((8,), (2, 4))


def layer_of(gate="softmax", branching=(8,), backend="loop", **options):
    return make_layer(gate, branching, backend, dim=5, **options)


def in_turn(*factors):
    """All combinations of names as cases; those of the first two with the last in turn, the rest slow."""
    places = list(product(*(range(len(factor)) for factor in factors)))
    cases = {place: tuple(factor[i] for factor, i in zip(factors, place, strict=True)) for place in places}
    kept = {cases[place] for place in places if sum(place[:-1]) % len(factors[-1]) == place[-1]}
    return slow_rest(list(cases.values()), kept)


@pytest.mark.parametrize(("name", "branching", "backend"), in_turn(list(ROUTINGS), BRANCHINGS, LAYER_BACKENDS))
def test_every_routing_keeps_every_law_of_layers(name, branching, backend):
    check_layer(layer_of("softmax", branching, backend, **ROUTINGS[name]))


@pytest.mark.parametrize(("name", "gate"), in_turn(list(ROUTINGS), ["sigmoid", "laplace", ("laplace", "sigmoid")]))
def test_routings_keep_the_laws_with_other_gates(name, gate):
    check_layer(layer_of(gate, (2, 4) if isinstance(gate, tuple) else (8,), "grouped", **ROUTINGS[name]))


@pytest.mark.parametrize("top_k", [None, 3])
@pytest.mark.parametrize("gate", [RECTIFIED, ("softmax", RECTIFIED), (RECTIFIED, "laplace")], ids=str)
def test_rectified_gates_keep_the_laws(gate, top_k):
    branching = (2, 4) if isinstance(gate, tuple) else (8,)
    for normalise in ("before", "after"):
        check_layer(layer_of(gate, branching, "grouped", top_k=top_k, normalise=normalise))


@pytest.mark.parametrize("choice", [TopP(0.6), Choice(rule=TopP(0.2))])
def test_top_p_chooses_at_every_level_of_a_tree(choice):
    layer = layer_of("softmax", (3, 4), top_k=(2, 3), choice=choice, normalise="before").double()
    check_layer(copy.deepcopy(layer))
    x = torch.randn(50, 5, dtype=torch.float64)
    routing = layer.router(x)
    outer, inner = (log.detach().exp() for log in routing.log_weights)
    wanted = torch.zeros(50, 12, dtype=torch.float64)
    for t in range(50):
        for i in least_set(outer[t, 0], choice if isinstance(choice, TopP) else choice.rule, 2):
            for j in least_set(inner[t, i], choice if isinstance(choice, TopP) else choice.rule, 3):
                wanted[t, 4 * i + j] = outer[t, 0, i] * inner[t, i, j]
    assert_close(all_weights(routing, 12), wanted, "weights by loops over the levels", 1e-12)


def least_set(weight, rule, most):
    """The largest weights up to a sum of p, one after the other."""
    chosen, total = [], 0.0
    for i in weight.argsort(descending=True).tolist()[:most]:
        chosen.append(i)
        total += float(weight[i])
        if total >= rule.p:
            break
    return chosen


def all_weights(routing, leaves):
    """The weights of all experts, zero for those that do not serve."""
    return torch.zeros(len(routing.index), leaves, dtype=routing.weight.dtype).scatter_add(
        1, routing.index, routing.weight
    )


# Every routing against its formula, written for all experts at all tokens


def tokens(count=40):
    return torch.randn(count, 5, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


def scores(layer, x):
    (gate,) = layer.router.gates
    return x @ gate.weight.T + gate.bias


def largest(value, k):
    return torch.zeros_like(value, dtype=torch.bool).scatter(1, value.topk(k).indices, True)


def by_top_p(layer, x):
    p = torch.softmax(scores(layer, x), -1)
    keep = torch.zeros_like(p)
    for t in range(len(p)):
        keep[t, least_set(p[t].detach(), TopP(0.4), 8)] = 1
    assert keep.sum(1).unique().numel() > 1  # their number varies
    return p * keep


def by_expert_choice(layer, x):
    """2202.09368: S = softmax(X W), every expert takes the k = n c / e tokens of its largest entries of S^T."""
    p = torch.softmax(scores(layer, x), -1)
    room = len(x) * 2 // 8
    return p * largest(p.T, room).T


def by_sinkhorn(layer, x):
    """2202.01169: tokens by a plan with even marginals, weights by the softmax."""
    s = scores(layer, x)
    plan = torch.softmax(s.detach(), -1)
    for _ in range(2000):
        plan = plan / plan.sum(0, keepdim=True) / 8
        plan = plan / plan.sum(1, keepdim=True) / len(x)
    torch.testing.assert_close(plan.sum(0), torch.full((8,), 1 / 8, dtype=plan.dtype), atol=1e-6, rtol=0)
    keep = largest(plan, 2)
    assert not torch.equal(keep, largest(s, 2))
    return torch.softmax(s.masked_fill(~keep, -torch.inf), -1)


def by_noise(layer, x):
    """1701.06538, equations 3 to 5: softmax(KeepTopK(x W_g + z softplus(x W_noise), k))."""
    with same_draws():
        z = torch.randn(len(x), 1, 8, dtype=x.dtype)[:, 0]
    h = scores(layer, x) + z * torch.nn.functional.softplus(x @ layer.router.noises[0].weight.T)
    return torch.softmax(h.masked_fill(~largest(h, 2), -torch.inf), -1)


def by_jitter(layer, x):
    """2101.03961: the router reads x times uniform factors, the experts read x."""
    with same_draws():
        factor = 1 + 0.2 * (2 * torch.rand(len(x), 5, dtype=x.dtype) - 1)
    s = scores(layer, x * factor)
    return torch.softmax(s.masked_fill(~largest(s, 2), -torch.inf), -1)


def by_rectified(layer, x):
    """2412.14711: R(x) = ReLU(x W)."""
    return torch.relu(scores(layer, x))


def by_null(layer, x):
    """The last two experts are empty; the others have the weights of a softmax of the kept scores."""
    s = scores(layer, x)
    p = torch.softmax(s.masked_fill(~largest(s, 3), -torch.inf), -1)
    assert bool((p[:, 6:] > 0).any())
    return p[:, :6]


FORMULAS = {
    "top-p": (by_top_p, ROUTINGS["top-p"]),
    "expert choice": (by_expert_choice, ROUTINGS["expert choice"]),
    "sinkhorn": (by_sinkhorn, {"choice": Sinkhorn(rounds=500)}),
    "learned noise": (by_noise, {"noise": "learned"}),
    "jitter": (by_jitter, {"jitter": 0.2}),
    "rectified": (by_rectified, {"gate": RECTIFIED, "top_k": None, "normalise": "before"}),
    "null experts": (by_null, {"null_experts": 2, "top_k": 3}),
}


@pytest.mark.parametrize("backend", ["loop", "grouped", "dense"])
@pytest.mark.parametrize(("formula", "options"), FORMULAS.values(), ids=FORMULAS)
def test_outputs_and_gradients_are_those_of_the_formula(formula, options, backend):
    layer = layer_of(**{"backend": backend, "balance": "none"} | options).double()
    if layer.router.noises:
        torch.nn.init.normal_(layer.router.noises[0].weight)
    torch.nn.init.normal_(layer.router.gates[0].weight)  # away from even weights
    x = tokens().requires_grad_()
    with same_draws():
        out = layer(x)
    outputs = torch.stack([expert(x) for expert in layer.experts.singles()], 1)
    wanted = torch.einsum("te,teo->to", formula(layer, x), outputs)
    assert_close(out, wanted, "outputs", 1e-11)
    slope = torch.randn_like(wanted)
    inputs = [x, *layer.parameters()]
    for one, other in zip(
        torch.autograd.grad(out, inputs, slope), torch.autograd.grad(wanted, inputs, slope), strict=True
    ):
        assert_close(one, other, "gradients", 1e-10)


@pytest.mark.parametrize("backend", ["loop", "grouped", "dense"])
@pytest.mark.parametrize("gate", ["equal", "softmax"])
def test_given_experts_serve_with_the_weights_of_the_gate(gate, backend):
    layer = layer_of(gate, backend=backend, normalise="always").double()
    x = tokens(24).view(3, 8, 5).requires_grad_()
    given = torch.randint(-1, 8, (3, 8, 2))
    given[..., 1] = torch.where(given[..., 1] == given[..., 0], -1, given[..., 1])
    out = layer(x, experts=given)
    score = scores(layer, x) if gate == "softmax" else torch.zeros(3, 8, 8, dtype=x.dtype)
    chosen = torch.zeros(3, 8, 9, dtype=torch.bool).scatter(-1, given % 9, True)[..., :8]
    weight = torch.nan_to_num(torch.softmax(score.masked_fill(~chosen, -torch.inf), -1))
    outputs = torch.stack([expert(x) for expert in layer.experts.singles()], -2)
    assert_close(out, torch.einsum("...e,...eo->...o", weight, outputs), "outputs", 1e-11)
    assert bool((out[(given < 0).all(-1)] == 0).all())
    out.square().sum().backward()
    finish_step(layer)
    assert int(layer.tally().load.sum()) == int((given >= 0).sum())
    assert summarise(layer.tally())


def test_an_expert_that_is_given_twice_serves_twice():
    layer, x = layer_of(), tokens(6).float()
    given = torch.tensor([[3, 3], [0, 7], [5, 5], [1, -1], [2, 2], [-1, -1]])
    outputs = []
    for backend in ("loop", "grouped", "dense"):
        layer.backend = backend
        outputs.append(layer(x, experts=given))
    assert_close(outputs[1], outputs[0], "grouped", 1e-6)
    assert_close(outputs[2], outputs[0], "dense", 1e-6)
    twice = torch.stack([layer.experts.singles()[e](x[t : t + 1])[0] for t, e in ((0, 3), (2, 5), (4, 2))])
    assert_close(outputs[0][[0, 2, 4]], twice, "two halves", 1e-6)


def test_given_experts_on_a_tree_are_leaves():
    layer = layer_of(("softmax", "laplace"), (2, 4)).eval()
    x = tokens(12).float()
    routing = layer.router(x)
    assert_close(layer(x, experts=routing.index), layer(x), "the layer's own choice, given", 1e-6)


def test_the_probability_of_being_kept_under_learned_noise_is_that_of_the_paper():
    """1701.06538, equation 9: ``Phi((x W_g - kth_excluding(H, k, i)) / softplus(x W_noise))``."""
    layer = layer_of(noise="learned").double()
    torch.nn.init.normal_(layer.router.noises[0].weight)
    x = tokens()
    with same_draws():
        routing = layer.router(x)
    with same_draws():
        z = torch.randn(len(x), 1, 8, dtype=x.dtype)[:, 0]
    width = torch.nn.functional.softplus(x @ layer.router.noises[0].weight.T)
    clean = scores(layer, x)
    h = clean + z * width
    others = torch.stack([torch.cat([h[:, :i], h[:, i + 1 :]], 1).topk(2).values[:, -1] for i in range(8)], 1)
    wanted = torch.special.ndtr((clean - others) / width)
    assert_close(kept_probability(layer.router, routing), wanted, "probability", 1e-10)


@pytest.mark.parametrize("kept", [1, 3, None])
def test_weights_under_learned_noise_are_the_softmax_of_the_noisy_scores(kept):
    """Those of one expert, or as the gate computes them: at most one, as without noise."""
    layer = layer_of(noise="learned", top_k=kept, normalise="before").double()
    torch.nn.init.normal_(layer.router.noises[0].weight)
    x = tokens()
    with same_draws():
        routing = layer.router(x)
    with same_draws():
        z = torch.randn(len(x), 1, 8, dtype=x.dtype)[:, 0]
    wanted = torch.softmax(scores(layer, x) + z * torch.nn.functional.softplus(x @ layer.router.noises[0].weight.T), -1)
    assert_close(routing.weight, wanted.gather(-1, routing.index), "weights", 1e-10)


@pytest.mark.parametrize("branching", [(8,), (2, 4), (2, 2, 2)], ids=str)
@pytest.mark.parametrize("options", [{}, {"choice": TopP(0.5)}, {"gate": RECTIFIED}, {"balance": "none"}], ids=str)
@pytest.mark.parametrize("least", [-30.0, -60.0, -300.0])
def test_learned_noise_that_has_faded_leaves_gradients_finite(least, options, branching):
    layer = make_layer(**{"gate": "softmax", **options}, branching=branching, dim=16, noise="learned", top_k=2)
    for scale in layer.router.noises:
        torch.nn.init.constant_(scale.weight, least / 16)
    x = torch.rand(20, 16) + 0.5
    for _ in range(2):
        layer.zero_grad()
        layer(x).square().mean().backward()
        finish_step(layer)
    for name, value in layer.named_parameters():
        assert value.grad is not None, name
        assert bool(value.grad.isfinite().all()), name
    assert float(layer.tally().tokens) == 20


@pytest.mark.parametrize(
    "options",
    [{}, {"choice": TopP(0.5), "top_k": None}, {"choice": TopP(0.7), "top_k": 3}, {"choice": ExpertChoice()}],
    ids=str,
)
def test_the_probability_of_being_kept_is_that_of_new_noise_for_one_branch(options):
    """Drawn anew for one branch of one token, all else as it was, the noise chooses it that often."""
    torch.manual_seed(0)
    router = Router(5, 6, noise=0.5, **options).double()
    x = torch.randn(9, 5, dtype=torch.float64)
    routing, rule, kept = router(x), router.choice.rule, router.top_k[0]
    probability = kept_probability(router, routing).detach()
    share, draws, t = torch.softmax(routing.log_weights[0].detach(), -1), 1500, 4
    for i in range(6):
        hits = 0
        noise = 0.5 * torch.randn(draws, dtype=torch.float64)
        for value in noise.tolist():
            rank = routing.ranks[0].clone()
            rank[t, 0, i] = routing.clean[0][t, 0, i].detach() + value
            branch, serves = rule.chosen(rank, share, kept, None)
            hits += int(((branch[t, 0] == i) & (True if serves is None else serves[t, 0])).any())
        assert abs(hits / draws - float(probability[t, i])) < 4 * (0.25 / draws) ** 0.5


@pytest.mark.parametrize(
    ("branching", "options"),
    [((8,), {"top_k": 2}), ((2, 4), {"top_k": 3}), ((8,), {"top_k": None}), ((8,), {"top_k": 1})],
    ids=str,
)
def test_expert_choice_gives_every_expert_the_same_load(branching, options):
    layer = layer_of("softmax", branching, choice=ExpertChoice(), **options)
    mask = torch.rand(4, 10, generator=torch.Generator().manual_seed(1)) < 0.7
    mean = layer.router.slots
    layer(torch.randn(4, 10, 5), mask).square().sum().backward()
    finish_step(layer)
    room = -(-int(mask.sum()) * mean // 8)
    assert layer.tally().load.tolist() == [room] * 8
    assert int(layer.tally().tokens) == int(mask.sum())


@pytest.mark.parametrize("choice", [ExpertChoice(), Sinkhorn()])
def test_padding_does_not_change_what_real_tokens_get(choice):
    layer = layer_of(choice=choice)
    x = torch.randn(30, 5)
    mask = torch.arange(30) < 22
    assert_close(layer(x, mask)[mask], layer(x[mask]), "outputs of real tokens", 1e-5)
    if isinstance(choice, ExpertChoice):
        assert bool((layer(x, mask)[~mask] == 0).all())
        assert bool((layer(x, torch.zeros(30, dtype=torch.bool)) == 0).all())


@pytest.mark.parametrize("rule", [TopP(0.99), ExpertChoice(), Sinkhorn()], ids=str)
@pytest.mark.parametrize("by", ["log weights", "weights", "scores"])
def test_rules_keep_to_the_groups_of_a_limited_choice(by, rule):
    router = Router(5, 8, "sigmoid", 4, "before", choice=Choice(by, groups=4, kept=2, rule=rule))
    routing = router(torch.randn(60, 5))
    serves = all_weights(routing, 8) > 0
    assert int(serves.any(1).sum()) > 30
    assert int(serves.unflatten(1, (4, 2)).any(-1).sum(-1).max()) == 2
    assert bool(routing.ranks[0].isnan().sum() == 0)


def test_sinkhorn_evens_the_load_in_training_only():
    torch.manual_seed(0)
    layer = layer_of(choice=Sinkhorn(rounds=50), top_k=1, normalise="before")
    with torch.no_grad():
        layer.router.gates[0].bias[0] = 4.0
    x, loads = torch.randn(400, 5), {}
    for training in (True, False):
        layer.train(training)
        assert layer.router.depends_on_batch == training
        loads[training] = torch.bincount(layer.router(x).index.flatten(), minlength=8)
    assert int(loads[False].max()) > 250
    assert int(loads[True].max()) < 90


# What depends on the batch says so, and is refused where the batch is cut


@dataclass(frozen=True)
class AboveTheMean(ChoiceRule):
    """A rule of a user's own: tokens whose rank is above the mean over the batch."""

    depends_on_batch = True
    varies = True

    def chosen(self, rank, share, kept, real):
        return torch.arange(rank.shape[-1]).expand(rank.shape), rank > rank.mean(0)

    def threshold(self, rank, share, kept, real):
        return rank.mean(0).expand(rank.shape)


BATCHED = {"expert choice": ExpertChoice(), "sinkhorn": Sinkhorn(), "own": AboveTheMean()}


@pytest.mark.parametrize("choice", BATCHED.values(), ids=BATCHED)
def test_a_choice_that_depends_on_the_batch_says_so(choice):
    layer = layer_of(choice=choice, top_k=1)
    assert layer.router.depends_on_batch
    assert not layer_of(choice=TopP(0.5)).router.depends_on_batch
    torch.manual_seed(0)
    x = torch.randn(40, 5) + 1
    differs = not torch.allclose(layer(x)[:10], layer(x[:10]), atol=1e-5)
    assert differs  # so that the exemption is needed
    check_layer(layer_of(choice=choice))


@dataclass(frozen=True)
class Silent(AboveTheMean):
    """The same, without saying so."""

    depends_on_batch = False


def test_a_choice_that_depends_on_the_batch_and_does_not_say_so_breaks_the_law():
    with pytest.raises(AssertionError, match="tokens alone give what they give in a batch"):
        check_layer(layer_of(choice=Silent()))


@pytest.mark.parametrize("choice", [ExpertChoice(), AboveTheMean()])
def test_decoding_token_by_token_is_refused(choice):
    layer = layer_of(choice=choice).eval()
    layer(torch.randn(2, 9, 5))
    with pytest.raises(ValueError, match=r"one token of every sequence, as in decoding with a cache.*use_cache=False"):
        layer(torch.randn(2, 1, 5))
    assert layer(torch.randn(2, 5)).shape == (2, 5)
    layer.train()(torch.randn(2, 1, 5))
    with torch.no_grad(), pytest.raises(ValueError, match="decoding with a cache"):
        layer(torch.randn(2, 1, 5))
    sinkhorn = layer_of(choice=Sinkhorn()).eval()
    x = torch.randn(2, 9, 5)
    assert_close(sinkhorn(x[:, -1:]), sinkhorn(x)[:, -1:], "no plan in evaluation", 1e-5)


def test_a_causal_model_of_transformers_does_not_generate_with_expert_choice():
    transformers = pytest.importorskip("transformers")
    sizes = {"vocab_size": 50, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 32}
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(bos_token_id=0, eos_token_id=0, **sizes)).eval()
    prompt = torch.randint(1, 50, (2, 7))
    asked = {"max_new_tokens": 3, "do_sample": False, "pad_token_id": 0, "attention_mask": torch.ones_like(prompt)}
    for choice in (TopP(0.5), Sinkhorn(), ExpertChoice()):
        for block in model.transformer.h:
            block.mlp = MoE(16, 8, 4, choice=choice).eval()
        if isinstance(choice, ExpertChoice):
            with pytest.raises(ValueError, match="decoding with a cache"):
                model.generate(prompt, **asked)
            assert model.generate(prompt, use_cache=False, **asked).shape == (2, 10)
        else:
            cached = model.generate(prompt, **asked)
            assert torch.equal(cached, model.generate(prompt, use_cache=False, **asked))


# What routings compose with


SCORES = GATES | {"rectified": RECTIFIED, "sqrt-softplus": Gate(Affine(), SqrtSoftplus())}
FACTORS = {
    "routing": list(ROUTINGS),
    "gate": list(SCORES),
    "branching": BRANCHINGS,
    "balance": list(BALANCE_METHODS),
    "normalise": ["before", "after"],
    "capacity": [None, 1.1],
}
PAIRS = covering(FACTORS, 2)


@pytest.mark.parametrize("case", PAIRS, ids=lambda case: "-".join(map(str, case.values())))
def test_routings_train_with_every_gate_balancing_method_capacity_and_mask_on_all_backends(case):
    torch.manual_seed(0)
    own = ROUTINGS[case["routing"]] | {name: case[name] for name in ("balance", "normalise", "capacity")}
    layer = layer_of(SCORES[case["gate"]], case["branching"], "auto", **own, z_weight=1e-3)
    optimizer = torch.optim.SGD(layer.parameters(), 0.05)
    mask = torch.rand(4, 12) < 0.8
    for _ in range(3):
        optimizer.zero_grad()
        layer(torch.randn(4, 12, 5), mask).square().mean().backward()
        assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in layer.parameters())
        optimizer.step()
    assert int(layer.tally().tokens) == int(mask.sum())
    assert all(torch.tensor(value).isfinite() for value in summarise(layer.tally()).values())
    x, found = torch.randn(4, 12, 5), {}
    for backend in ("loop", "grouped", "dense"):
        layer.backend = backend
        found[backend] = layer.eval()(x, mask)
    assert_close(found["grouped"], found["loop"], "grouped", 1e-5)
    assert_close(found["dense"], found["loop"], "dense", 1e-5)


@pytest.mark.parametrize("options", ROUTINGS.values(), ids=ROUTINGS)
def test_files_and_weights_on_inputs_keep_the_routing(options, tmp_path):
    layer = layer_of("softmax", (2, 4), "auto", weigh_inputs=True, **options).eval()
    with torch.no_grad():
        for p in layer.parameters():
            p.add_(0.1 * torch.randn(p.shape))
    save_layer(layer, tmp_path)
    x = torch.randn(15, 5)
    assert torch.equal(load_layer(tmp_path).eval()(x), layer(x))
    expected = layer(x)
    for backend in ("loop", "dense"):
        layer.backend = backend
        assert_close(layer(x), expected, backend, 1e-5)


@pytest.mark.parametrize("options", ROUTINGS.values(), ids=ROUTINGS)
def test_vmap_over_sequences_chooses_within_each(options):
    layer = layer_of("softmax", (2, 4), "auto", **options).eval()
    x = torch.randn(3, 9, 5)
    assert_close(vmap(layer)(x), torch.stack([layer(part) for part in x]), "vmap", 1e-5)


@pytest.mark.parametrize("options", ROUTINGS.values(), ids=ROUTINGS)
def test_calls_without_tokens_and_with_one_pass(options):
    for backend in ("loop", "grouped", "dense"):
        layer = layer_of("softmax", (2, 4), backend, **options)
        for count in (0, 1):
            out = layer(torch.randn(count, 5))
            assert out.shape == (count, 5)
            out.sum().backward()
        finish_step(layer)
        assert int(layer.tally().tokens) == 1


@pytest.mark.parametrize("backend", ["loop", "grouped"])
def test_empty_slots_cost_nothing(backend):
    """Experts see as many rows as there are assignments, and not slots."""
    layer = layer_of(choice=ExpertChoice(), backend=backend).eval()
    seen = []
    layer.experts.register_forward_pre_hook(lambda module, args: seen.append(args[1]))
    layer(torch.randn(40, 5))
    (index,) = seen
    assert int((index < 8).sum()) == 8 * 10
    assert index.shape[1] < 8  # slots that no token needs are gone


def test_observers_see_which_slots_are_empty():
    layer = layer_of(choice=TopP(0.4), top_k=None).eval()
    x = torch.randn(30, 5)
    with observe(layer, keep=True) as seen:
        layer(x)
    routing = layer.router(x)
    assert torch.equal(seen.index[""][0] >= 0, routing.weight > 0)
    assert int(seen.tallies[""].load.sum()) == int((routing.weight > 0).sum())


@pytest.mark.parametrize("normalise", ["after", "always"])
def test_a_token_with_one_expert_keeps_the_weight_of_the_gate_or_has_one_with_its_gradient(normalise):
    layer = layer_of(choice=TopP(0.3), top_k=None, normalise=normalise).double()
    torch.nn.init.normal_(layer.router.gates[0].weight)
    x = tokens()
    routing = layer.router(x)
    weight, gate = all_weights(routing, 8), routing.log_weights[0][:, 0].exp()
    serves = weight > 0
    alone = serves.sum(1) == 1
    assert bool(alone.any())
    assert not bool(alone.all())
    assert_close(weight[~alone].sum(1), torch.ones(int((~alone).sum()), dtype=x.dtype), "several share one", 1e-12)
    own = gate[alone][serves[alone]]
    wanted = torch.ones_like(own) if normalise == "always" else own
    assert_close(weight[alone].sum(1), wanted, "a single one", 1e-12)
    (found,) = torch.autograd.grad(weight[alone].sum(), layer.router.gates[0].weight, retain_graph=True)
    (slope,) = torch.autograd.grad((own.log() if normalise == "always" else own).sum(), layer.router.gates[0].weight)
    assert_close(found, slope, "gradient", 1e-10)


def test_tokens_without_any_weight_are_counted_and_pass_through_nothing():
    layer = layer_of(RECTIFIED, top_k=None, balance="sparsity")
    with torch.no_grad():
        layer.router.gates[0].bias.fill_(-100.0)
    x = torch.randn(20, 5)
    assert bool((layer(x) == 0).all())
    layer(x).square().sum().backward()
    finish_step(layer)
    assert all(bool(p.grad.isfinite().all()) for p in layer.parameters())
    assert all(torch.tensor(value).isfinite() for value in summarise(layer.tally()).values())
    assert bool((leaf_probabilities(layer.router(x)) == 0).all())


def test_a_rule_of_ones_own_is_kept_by_files_once_it_has_a_name(tmp_path, monkeypatch):
    layer = layer_of(choice=Choice("scores", rule=AboveTheMean()), normalise="before")
    with pytest.raises(ValueError, match="is a rule of your own: a file holds names, not code"):
        save_layer(layer, tmp_path)
    monkeypatch.setitem(CHOICE_RULES, "above the mean", AboveTheMean)
    save_layer(layer, tmp_path)
    again, x = load_layer(tmp_path), torch.randn(20, 5)
    assert again.router.choice == layer.router.choice
    assert torch.equal(again(x), layer(x))


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        ("choice", {"name": "os.system", "p": 0.5}, "the rule of the choice .* is not known: they are top-k, top-p"),
        ("choice", {"name": "top-p", "p": 2.0}, "p is a share of the weights"),
        ("choice", {"name": "top-p", "p": "all"}, "p of the TopP is 'all'"),
        ("choice", {"name": "top-p"}, "the TopP lacks p"),
        ("choice", ["top-p"], "is not known"),
        ("balance", {"dict": {"name": "sparsity", "experts": 3.0}}, "the Sparsity lacks start, growth"),
        ("balance", {"dict": {"name": ["sparsity"]}}, "the balance .* is not known"),
    ],
)
def test_altered_files_are_refused_in_words(part, value, message, tmp_path):
    save_layer(layer_of(choice=TopP(0.4), balance=Sparsity(3.0)), tmp_path)
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    if part == "choice":
        config["layer"]["choice"]["dict"]["rule"] = {"dict": value} if isinstance(value, dict) else value
    else:
        config["layer"]["balance"] = value
    path.write_text(json.dumps(config))
    with pytest.raises(ValueError, match=message):
        load_layer(tmp_path)
