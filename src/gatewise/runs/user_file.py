"""Values of a user's file, such as a study, with classes and functions that processes elsewhere need not find."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import TypeVar

PICKLERS = ("cloudpickle", "joblib.externals.cloudpickle")  # of joblib, by its version, and of Dask
FAULTS: tuple[type[Exception], ...] = (ImportError, NameError, SyntaxError, TypeError, ValueError, AttributeError)
FAULTS += (LookupError, RuntimeError, ArithmeticError, AssertionError, OSError)  # of the file, told with its line

Kind = TypeVar("Kind")


def from_file(where: str, kind: type[Kind]) -> Kind:
    """Return a value of a kind from a file, ``my_study.py:study``.

    It may import other files beside it. Classes and functions of all of them travel to workers by value, so that these
    need not find the files.

    Raises
    ------
    ValueError
        If there is no such file, no such name in it, or its value is of another kind; what the file itself raises is
        told with its line.
    """
    path, _, name = where.rpartition(":")
    if Path(where).is_file():
        raise ValueError(f"{where}: the name of the {kind.__name__.lower()} in the file is missing, give {where}:NAME")
    file = Path(path).resolve()
    if not path or not file.is_file():
        raise ValueError(f"{where}: there is no file {path or where!r}; give FILE.py:NAME")
    title = f"gatewise_user_{file.stem}"
    spec = importlib.util.spec_from_file_location(title, file)
    if spec is None or spec.loader is None:
        raise ValueError(f"{where}: {path!r} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[title] = module
    sys.path.insert(0, str(file.parent))  # as Python does for a file that it runs
    try:
        spec.loader.exec_module(module)
    except SystemExit as fault:
        raise ValueError(
            f"{path} ended the program when it was read: put that under if __name__ == '__main__'"
        ) from fault
    except FAULTS as fault:
        steps = [step.lineno for step in traceback.extract_tb(fault.__traceback__) if step.filename == str(file)]
        line = fault.lineno if isinstance(fault, SyntaxError) else next(reversed(steps), None)
        raise ValueError(f"{path}, line {line}: {type(fault).__name__}: {fault}") from fault
    finally:
        sys.path.remove(str(file.parent))
    for pickler in filter(importlib.util.find_spec, PICKLERS):
        for one in _beside(file):
            importlib.import_module(pickler).register_pickle_by_value(one)
    found = vars(module).get(name)
    if not isinstance(found, kind):
        there = [key for key, value in vars(module).items() if isinstance(value, kind)]
        held = ", ".join(there) or "none"
        raise ValueError(f"{where}: {name!r} is no {kind.__name__} in {path}; it has {held}")
    return found


def _beside(file: Path) -> list[ModuleType]:
    """Return the modules that were loaded from the folder of a file."""
    folder = file.parent
    there = {path.name for path in folder.iterdir()}
    places = {name: getattr(module, "__file__", None) for name, module in sys.modules.items()}
    alike = {name: Path(place) for name, place in places.items() if place and Path(place).name in there}
    return [sys.modules[name] for name, place in alike.items() if place.resolve().parent == folder]
