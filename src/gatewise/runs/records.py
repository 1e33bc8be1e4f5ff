"""Records on disk: a line of JSON with a check sum for each, appended in one write and never used when damaged."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from gatewise.files import append_lines, plain_file


class Line(NamedTuple):
    """A line of a file of records.

    Attributes
    ----------
    number : int
        Its place in the file, from 1.
    text : str
        As it stands there, without its end.
    record : object or None
        What it holds; None if it cannot be used.
    fault : str
        "torn" (it has no end), "damaged" (its check sum is another) or "".
    """

    number: int
    text: str
    record: Any
    fault: str


def line_of(record: Any) -> str:
    """Return a record as a line of JSON that starts with a check sum of the rest."""
    body = json.dumps(record, sort_keys=True, allow_nan=False)
    return json.dumps([zlib.crc32(body.encode()), record], sort_keys=True, allow_nan=False) + "\n"


def parsed(line: str) -> Any:
    """Return the record of a line, None if it is torn or damaged."""
    try:
        check, record = json.loads(line)
        body = json.dumps(record, sort_keys=True, allow_nan=False)
        return record if zlib.crc32(body.encode()) == check else None
    except (ValueError, TypeError, RecursionError):
        return None


def read_lines(path: Path) -> Iterator[Line]:
    """Yield the lines of a file of records, empty ones left out; a file that is not there has none."""
    text = plain_file(path).read_bytes().decode("utf-8", errors="replace") if path.exists() else ""
    *ended, last = text.split("\n")
    for number, line in enumerate(ended, 1):
        if line.strip():
            record = parsed(line)
            yield Line(number, line, record, "damaged" if record is None else "")
    if last.strip():
        yield Line(len(ended) + 1, last, None, "torn")


def append(path: Path, records: Iterable[Any]) -> None:
    """Append records in one write and wait until they are on the disk; a torn last line is cut off first."""
    with plain_file(path).open("ab") as file:
        cut(path)
        append_lines(file, "".join(map(line_of, records)))


def cut(path: Path) -> None:
    """Cut off a torn last line, so that nothing is appended to it."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        whole, end = 0, size
        while end > 0 and not whole:
            first = max(0, end - 65536)
            file.seek(first)
            place = file.read(end - first).rfind(b"\n")
            whole, end = first + place + 1 if place >= 0 else 0, first
    if whole < size:
        os.truncate(path, whole)
