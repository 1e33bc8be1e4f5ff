"""Shared by all commands: one-line error messages, a console of bounded width, and the origin of a folder's code."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import typer

from gatewise.cli.origin import words_for_user
from gatewise.core.names import did_you_mean

WIDEST = 120  # columns: tables and texts grow no wider
TRACEBACK: ContextVar[bool] = ContextVar("traceback", default=False)  # whether the command line asked for it


@contextmanager
def clear_faults() -> Iterator[None]:
    """End in one line: exit code 2 for what the user can mend, 1 for a fault of gatewise, 130 for an interruption."""
    with ExitStack() as stack:
        stack.push(lambda kind, fault, trace: _told(fault))
        yield


def _told(fault: BaseException | None) -> bool:
    """Say what an error means to the user, and end with its exit code; what ends a program by design passes."""
    if isinstance(fault, KeyboardInterrupt):
        typer.echo("\ninterrupted: no file was left half-written", err=True)
        raise typer.Exit(130) from None
    if not isinstance(fault, Exception) or isinstance(fault, BrokenPipeError | typer.Exit):
        return False
    if TRACEBACK.get():
        typer.echo("".join(traceback.format_exception(fault)), err=True)
    words = words_for_user(fault)
    if words is not None:
        typer.echo(f"error: {words}", err=True)
        raise typer.Exit(2) from None
    first = next(iter(str(fault).splitlines()), "")
    typer.echo(f"gatewise failed: {type(fault).__name__}: {first}", err=True)
    typer.echo(
        "this is a fault of gatewise, not of your input: please report it, with the output of the same command after "
        "gatewise --traceback",
        err=True,
    )
    raise typer.Exit(1) from None


def console() -> Any:
    """Return a console of the terminal's width, at most `WIDEST`."""
    from rich.console import Console

    console = Console(highlight=False)
    return console if console.width <= WIDEST else Console(highlight=False, width=WIDEST)


def of_name_or_file(kind: str, name: str, table: Mapping[str, Any], load: Callable[[str], Any]) -> Any:
    """Return the study or experiment of that name, or that of a user's file, ``FILE.py:NAME``."""
    if name in table:
        return table[name]
    if ":" not in name and not Path(name).is_file():
        near = did_you_mean(name, table)
        raise ValueError(f"{kind} {name!r} is unknown: {near}the names are {', '.join(table)}, or give FILE.py:NAME")
    return load(name)


def whole_name(where: str) -> str:
    """Return a name of a study or experiment, or of a file with its whole path: what a folder says of its origin."""
    path, _, last = where.rpartition(":")
    return f"{Path(path).resolve()}:{last}" if Path(path).is_file() else where


def not_run(folder: Path, what: str, name: str, where: str, option: str) -> ValueError:
    """Return the error that says that a folder's study or experiment is in a file, which only the user may name."""
    return ValueError(
        f"{folder} holds {what} {name!r} of {where!r}: a folder is data, and no code that it names is run. "
        f"If you trust that file, name it: {option} FILE.py:NAME"
    )


@contextmanager
def cluster(address: str) -> Iterator[Any]:
    """Connect to the scheduler of a cluster while the block runs; to none for an empty address."""
    if not address:
        with nullcontext() as none:
            yield none
        return
    try:
        from distributed import Client
    except ImportError:
        raise ValueError("--dask needs the extra dask: pip install 'gatewise[dask]'") from None
    with Client(address, timeout=30) as client:
        yield client
