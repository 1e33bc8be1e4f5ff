"""What a study fixes before it runs, for the terminal: why, its curves, its claims and its population exponents."""

from __future__ import annotations

from rich.console import Group
from rich.table import Table
from rich.text import Text

from gatewise.plots.words import asked
from gatewise.report.study.facts import METHODS, model_words, protocol_words, subject
from gatewise.report.titled import titled
from gatewise.theory.arms import Arm
from gatewise.theory.probes import expected
from gatewise.theory.study import Study


def definition(study: Study) -> Group:
    """Return what a study fixes before it runs."""
    head = Text.assemble((study.title, "bold"), f"\n{protocol_words(study)}; seed {study.seed}\n")
    exponents = [_exponents(study)] if study.probes else []
    return Group(head, Text(study.why + "\n"), _curves(study), _claims(study), *exponents)


def _curves(study: Study) -> Table:
    shown = titled(f"{len(study.arms)} curves, {study.fits()} fits", "curve", "truth", "fitted", "n", "replicates")
    for arm in study.arms:
        fitted = f"{model_words(arm.model.mixture)}; {METHODS[arm.model.method]}"
        row = (arm.name, model_words(arm.data.mixture), fitted, _sizes(arm), str(arm.replicates))
        shown.add_row(*map(Text, row))
    return shown


def _sizes(arm: Arm) -> str:
    sizes = [level.axis for level in arm.levels()]
    return f"{sizes[0]:,} to {sizes[-1]:,}".replace(",", " ") if len(sizes) > 1 else f"{sizes[0]}"


def _claims(study: Study) -> Table:
    shown = titled(f"{len(study.claims)} claims", "claim about", "claimed", "standing and source")
    for claim in study.claims:
        shown.add_row(*map(Text, (subject(claim), asked(claim), f"{claim.standing}: {claim.source}")))
    return shown


def _exponents(study: Study) -> Table:
    shown = titled(f"{len(study.probes)} population exponents", "exponent", "claimed", "standing and source")
    for probe in study.probes:
        shown.add_row(*map(Text, (probe.name, expected(probe), f"{probe.standing}: {probe.source}")))
    return shown
