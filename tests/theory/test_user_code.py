"""The code of the user's own classes belongs to a study: what changes a record changes its fingerprint."""

from dataclasses import replace

import pytest

from gatewise.theory import STUDIES, Cube, Probe, registration
from gatewise.theory import load_study as load
from gatewise.theory.fingerprint import describe, fingerprint
from gatewise.theory.orders import ONE, TWO
from gatewise.theory.protocol import protocol
from gatewise.theory.user_code import code_of
from gatewise.theory.voronoi import LOSSES, Loss

SOURCE = '''
from dataclasses import dataclass

from gatewise.core.gates import Gate
from gatewise.core.links import Softmax
from gatewise.core.mixture import Mixture
from gatewise.core.scores import Affine
from gatewise.theory import Arm, Data, Model, Study, Uniform

{constant}


def outer(value):
    return {formula}


class Base(Affine):
    def __call__(self, params, x):
        {comment}
        return outer(super().__call__(params, x))


@dataclass(frozen=True)
class Mine(Base):
    """{docstring}"""


own = Mixture((Gate(Mine(), Softmax()),), (2,))
plain = Mixture((Gate(Affine(), Softmax()),), (2,))


def truth(n):
    from tests.theory.small_study import truth

    return truth(n)


arm = Arm("one", Data(plain, truth, Uniform(-1.0, 1.0, 3)), Model(own, min_scale=0.1), (100,), 20)
study = Study("mine", "t", "w", (arm,))
'''
FIRST = {"constant": "FACTOR = 2.0", "formula": "FACTOR * value", "comment": "# twice", "docstring": "A score."}


def described(folder, **changed):
    """Return the description and the fingerprint of the study in a file, read while its module is the file's."""
    folder.mkdir(exist_ok=True)
    (folder / "mine.py").write_text(SOURCE.format(**{**FIRST, **changed}))
    study = load(f"{folder / 'mine.py'}:study")
    return describe(study), (fingerprint(study), registration(study), registration(probed(study)))


def probed(study):
    """The study without its arm's own code, which is that of an exponent."""
    arm = study.arms[0]
    plain = replace(arm, model=replace(arm.model, mixture=arm.data.mixture))
    probe = Probe("p", arm.data, arm.model, "experts.coef", (0, 1), 1.0, 0.1, "mine", "own", inputs=Cube(-1.0, 1.0, 3))
    return replace(study, arms=(plain,), probes=(probe,))


def test_a_study_of_gatewise_holds_no_code_of_users():
    assert not any({"code", "schema"} & set(describe(study)) for study in STUDIES.values())
    assert not any("code" in protocol(study) for study in STUDIES.values())


@pytest.mark.parametrize("changed", [{"formula": "value + FACTOR"}, {"constant": "FACTOR = 3.0"}])
def test_what_an_own_class_computes_changes_the_fingerprint_and_the_registration(tmp_path, changed):
    (first, mine), (_, its) = described(tmp_path / "one"), described(tmp_path / "two", **changed)
    assert set(first["code"]) == {"Mine", "Base", "outer"}
    assert all(one != other for one, other in zip(mine, its, strict=True))


@pytest.mark.parametrize("changed", [{"comment": "# two times"}, {"docstring": "Another."}, {}])
def test_comments_and_places_do_not(tmp_path, changed):
    assert described(tmp_path / "one")[1] == described(tmp_path / "two", **changed)[1]


def test_a_loss_is_known_by_its_powers_not_by_its_name():
    study = STUDIES["softmax-over"]
    arm = study.arms[0]

    def measured(loss):
        alone = replace(study, claims=(), probes=(), comparisons=())
        return fingerprint(replace(alone, arms=(replace(arm, losses=(loss,)),)))

    one, two = (Loss("mine", rest=power) for power in (ONE, TWO))
    assert measured(one) != measured(two)
    assert measured("exact") == measured(LOSSES["exact"])
    assert measured(LOSSES["exact"]) != measured(replace(LOSSES["exact"], weighted=False))


def test_two_classes_of_one_name_are_both_seen():
    def made(second):
        first, other = type("Own", (), {}), type("Own", (), {"__call__": second})
        first.__module__ = other.__module__ = "mine"
        return code_of(first(), other())

    assert set(made(lambda self: 1)) == {"Own"}
    assert made(lambda self: 1) != made(lambda self: 2)
