"""Whose fault an error is: told by a raise of gatewise, raised by a user's file, or met by code that nobody guarded."""

import pytest
from typer.testing import CliRunner

from gatewise.cli import app
from gatewise.cli.origin import words_for_user
from gatewise.runs.workers import spread

from .covering import slow_rest

TASK = """
from gatewise.core.gates import gate
from gatewise.experiments import Experiment, Metric

def train(job):
    {line}

task = Experiment("mine", "Mine", "Why.", ("a",), ("ss", "ll"), {{"s": Metric("s")}}, train, rates=(0.1, 0.2))
"""
LINES = {
    "raise ValueError('a bad day')": "line 6: ValueError: a bad day",
    "return 1 / 0": "line 6: ZeroDivisionError: division by zero",
    "return {}['a']": "line 6: KeyError: 'a'",
    "gate('laplas')": "gate 'laplas' is unknown: did you mean 'laplace'?",
    "return {}": 'give a dictionary with "validation"',
}


# other processes take seconds to start: one fault of the file itself there, and those of gatewise in the slow run
PLACES = [(line, workers) for line in LINES for workers in (1, 2)]


@pytest.mark.parametrize(
    ("line", "workers"), slow_rest(PLACES, lambda place: place[1] == 1 or place[0].startswith("raise"))
)
def test_what_a_users_file_does_is_the_users_also_in_another_process(tmp_path, line, workers):
    (tmp_path / "my_task.py").write_text(TASK.format(line=line))
    words = ["experiment", "run", f"{tmp_path / 'my_task.py'}:task", "--workers", str(workers)]
    result = CliRunner().invoke(app, [*words, "--out", str(tmp_path / "out")], env={"COLUMNS": "200"})
    assert result.exit_code == 2, result.stderr
    assert LINES[line] in result.stderr
    assert workers == 2 or "line 6" not in LINES[line] or f"error: {tmp_path / 'my_task.py'}, line 6" in result.stderr


def told(item):
    from gatewise.core.gates import gate

    return gate("laplas")


def met(item):
    return [].index(item)


@pytest.mark.parametrize("workers", [1, 2])
def test_errors_of_other_processes_bring_their_origin_along(workers):
    with pytest.raises(ValueError, match="laplas") as known:
        list(spread(told, [1, 2, 3], workers))
    assert words_for_user(known.value) == str(known.value)
    with pytest.raises(ValueError, match="not in list") as fault:
        list(spread(met, [1, 2, 3], workers))
    assert words_for_user(fault.value) is None


def test_files_and_disks_speak_for_themselves(tmp_path):
    with pytest.raises(FileNotFoundError) as fault:
        (tmp_path / "nothing").read_text()
    assert "No such file" in words_for_user(fault.value)
