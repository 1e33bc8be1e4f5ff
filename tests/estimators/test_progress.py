"""Progress: bars where somebody looks, messages of the log elsewhere, nothing unasked."""

import io
import logging

import numpy as np
import pytest

from gatewise import MixtureOfExpertsRegressor
from gatewise.estimators import progress

ARGUMENTS = {"n_init": 3, "random_state": 0}


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(120, 3))
    return x, np.where(rng.random(120) < 0.5, 2 * x[:, 0], 3 - x[:, 1]) + 0.2 * rng.normal(size=120)


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("method", ["ml", "em", "ls"])
def test_a_log_that_is_no_terminal_gets_messages_and_no_bars(method, rows, capsys, caplog):
    with caplog.at_level(logging.INFO, "gatewise"):
        MixtureOfExpertsRegressor(2, method=method, verbose=1, **ARGUMENTS).fit(*rows)
    assert capsys.readouterr() == ("", "")
    assert {record.name for record in caplog.records} == {"gatewise"}
    assert any("starts have ended" in message for message in caplog.messages)


def test_nothing_is_said_unasked(rows, capsys, caplog):
    with caplog.at_level(logging.DEBUG, "gatewise"):
        MixtureOfExpertsRegressor(2, **ARGUMENTS).fit(*rows)
    assert capsys.readouterr() == ("", "")
    assert not caplog.records


def test_a_terminal_gets_a_bar_that_vanishes(rows, monkeypatch):
    stream = Terminal()
    monkeypatch.setattr("sys.stderr", stream)
    MixtureOfExpertsRegressor(2, verbose=True, **ARGUMENTS).fit(*rows)
    text = stream.getvalue()
    assert "L-BFGS: 0 of 3 starts" in text
    assert not text.split("\r")[-1].strip()


def test_a_bar_is_closed_when_a_fit_fails(monkeypatch):
    stream = Terminal()
    monkeypatch.setattr("sys.stderr", stream)

    def fails():
        with progress.following(1) as follower:
            follower("EM", 1, 3)
            raise ValueError("stopped")

    with pytest.raises(ValueError, match="stopped"):
        fails()
    assert "EM: " in stream.getvalue()
    assert not stream.getvalue().split("\r")[-1].strip()


def test_a_callable_is_told_itself(rows, capsys):
    heard = []
    MixtureOfExpertsRegressor(2, verbose=lambda *words: heard.append(words), **ARGUMENTS).fit(*rows)
    assert ("EM", 0, 3) in heard
    assert capsys.readouterr() == ("", "")


def test_the_logger_is_silent_until_somebody_listens():
    assert any(isinstance(handler, logging.NullHandler) for handler in logging.getLogger("gatewise").handlers)
