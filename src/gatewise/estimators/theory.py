"""What identifiability says of a fit."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from gatewise.core.mixture import Mixture
from gatewise.estimators.gate_inputs import GateReader, gated_levels
from gatewise.fit.result import Fit
from gatewise.infer.identifiability import Advice, IdentifiabilityVerdict, MixtureInputs, advise

ROOM = re.compile(r"\b(?:gates\.(\d+)|experts|family)\.(?=\w)")


def theory(fit: Fit, d: int, reader: GateReader, order: int = 2) -> Advice:
    """Return what identifiability says of the fitted mixture, or why it was not checked, with words.

    What was fixed is not estimated, and so no ridge; the check knows whole parameters only.

    Parameters
    ----------
    fit : Fit
    d : int
        Number of inputs of the experts.
    reader : GateReader
    order : {1, 2}
    """
    kept = gated_levels(fit.mixture.gates, fit.mixture.branching)
    if not kept:
        words = "one expert, and no gate: there is nothing that it could be confused with"
        return Advice(IdentifiabilityVerdict.undecided, words)
    spec, estimator = fit.spec, "ml" if fit.sse is None else "ls"
    inputs = MixtureInputs(d, tuple(range(d, d + reader.count)) if reader.given else reader.chosen)
    whole = {path: not bool(value.isnan().any()) for path, value in spec.fixed.items()}
    held = sorted(told_path(path, kept) for path, all_ in whole.items() if all_ and told_path(path, kept))
    found = advise(_of_levels(fit.mixture, kept), estimator, spec.gauge, inputs, fit.outputs, held, order)
    found = found._replace(words=ROOM.sub(lambda room: _room(room, kept), found.words))
    if found.verdict is IdentifiabilityVerdict.ridge and not all(whole.values()):
        return Advice(
            IdentifiabilityVerdict.undecided, "not checked: some entries of a parameter are fixed and others are not"
        )
    if found.verdict is IdentifiabilityVerdict.ridge and spec.ties:
        return Advice(IdentifiabilityVerdict.undecided, "not checked: some parameters are tied")
    return found


def _room(room: re.Match[str], kept: Sequence[int]) -> str:
    """Return what parameters of a level of gates, or of another room, are called where others have their name."""
    return f"gate {kept[int(room[1])]} " if room[1] else f"{room[0].rstrip('.').removesuffix('s')} "


def _of_levels(mixture: Mixture, kept: Sequence[int]) -> Mixture:
    """Return the mixture without the levels whose gate has nothing to divide."""
    branching = tuple(mixture.branching[level] for level in kept)
    return replace(mixture, gates=tuple(mixture.gates[level] for level in kept), branching=branching)


def told_path(path: str, kept: Sequence[int]) -> str:
    """Return the path of a parameter where some levels of gates are left out; empty where its own level is.

    Examples
    --------
    >>> told_path("gates.2.weight", (0, 2)), told_path("gates.1.weight", (0, 2)), told_path("experts.coef", (0, 2))
    ('gates.1.weight', '', 'experts.coef')
    """
    room, _, rest = path.partition(".")
    if room != "gates":
        return path
    level, _, name = rest.partition(".")
    return f"gates.{kept.index(int(level))}.{name}" if int(level) in kept else ""
