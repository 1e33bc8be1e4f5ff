"""Identifiability in the terminal: a table of parameters, the relations as equations, the verdict; and as JSON."""

from __future__ import annotations

import re
import textwrap
from math import isfinite
from typing import Any

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from gatewise.infer.identifiability import Identifiability, IdentifiabilityVerdict
from gatewise.infer.identifiability.proof import Proof

SHOWN = 16  # relations printed before the rest is only counted
GOOD = (IdentifiabilityVerdict.strong, IdentifiabilityVerdict.weak)


def shown(found: Identifiability, width: int = 80) -> Group:
    """Return what the terminal shows: title, table, relations, verdict.

    Parameters
    ----------
    found : Identifiability
    width : int
        Columns of the terminal; equations are broken between their terms.
    """
    title = Text.assemble((_sentence(found.title), "bold"), f"\n{_sentence(found.setting)}")
    parts: list[Any] = [title, _table(found), Text(f"{_sentence(found.counts)}.")]
    relations = [_folded(equation, width, "+-=") for equation in found.equations]
    relations += [_folded(f"a relation between {', '.join(terms)}", width, ",") for terms in found.unread]
    if relations:
        parts.append(Text("\nRelations (u: the atom; no index: holds for every feature)", style="bold"))
        parts += relations[:SHOWN]
    if len(relations) > SHOWN:
        parts.append(Text(f"  and {len(relations) - SHOWN} more; --json lists all"))
    head, _, rest = found.words.partition(":")
    style = "bold green" if found.verdict in GOOD else "bold yellow"
    parts.append(Text.assemble("\n", (f"{head}:", style), rest))
    return Group(*parts, *([] if found.proof is None else _proved(found.proof, width)))


def _proved(proof: Proof, width: int) -> list[Text]:
    """Return what was proved: the statement, the relations, the directions, the reason."""
    head, _, rest = proof.words.partition(":")
    lines = [Text.assemble("\n", (f"{head}:", "bold green" if proof.decided else "bold yellow"), rest)]
    lines += [_folded(equation, width, "+-=") for equation in proof.equations]
    if proof.directions:
        lines += [Text("Directions in which the atom does not change:")]
        lines += [_folded(direction, width, ",") for direction in proof.directions]
    return lines + ([Text(proof.reason)] if proof.reason else [])


def _table(found: Identifiability) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=0)
    table.add_column("parameter", no_wrap=True)
    table.add_column("first derivatives", no_wrap=True)
    if found.order == 2:
        table.add_column("with second derivatives", no_wrap=True)
    for name in found.estimated:
        states = (_first(found, name), _second(found, name))
        table.add_row(Text(name), *states[: found.order])
    return table


def _first(found: Identifiability, name: str) -> Text:
    if name in found.unidentified:
        return Text("dependent", "yellow")
    return Text("dependent for one leaf only", "yellow") if name in found.dependent else Text("independent", "green")


def _second(found: Identifiability, name: str) -> Text:
    if name in found.parameters:
        return Text("tied", "yellow")
    return Text("tied via second derivatives", "yellow") if name in found.partners else Text("independent", "green")


def _folded(text: str, width: int, signs: str) -> Text:
    """Return a relation on as many lines as it needs, broken before a sign or after a comma only."""
    glued = re.sub(r" (?![+=-] )" if signs != "," else r"(?<!,) ", "\N{NO-BREAK SPACE}", text)
    glued = re.sub(r"(?<=[+=-]) ", "\N{NO-BREAK SPACE}", glued)
    lines = textwrap.wrap(glued, width, initial_indent="  ", subsequent_indent="      ", break_on_hyphens=False)
    return Text("\n".join(lines).replace("\N{NO-BREAK SPACE}", " "))


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def as_json(found: Identifiability) -> dict[str, Any]:
    """Return the findings as values that JSON can hold; a number that is not finite is None."""
    values = {**found._asdict(), "n_atoms": found.n_atoms, "equations": found.equations, "words": found.words}
    values["relations"] = [relation._asdict() for relation in found.relations]
    values["verdict"] = str(found.verdict)
    values["proof"] = None if found.proof is None else found.proof.as_json()
    values["kept"] = found.kept if isfinite(found.kept) else None
    return values
