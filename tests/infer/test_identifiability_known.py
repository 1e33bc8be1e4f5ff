"""Every known count of derivatives and relations is found, whatever the draws."""

from collections import Counter

import pytest

from gatewise.infer.identifiability import identify
from gatewise.infer.identifiability.known import KNOWN

NAMES = [f"{row.source} {row.name}, order {row.settings.get('order', 2)}" for row in KNOWN]


def test_the_table_is_whole():
    assert Counter(row.source for row in KNOWN) == {"7.3": 28, "7.4": 8, "7.5": 51}
    assert len(set(NAMES)) == len(KNOWN)


@pytest.mark.parametrize("row", KNOWN, ids=NAMES)
def test_a_known_row_is_reproduced(row):
    found = row.run()
    assert (found.n_atoms, found.nullity) == (row.n_atoms, row.nullity)
    assert found.nullities == (row.nullity,) * 6
    assert found.verdict != "undecided"
    assert row.parameters in (None, row.involved(found))
    assert row.reproduced(found)
    assert not row._replace(nullity=row.nullity + 1).reproduced(found)


@pytest.mark.parametrize("seed", [1, 2, 9])
@pytest.mark.parametrize("name", ["Laplace", "SS", "softmax, GELU(a.x+b)", "softmax, ReLU(a.x+b)", "sigmoid, const"])
def test_other_draws_agree(name, seed):
    for row in (row for row in KNOWN if row.name == name):
        assert row.reproduced(row.run(seed))


@pytest.mark.parametrize(("gate", "nullity"), [("softmax", 6), ("laplace", 2), ("cosine", 8), ("quadratic", 20)])
def test_two_atoms_in_general_position_have_their_own_relations_only(gate, nullity):
    pair = identify(gate, atoms=2)
    assert pair.nullity == 2 * nullity
    assert all(len({term.split("/")[0][-1] for term in relation.terms}) == 1 for relation in pair.relations)


def test_the_constant_expert_is_in_no_relation_by_its_first_derivative():
    found = identify("softmax", "constant", "ls")
    assert found.equations == ("d2u/dweight dintercept = (1/intercept) du/dweight",)
    assert "du/dintercept" in found.columns
    assert "du/dintercept" not in found.involved
