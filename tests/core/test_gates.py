"""Links and gates: names, what has no density and says so, top-k."""

import re

import numpy as np
import pytest
import torch

from gatewise import MixtureOfExpertsRegressor
from gatewise.core.experts import EXPERTS, expert
from gatewise.core.families import FAMILIES, family
from gatewise.core.gates import GATES, Gate, describe, gate, gates
from gatewise.core.links import NormalisedSigmoid, Sigmoid, Softmax, TopK
from gatewise.core.mixture import Mixture, log_density, regression, responsibilities, sample
from gatewise.core.scores import Affine, Distance
from gatewise.experiments import gates_of
from gatewise.infer.identifiability import identify
from gatewise.nn import MoE
from gatewise.testing import assert_close, generator, make_problem

SCORES = torch.tensor([[3.0, 0.0, 1.0], [1.0, 0.0, 2.0], [2.0, 0.0, 5.0], [-1.0, 0.0, 4.0]]).double()


@pytest.mark.parametrize(
    ("gate", "words"),
    [
        (
            GATES["sigmoid"],
            "gate 1 has the link Sigmoid: its weights do not sum to one.*'normalised-sigmoid'.*least-squares",
        ),
        (Gate(Affine(), TopK(k=1)), "gate 1 has the link TopK: its weights do not sum to one.*Keep two branches"),
        (Gate(Affine(), TopK(renormalise=False)), "gate 1 has the link TopK: its weights do not sum to one"),
    ],
)
def test_a_gate_without_density_says_so(gate, words):
    mixture = Mixture((GATES["laplace"], gate), (2, 3))
    _, measure, x, gate_x, y, _ = make_problem(mixture)
    for density in (log_density, responsibilities):
        with pytest.raises(ValueError, match=words):
            density(mixture, measure, x, gate_x, y)
    with pytest.raises(ValueError, match=words):
        sample(mixture, measure, x, gate_x, generator(0))
    assert bool(regression(mixture, measure, x, gate_x).isfinite().all())


def test_the_sigmoid_gate_adds_up_weighted_experts_without_dividing():
    mixture = Mixture((GATES["sigmoid"],), (3,))
    _, measure, x, gate_x, _, _ = make_problem(mixture)
    weight, bias = measure.gates[0]["weight"], measure.gates[0]["bias"]
    coef, intercept = measure.experts["coef"][:, 0], measure.experts["intercept"][:, 0]
    parts = torch.sigmoid(weight @ gate_x + bias[:, None]) * (coef @ x + intercept[:, None])
    assert_close(regression(mixture, measure, x, gate_x)[0], parts.sum(0), "sum of sigma(s) h")
    with pytest.raises(TypeError, match="Sigmoid weights are not a softmax of logits"):
        Sigmoid().logits(SCORES)


def test_top_k_keeps_the_largest_scores_and_the_first_of_ties():
    for k in (1, 2, 3, 9):
        kept = TopK(Softmax(), k).weights(SCORES) > 0
        assert kept.sum(0).tolist() == [min(k, 4)] * 3
        assert kept[: min(k, 4), 1].all()
        assert kept[SCORES.argmax(0), torch.arange(3)].all()


def test_top_k_renormalises_masks_and_keeps_log_weights_beside():
    full = torch.softmax(SCORES, -2)
    masked, renormalised = TopK(k=2, renormalise=False), TopK(k=2)
    kept = torch.where(masked.dropped(SCORES), 0.0, full)
    assert_close(masked.weights(SCORES), kept, "masked")
    assert_close(renormalised.weights(SCORES), kept / kept.sum(-2), "renormalised")
    assert_close(TopK(NormalisedSigmoid(), 9).weights(SCORES), NormalisedSigmoid().weights(SCORES), "all kept")
    for link in (masked, renormalised, TopK(Sigmoid(), 2), TopK(NormalisedSigmoid(), 3), TopK(k=1)):
        assert_close(link.log_weights(SCORES).exp(), link.weights(SCORES), "log weights")


@pytest.mark.parametrize("link", [Softmax(), NormalisedSigmoid(), Sigmoid()], ids=str)
def test_top_one_passes_a_gradient_to_the_gate(link):
    scores = SCORES.clone().requires_grad_(True)
    TopK(link, 1).weights(scores).sum().backward()
    at_best = scores.grad[SCORES.argmax(0), torch.arange(3)]
    assert bool((at_best > 1e-3).all())


def test_top_k_refuses_to_keep_nothing():
    with pytest.raises(ValueError, match="TopK got k=0: keep at least one branch"):
        TopK(k=0)


def test_gates_are_chosen_by_name_or_given():
    own = Gate(Distance(), NormalisedSigmoid())
    assert gate("laplace") is GATES["laplace"]
    assert gate(own) is own
    assert describe(GATES["cosine"]) == "cosine"
    assert describe(own) == f"{own.link}({own.score})"
    with pytest.raises(ValueError, match="gate 'laplce' is unknown: did you mean 'laplace'"):
        gate("laplce")
    with pytest.raises(TypeError, match="gate=3 is a int: give a name of GATES or a Gate"):
        gate(3)


def test_gates_are_values():
    assert Gate(Affine(), Softmax()) == GATES["softmax"]
    assert len({*GATES.values()}) == len(GATES)


@pytest.mark.parametrize("parts", [("cosine",), (Affine(), "sigmoid"), (Affine,), (Affine(), Sigmoid)])
def test_a_gate_of_names_or_classes_is_refused(parts):
    with pytest.raises(TypeError, match=r"give an instance, such as Gate\(Cosine\(\), Sigmoid\(\)\)"):
        Gate(*parts)


def test_a_name_that_is_none_is_told_in_the_same_words_wherever_it_is_given():
    """By an estimator, a layer, the check of identifiability and an experiment, at one level and at two."""
    takers = {
        "gate": [gate, gates, lambda name: MoE(4, 8, 2, gate=name), identify, gates_of],
        "expert": [expert, lambda name: identify("softmax", name), lambda name: fitted(expert=name)],
        "family": [family, lambda name: identify(family=name), lambda name: fitted(family=name)],
    }
    takers["gate"] += [lambda name: MoE(4, 8, (2, 2), gate=f"softmax/{name}"), lambda name: fitted(gate=name)]
    for kind, table in (("gate", GATES), ("expert", EXPERTS), ("family", FAMILIES)):
        name = f"{next(iter(table))}s"
        words = f"{kind} '{name}' is unknown: did you mean '{name[:-1]}'? the names are {', '.join(table)}"
        for take in takers[kind]:
            with pytest.raises(ValueError, match=re.escape(words)):
                take(name)


def fitted(**arguments):
    return MixtureOfExpertsRegressor(2, **arguments).fit(np.arange(20.0)[:, None], np.arange(20.0))


def test_two_levels_may_stand_in_one_text():
    both = (GATES["sigmoid"], GATES["cosine"])
    assert gates("sigmoid/cosine", 2) == gates(["sigmoid", GATES["cosine"]]) == both
    assert MoE(4, 8, (2, 2), gate="sigmoid/cosine").router.kinds == both
    with pytest.raises(ValueError, match="gate has 2 entries for 1 level"):
        gates("sigmoid/cosine", 1)


def test_a_top_k_gate_can_be_drawn_from_and_has_a_density():
    """What is left out is never drawn, the others have their shares, and the density integrates to one."""
    mixture = Mixture((GATES["top-k"],), (3,))
    _, measure, x, _, _, _ = make_problem(mixture, d=3, gate_d=3, n=4)
    weights = GATES["top-k"].weights(measure.gates[0], x)
    y = torch.linspace(-60.0, 60.0, 24001, dtype=torch.float64)
    for i in range(4):
        many = x[:, i : i + 1].expand(-1, len(y))
        _, leaf = sample(mixture, measure, many, many, generator(0))
        share = torch.bincount(leaf, minlength=3) / len(y)
        assert_close(share.double(), weights[:, i], "shares", 0.01)
        assert bool((share[weights[:, i] == 0] == 0).all())
        mass = log_density(mixture, measure, many, many, y[None]).exp().sum() * 0.005
        assert abs(float(mass) - 1) < 1e-8
        own = responsibilities(mixture, measure, many, many, y[None])
        assert bool((own[weights[:, i] == 0] == 0).all())
