"""EM, optima and certificates of every gate keep the laws of `gatewise.testing`; nothing that may not matter does."""

from itertools import product
from math import prod

import numpy as np
import pytest
import torch

from gatewise import data, testing
from gatewise.core.experts import EXPERTS
from gatewise.core.families import FAMILIES, Binomial
from gatewise.core.gates import GATES
from gatewise.core.mixture import Mixture
from gatewise.fit import maximum_likelihood
from gatewise.objective.parameterization import from_paths
from gatewise.objective.rows import make_rows
from gatewise.testing import fitting_problem
from gatewise.testing.fits.laws import FITTED, rows_of
from gatewise.testing.problems import drawn_rows

from ..covering import slow_rest

SMOOTH = [name for name, gate in GATES.items() if gate.link.normalised and gate.link.smooth]
BRANCHINGS = ((3,), (2, 3), (2, 3, 2))


def gated(*names, branching=(2, 2, 2), **parts):
    return Mixture(tuple(GATES[name] for name in names), branching[: len(names)], **parts)


def colder(problem, factor=0.2):
    """The same problem with data drawn at a lower temperature."""
    paths = problem.measure.paths()
    paths["gates.0.temperature"] = factor * paths["gates.0.temperature"]
    measure = from_paths(paths, 1)
    d, n = problem.x.shape
    return drawn_rows(problem.mixture, measure, d, d, n, problem.seed)


def drawn(name, d=2, n=200, seed=1):
    return fitting_problem(gated(name), d=d, gate_d=d, n=n, seed=seed)


# One data set per gate on which the optimum from the truth is regular, or on a ridge or kink that belongs to the gate.
REGULAR = {
    **{name: drawn(name) for name in SMOOTH},
    "laplace": drawn("laplace", seed=3),
    "scaled-laplace": colder(drawn("scaled-laplace", d=1, n=150, seed=4), 0.3),
    "normalised-sigmoid": drawn("normalised-sigmoid", n=150, seed=0),
    "euclidean-sigmoid": colder(drawn("euclidean-sigmoid", d=1, n=150, seed=4)),
    "activation-dense-to-sparse": colder(drawn("activation-dense-to-sparse", n=150, seed=0)),
    "tanh-dense-to-sparse": colder(drawn("tanh-dense-to-sparse", n=300, seed=0), 0.3),
    "gelu-dense-to-sparse": colder(drawn("gelu-dense-to-sparse", d=1, n=300, seed=2), 0.3),
    "relu-dense-to-sparse": colder(drawn("relu-dense-to-sparse", d=1, n=150, seed=1)),
}


def called(law):
    return law.__name__.removeprefix("law_")


@pytest.mark.parametrize("branching", BRANCHINGS, ids=str)
@pytest.mark.parametrize("name", SMOOTH)
def test_em_never_raises_its_objective_and_moves_every_gate(name, branching):
    rows = max(120, 20 * prod(branching))  # with ten rows an expert may sit on one of them, and its scale vanish
    problem = fitting_problem(Mixture((GATES[name],) * len(branching), branching), n=rows)
    testing.law_em_monotone(problem)
    testing.law_em_moves(problem)


@pytest.mark.parametrize("name", [n for n in FAMILIES if n != "gaussian"])
def test_em_of_other_families(name):
    problem = fitting_problem(gated("softmax", "laplace", family=FAMILIES[name]), columns=2, n=120)
    testing.law_em_monotone(problem)
    testing.law_em_moves(problem)


@pytest.mark.parametrize("shared", [(), ("family.scale",)], ids=["free", "shared scale"])
@pytest.mark.parametrize("names", [("softmax",), ("laplace", "quadratic")], ids="+".join)
@pytest.mark.parametrize("outputs", [1, 2])
def test_ems_step_for_linear_gaussian_experts_is_closed(names, outputs, shared):
    testing.law_em_step(fitting_problem(gated(*names, shared=shared), columns=outputs))


@pytest.mark.parametrize(
    "problem",
    [
        *(REGULAR[name] for name in ("constant", "softmax", "quadratic-monomial", "perturbed-cosine", "activated")),
        fitting_problem(gated("softmax", "softmax"), n=300, seed=1),
        fitting_problem(gated("softmax", family=FAMILIES["full-gaussian"]), columns=2),
        fitting_problem(gated("softmax", family=FAMILIES["poisson"]), seed=1),
    ],
    ids=lambda p: f"{len(p.mixture.branching)}-{p.mixture.gates[0].score}-{p.mixture.family}",
)
def test_em_ends_where_newtons_method_ends(problem):
    testing.law_em_optimum(problem)


@pytest.mark.parametrize("name", SMOOTH)
def test_a_fit_of_every_gate_is_the_optimum_its_certificate_says(name):
    testing.law_fit_optimum(REGULAR[name])


OTHERS = {
    "two levels": fitting_problem(gated("softmax", "softmax", branching=(2, 2)), n=300, seed=1),
    "three levels": fitting_problem(gated("softmax", "constant", "constant"), n=400, seed=1),
    "student-t": fitting_problem(gated("softmax", family=FAMILIES["student-t"])),
    "full covariance": fitting_problem(gated("softmax", family=FAMILIES["full-gaussian"]), columns=2),
    "poisson": fitting_problem(gated("softmax", family=FAMILIES["poisson"])),
    "binomial": fitting_problem(gated("softmax", family=Binomial(trials=12))),
    "tanh experts": fitting_problem(gated("softmax", expert=EXPERTS["tanh"])),
    "constant experts": fitting_problem(gated("softmax", expert=EXPERTS["constant"])),
    "shared scale": fitting_problem(gated("softmax", shared=("family.scale",)), columns=2),
    "shared slopes": fitting_problem(gated("softmax", shared=("experts.coef",))),
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_fit_of_other_mixtures_is_the_optimum_its_certificate_says(name):
    testing.law_fit_optimum(OTHERS[name])


@pytest.mark.parametrize("outputs", [1, 2])
@pytest.mark.parametrize("name", ["equal", "softmax", "laplace", "cosine"])
def test_one_expert_is_ordinary_least_squares_behind_any_gate(name, outputs):
    testing.law_fit_one_expert(fitting_problem(gated(name), columns=outputs))


INDIFFERENT = {
    "softmax": REGULAR["softmax"],
    "laplace": REGULAR["laplace"],
    "perturbed cosine": REGULAR["perturbed-cosine"],
    "two levels": fitting_problem(gated("softmax", "quadratic"), n=200, seed=1),
    "poisson": OTHERS["poisson"],
}
INDIFFERENT_LAWS = [
    testing.law_fit_starts,
    testing.law_fit_order,
    testing.law_fit_blocks,
    testing.law_fit_frequencies,
    testing.law_fit_repeats,
    testing.law_fit_given_starts,
    testing.law_fit_streamed,
]


CASES = list(product(INDIFFERENT_LAWS, INDIFFERENT))
# every law with one level and two, and with each of the others in turn
IN_TURN = {*CASES[::5], *CASES[3::5], *((law, name) for at, (law, name) in enumerate(CASES) if (at // 5 + at) % 3 == 0)}


@pytest.mark.parametrize(("law", "name"), slow_rest(CASES, IN_TURN))
def test_what_may_not_matter_does_not(law, name):
    law(INDIFFERENT[name])


def test_weights_are_frequencies_for_the_search_that_moves_experts_too():
    testing.law_fit_frequencies(fitting_problem(gated("softmax", branching=(3,)), seed=1), starts=12)


LONG = ("activation-dense-to-sparse", "tanh-dense-to-sparse", "scaled-laplace")  # each like one that is kept


@pytest.mark.parametrize("name", slow_rest(SMOOTH, lambda name: name not in LONG))
def test_other_units_of_the_data_change_no_responsibility(name):
    testing.law_fit_units(REGULAR[name])


@pytest.mark.parametrize("name", ["two levels", "student-t", "full covariance", "poisson", "shared scale"])
def test_other_units_change_no_responsibility_of_other_mixtures(name):
    testing.law_fit_units(OTHERS[name])


@pytest.mark.parametrize("name", ["softmax", "quadratic", "cosine"])
@pytest.mark.parametrize("size", [2, 5])
def test_rows_of_a_group_share_a_leaf(name, size):
    testing.law_fit_groups(REGULAR[name], size)


@pytest.mark.parametrize("name", ["two levels", "full covariance", "poisson", "shared slopes"])
def test_rows_of_a_group_share_a_leaf_in_other_mixtures(name):
    testing.law_fit_groups(OTHERS[name])


@pytest.mark.parametrize(
    "shared", [("family.scale",), ("experts.coef",), ("experts.coef", "family.scale"), ("experts.intercept",)], ids=str
)
def test_shared_parameters_are_one_parameter(shared):
    testing.law_fit_ties(fitting_problem(gated("softmax", shared=shared, branching=(3,)), columns=2, seed=2))
    testing.law_fit_ties(fitting_problem(gated("softmax", "constant", shared=shared), columns=1, n=300, seed=1))


@pytest.mark.parametrize("problem", [REGULAR["softmax"], REGULAR["cosine"], OTHERS["poisson"]], ids=["1", "2", "3"])
def test_fixed_parts_stay_and_the_rest_is_fitted(problem):
    testing.law_fit_fixed(problem)


@pytest.mark.parametrize("problem", [REGULAR["softmax"], OTHERS["two levels"], OTHERS["poisson"]], ids=["1", "2", "3"])
def test_a_ridge_is_its_formula(problem):
    testing.law_fit_ridge(problem)


def test_a_memory_map_is_fitted_as_its_values(tmp_path):
    problem = REGULAR["softmax"]
    held = testing.fit_from_truth(problem)
    paths = [tmp_path / name for name in ("x.npy", "y.npy")]
    for path, values in zip(paths, (problem.x, problem.y), strict=True):
        np.save(path, values.T.numpy())
    mapped = make_rows(*(np.load(path, mmap_mode="r") for path in paths), gate_x=problem.gate_x.T.numpy(), hold=False)
    fit = maximum_likelihood(problem.mixture, mapped, starts=[problem.measure])
    assert abs(fit.log_likelihood - held.log_likelihood) <= 1e-10 * abs(held.log_likelihood)
    for path, value in held.measure.paths().items():
        testing.assert_close(fit.measure.paths()[path], value, path, 1e-8)


def shipped(name):
    found = data.load(name)
    x, y = torch.tensor(found.X.to_numpy(float)).T, torch.tensor(found.y.to_numpy(float))[None]
    return x, y


def shipped_problem(name):
    x, y = shipped(name)
    return testing.ExampleProblem(gated("softmax"), None, x, x, y)


def nested_in(name, small, large, starts=8):
    testing.law_fit_nested(shipped_problem(name)._replace(mixture=small), large, starts)


NESTED = {
    "one expert in two": (gated("softmax", branching=(1,)), gated("softmax")),
    "two experts in three": (gated("softmax"), gated("softmax", branching=(3,))),
    "constant gate in softmax": (gated("constant"), gated("softmax")),
    "equal gate in constant": (gated("equal"), gated("constant")),
    "softmax in quadratic": (gated("softmax"), gated("quadratic")),
    "shared scale in free": (gated("softmax", shared=("family.scale",)), gated("softmax")),
    "shared slopes in free": (gated("softmax", shared=("experts.coef",)), gated("softmax")),
    "Gaussian in Student-t": (gated("softmax"), gated("softmax", family=FAMILIES["student-t"])),
    "constant experts in linear": (gated("softmax", expert=EXPERTS["constant"]), gated("softmax")),
    "a flat gate in a tree below it": (gated("softmax"), gated("softmax", "softmax")),
    "softmax in a tempered one": (gated("softmax"), gated("dense-to-sparse")),
    "Laplace in a scaled one": (gated("laplace"), gated("scaled-laplace")),
}
QUICK = {"tone": {*NESTED} - {"Laplace in a scaled one", "a flat gate in a tree below it"}}
QUICK["mcycle"] = {"two experts in three"}
PAIRS = [
    pytest.param(name, pair, id=f"{name}-{pair}", marks=[pytest.mark.slow] * (pair not in QUICK.get(name, ())))
    for name in ("tone", "mcycle", "ethanol", "co2")
    for pair in NESTED
]


@pytest.mark.parametrize(("name", "pair"), PAIRS)
def test_a_larger_nested_mixture_has_no_lower_likelihood(name, pair):
    nested_in(name, *NESTED[pair])


EQUAL = {
    "constant gates, flat and as a tree": (
        gated("constant", branching=(4,)),
        gated("constant", "constant"),
        fitting_problem(gated("constant", branching=(4,)), seed=1),
    ),
    "a level of one branch above": (
        gated("softmax"),
        gated("softmax", "softmax", branching=(1, 2)),
        shipped_problem("tone"),
    ),
    "a level of one branch below": (
        gated("softmax"),
        gated("softmax", "softmax", branching=(2, 1)),
        shipped_problem("mcycle"),
    ),
}


@pytest.mark.parametrize("pair", EQUAL)
def test_mixtures_that_are_the_same_have_the_same_likelihood(pair):
    one, other, problem = EQUAL[pair]
    first, second = (maximum_likelihood(m, rows_of(problem), starts=10).log_likelihood for m in (one, other))
    assert abs(first - second) <= FITTED * (1 + min(abs(first), abs(second)))
