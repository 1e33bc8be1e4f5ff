"""Whose fault an error is, read off where it was raised.

What a user can mend is told in words by a `raise` in the source of gatewise, or by scikit-learn's validation of
arrays; files and disks speak for themselves (OSError); and what a user's own file raises is the user's. All others,
such as an index out of range or shapes that torch refuses, come from code that met what nobody had checked: that is a
fault of gatewise.
"""

from __future__ import annotations

import linecache
import re
import sys
import traceback
from pathlib import Path
from typing import NamedTuple

HERE = str(Path(__file__).parents[1])
VALIDATION = str(Path("sklearn", "utils"))
USERS = "gatewise_user_"  # names of modules that were read from a user's file begin so
SENT = "<dynamic-code>"  # what cloudpickle calls the file of code that it sends to another process: a user's
MENDABLE = (ValueError, TypeError, ImportError, NotImplementedError)
STEP = re.compile(r'^\s*File "(.+)", line (\d+)', re.MULTILINE)


class Step(NamedTuple):
    """A line of source that an error passed."""

    file: str
    line: int

    @property
    def raises(self) -> bool:
        """Whether the line is a `raise` of its own words."""
        return linecache.getline(self.file, self.line).lstrip().startswith("raise ")


def steps_of(fault: BaseException) -> list[Step]:
    """Return the steps of an error, the innermost last; of one from another process those that it brought along."""
    remote = STEP.findall(str(fault.__cause__)) if type(fault.__cause__).__name__ == "_RemoteTraceback" else []
    if remote:
        return [Step(file, int(line)) for file, line in remote]
    return [Step(frame.filename, frame.lineno or 0) for frame in traceback.extract_tb(fault.__traceback__)]


def words_for_user(fault: Exception) -> str | None:
    """Return what a user is told of an error that the user can mend; None for a fault of gatewise."""
    if isinstance(fault, OSError):
        return str(fault)
    theirs = {str(one.__file__) for name, one in list(sys.modules.items()) if name.startswith(USERS)} | {SENT}
    steps = steps_of(fault)
    known = [step for step in steps if step.file in theirs or step.file.startswith(HERE)]
    if known and known[-1].file in theirs:
        file = "your file" if known[-1].file == SENT else known[-1].file
        return f"{file}, line {known[-1].line}: {type(fault).__name__}: {fault}"
    told = steps and steps[-1].raises and (steps[-1].file.startswith(HERE) or VALIDATION in steps[-1].file)
    return str(fault) if told and isinstance(fault, MENDABLE) else None
