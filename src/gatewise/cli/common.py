"""What all verbs share: faults in one line, and a console of bounded width."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer

WIDEST = 120  # columns: tables and texts grow no wider


@contextmanager
def clear_faults() -> Iterator[None]:
    """Turn what a user can mend into one line and exit code 2, and an interruption into 130."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo("\ninterrupted: no file was left half-written", err=True)
        raise typer.Exit(130) from None
    except BrokenPipeError:
        raise
    except (ValueError, TypeError, OSError) as fault:
        typer.echo(f"error: {fault}", err=True)
        raise typer.Exit(2) from None


def console() -> Any:
    """Return a console of the terminal's width, at most `WIDEST`."""
    from rich.console import Console

    console = Console(highlight=False)
    return console if console.width <= WIDEST else Console(highlight=False, width=WIDEST)


def whole_name(where: str) -> str:
    """Return a name of a study or experiment, or of a file with its whole path: reports are written from elsewhere."""
    path, _, last = where.rpartition(":")
    return f"{Path(path).resolve()}:{last}" if Path(path).is_file() else where
