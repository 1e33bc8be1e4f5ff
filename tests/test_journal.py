"""Checkpoints: answers come back bit by bit, a torn line is lost alone, and another fit's file is refused."""

import json

import numpy as np
import pytest
import torch

from gatewise.objective.elsewhere import Here
from gatewise.runs.journal import (
    LARGE,
    SAMPLE,
    Journal,
    RecordedLanes,
    RememberingLanes,
    decoded,
    digest,
    encoded,
    require_no_file,
)
from gatewise.runs.records import line_of

OPTIONS = {"estimator": "A", "n_experts": "2"}
SUMS = np.array([1.5, 2.5])


def journal(path, options=OPTIONS, sums=SUMS):
    return Journal(path, options, sums)


@pytest.mark.parametrize(
    "value",
    [(torch.tensor([[1 / 3, torch.inf]], dtype=torch.float64), torch.tensor([2])), 0.1, "words", [("a", 1)], None, ()],
)
def test_what_is_kept_comes_back_bit_by_bit(value):
    again = decoded(json.loads(json.dumps(encoded(value))))
    assert type(again) is type(value)
    assert digest(again) == digest(value)


def test_questions_differ_where_their_brackets_do():
    assert len({digest(one) for one in (((1,), 2), ((1, 2),), (1, (2,)), (1, 2, ()), ((), 1, 2))}) == 5


def test_what_cannot_be_kept_is_an_error():
    with pytest.raises(TypeError, match="cannot hold a set"):
        encoded({1})


def test_answers_are_asked_for_once(tmp_path):
    path, asked = tmp_path / "fit", []

    def ask():
        asked.append(1)
        return torch.tensor([1 / 3], dtype=torch.float64)

    first = journal(path).answer((1, "q"), ask)
    again = journal(path)
    assert torch.equal(again.answer((1, "q"), ask), first)
    assert (len(asked), again.found) == (1, 1)
    again.answer((2, "q"), ask)
    assert len(asked) == 2


@pytest.mark.parametrize("damage", [lambda text: text[:-20], lambda text: text.replace("answer", "answeR")])
def test_a_damaged_line_is_asked_for_again(tmp_path, damage):
    path = tmp_path / "fit"
    one = journal(path)
    one.answer("first", lambda: 1)
    one.answer("second", lambda: 2)
    *kept, last = path.read_text().splitlines(keepends=True)
    path.write_text("".join(kept) + damage(last))
    again = journal(path)
    assert again.answer("first", lambda: 0) == 1
    assert again.answer("second", lambda: 3) == 3
    assert journal(path).answer("second", lambda: 0) == 3


def test_the_checkpoint_of_another_fit_is_refused(tmp_path):
    path = tmp_path / "fit"
    journal(path)
    journal(path, sums=SUMS * (1 + 1e-12))
    with pytest.raises(ValueError, match="another fit, with n_experts '2' in place of '3': delete it"):
        journal(path, {**OPTIONS, "n_experts": "3"})
    with pytest.raises(ValueError, match="other data"):
        journal(path, sums=SUMS * (1 + 1e-6))
    for text in ("a,b\n1,2\n", line_of({"format": 3}), line_of([1])):
        path.write_text(text)
        with pytest.raises(ValueError, match="no checkpoint of this version"):
            journal(path)
    with pytest.raises(ValueError, match="exists: give --resume to go on"):
        require_no_file(path, "give --resume")


def test_lanes_keep_their_sums(tmp_path):
    lanes = RecordedLanes(Here((1, 2, 3)), journal(tmp_path / "fit"))
    assert lanes.fold(abs, max) == 3
    later = RecordedLanes(Here(()), journal(tmp_path / "fit"))
    assert later.fold(abs, max) == 3
    assert lanes.each({2: abs}) == [3]


def test_the_same_is_asked_only_once_unless_it_is_large():
    asked = []

    class Counting(Here):
        def fold(self, work, join):
            asked.append(work)
            return super().fold(work, join)

        def each(self, works):
            asked.append(works)
            return super().each(works)

    lanes = RememberingLanes(Counting((1, 2)))
    assert [lanes.fold(abs, max) for _ in range(3)] == [2, 2, 2]
    assert len(asked) == 1
    assert [lanes.each({0: abs}) for _ in range(3)] == [[1]] * 3
    assert lanes.each({1: abs}) == [2]
    assert len(asked) == 3
    assert [lanes.each({0: abs, 1: abs}), lanes.each({1: abs, 0: abs})] == [[1, 2], [2, 1]]
    asked.clear()
    many = RememberingLanes(Counting((SAMPLE,)))
    assert [len(many.each({0: bytes})[0]) for _ in range(2)] == [SAMPLE] * 2
    assert len(asked) == 2
    asked.clear()
    large = RememberingLanes(Counting((LARGE,)))
    assert len(large.fold(bytes, max)) == len(large.fold(bytes, max)) == LARGE
    assert len(asked) == 2
