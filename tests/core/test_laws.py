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
from gatewise.core.scores import Activated, Affine, Bias, Cosine, Distance, Quadratic, SquaredDistance, Tempered
from gatewise.fit.directions import gauge_directions
from gatewise.objective.parameterization import make_parameterization

from ..covering import pairs_and_slow_rest

METRIC, ORIGIN = (0.5, 2.0, 1.3), (0.1, -0.4, 0.7)
SCORES = [
    Bias(),
    Affine(),
    Distance(),
    Distance(metric=METRIC),
    Distance(metric=METRIC, radius=0.2),
    SquaredDistance(),
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
SMOOTH_GATES = {name: gate for name, gate in GATES.items() if gate.link.normalised and gate.link.smooth}
FLOORED_COSINE = Cosine(floor=0.3, origin=ORIGIN)
DECLARED = [*SMOOTH_GATES.values(), *(Gate(score) for score in SCORES), Gate(Activated(FLOORED_COSINE, "tanh"))]
DECLARED += [Gate(Activated(FLOORED_COSINE, "identity"))]
DECLARED += [
    Gate(score, NormalisedSigmoid()) for score in (Cosine(), FLOORED_COSINE, Quadratic(), Tempered(Quadratic()))
]
EXPERT_FORMS = [
    *EXPERTS.values(),
    Activation("relu", radius=0.2),
]
FRAMED_EXPERTS = [
    Activation("silu", output=True, location=(1.0, -2.0, 0.5), spread=(0.5, 3.0, 1.0)),
    Activation("tanh", bias=False, origin=ORIGIN, location=(0.0, 0.0, 1.0), spread=(0.5, 3.0, 1.0)),
]
FLOORED = FullGaussian(floor=(0.4, 0.9))
FAMILY_FORMS = [*FAMILIES.values(), Binomial(trials=7), Binomial(trials=None), FLOORED]
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


@pytest.mark.parametrize("gate", DECLARED, ids=str)
def test_the_gauge_is_complete(gate):
    testing.law_gauge(gate)


@pytest.mark.parametrize(
    ("gate", "directions"),
    [
        (GATES["softmax"], 0),
        (GATES["cosine"], 3),
        (GATES["perturbed-cosine"], 5),
        (Gate(FLOORED_COSINE, NormalisedSigmoid()), 0),
        (Gate(Cosine(), NormalisedSigmoid()), 3),
    ],
    ids=str,
)
def test_a_cosine_has_a_free_length_per_branch_and_a_floored_one_a_common_shift_per_input(gate, directions):
    parameterization = make_parameterization(Mixture((gate,), (3,)), 1, 5, 1)
    free = torch.randn(parameterization.size, generator=testing.generator(1), dtype=torch.float64)
    assert gauge_directions(parameterization, free).shape == (parameterization.size, directions)


def test_every_node_has_the_directions_of_its_gate():
    parameterization = make_parameterization(Mixture((GATES["perturbed-cosine"], GATES["cosine"]), (2, 3)), 1, 4, 1)
    free = torch.randn(parameterization.size, generator=testing.generator(1), dtype=torch.float64)
    assert gauge_directions(parameterization, free).shape[1] == 4 + 2 * 3


def test_a_held_weight_has_no_free_length_and_a_held_entry_takes_the_shift_along_it_away():
    held = torch.full((3, 4), torch.nan).double()
    held[0, 1] = 0.7
    free = torch.randn(30, generator=testing.generator(1), dtype=torch.float64)
    for name, directions in (("cosine", 2), ("perturbed-cosine", 3)):
        parameterization = make_parameterization(Mixture((GATES[name],), (3,)), 1, 4, 1, fixed={"gates.0.weight": held})
        assert gauge_directions(parameterization, free[: parameterization.size]).shape[1] == directions


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


OF_ANY_WIDTH = (testing.law_family_columns, testing.law_family_fit)  # a floor belongs to a number of outputs
OF_ONE_OUTPUT = (
    testing.law_family_moments,
    testing.law_family_cdf,
    testing.law_family_support,
    testing.law_family_start,
)
FAMILY_ROWS = [
    pytest.param(law, form, id=f"{called(law)}-{form}")
    for law in testing.FAMILY_LAWS
    for form in FAMILY_FORMS
    if form != FLOORED or law not in OF_ANY_WIDTH
]


@pytest.mark.parametrize(("law", "family"), FAMILY_ROWS)
def test_families(law, family):
    of_one_output = law in OF_ONE_OUTPUT
    sizes = {"sizes": ((4, 2),)} if law is testing.law_family_fit else {}
    law(FullGaussian(floor=(0.4,)) if of_one_output and family == FLOORED else family, **sizes)


@pytest.mark.slow
@pytest.mark.parametrize("family", [form for form in FAMILY_FORMS if form != FLOORED], ids=str)
def test_fits_of_families_with_one_input(family):
    testing.law_family_fit(family, sizes=((1, 1),))


def of_gate(gate, depth):
    """The problem of a gate at a depth, and its name."""
    return list(GATE_PROBLEMS.items())[3 * list(GATES).index(gate) + depth - 1]


def named(case):
    problem = f"{case['expert']}-{case['family']}" if "expert" in case else of_gate(case["gate"], case["depth"])[0]
    return f"{called(case['law'])}-{problem}"


GATE_FACTORS = {"law": (*testing.MIXTURE_LAWS, testing.law_zero_slopes), "gate": tuple(GATES), "depth": (1, 2, 3)}


@pytest.mark.parametrize(tuple(GATE_FACTORS), pairs_and_slow_rest(GATE_FACTORS, named))
def test_mixtures_with_every_gate_at_depth_one_to_three(law, gate, depth):
    name, problem = of_gate(gate, depth)
    assert GATES[gate] in problem.mixture.gates, name
    assert problem.mixture.depth == depth, name
    law(problem)


LEAF_FACTORS = {"law": tuple(LEAF_LAWS), "expert": tuple(EXPERTS), "family": tuple(FAMILIES)}


def is_of_derivatives(case):
    return case["law"] is testing.law_derivatives


@pytest.mark.parametrize(tuple(LEAF_FACTORS), pairs_and_slow_rest(LEAF_FACTORS, named, is_of_derivatives))
def test_mixtures_of_every_expert_in_every_family(law, expert, family):
    law(LEAF_PROBLEMS[f"{expert}-{family}"])


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
    problem = testing.make_problem(mixture, columns=2)
    assert problem.y.shape == (2, 8)
    testing.check_problem(problem)
    for law in testing.MIXTURE_LAWS:
        law(problem._replace(y=counts))


@pytest.mark.parametrize("score", SCORES, ids=str)
def test_the_automatic_fallback_agrees_with_the_closed_forms_in_a_batch_of_inputs(score):
    g = testing.generator(5)
    params, x = testing.draw_parameters(score, 3, (2,), 4, g), torch.stack([testing.draw_inputs(3, 6, g)] * 2)
    closed, fallback = score(params, x), autograd_local(score, params, x)
    again = autograd_local(score, params, x[0])
    testing.assert_close(fallback.value, closed, "value")
    testing.assert_close(fallback.jacobian, again.jacobian, "the Jacobian of equal inputs")
