"""The settings that a file keeps are all that a layer is built from."""

import inspect

from gatewise.core.codec import encode
from gatewise.core.gates import GATES
from gatewise.nn import Anneal, MoE
from gatewise.nn.hub.settings import build, settings

OTHER = {
    "dim": 5,
    "hidden": 7,
    "n_experts": [2, 3],
    "gate": encode((GATES["laplace"], GATES["dense-to-sparse"])),
    "top_k": [1, 2],
    "dim_out": 4,
    "activation": "swiglu",
    "bias": True,
    "normalise": "before",
    "scale": 2.5,
    "shared": 2,
    "experts": None,
    "backend": "loop",
    "capacity": 1.5,
    "temperature": {"anneal": {"start": 3.0, "end": 0.5, "steps": 10}},
    "noise": 0.3,
    "balance": "switch",
    "balance_weight": 0.2,
    "bias_rate": 0.3,
    "z_weight": 0.4,
}


def options():
    """The arguments of a layer but experts, which are code, with their defaults."""
    found = dict(inspect.signature(MoE.__init__).parameters)
    return {name: found[name].default for name in found if name not in ("self", "experts")}


def test_settings_hold_every_argument_of_a_layer_but_its_own_experts():
    assert [name for name in settings(MoE(5, 7)) if name != "experts"] == list(options())


def test_every_argument_that_is_not_the_default_comes_back():
    given = OTHER | {"gate": ["laplace", "dense-to-sparse"], "temperature": Anneal(3.0, 0.5, 10)}
    assert OTHER.keys() == {"experts", *options()}
    assert all(given[name] != default for name, default in options().items())
    layer = MoE(**given)
    assert settings(layer) == OTHER
    assert settings(build(settings(layer))) == OTHER
