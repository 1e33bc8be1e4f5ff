"""Parts as JSON: every part and every composition comes back, models and layers write the same, damage is refused."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gatewise.core.by_leaf import ExpertsByLeaf, FamiliesByLeaf
from gatewise.core.codec import DEEPEST, CodecError, decode, encode, known_parts
from gatewise.core.experts import EXPERTS
from gatewise.core.families import FAMILIES, Binomial, MeanOnly
from gatewise.core.gates import GATES, Gate
from gatewise.core.links import NormalisedSigmoid, SqrtSoftplus, TopK
from gatewise.core.origin import ExpertAbout, ScoreAbout
from gatewise.core.predictors import AffineTransform
from gatewise.core.scores import Activated, Affine, Cosine, Distance, Quadratic, SquaredDistance, Tempered
from gatewise.nn import MoE
from gatewise.nn.hub.settings import build, settings

MODELS = Path(__file__).parents[1] / "estimators" / "models"
FRAME = AffineTransform(torch.tensor([0.3, -1e9, 1 / 3]).double(), torch.tensor([0.1, 1e-7, 2.0]).double())
NESTED = {
    "score in score in score": Gate(Tempered(Activated(Activated(Cosine(floor=0.2), "tanh"), "gelu")), TopK(k=3)),
    "link in link": Gate(Quadratic(monomial=True), TopK(TopK(NormalisedSigmoid(), 2), 1, renormalise=False)),
    "score about an origin": Gate(ScoreAbout(Tempered(Distance(metric=(0.5, 1e-300, 2.0))), (1e8, -0.0, 1.0))),
    "expert about an origin": ExpertAbout(EXPERTS["gelu"], (1e8, 2.0, 5e-324)),
    "experts by leaf": ExpertsByLeaf((EXPERTS["linear"], ExpertAbout(EXPERTS["cubic"], (1.0,)), EXPERTS["tanh-unit"])),
    "families by leaf": FamiliesByLeaf((FAMILIES["poisson"], Binomial(9), MeanOnly())),
}


def compositions():
    """Every part of every catalogue: as it is, on standardised inputs, with its kink rounded, and those above."""
    for kind, table in (("gate", GATES), ("expert", EXPERTS), ("family", FAMILIES)):
        for name, part in table.items():
            yield f"{kind} {name}", part
            if kind != "family":
                yield f"{kind} {name}, standardised", part.standardised(FRAME)
                yield f"{kind} {name}, smoothed", part.smoothed(0.01)
    yield from NESTED.items()


def written(value):
    return json.loads(json.dumps(encode(value), allow_nan=False))


@pytest.mark.parametrize(("name", "part"), [pytest.param(*pair, id=pair[0]) for pair in compositions()])
def test_every_part_comes_back_as_it_was(name, part):
    again = decode(written(part))
    assert again == part
    assert repr(again) == repr(part)  # -0.0 too, which equals 0.0


@pytest.mark.parametrize("name", [name for name, part in compositions() if isinstance(part, Gate)])
def test_layers_and_models_write_the_same_of_a_gate(name):
    gate = dict(compositions())[name]
    layer = settings(MoE(3, 4, 3, gate=gate, top_k=1))
    assert layer["gate"] == encode((gate,))
    assert settings(build(layer)) == layer


STORED = sorted(MODELS.glob("gate-*-d3.json"))


def test_models_with_gates_are_stored():
    assert {f"gate-{name}-d3" for name, gate in GATES.items() if gate.link.smooth} <= {path.stem for path in STORED}


@pytest.mark.parametrize("path", STORED, ids=lambda path: path.stem)
def test_a_layer_with_the_gates_of_a_stored_model_writes_what_the_model_has(path):
    content = json.loads(path.read_text("utf-8"))["content"]
    gates, branching = decode(content["mixture"]["gates"]), decode(content["mixture"]["branching"])
    dim = content["data"]["gate_reader"]["dict"]["count"]
    today = written(gates)  # a field that is younger than the file has its default
    assert settings(MoE(dim, 4, branching, gate=gates, top_k=1))["gate"] == today
    assert decode(today) == gates


def test_every_class_that_can_stand_in_a_file_is_found_in_a_catalogue():
    found = {type(part).__name__ for _, part in compositions()}
    assert found < set(known_parts())
    assert {"Affine", "Tempered", "Softmax", "NormalisedSigmoid", "Gate", "MeanOnly", "ScoreAbout"} < set(known_parts())


def test_a_part_of_gatewise_that_no_catalogue_has_can_stand_in_a_file():
    gate = Gate(Tempered(SquaredDistance()), SqrtSoftplus())
    listed = {type(part) for gate in GATES.values() for part in (gate.score, gate.link)}
    assert not listed & {SquaredDistance, SqrtSoftplus}
    assert decode(encode(gate)) == gate


def deep(times):
    return {"part": "Tempered", "fields": {"inner": deep(times - 1)}} if times else {"part": "Affine", "fields": {}}


DAMAGE = {
    "unknown part": ({"part": "Popen", "fields": {}}, "'Popen' is not known"),
    "unknown tag": ({"eval": "1"}, r"the keys \['eval'\] is not known"),
    "unknown field": ({"part": "Affine", "fields": {"code": "1"}}, "Affine has an unknown 'code'"),
    "more than a part": ({"part": "Affine", "fields": {}, "code": 1}, "is not known"),
    "part of another kind": (
        {"part": "Gate", "fields": {"score": {"part": "Linear", "fields": {}}}},
        "a Score belongs",
    ),
    "text for a number": ({"part": "Cosine", "fields": {"floor": "0.1"}}, "floor of the Cosine is '0.1'"),
    "true for a number": ({"part": "TopK", "fields": {"k": True}}, "k of the TopK is True"),
    "NaN in a part": ({"part": "Cosine", "fields": {"floor": {"float": "nan"}}}, "not finite"),
    "NaN of Python's JSON": (float("nan"), "no number of JSON"),
    "a value that a part refuses": ({"part": "TopK", "fields": {"k": 0}}, "k=0: keep at least one"),
    "an unknown activation": ({"part": "Activation", "fields": {"fn": "os"}}, "activation 'os' is unknown"),
    "a huge number": ({"part": "TopK", "fields": {"k": 10**400}}, "beyond the whole numbers"),
    "parts without end": (deep(300), f"more than {DEEPEST} deep"),
    "lists without end": (json.loads("[" * 300 + "]" * 300), f"more than {DEEPEST} deep"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_refused_in_words_of_one_class(name):
    value, words = DAMAGE[name]
    with pytest.raises(CodecError, match=words):
        decode(value)


class Own(Affine):
    """A user's score."""


@pytest.mark.parametrize(
    "value", [Own(), Gate(Own()), object(), {"a": {1, 2}}], ids=["part", "inside", "object", "set"]
)
def test_what_is_not_part_of_gatewise_is_not_written(value):
    with pytest.raises(CodecError, match="not part of gatewise: a file holds names"):
        encode(value)


def test_what_could_not_be_read_again_is_not_written():
    score = Affine()
    for _ in range(DEEPEST + 1):
        score = replace(Tempered(), inner=score)
    with pytest.raises(CodecError, match=f"more than {DEEPEST} deep"):
        encode(score)
