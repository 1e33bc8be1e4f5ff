"""Nothing depends on what a parameter is called: a fit of renamed parts is the fit of the parts."""

from importlib import import_module

import pytest
import torch

from gatewise import testing
from gatewise.core.experts import EXPERTS, Expert
from gatewise.core.families import FAMILIES, Family
from gatewise.core.gates import GATES
from gatewise.core.mixture import Mixture
from gatewise.core.scores import Score
from gatewise.fit.least_squares import least_squares
from gatewise.fit.maximum_likelihood import maximum_likelihood
from gatewise.fit.rounds import Effort
from gatewise.objective.rows import make_rows
from gatewise.testing import make_problem
from gatewise.testing.renamed import RenamedFamily, original, renamed

from ..covering import slow_rest
from ..whole_path import STEPS, few_neighbours, short_searches  # noqa: F401

pytestmark = pytest.mark.usefixtures("short_searches", "few_neighbours")

LIKELIHOOD = [
    (("softmax",), (3,), "linear", "gaussian", 3, 1),
    (("laplace",), (2,), "linear", "student-t", 1, 2),
    (("softmax",), (3,), "linear", "student-t", 3, 1),
    (("quadratic",), (2,), "tanh", "student-t", 3, 2),
    (("scaled-laplace",), (2,), "linear", "gaussian", 3, 2),
    (("activation-dense-to-sparse",), (2,), "constant", "full-gaussian", 4, 2),
    (("cosine", "constant"), (2, 2), "linear", "poisson", 3, 1),
    (("relu-dense-to-sparse", "quadratic"), (2, 3), "constant", "gaussian", 3, 2),
    (("quadratic-monomial",), (2,), "linear", "binomial", 3, 1),
]
SQUARES = [
    (("sigmoid",), (2,), "linear", 3, 1),
    (("laplace", "softmax"), (2, 2), "constant", 3, 2),
    (("dense-to-sparse",), (3,), "linear", 1, 1),
    (("relu-dense-to-sparse",), (2,), "tanh-unit", 4, 1),
]


SHORT = {
    "pipeline": {"THOROUGH": 3, "SHORT_PASSES": Effort(16, 4, 0.08, 2)},
    "rounds": {"ROUNDS": 1},
    "least_squares": {"NESTED": 3, "POLISHED": 3, "GROWN": 1},
}


@pytest.fixture(autouse=True)
def reference(monkeypatch):
    """Sum by the reference alone, so that equal means equal bits: parts of other classes are not compiled.

    And move experts, split them and draw them anew already from three starts and once, which names could change too.
    """
    monkeypatch.setattr("gatewise.objective.compiled.available", lambda: False)
    monkeypatch.setitem(STEPS, "most", 10)
    for name, settings in SHORT.items():
        for setting, value in settings.items():
            monkeypatch.setattr(import_module(f"gatewise.fit.{name}"), setting, value)


FROM_OTHERS = {"names", "required_bias", "is_hidden_unit"}  # that follow from the parameters and their roles


@pytest.mark.parametrize("base", [Score, Expert, Family])
def test_everything_that_a_part_may_define_is_passed_on(base):
    """Else a part that overrides it would lose that behind other names."""
    (own,) = [made for made in vars(testing.renamed).values() if is_own(made, base)]
    known = {name for each in base.__mro__ if each.__module__.startswith("gatewise") for name in vars(each)}
    passed = {name for each in own.__mro__ if each.__module__ == own.__module__ for name in vars(each)}
    assert not {name for name in known - passed - FROM_OTHERS if not name.startswith("_")}


def is_own(made, base):
    return isinstance(made, type) and made.__module__ == testing.renamed.__name__ and issubclass(made, base)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_renamed_family_answers_as_the_family(name):
    family = FAMILIES[name]
    other = RenamedFamily(family)
    for word in (
        "location_scale",
        "has_closed_form_scale",
        "discrete",
        "has_density",
        "by_leaf",
        "robust",
        "mean_range",
        "bounded",
    ):
        assert getattr(other, word) == getattr(family, word), word
    y = torch.ones(2, 5, dtype=torch.float64)
    assert (other.outputs(2), other.columns(2)) == (family.outputs(2), family.columns(2))
    assert torch.equal(other.observed(y), family.observed(y))
    assert torch.equal(other.responses(y), family.responses(y))


def compare(fit, plain):
    assert fit.status == plain.status
    assert fit.certificate.rank == plain.certificate.rank
    assert fit.log_likelihood == plain.log_likelihood
    assert len(fit.starts.log_likelihood) == len(plain.starts.log_likelihood)
    for path, value in original(fit.measure).paths().items():
        assert torch.equal(value, plain.measure.paths()[path]), path


CASES = [(*case, method) for case in LIKELIHOOD for method in ("newton", "em")]
IN_TURN = [(*case, ("newton", "em")[place % 2]) for place, case in enumerate(LIKELIHOOD)]


@pytest.mark.parametrize(("gates", "branching", "expert", "family", "d", "q", "method"), slow_rest(CASES, IN_TURN))
def test_likelihood(gates, branching, expert, family, d, q, method):
    mixture = Mixture(tuple(GATES[g] for g in gates), branching, EXPERTS[expert], FAMILIES[family])
    problem = make_problem(mixture, d=d, gate_d=2, columns=q, n=90, seed=5)
    rows = make_rows(problem.x.T, problem.y.T, gate_x=problem.gate_x.T)
    options = {"starts": 3, "method": method, "max_iter": 40}
    plain = maximum_likelihood(mixture, rows, **options)
    compare(maximum_likelihood(renamed(mixture), rows, **options), plain)


@pytest.mark.parametrize(("gates", "branching", "expert", "d", "q"), SQUARES)
def test_least_squares(gates, branching, expert, d, q):
    mixture = Mixture(tuple(GATES[g] for g in gates), branching, EXPERTS[expert])
    problem = make_problem(mixture, d=d, gate_d=2, columns=q, n=90, seed=6)
    rows = make_rows(problem.x.T, problem.y.T, gate_x=problem.gate_x.T)
    compare(least_squares(renamed(mixture), rows, starts=3), least_squares(mixture, rows, starts=3))
