"""Every gate, expert, family and mixture of the catalogues keeps every law of `gatewise.testing`."""

import pytest
import torch

from gatewise import testing
from gatewise.core.experts import EXPERTS, Activation
from gatewise.core.families import FAMILIES, Binomial, FullGaussian
from gatewise.core.gates import GATES, Gate
from gatewise.core.links import NormalisedSigmoid
from gatewise.core.mixture import Mixture
from gatewise.core.predictors import autograd_local
from gatewise.core.scores import Activated, Affine, Bias, Cosine, Distance, Quadratic, Tempered

METRIC, ORIGIN = (0.5, 2.0, 1.3), (0.1, -0.4, 0.7)
SCORES = [
    Bias(),
    Affine(),
    Distance(),
    Distance(metric=METRIC),
    Distance(metric=METRIC, radius=0.2),
    Cosine(),
    Cosine(floor=0.2, origin=ORIGIN, metric=METRIC),
    Quadratic(),
    Quadratic(monomial=True),
    Quadratic(monomial=True, origin=ORIGIN),
    Activated(Affine(), "relu"),
    Activated(Affine(), "relu", radius=0.3),
    Activated(Affine(), "softplus", origin=ORIGIN),
    Activated(Affine(), "square"),
    Activated(Distance(), "sigmoid"),
    Activated(Distance(metric=METRIC), "gelu", origin=ORIGIN),
    Activated(Cosine(), "silu"),
    Activated(Quadratic(), "tanh", origin=ORIGIN),
    Activated(Activated(Affine(), "tanh"), "gelu"),
    Tempered(Quadratic(monomial=True)),
    Tempered(Activated(Distance(), "tanh", origin=ORIGIN)),
]
# With a floor, weight / (||weight|| + floor) fills the unit ball, so a common shift of it is one more invariance per
# input that no shift of a parameter expresses: see the test below.
BALL = [Cosine(floor=0.2, origin=ORIGIN, metric=METRIC), GATES["perturbed-cosine"].score]
SMOOTH_GATES = {name: gate for name, gate in GATES.items() if gate.link.normalised and gate.link.smooth}
IDENTIFIED = [gate for gate in SMOOTH_GATES.values() if gate.score not in BALL]
IDENTIFIED += [Gate(score) for score in SCORES if score not in BALL]
IDENTIFIED += [Gate(score, NormalisedSigmoid()) for score in (Cosine(), Quadratic(), Tempered(Quadratic()))]
EXPERT_FORMS = [
    *EXPERTS.values(),
    Activation("relu", radius=0.2),
]
FRAMED_EXPERTS = [
    Activation("silu", output=True, location=(1.0, -2.0, 0.5), spread=(0.5, 3.0, 1.0)),
    Activation("tanh", bias=False, origin=ORIGIN, location=(0.0, 0.0, 1.0), spread=(0.5, 3.0, 1.0)),
]
FLOORED = FullGaussian(floor=(0.4, 0.9))
FAMILY_FORMS = [*FAMILIES.values(), Binomial(trials=7), FLOORED]
GATE_PROBLEMS, LEAF_PROBLEMS = testing.gate_problems(), testing.leaf_problems()
LEAF_LAWS = [
    testing.law_derivatives,
    testing.law_complete,
    testing.law_tree,
    testing.law_rescale,
    testing.law_expected_score,
    testing.law_sample,
]


def called(law):
    return law.__name__.removeprefix("law_")


def about_its_origin(law, part):
    return {"origin": part.origin} if law is testing.law_slopes and "origin" in vars(part) else {}


@pytest.mark.parametrize("score", SCORES + [gate.score for gate in GATES.values()], ids=str)
@pytest.mark.parametrize("law", testing.SCORE_LAWS, ids=called)
def test_scores(law, score):
    law(score, **about_its_origin(law, score))


@pytest.mark.parametrize("score", [s for s in SCORES if "temperature" not in s.parameters(3)], ids=str)
def test_temperature_one_is_the_plain_score(score):
    testing.law_temperature(score)


@pytest.mark.parametrize("name", GATES)
@pytest.mark.parametrize("law", testing.GATE_LAWS, ids=called)
def test_gates(law, name):
    law(GATES[name])


@pytest.mark.parametrize("name", SMOOTH_GATES)
def test_logits_of_gates(name):
    testing.law_gate_local(GATES[name])


@pytest.mark.parametrize("gate", IDENTIFIED, ids=str)
def test_the_gauge_is_complete(gate):
    testing.law_gauge(gate)


@pytest.mark.parametrize("inputs", [1, 2, 3])
def test_the_perturbed_cosine_has_one_more_invariance_per_input(inputs):
    with pytest.raises(AssertionError, match=f"leaves {inputs} directions .* the score declares 0"):
        testing.law_gauge(GATES["perturbed-cosine"], inputs)


@pytest.mark.parametrize("expert", EXPERT_FORMS, ids=str)
@pytest.mark.parametrize("law", testing.EXPERT_LAWS, ids=called)
def test_experts(law, expert):
    law(expert, **about_its_origin(law, expert))


@pytest.mark.parametrize("expert", FRAMED_EXPERTS, ids=str)
def test_experts_with_their_own_units_of_the_response(expert):
    for law in testing.EXPERT_LAWS[2:]:
        law(expert, **about_its_origin(law, expert))
    mixture = Mixture((GATES["softmax"],), (3,), expert)
    testing.check_problem(testing.make_problem(mixture, d=3, columns=3))


@pytest.mark.parametrize("family", FAMILY_FORMS, ids=str)
@pytest.mark.parametrize("law", testing.FAMILY_LAWS, ids=called)
def test_families(law, family):
    of_one_output = law in (testing.law_family_moments, testing.law_family_start)
    law(FullGaussian(floor=(0.4,)) if of_one_output and family == FLOORED else family)


@pytest.mark.parametrize("name", GATE_PROBLEMS)
@pytest.mark.parametrize("law", [*testing.MIXTURE_LAWS, testing.law_zero_slopes], ids=called)
def test_mixtures_with_every_gate_at_depth_one_to_three(law, name):
    law(GATE_PROBLEMS[name])


@pytest.mark.parametrize("name", LEAF_PROBLEMS)
@pytest.mark.parametrize("law", LEAF_LAWS, ids=called)
def test_mixtures_of_every_expert_in_every_family(law, name):
    law(LEAF_PROBLEMS[name])


def test_every_score_and_expert_of_the_catalogues_moves_to_other_units():
    problems = [*GATE_PROBLEMS.values(), *LEAF_PROBLEMS.values()]
    frames = [[testing.draw_frame(k, testing.generator(k)) for k in testing.sizes(problem)] for problem in problems]
    moved = [testing.rescaled(p.mixture, p.measure, *f) for p, f in zip(problems, frames, strict=True)]
    assert None not in moved


def test_four_levels_one_of_them_with_a_single_branch():
    gates = tuple(GATES[name] for name in ("laplace", "softmax", "cosine", "quadratic"))
    testing.check_problem(testing.make_problem(Mixture(gates, (2, 1, 3, 2))))


def test_distances_of_twenty_inputs_that_expand_the_square():
    wide = testing.make_problem(Mixture((GATES["laplace"], GATES["scaled-laplace"]), (2, 3)), gate_d=20)
    for law in testing.MIXTURE_LAWS:
        if law is not testing.law_batched:  # vmap cannot look for the entries that cancel
            law(wide)


def test_successes_and_failures_in_two_columns():
    mixture = Mixture((GATES["laplace"],), (3,), family=Binomial(trials=None))
    counts = torch.tensor([[1, 0, 3, 2, 1, 4, 0, 2], [0, 2, 1, 2, 5, 0, 3, 1]], dtype=torch.float64)
    problem = testing.make_problem(mixture, columns=2)._replace(y=counts)
    for law in testing.MIXTURE_LAWS:
        if law is not testing.law_expected_score:  # samples are of one trial
            law(problem)


@pytest.mark.parametrize("score", SCORES, ids=str)
def test_the_automatic_fallback_agrees_with_the_closed_forms_in_a_batch_of_inputs(score):
    g = testing.generator(5)
    params, x = testing.draw_parameters(score, 3, (2,), 4, g), torch.stack([testing.draw_inputs(3, 6, g)] * 2)
    closed, fallback = score(params, x), autograd_local(score, params, x)
    again = autograd_local(score, params, x[0])
    testing.assert_close(fallback.value, closed, "value")
    testing.assert_close(fallback.jacobian, again.jacobian, "the Jacobian of equal inputs")
