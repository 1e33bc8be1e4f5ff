"""Progress follows the lines of a verbose fit and never hides other messages."""

import io
import sys

import pytest
from rich.console import Console
from rich.progress import Progress

from gatewise.report.progress import STAGES, Listener, listening


@pytest.fixture
def listener():
    return Listener(Progress(console=Console(file=io.StringIO()), disable=True), io.StringIO())


def test_stages_move_the_bar_forward_only(listener):
    listener.begin("softmax")
    task = listener.progress.tasks[0]
    seen = []
    for stage in ("EM", "Newton", "something new", "EM", "all rows"):
        listener.write(f"gatewise: {stage} (0 of 20)\n")
        seen.append(task.completed)
    assert seen == [0, 2, 2, 2, 3]
    assert task.description == "softmax: all rows"
    listener.begin("laplace")
    assert task.completed == 0
    assert task.total == len(STAGES)


def test_other_text_is_passed_on(listener):
    listener.write("a warning\n")
    assert listener.stream.getvalue() == "a warning\n"


def test_the_error_stream_is_given_back():
    before = sys.stderr
    with pytest.raises(ValueError, match="x"), listening():
        raise ValueError("x")
    assert sys.stderr is before
