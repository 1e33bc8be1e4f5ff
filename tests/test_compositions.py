"""Compositions drawn at random go the whole path too: any score in any wrapper, any link, and parts of the user's.

Parts that users write have parameters of any name, roles or none, and nothing that has a default.
"""

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gatewise import (
    EXPERTS,
    FAMILIES,
    GATES,
    Activated,
    Affine,
    Bias,
    Cosine,
    Distance,
    Gate,
    NormalisedSigmoid,
    Quadratic,
    Sigmoid,
    Softmax,
    Tempered,
    TopK,
)
from gatewise.core.scores import SquaredDistance

from .own_parts import Gamma, Logistic, OwnExpert, OwnScore
from .whole_path import Case, few_neighbours, more_steps, short_searches, walk  # noqa: F401

pytestmark = [
    pytest.mark.filterwarnings("ignore::gatewise.FitWarning"),
    pytest.mark.usefixtures("short_searches", "few_neighbours"),
]

OURS = ("weight", "bias", "temperature", "temperature_2", "coef", "intercept", "output", "scale", "dof")
OF_OBJECTS = ("gate", "gates", "expert", "experts", "family", "names", "fit", "measure", "status", "standard_errors")
OF_MODULES = ("params", "forward", "training", "type", "half", "stored", "family_scale")
NAMES = st.sampled_from((*OURS, *OF_OBJECTS, *OF_MODULES, "lambda", "class", "self", "x", "θ", "b0"))
PLAIN = (
    Bias(),
    Bias(free=False),
    Affine(),
    Distance(),
    SquaredDistance(),
    Cosine(),
    Cosine(floor=0.1),
    Quadratic(),
    Quadratic(True),
)
OWN_SCORES = st.tuples(NAMES, NAMES).filter(lambda pair: len({*pair, "center"}) == 3).map(lambda pair: OwnScore(*pair))
FUNCTIONS = st.sampled_from(("sigmoid", "tanh", "gelu", "relu", "silu", "softplus", "square", "identity"))


def wrapped(scores):
    return st.builds(Tempered, scores) | st.builds(Activated, scores, FUNCTIONS)


SCORES = st.recursive(st.sampled_from(PLAIN) | OWN_SCORES, wrapped, max_leaves=3)
LINKS = st.sampled_from((Softmax(), NormalisedSigmoid(), Sigmoid(), TopK(Softmax(), 1)))
OWN_EXPERTS = st.builds(OwnExpert, NAMES, NAMES, st.booleans()).filter(
    lambda one: len({one.slope, one.size, "phase", "level"}) == 4
)
PARTS = {
    "expert": st.sampled_from(list(EXPERTS.values())) | OWN_EXPERTS,
    "family": st.sampled_from(list(FAMILIES.values())) | st.builds(Logistic, NAMES) | st.builds(Gamma, NAMES),
}


@st.composite
def cases(draw):
    branching = draw(st.sampled_from(((2,), (3,), (2, 2), (1, 3))))
    method = draw(st.sampled_from(("ml", "em", "ls")))
    links = LINKS if method == "ls" else st.sampled_from((Softmax(), NormalisedSigmoid()))
    gates = tuple(Gate(draw(SCORES), draw(links)) for _ in branching)
    family = FAMILIES["gaussian"] if method == "ls" else draw(PARTS["family"])
    d, q = draw(st.sampled_from((1, 2, 3, 4))), draw(st.sampled_from((1, 2, 3)))
    return Case(gates, branching, draw(PARTS["expert"]), family, method, d, q, draw(st.booleans()), draw(st.booleans()))


def law(count):
    """The law over that many compositions, the same every time."""

    @settings(
        max_examples=count, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
    )
    @given(case=cases())
    def check(case):
        with tempfile.TemporaryDirectory() as folder:
            walk(case, Path(folder))

    return check


def test_compositions_go_the_whole_path():
    law(10)()


@pytest.mark.slow
@pytest.mark.usefixtures("more_steps")
def test_many_compositions_go_the_whole_path():
    law(500)()


def found(gate=GATES["softmax"], **parts):
    """A case of one gate at two levels with what the law has found faults in."""
    plain = Case((gate,) * 2, (2, 2), EXPERTS["linear"], FAMILIES["gaussian"], "em", 2, 1)
    return plain._replace(**parts)


FOUND = {
    "an expert without rows ran away": found(GATES["constant"], expert=EXPERTS["cube"], family=FAMILIES["student-t"]),
    "a rate beyond all floats": found(expert=EXPERTS["relu-unit"], family=FAMILIES["student-t"], q=2),
    "an expert's name of a module": found(expert=OwnExpert("forward", "family_scale")),
    "a score's name of a module": found(Gate(OwnScore("gate", "type"))),
    "a name of an estimator": found(expert=OwnExpert("fit", "measure"), family=Logistic("status"), method="ml"),
    "a family as a value": found(method="ls"),
    "no law behind a sigmoid": found(GATES["sigmoid"], method="ls"),
    "about an origin of three inputs": found(expert=EXPERTS["gelu-no-bias"], d=3),
    "no number of inputs": found(GATES["equal"], expert=EXPERTS["constant"], d=3),
}


@pytest.mark.parametrize("case", FOUND.values(), ids=FOUND)
def test_what_the_law_has_found_is_mended(case, tmp_path):
    walk(case, tmp_path)
