"""Advice on a fitted mixture: a verdict in words. It never fails, whatever the parts of the mixture are."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from traceback import format_exception_only
from typing import NamedTuple

from gatewise.core.mixture import Mixture
from gatewise.infer.identifiability.compose import FEATURES
from gatewise.infer.identifiability.fitted import ORDER, assess
from gatewise.infer.identifiability.verdict import BRIEF, IdentifiabilityVerdict

logger = logging.getLogger("gatewise")


class Advice(NamedTuple):
    """A verdict on a mixture, and its words; ``undecided`` with the reason when there is none.

    Attributes
    ----------
    verdict : IdentifiabilityVerdict
    words : str
    unidentified : tuple of str
        Of a ridge, the paths of the parameters that it moves.
    """

    verdict: IdentifiabilityVerdict
    words: str
    unidentified: tuple[str, ...] = ()

    @property
    def brief(self) -> str:
        """The words in one plain sentence, where one is enough."""
        return BRIEF.get(self.verdict, self.words)


class MixtureInputs(NamedTuple):
    """What a mixture sees: d inputs of its experts, and the inputs of its gates by number (None: the same)."""

    d: int
    gates: tuple[int, ...] | None = None

    @property
    def few(self) -> MixtureInputs:
        """As few inputs as show every relation, which overlap as these do.

        Examples
        --------
        >>> MixtureInputs(6).few, MixtureInputs(6, (1,)).few, MixtureInputs(6, (6, 7, 8)).few
        (MixtureInputs(d=2, gates=None), MixtureInputs(d=2, gates=(0,)), MixtureInputs(d=2, gates=(2, 3)))
        """
        d = min(self.d, FEATURES)
        if self.gates is None:
            return MixtureInputs(d)
        count = min(len(self.gates), FEATURES)
        if self.gates[0] >= self.d:
            return MixtureInputs(d, tuple(range(d, d + count)))
        return MixtureInputs(min(self.d, count + (len(self.gates) < self.d)), tuple(range(count)))


def advise(
    mixture: Mixture,
    estimator: str,
    gauge: str,
    inputs: MixtureInputs,
    outputs: int = 1,
    held: Sequence[str] = (),
    order: int = ORDER,
) -> Advice:
    """Return what identifiability says of a fitted mixture, or why it was not checked.

    The check takes few inputs and outputs, so that its cost does not grow with the data; where a part of one's own
    works for the inputs of the data alone, it takes these.

    Parts of one's own are used here in ways that a fit does not need: with fewer inputs, second derivatives by torch,
    draws of a response. Whatever they raise then is said in the words and, unless it is a ValueError, which says that
    there is nothing to check, in a message of the logger ``gatewise``.

    Parameters
    ----------
    mixture, estimator, gauge, outputs, held, order
        As for `assess`.
    inputs : MixtureInputs
        Those of the data.
    """
    cause: Exception | None = None
    for seen in dict.fromkeys((inputs.few, inputs)):
        try:
            found = assess(mixture, estimator, gauge, outputs, seen.gates, d=seen.d, held=held, order=order)
        except Exception as fault:  # noqa: BLE001 - the one place where anything may be caught: the fit is done
            cause = cause or fault
        else:
            ridge = found.unidentified if found.verdict is IdentifiabilityVerdict.ridge else ()
            paths = tuple(found.paths[name] for name in ridge)
            return Advice(found.verdict, f"{found.words}{_checked(seen, inputs)}", paths)
    return Advice(IdentifiabilityVerdict.undecided, f"not checked: {_said(cause)}")


def _said(cause: Exception | None) -> str:
    """Return what was raised, in words."""
    text = "".join(format_exception_only(cause)).strip()
    if isinstance(cause, ValueError):
        return text.removeprefix("ValueError: ")
    text = f"the check raised {text}"
    logger.warning("identifiability was not checked: %s", text)
    return text


def _checked(seen: MixtureInputs, inputs: MixtureInputs) -> str:
    """Return with how many inputs the check was made, when there are more."""
    parts = [f"{seen.d} inputs instead of {inputs.d}"] if seen.d < inputs.d else []
    few, many = len(seen.gates or ()), len(inputs.gates or ())
    parts += [f"{few} gate inputs instead of {many}"] if few < many else []
    return f" The check used {' and '.join(parts)}." if parts else ""
