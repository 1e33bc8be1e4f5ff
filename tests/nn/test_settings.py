"""The settings that a file keeps are all that a layer is built from."""

import inspect

import pytest
import torch

from gatewise.core.codec import encode
from gatewise.core.gates import GATES, Gate
from gatewise.core.links import ReLU, SqrtSoftplus
from gatewise.core.scores import Affine
from gatewise.nn import FFN, Anneal, Choice, ExpertChoice, MoE, Sinkhorn, Sparsity, TopP, load_layer, save_layer
from gatewise.nn.hub.settings import build, settings

OTHER = {
    "dim": 5,
    "hidden": 7,
    "n_experts": [2, 3],
    "gate": encode((GATES["laplace"], GATES["dense-to-sparse"])),
    "top_k": [1, 2],
    "dim_out": 5,
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
    "weigh_inputs": True,
    "identity_experts": 2,
    "null_experts": 1,
    "jitter": 0.1,
    "token_entropy_weight": 0.5,
}
LATER = (
    "choice",
    "weigh_inputs",
    "identity_experts",
    "null_experts",
    "jitter",
    "token_entropy_weight",
)  # written where they are not the default, so that older files have the same form


def options():
    """The arguments of a layer but experts, which are code, with their defaults."""
    found = dict(inspect.signature(MoE.__init__).parameters)
    return {name: found[name].default for name in found if name not in ("self", "experts")}


def test_settings_hold_every_argument_of_a_layer_but_its_own_experts():
    written = [name for name in options() if name not in LATER]
    assert [name for name in settings(MoE(5, 7)) if name != "experts"] == written


def test_every_argument_that_is_not_the_default_comes_back():
    given = OTHER | {"gate": ["laplace", "dense-to-sparse"], "temperature": Anneal(3.0, 0.5, 10)}
    assert OTHER.keys() == {"experts", *options()} - {"choice"}
    assert all(given[name] != default for name, default in options().items() if name != "choice")
    layer = MoE(**given)
    assert settings(layer) == OTHER
    assert settings(build(settings(layer))) == OTHER


@pytest.mark.parametrize(
    "given",
    [
        {"choice": Choice("weights", groups=4, kept=2)},
        {"choice": Choice("scores", best=1, closed=0.0), "gate": "sigmoid"},
        {"gate": Gate(Affine(), SqrtSoftplus()), "activation": "swiglu(limit=7.0, up=7.0, alpha=1.702, shift=1.0)"},
        {"shared": FFN(1, 6, 9, activation="geglu", bias=True)},
        {"shared": FFN(1, 6, 10, activation="gelu")},
        {"shared": 2, "weigh_inputs": True},
        {"choice": TopP(0.7), "top_k": None},
        {"choice": Choice("scores", 4, 2, rule=TopP(0.4)), "top_k": 3, "balance": Sparsity(3.0, growth=1.1)},
        {"choice": ExpertChoice(), "normalise": "before", "balance": "bias+sequence"},
        {"choice": Sinkhorn(0.5, rounds=3), "noise": "learned", "jitter": 0.1, "null_experts": 2},
        {"gate": Gate(Affine(), ReLU()), "top_k": None, "balance": "sparsity", "normalise": "before"},
    ],
)
def test_options_of_public_models_are_kept_in_files(given, tmp_path):
    layer = MoE(6, 5, 8, **given).eval()
    save_layer(layer, tmp_path)
    again, x = load_layer(tmp_path).eval(), torch.randn(7, 6)
    assert torch.equal(again(x), layer(x))
    assert again.balancer.rule == layer.balancer.rule
    assert settings(again) == settings(layer)
    assert again.router.choice == layer.router.choice
    assert repr(again.shared) == repr(layer.shared)
