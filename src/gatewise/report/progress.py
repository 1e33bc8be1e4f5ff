"""Progress on the terminal, fed by the lines that a verbose fit writes."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

STAGES = ("EM", "L-BFGS", "Newton", "all rows")
_LINE = re.compile(r"^gatewise: (.+) \((\d+) of (\d+)\)$", re.MULTILINE)


class Listener(io.TextIOBase):
    """A stream that turns the lines of a verbose fit into progress, and passes everything else on."""

    def __init__(self, progress: Progress, stream: io.TextIOBase) -> None:
        super().__init__()
        self.progress, self.stream, self.label, self.done = progress, stream, "", 0
        self.task = progress.add_task("", total=len(STAGES))

    def begin(self, label: str) -> None:
        """Show that another fit begins."""
        self.label, self.done = label, 0
        self.progress.reset(self.task, description=label, total=len(STAGES), visible=True)

    def write(self, text: str) -> int:
        found = _LINE.search(text)
        if found is None:
            self.stream.write(text)
        else:
            stage = found[1]
            self.done = max(self.done, STAGES.index(stage) if stage in STAGES else 0)  # later rounds do not go back
            self.progress.update(self.task, description=f"{self.label}: {stage}", completed=self.done)
        return len(text)

    def flush(self) -> None:
        self.stream.flush()


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
        disable=not stream.isatty(),
    )
    listener = Listener(progress, stream)
    with progress, redirect_stderr(listener):
        yield progress, listener
