"""The documentation site, without building it: every page is reached, every public name has all that a page needs.

`make docs` builds it, with warnings as errors.
"""

import doctest
import importlib
import inspect
import re
import sys
from pathlib import Path

import pytest
from numpydoc.docscrape import NumpyDocString

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
DOORS = ("gatewise", *(f"gatewise.{name}" for name in ("data", "experiments", "nn", "plots", "testing", "theory")))
CHOSEN_BY_ENUM = {"Status"}  # whose members are given, not made
PRIVATE = {"_ext", "_static", "_templates", "gallery", "generated", "examples"}

sys.path.insert(0, str(DOCS / "_ext"))
from api_pages import doors, is_constant, page_of  # noqa: E402


def pages():
    """The pages of the site that people write, by their names in a toctree."""
    found = (path.relative_to(DOCS) for kind in ("md", "rst") for path in DOCS.rglob(f"*.{kind}"))
    return sorted(
        path.with_suffix("").as_posix()
        for path in found
        if not PRIVATE.intersection(path.parts) and not re.match(r"gatewise\b|sg_", path.name)
    )


def listed(page):
    """The pages that the toctrees of a page list."""
    path = next((DOCS / page).with_suffix(kind) for kind in (".md", ".rst") if (DOCS / f"{page}{kind}").exists())
    for block in re.findall(r"^```\{toctree\}\n(.*?)^```", path.read_text("utf-8"), re.DOTALL | re.MULTILINE):
        for line in block.splitlines():
            name = re.sub(r".*<(.*)>$", r"\1", line.strip())
            if name and not name.startswith(":"):
                yield (path.parent / name).resolve().relative_to(DOCS.resolve()).as_posix()


def reached(start):
    found, waiting = set(), [start]
    while waiting:
        page = waiting.pop()
        written = any((DOCS / f"{page}{kind}").exists() for kind in (".md", ".rst"))
        if page not in found and written and not re.search(r"/gatewise[\w.]*$", page):
            waiting += listed(page)
        found.add(page)
    return found


def test_every_page_is_in_a_toctree_and_every_entry_is_a_page():
    found = reached("index")
    assert not set(pages()) - found
    generated = {"examples/index", *(f"api/{door}" for door in DOORS)}
    assert found - set(pages()) == generated


def test_every_public_name_has_a_page():
    written = "\n".join(page_of(*door) for door in doors((DOCS / "public-names.md").read_text("utf-8")))
    by_door = dict(zip(DOORS, [set() for _ in DOORS], strict=True))
    for part in re.split(r"^\.\. currentmodule:: ", written, flags=re.MULTILINE)[1:]:
        door = part.partition("\n")[0]
        by_door[door] |= set(re.findall(r"^   (\w+)$", part, re.MULTILINE))
        by_door[door] |= set(re.findall(r":py:data:`~[\w.]+\.(\w+)`", part))
    for door, names in by_door.items():
        assert names == set(importlib.import_module(door).__all__), door


def constants():
    for door in DOORS:
        module = importlib.import_module(door)
        yield from (f"{door}.{name}" for name in module.__all__ if is_constant(getattr(module, name)))


def test_every_constant_is_described_with_an_example_that_runs():
    page = DOCS / "api" / "constants.rst"
    parts = re.split(r"^\.\. py:data:: ", page.read_text("utf-8"), flags=re.MULTILINE)[1:]
    assert sorted(part.partition("\n")[0] for part in parts) == sorted(constants())
    assert all(">>>" in part for part in parts)
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    assert doctest.testfile(str(page), module_relative=False, optionflags=flags).failed == 0


def arguments(thing):
    """The names of what a function or a constructor takes; exceptions take their message."""
    if thing.__name__ in CHOSEN_BY_ENUM or (inspect.isclass(thing) and issubclass(thing, BaseException)):
        return set()
    return {name for name in inspect.signature(thing).parameters if name not in ("args", "kwargs")}


def lacking(thing):
    """What the docstring of a public name does not say: parameters, what is returned, an example."""
    text = NumpyDocString(inspect.getdoc(thing) or "")
    sections = ("Parameters", "Other Parameters", "Attributes")
    told = {name.strip().lstrip("*") for part in sections for entry in text[part] for name in entry.name.split(",")}
    lacks = sorted(arguments(thing) - told)
    if inspect.isroutine(thing):
        lacks += sorted(entry.name for entry in text["Parameters"] if _unknown(entry.name, arguments(thing)))
        returned = inspect.signature(thing).return_annotation
        silent = returned in (None, "None") or text["Returns"] or text["Yields"]
        lacks += [] if silent else [f"returns {returned}"]
    return lacks + ([] if text["Examples"] else ["an example"]) + ([] if text["Summary"] else ["a summary"])


def _unknown(names, known):
    return not {name.strip().lstrip("*") for name in names.split(",")} <= known


@pytest.mark.parametrize("door", DOORS)
def test_every_public_name_says_its_parameters_what_it_returns_and_an_example(door):
    module = importlib.import_module(door)
    things = {name: getattr(module, name) for name in module.__all__}
    found = {name: lacking(thing) for name, thing in things.items() if not is_constant(thing)}
    assert found
    assert not {name: lacks for name, lacks in found.items() if lacks}


def test_what_a_docstring_lacks_is_seen():
    def bare(first, second) -> int:
        """Add two numbers.

        Parameters
        ----------
        first, third : int
        """

    assert lacking(bare) == ["second", "first, third", "returns <class 'int'>", "an example"]
