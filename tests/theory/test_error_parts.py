"""Which true atoms fits may share, and the exponents that follow from those of one choice."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import pytest
import torch

from gatewise.core.experts import EXPERTS
from gatewise.core.families import FAMILIES
from gatewise.core.gates import GATES
from gatewise.core.mixture import Measure, Mixture
from gatewise.theory import STUDIES, Claim, Data, Model, Probe, Uniform
from gatewise.theory.arms import Arm
from gatewise.theory.claims import VerdictKind, path_of_error
from gatewise.theory.completion import completion
from gatewise.theory.error_parts import (
    choice_of,
    choices,
    covered,
    every_part,
    kinds_of,
    missing_parts,
    parts_of,
    reachable,
)
from gatewise.theory.exponents import exponents_of
from gatewise.theory.population.rules import Cube
from gatewise.theory.probes import Probed, judge_probes, run_probes
from gatewise.theory.study import Study
from gatewise.theory.verdict import Verdict, with_exponents


def value(entries):
    return torch.tensor(entries, dtype=torch.float64)


def truth_of(branching, gate="softmax", centers=None):
    """Return a mixture of linear experts of three inputs with a softmax gate on every level, and a truth."""
    name = "center" if gate == "laplace" else "weight"
    mixture = Mixture((GATES[gate],) * len(branching), branching)
    generator = torch.Generator().manual_seed(len(branching) + branching[-1])

    def drawn(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    gates = []
    for level in range(len(branching)):
        place, bias = drawn(*branching[: level + 1], 3), torch.zeros(branching[: level + 1]).double()
        if gate == "softmax":
            place = place - place[..., -1:, :]
        gates.append({name: place if centers is None else value(centers), "bias": bias})
    experts = {"coef": drawn(*branching, 1, 3), "intercept": drawn(*branching, 1)}
    return mixture, Measure(tuple(gates), experts, {"scale": torch.full((*branching, 1), 0.5).double()})


def probe_of(true, fitted, cells, path="experts.coef", gate="softmax", fixed=None, centers=None, **given):
    mixture, truth = truth_of(true, gate, centers)
    model = Model(Mixture((GATES[gate],) * len(fitted), fitted), min_scale=0.1, fixed=fixed)
    data = Data(mixture, truth, Uniform(d=3))
    given = {"inputs": Cube(d=3), **given}
    return Probe("split", data, model, path, cells, 2.0, 0.2, "this project", "own", **given)


@pytest.mark.parametrize(
    ("true", "fitted", "cells", "found"),
    [
        ((2,), (3,), (0, 0, 1), [(0, 0, 1), (1, 1, 0)]),
        ((3,), (4,), (0, 1, 1, 2), [(0, 1, 1, 2), (0, 2, 2, 1), (1, 0, 0, 2)]),
        ((1,), (3,), (0, 0, 0), [(0, 0, 0)]),
        ((2,), (2,), (0, 1), [(0, 1)]),
        ((2, 2), (2, 2), (0, 1, 2, 3), [(0, 1, 2, 3)]),
        (
            *((2, 2), (2, 3), (0, 0, 1, 2, 2, 3)),
            [(0, 0, 1, 2, 2, 3), (0, 0, 1, 3, 3, 2), (1, 1, 0, 2, 2, 3), (1, 1, 0, 3, 3, 2)],
        ),
    ],
)
def test_every_true_atom_of_a_node_may_be_the_shared_one(true, fitted, cells, found):
    probe = probe_of(true, fitted, cells)
    several, complete = choices(probe)
    assert sorted(one.cells for one in several) == found
    assert several[0] is probe
    assert complete
    assert len({choice_of(one) for one in several}) == len(found)
    assert {one.atom for one in several} == {0}
    assert [one.name for one in several[1:]] == [f"split, cells {' '.join(map(str, one.cells))}" for one in several[1:]]


@pytest.mark.parametrize(
    ("true", "fitted", "cells"),
    [
        ((2,), (4,), (0, 0, 0, 1)),  # two of each is another choice
        ((1, 1), (2, 2), (0, 0, 0, 0)),
        ((2, 2), (3, 2), (0, 1, 0, 1, 2, 3)),  # a group too many
    ],
)
def test_true_atoms_that_may_be_shared_in_other_numbers_are_a_part_without_an_exponent(true, fitted, cells):
    probe = probe_of(true, fitted, cells)
    found, complete = choices(probe)
    assert not complete
    left = parts_of(probe).difference(*(covered(one) for one in found))
    assert ((), (0, 0), 0) in left


def test_what_is_known_of_an_atom_stays_with_it():
    """The center of the first atom is known: other choices rearrange the others, and atoms of a cell are not alike."""
    centers = [[0.0, 0.0, 0.0], [1.0, -0.5, 0.3]]
    known = {"gates.0.center": value([[0.0] * 3, [torch.nan] * 3, [torch.nan] * 3])}
    probe = probe_of((2,), (3,), (0, 1, 1), gate="laplace", fixed=known, centers=centers, atom=1)
    found, complete = choices(probe)
    assert complete
    assert [(one.cells, one.atom) for one in found] == [((0, 1, 1), 1), ((0, 0, 1), 0), ((0, 0, 1), 1)]
    assert kinds_of(probe) == [(0, 0), (1, 1), (1, 1)]
    assert kinds_of(found[1]) == [(0, 0), (0, 1), (1, 1)]
    place, _ = choices(replace(probe, path="gates.0.center"))
    assert [(one.cells, one.atom) for one in place] == [((0, 1, 1), 1), ((0, 0, 1), 1)]
    wrong = replace(probe, model=replace(probe.model, fixed={"gates.0.center": known["gates.0.center"] + 0.5}))
    assert choices(wrong) == ((wrong,), False)


def test_a_known_value_that_both_true_atoms_have_leaves_three_choices():
    """The known atom may be alone at either of them, or share it: its cell is another one without it."""
    known = {"family.scale": value([[0.5], [torch.nan], [torch.nan]])}
    probe = probe_of((2,), (3,), (0, 0, 1), fixed=known, atom=1)
    found, complete = choices(probe)
    assert complete
    assert len({choice_of(one) for one in found}) == 4
    assert {(tuple(sorted(one.cells)), one.cells[0]) for one in found} == {
        *(((0, 0, 1), 0), ((0, 0, 1), 1), ((0, 1, 1), 0), ((0, 1, 1), 1))
    }
    held = {part for one in found for part in covered(one)}
    assert parts_of(probe) == held | {part for one in every_part(found) for part in covered(one)}


def test_limits_of_single_atoms_make_them_unlike():
    low = value([[0.0], [-4.0], [-4.0]])
    _, truth = truth_of((2,))
    truth = truth._replace(experts={**truth.experts, "intercept": value([[0.5], [-1.0]])})
    probe = probe_of((2,), (3,), (0, 0, 1))
    model = replace(probe.model, box={"experts.intercept": (low, 4.0)})
    probe = replace(probe, data=replace(probe.data, truth=truth), model=model, atom=1)
    found, complete = choices(probe)
    assert complete
    assert {one.cells for one in found} == {(0, 0, 1), (0, 1, 1)}  # the first atom stands for the first true one
    assert kinds_of(probe) == [(0, 0), (0, 1), (1, 1)]


def test_a_choice_without_an_order_that_can_be_measured_is_missed():
    """Weights are measured from the last atom, which the model knows to be the first true one, and which is shared."""
    known = {"experts.intercept": value([[torch.nan], [torch.nan], [0.5]])}
    _, truth = truth_of((2,))
    truth = truth._replace(experts={**truth.experts, "intercept": value([[-1.0], [0.5]])})
    probe = probe_of((2,), (3,), (0, 0, 1), path="gates.0.weight", fixed=known)
    found, complete = choices(replace(probe, data=replace(probe.data, truth=truth)))
    assert [one.cells for one in found] == [(0, 0, 1)]
    assert not complete


def test_a_weight_that_is_known_because_only_differences_are_does_not_keep_atoms_in_place():
    known = {"gates.0.weight": value([[torch.nan] * 3, [torch.nan] * 3, [0.0] * 3])}
    found, complete = choices(probe_of((2,), (3,), (0, 0, 1), fixed=known))
    assert ([one.cells for one in found], complete) == ([(0, 0, 1), (1, 1, 0)], True)


def test_experts_of_different_kinds_do_not_change_places():
    experts = (EXPERTS["linear"], EXPERTS["polynomial"])
    mixture = Mixture((GATES["softmax"],), (2,), experts, FAMILIES["gaussian"])
    probe = probe_of((2,), (2,), (0, 1))
    same = replace(probe, data=replace(probe.data, mixture=mixture), model=Model(mixture, min_scale=0.1))
    assert choices(same) == ((same,), True)
    true, truth = truth_of((1,))
    one = replace(probe, data=Data(true, truth, Uniform(d=3)), model=Model(mixture, min_scale=0.1), cells=(0, 0))
    assert choices(one) == ((one,), False)
    assert kinds_of(one) == [(0, 0), (0, 1)]


ONE_INPUT = Mixture((GATES["softmax"],), (2,))
OF_ONE = Measure(
    ({"weight": value([[1.5], [0.0]]), "bias": value([0.3, 0.0])},),
    {"coef": value([[[2.0]], [[-1.0]]]), "intercept": value([[0.5], [-1.0]])},
    {"scale": value([[0.5], [0.6]])},
)


def test_exponents_of_missing_parts_are_computed_beside_those_that_a_study_declares(tmp_path):
    data, model = Data(ONE_INPUT, OF_ONE), Model(Mixture((GATES["softmax"],), (3,)), min_scale=0.1)
    eps = (0.1, 0.05, 0.025)
    probe = Probe(*("coef", data, model, "experts.coef", (0, 0, 1), 2.0, 0.3, "this project", "own"), eps=eps, starts=3)
    arm = Arm("one more", data, model, (1000, 3200), 2)
    study = Study("choices", "A cell", "Why.", (arm,), (), probes=(probe,))
    assert [one.cells for one in missing_parts(study.probes)] == [(1, 1, 0)]
    assert [one.probe for one in judge_probes(study, tmp_path)] == [probe]  # what is not computed is not listed
    told = []
    run_probes(study, tmp_path)
    run_probes(study, tmp_path, progress=lambda *at: told.append(at), complete=True)
    assert told == [(1, 1)]
    found = judge_probes(study, tmp_path)
    assert [one.probe.cells for one in found] == [(0, 0, 1), (1, 1, 0)]
    assert [one.word for one in found] == [VerdictKind.supported] * 2
    assert found[0].record["distance"] != found[1].record["distance"]
    claim = Claim("one more", "experts.coef over mean", "equal", -0.25, 0.05, "this project", "own", probe="coef")
    (whole,) = exponents_of(claim, [arm], found)
    (half,) = exponents_of(claim, [arm], found[:1])
    assert (whole.left, half.left, half.parts) == (0, 1, 2)


@pytest.mark.parametrize(("gate", "absent"), [("softmax", False), ("sigmoid", True)])
def test_a_choice_near_which_there_is_no_fit_is_not_missed(gate, absent):
    """Two sigmoids add up to a constant weight alone: the first true expert can be shared, the second cannot.

    Of softmax gates, two of which are always one, it shows nothing: then displacements are too large.
    """
    weight = {"weight": value([[0.0], [1.5]]), "bias": value([0.0, 0.3])}
    mixture, fitted = (Mixture((GATES[gate],), (k,)) for k in (2, 3))
    data, model = Data(mixture, OF_ONE._replace(gates=(weight,)), noise=0.1), Model(fitted, "ls")
    probe = Probe("coef", data, model, "experts.coef", (0, 0, 1), 2.0, 0.3, "this project", "own")
    arm = Arm("one more", data, model, (1000, 3200), 2)
    claim = Claim("one more", "experts.coef over mean", "equal", -0.25, 0.05, "this project", "own", probe="coef")

    def of(probe, exponent, word, certified=True):
        record = {"eps": [0.1, 0.05, 0.02], "distance": [0.1] * 3}
        record |= {"local": [0.01, exponent], "certified": [True, certified]}
        return Probed(probe, VerdictKind(word), "as measured", record)

    own, (_, other) = of(probe, 2.0, "supported"), choices(probe)[0]
    assert [reachable(probe), reachable(other)] == [True, not absent]

    def left(*others):
        return exponents_of(claim, [arm], [own, *others])[0].left

    assert left() == 1
    assert left(of(other, 0.01, "unresolved")) == (not absent)
    assert left(of(other, 0.01, "unresolved", certified=False)) == 1
    assert left(of(other, 0.6, "unresolved")) == 1
    assert left(of(other, 2.0, "unresolved")) == 1


@pytest.mark.parametrize(("d", "entries"), [(1, 1), (3, 3)])
def test_missing_parts_are_all_entries_of_all_cells_of_all_choices(d, entries):
    """Two of three experts below each of two nodes: four choices, two shared cells each."""
    probe = probe_of((2, 2), (2, 3), (0, 0, 1, 2, 2, 3))
    if d == 1:
        gates, experts, family = probe.data.truth
        short = Measure(
            tuple({name: v[..., :1] if name == "weight" else v for name, v in level.items()} for level in gates),
            {"coef": experts["coef"][..., :1], "intercept": experts["intercept"]},
            family,
        )
        probe = replace(probe, data=replace(probe.data, truth=short, inputs=Uniform()), inputs=Cube())
    found = missing_parts([probe])
    assert len(found) == 4 * 2 * entries - 1
    assert len({one.name for one in found}) == len(found)
    assert parts_of(probe) == set().union(*(covered(one) for one in (probe, *found)))
    assert missing_parts([probe, *found]) == ()
    assert missing_parts([probe, found[0]]) == found[1:]
    scale = replace(probe, name="variance", path="family.variance")  # another error
    assert len(missing_parts([probe, scale])) == len(found) + 7


@pytest.mark.parametrize(("weights", "found"), [([1.5, -0.5, -1.0], False), ([0.0, 0.0, 0.0], True)])
def test_a_sigmoid_of_three_inputs_is_constant_only_without_weights(weights, found):
    """Weights that add up to zero are constant along the diagonal, and nowhere else."""
    probe = probe_of((2,), (3,), (0, 0, 1), gate="sigmoid")
    gate = {"weight": value([weights, [1.0, 0.0, 0.5]]), "bias": value([0.2, 0.0])}
    mixture = Mixture((GATES["sigmoid"],), (2,))
    truth = probe_of((2,), (3,), (0, 0, 1)).data.truth._replace(gates=(gate,))
    assert reachable(replace(probe, data=Data(mixture, truth, Uniform(d=3)))) is found


@pytest.mark.parametrize(("d", "found"), [(2, 1), (3, 1), (4, 0)])
def test_arms_with_up_to_three_inputs_have_exponents_by_information(tmp_path, d, found):
    gate = {"weight": torch.eye(2, d).double() * value([[1.5], [0.0]]), "bias": value([0.3, 0.0])}
    experts = {"coef": torch.ones(2, 1, d).double() * value([[[2.0]], [[-1.0]]]), "intercept": value([[0.5], [-1.0]])}
    truth = Measure((gate,), experts, OF_ONE.family)
    study = study_of(exact_arm(data=Data(ONE_INPUT, truth, Uniform(-1.0, 2.0, d))))
    run_probes(study, tmp_path, complete=True)
    assert [one.word for one in judge_probes(study, tmp_path)] == [VerdictKind.supported] * found


def exact_arm(**given):
    data, model = Data(ONE_INPUT, OF_ONE), Model(ONE_INPUT, min_scale=0.1)
    return replace(Arm("exact", data, model, (1000, 3200, 10_000, 32_000), 40), **given)


def study_of(arm, **given):
    claim = Claim("exact", "experts.coef exact mean", "equal", -0.5, 0.05, "this project", "own")
    return Study("alone", "As many", "Why.", (arm,), (replace(claim, **given),))


def test_an_arm_with_as_many_experts_as_there_are_has_exponents_by_information(tmp_path):
    study = study_of(exact_arm())
    assert [one.name for one in completion(study)] == ["exact: experts.coef, by information"]
    assert exponents_of(study.claims[0], study.arms, judge_probes(study, tmp_path)) == ()
    run_probes(study, tmp_path, complete=True)
    (found,) = exponents_of(study.claims[0], study.arms, judge_probes(study, tmp_path))
    assert (found.probed.word, found.left, found.untied) == (VerdictKind.supported, 0, ())
    assert found.probed.local()[-1] == 1.0
    false = replace(study.claims[0], value=-0.25)
    open_ = Verdict(false, VerdictKind.unresolved, None, "partly inside")
    assert with_exponents(open_, (found,)).word is VerdictKind.contradicted


def two_sigmoids():
    """An arm with one expert too many, of which no two sigmoids, normalised, add up to a third one."""
    true, fitted = (Mixture((GATES["normalised-sigmoid"],), (k,)) for k in (2, 3))
    gate = {"weight": value([[2.0], [-1.5]]), "bias": value([0.3, 0.0])}
    return exact_arm(data=Data(true, OF_ONE._replace(gates=(gate,))), model=Model(fitted, min_scale=0.1))


@pytest.mark.parametrize(
    "study",
    [
        study_of(exact_arm(data=Data(ONE_INPUT, lambda n: OF_ONE))),  # its truth may move
        study_of(exact_arm(model=Model(Mixture((GATES["softmax"],), (4,)), min_scale=0.1))),
        study_of(exact_arm(model=Model(Mixture((GATES["softmax"],), (3,)), min_scale=0.1)), series="loss exact"),
        study_of(two_sigmoids()),
        study_of(exact_arm(), series="hellinger"),
        study_of(exact_arm(model=Model(ONE_INPUT, min_scale=0.1, fixed={"experts.coef": OF_ONE.experts["coef"]}))),
        study_of(exact_arm(model=Model(ONE_INPUT, min_scale=0.1, ties=("family.scale",)))),
    ],
)
def test_nothing_follows_from_other_arms(study):
    assert completion(study) == ()


def test_single_cells_beside_a_shared_one_have_exponents_by_search(tmp_path):
    """With one expert too many: whichever is shared, the other one has exponent one, and its claim is supported."""
    study = study_of(exact_arm(model=Model(Mixture((GATES["softmax"],), (3,)), min_scale=0.1)))
    first, other = completion(study)
    assert (first.name, first.cells, first.atom) == ("exact: experts.coef, single cells", (0, 0, 1), 2)
    assert (other.name, other.cells, other.atom) == (f"{first.name}, cells 1 1 0", (1, 1, 0), 2)
    run_probes(study, tmp_path, complete=True)
    (found,) = exponents_of(study.claims[0], study.arms, judge_probes(study, tmp_path))
    assert (found.probed.word, found.left, found.parts, found.untied) == (VerdictKind.supported, 0, 2, ())
    assert found.probed.local()[-1] == pytest.approx(1.0, abs=0.1)
    open_ = Verdict(study.claims[0], VerdictKind.unresolved, None, "partly inside")
    assert with_exponents(open_, (found,)).word is VerdictKind.supported
    shared = replace(study.claims[0], series="experts.coef over mean")
    assert exponents_of(shared, study.arms, judge_probes(study, tmp_path)) == ()


def test_limits_of_single_atoms_do_not_hide_experts_that_are_the_same_with_other_signs():
    """``b tanh(a x)`` with one unit too many, whose box is of every fitted atom: any may be the mirrored one."""
    true, fitted = (Mixture((GATES["softmax"],), (k,), EXPERTS["tanh-unit"]) for k in (2, 3))
    experts = {"coef": value([[[2.0]], [[1.0]]]), "intercept": value([[0.3], [-0.2]]), "output": value([[0.5], [1.0]])}
    for least, found in ((-4.0, 0), (0.0, 2)):
        box = {"experts.output": (value([[least], [0.0], [0.0]]), 4.0)}
        arm = exact_arm(data=Data(true, OF_ONE._replace(experts=experts)), model=Model(fitted, min_scale=0.1, box=box))
        assert len([one for one in completion(study_of(arm)) if one.name.endswith(("single cells", "1 1 0"))]) == found


def test_outer_gates_beside_shared_leaves_have_exponents_of_every_choice():
    """Three inputs, two groups of two fitted by two of three: 3 entries of the outer weights, four choices."""
    study = STUDIES["hierarchical-rates"]
    found = [one for one in completion(study) if one.name.startswith("SS, d=3: gates.0.weight, single cells")]
    assert {(one.cells, one.entry) for one in found} == {
        ((*left, *right), entry)
        for left in ((0, 0, 1), (1, 1, 0))
        for right in ((2, 2, 3), (3, 3, 2))
        for entry in range(3)
    }
    assert {one.atom for one in found} == {0}


def test_errors_after_merging_have_no_exponent():
    assert path_of_error("merged experts.coef exact mean", ONE_INPUT) == ""
    assert path_of_error("experts.coef exact mean", ONE_INPUT) == "experts.coef"


def test_two_experts_that_are_one_have_no_exponent_by_information(tmp_path):
    """The information is singular, so that nothing is certified and the claim is left to its slopes."""
    same = {"coef": value([[[2.0]], [[2.0]]]), "intercept": value([[0.5], [0.5]])}
    twins = OF_ONE._replace(experts=same, family={"scale": value([[0.5], [0.5]])})
    study = study_of(exact_arm(data=Data(ONE_INPUT, twins)))
    run_probes(study, tmp_path, complete=True)
    assert exponents_of(study.claims[0], study.arms, judge_probes(study, tmp_path)) == ()


def test_the_floor_of_scales_is_a_limit_of_exponents(tmp_path):
    """A floor above the true scales: the information at the truth says nothing."""
    study = study_of(exact_arm(model=Model(ONE_INPUT, min_scale=0.8)))
    run_probes(study, tmp_path, complete=True)
    (found,) = judge_probes(study, tmp_path)
    assert found.word is VerdictKind.unresolved
    assert study.arms[0].model.limits()["family.scale"] == (0.8, inf)


@pytest.mark.parametrize(
    ("box", "found"), [({}, 0), ({"experts.coef": (-4.0, 4.0)}, 0), ({"experts.output": (0.0, 4.0)}, 1)]
)
def test_experts_that_are_the_same_with_other_signs_have_none_by_information(box, found):
    """``b tanh(a x + c)``: fits may end at ``(-a, -b, -c)``, unless the box forbids it; errors then stay."""
    mixture = Mixture((GATES["softmax"],), (2,), EXPERTS["tanh-unit"])
    experts = {"coef": value([[[2.0]], [[1.0]]]), "intercept": value([[0.3], [-0.2]]), "output": value([[0.5], [1.0]])}
    truth = OF_ONE._replace(experts=experts)
    arm = exact_arm(data=Data(mixture, truth), model=Model(mixture, min_scale=0.1, box=box))
    assert len(completion(study_of(arm))) == found


def test_an_exponent_that_follows_but_cannot_be_computed_says_why_and_stops_no_other(tmp_path):
    """The variance of the other true atom is too small for the displacements; a series has a parameter there is not."""
    truth = OF_ONE._replace(family={"scale": value([[0.5], [0.25]])})
    data, model = Data(ONE_INPUT, truth), Model(Mixture((GATES["softmax"],), (3,)), min_scale=0.1)
    mine = {"eps": (0.1, 0.05), "starts": 1}
    probe = Probe("variance", data, model, "family.variance", (0, 0, 1), 2.0, 0.3, "this project", "own", **mine)
    claims = tuple(
        Claim("exact", series, "equal", -0.5, 0.1, "this project", "own")
        for series in ("experts.slope exact mean", "experts.coef exact mean")
    )
    study = Study("some", "Some fail", "Why.", (exact_arm(),), claims, probes=(probe,))
    run_probes(study, tmp_path, complete=True)
    own, other, regular = judge_probes(study, tmp_path)
    assert own.record["distance"][0] is not None
    assert other.word is VerdictKind.unresolved
    assert "cannot be computed" in other.reason
    assert "a variance of 0.0625 displaced by -0.1 is not positive" in other.reason
    assert regular.word is VerdictKind.supported


def test_limits_of_a_gate_keep_the_reference_in_its_place():
    """Weights in [0, 4], less that of the last atom: any atom may be shared, but not in any order."""
    mixture, truth = truth_of((2,))
    weights = {"weight": value([[1.5, 1.0, 0.5], [0.0, 0.0, 0.0]]), "bias": torch.zeros(2).double()}
    data = Data(mixture, truth._replace(gates=(weights,)), Uniform(d=3))
    probe = probe_of((2,), (3,), (0, 0, 1))
    probe = replace(probe, data=data, model=replace(probe.model, box={"gates.0.weight": (0.0, 4.0)}))
    found, complete = choices(probe)
    assert complete
    assert [one.cells for one in found] == [(0, 0, 1), (0, 1, 1)]


def test_groups_that_a_model_tells_apart_are_not_listed():
    """The scales of one group are known, and those of both are equal: the groups may change places too."""
    known = torch.full((2, 3, 1), torch.nan).double()
    known[0] = 0.5
    probe = probe_of((2, 2), (2, 3), (0, 0, 1, 2, 2, 3), fixed={"family.scale": known})
    assert not choices(probe)[1]
    constant = Mixture((GATES["constant"],) * 2, (2, 2)), Mixture((GATES["constant"],) * 2, (2, 3))
    biases = tuple({"bias": torch.zeros(shape).double()} for shape in ((2,), (2, 2)))
    data = Data(constant[0], probe.data.truth._replace(gates=biases), Uniform(d=3))
    arbitrary = replace(probe, data=data, model=Model(constant[1], min_scale=0.1))
    assert not choices(arbitrary)[1]  # leaves of groups of constant gates may be anywhere
    assert missing_parts([arbitrary]) == ()


def test_a_choice_in_which_the_entry_is_known_is_another_part():
    """One entry of the slopes is known in two of the atoms: where they share a true one, it has no error."""
    nan = torch.nan
    known = {"experts.coef": value([[[nan, nan, nan]], [[0.5, nan, nan]], [[0.5, nan, nan]]])}
    mixture, truth = truth_of((2,))
    truth = truth._replace(experts={**truth.experts, "coef": value([[[0.5, 1.0, 0.0]], [[0.5, -1.0, 1.0]]])})
    probe = replace(probe_of((2,), (3,), (0, 0, 1), fixed=known), data=Data(mixture, truth, Uniform(d=3)))
    assert not choices(probe)[1]
    assert choices(replace(probe, entry=1))[1]
