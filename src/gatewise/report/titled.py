"""Tables with a title for the terminal."""

from rich import box
from rich.table import Table


def titled(title: str, *columns: str) -> Table:
    """Return an empty table with a bold title and columns whose texts are folded where they do not fit."""
    shown = Table(title=title, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), title_justify="left", title_style="bold")
    for name in columns:
        shown.add_column(name, overflow="fold")
    return shown
