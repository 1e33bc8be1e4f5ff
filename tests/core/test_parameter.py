"""A parameter that cannot be used is refused in words, by its name, before anything is fitted."""

from math import inf

import pytest

from gatewise import EXPERTS, FAMILIES, GATES, Mixture, Parameter
from gatewise.core.parameters import require_usable
from gatewise.objective.parameterization import specifications

WRONG = {
    "a.b": (Parameter(), "without dots"),
    "": (Parameter(), "without dots"),
    "role": (Parameter((), "widht"), "has the role 'widht'"),
    "per": (Parameter((), per="leaf"), "has the per 'leaf': the choices are branch, node"),
    "transform": (Parameter((), transform="logit"), "has the transform 'logit'"),
    "one of several": (Parameter((2,), transform=("log", "logg"), initial=1.0), "did you mean 'log'"),
    "initial": (Parameter((), bounds=(0.1, 0.9), initial=5.0), r"initial value 5 outside its bounds \(0.1, 0.9\)"),
    "too few": (Parameter((3,), transform=("log", "log"), initial=1.0), "give one per entry"),
    "of a matrix": (Parameter((2, 2), transform=("log", "log"), initial=1.0), "give one per entry"),
    "no logarithm of one": (Parameter((2,), transform=("identity", "log")), "give a positive one"),
    "no logarithm": (Parameter((), transform="log", bounds=(0.0, inf)), "give a positive one"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_used_is_refused_by_name(name):
    spec, words = WRONG[name]
    with pytest.raises(ValueError, match=words) as caught:
        require_usable("Mine()", {"sound": Parameter((), "slope"), name: spec})
    assert repr(name) in str(caught.value)


@pytest.mark.parametrize("d", [1, 3])
@pytest.mark.parametrize("q", [1, 2])
def test_every_part_of_the_catalogues_can_be_used(d, q):
    for gate in GATES.values():
        assert specifications(Mixture((gate,), (2,)), d, d, q)
    for expert in EXPERTS.values():
        assert specifications(Mixture((GATES["constant"],), (2,), expert), d, d, q)
    for family in FAMILIES.values():
        assert specifications(Mixture((GATES["constant"],), (2,), family=family), d, d, q)
