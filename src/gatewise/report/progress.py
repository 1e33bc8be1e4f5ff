"""Progress on the terminal: one bar for all fits, one for the fit that is going on."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn


class Listener:
    """What a fit reports to: called with (stage, starts that have ended, starts)."""

    def __init__(self, progress: Progress) -> None:
        self.progress, self.label = progress, ""
        self.task = progress.add_task("", total=None)

    def begin(self, label: str) -> None:
        """Show that another fit begins."""
        self.label = label
        self.progress.reset(self.task, description=label, visible=True)

    def __call__(self, stage: str, done: int, total: int) -> None:
        self.progress.update(self.task, description=f"{self.label}: {stage}", completed=done, total=total)


@contextmanager
def listening() -> Iterator[tuple[Progress, Listener]]:
    """Show progress on the standard error stream, if it is a terminal, while the block runs; then the bars vanish."""
    stream = sys.stderr
    progress = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(file=stream),
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )
    with progress if stream.isatty() else nullcontext():  # rich 13 ends even a disabled one with a line
        yield progress, Listener(progress)
