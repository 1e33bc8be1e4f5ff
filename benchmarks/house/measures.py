"""The measures of the structure: each is a number for the table, with the names behind it."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import quantiles
from typing import Any, NamedTuple

from benchmarks.house.graph import circles, longest_chain, merged, shortest_path
from benchmarks.house.literals import literals
from benchmarks.house.source import AT_IMPORT, PACKAGE, Module, graph, read

DOORS = ("", "nn", "theory", "experiments", "data", "plots", "testing")  # whose `__all__` is public
PAGES = ("README.md", "CONTRIBUTING.md", "docs/**/*.md", "examples/**/*.py")
IMPORT = re.compile(rf"^[ >.]*(?:from|import) +({PACKAGE}(?:\.\w+)*)", re.MULTILINE)
LONG_FUNCTION, LONG_FILE = 50, 300
PAPERS, PAGE = "theory/papers", "study.html.j2"  # where claims are written down, and the template that prints them


class Figure(NamedTuple):
    """A line of the table, and what was counted."""

    name: str
    value: int | str
    behind: Any = ()


def measure(root: Path) -> list[Figure]:
    """Return the figures of a checkout, in the order of the table."""
    modules = read(root)
    return [
        *public_surface(root, modules),
        *class_names(modules),
        *import_graph(modules),
        *sizes(modules),
        parameter_names(modules),
        *trip(modules),
        *rooms(modules),
    ]


def public_surface(root: Path, modules: Sequence[Module]) -> Iterator[Figure]:
    """The names in `__all__` of the public doors, and the modules that the documentation and the examples import."""
    names = {".".join(m.dotted): public_names(m) for m in modules if _is_door(m)}
    yield Figure("public names", sum(map(len, names.values())), names)
    pages = [file for pattern in PAGES for file in sorted(root.glob(pattern))]
    used = sorted({name for file in pages for name in IMPORT.findall(file.read_text("utf-8"))})
    yield Figure("modules imported by documentation and examples", len(used), used)
    beyond = sorted(set(used) - {".".join(m.dotted) for m in modules if _is_door(m)})
    yield Figure("  of them behind the public doors", len(beyond), beyond)


def _is_door(module: Module) -> bool:
    return module.path.name == "__init__.py" and "/".join(module.dotted[1:]) in DOORS


def public_names(module: Module) -> list[str]:
    """Return `__all__` of a module, which is built from literals.

    Raises
    ------
    ValueError
        If it is not.
    """
    found: list[str] = []
    for node in module.tree.body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        if isinstance(target, ast.Name) and target.id == "__all__":
            found += ast.literal_eval(node.value)  # type: ignore[attr-defined]
    return found


def double_classes(modules: Sequence[Module]) -> dict[str, list[str]]:
    """Return the files of every name that more than one top-level class of the package has."""
    places: dict[str, list[str]] = {}
    for module in modules:
        for node in module.tree.body:
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, []).append(str(module.path))
    return {name: files for name, files in sorted(places.items()) if len(files) > 1}


def class_names(modules: Sequence[Module]) -> Iterator[Figure]:
    """Names of top-level classes that occur more than once; a leading underscore makes a name private."""
    found = double_classes(modules)
    for word, private in (("public", False), ("private", True)):
        names = {name: files for name, files in found.items() if name.startswith("_") is private}
        yield Figure(f"{word} class names defined more than once", len(names), names)


def import_graph(modules: Sequence[Module]) -> Iterator[Figure]:
    """Circles, importers and the longest chain; imports for the type checker alone are left out."""
    early, all_of_them, room = graph(modules, AT_IMPORT), graph(modules), {str(m.path): m.room for m in modules}
    at_import, late = circles(early), circles(all_of_them)
    yield Figure("circles between files", len(at_import), at_import)
    closed = [circle for circle in late if circle not in at_import]
    yield Figure("  closed by imports in functions", len(closed), closed)
    between = circles(merged(all_of_them, room))
    yield Figure("circles between rooms", len(between), between)
    importers = Counter(target for targets in all_of_them.values() for target in targets)
    once = sorted(file for file, count in importers.items() if count == 1)
    yield Figure("files with exactly one importer", len(once), once)
    chain = longest_chain(all_of_them)
    yield Figure("import depth", len(chain), chain)


def sizes(modules: Sequence[Module]) -> Iterator[Figure]:
    """Lines of functions and files; those of a docstring count for its file but not for its function."""
    lengths = {
        f"{module.path}:{node.lineno} {node.name}": _length(node)
        for module in modules
        for node in ast.walk(module.tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    longest = {name: size for name, size in lengths.items() if size > LONG_FUNCTION}
    yield Figure(f"functions over {LONG_FUNCTION} lines", len(longest), longest)
    yield Figure("lines of a function, 90 % at most", round(quantiles(lengths.values(), n=10)[-1]))
    files = {str(module.path): module.lines for module in modules if module.lines > LONG_FILE}
    yield Figure(f"files over {LONG_FILE} lines", len(files), files)


def _length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    text = node.body[0] if ast.get_docstring(node) is not None else None
    return _lines(node) - (_lines(text) if text else 0)


def _lines(node: ast.stmt) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def statements(module: Module) -> int:
    """Return how many statements a module has, texts that stand alone (docstrings) left out."""
    return sum(isinstance(node, ast.stmt) and not _is_text(node) for node in ast.walk(module.tree))


def _is_text(node: ast.stmt) -> bool:
    match node:
        case ast.Expr(value=ast.Constant(value=str())):
            return True
    return False


def parameter_names(modules: Sequence[Module]) -> Figure:
    """Names of parameters that stand in quotes outside core."""
    found = [f"{one.path}:{one.line} {one.text}" for module in modules for one in literals(module)]
    return Figure("literal parameter names outside core", len(found), found)


def trip(modules: Sequence[Module]) -> Iterator[Figure]:
    """How far one value travels: a claim of a paper, from its literal to the page that prints it.

    It starts in a file of `theory/papers` that calls ``Claim(...)`` and ends in the file that names the template of a
    study's page. A value passes from one file to another where either imports the other, through files that have an
    identifier with ``claim`` in it; the one that defines `Claim` passes none on. The trip is the shortest such path,
    the longest of those of several starts. Calls are not followed, so it is a lower bound; beside it stands how many
    files of the package say claim, which are what a change of `Claim` has to look at.
    """
    claims = {str(m.path) for m in modules if any("claim" in name.lower() for name in names_in(m))}
    starts = [str(m.path) for m in modules if str(m.path).startswith(PAPERS) and _calls(m, "Claim")]
    ends = [str(m.path) for m in modules if PAGE in _strings(m)]
    kept = claims.union(ends) - {str(m.path) for m in modules if _defines(m, "Claim")}
    edges = {file: targets & kept for file, targets in graph(modules).items() if file in kept}
    paths = [shortest_path(edges, start, end) for start in starts for end in ends]
    longest = max(paths, key=len, default=[])
    yield Figure("files from a claim's literal to its page", len(longest), longest)
    yield Figure("  files that say claim", len(claims), sorted(claims))


def names_in(module: Module) -> set[str]:
    """Return every identifier of a module: names, attributes, arguments, what is imported and defined."""
    fields = ("id", "attr", "arg", "name")
    return {str(getattr(node, field, "")) for node in ast.walk(module.tree) for field in fields}


def _calls(module: Module, name: str) -> bool:
    return any(isinstance(node, ast.Call) and getattr(node.func, "id", "") == name for node in ast.walk(module.tree))


def _defines(module: Module, name: str) -> bool:
    return any(isinstance(node, ast.ClassDef) and node.name == name for node in module.tree.body)


def _strings(module: Module) -> set[object]:
    return {node.value for node in ast.walk(module.tree) if isinstance(node, ast.Constant)}


def rooms(modules: Sequence[Module]) -> Iterator[Figure]:
    """Files, statements and lines of every room, and of the whole."""
    for room in sorted({module.room for module in modules}):
        yield _size(f"  {room}", [module for module in modules if module.room == room])
    yield _size("all rooms", modules)


def _size(name: str, modules: Sequence[Module]) -> Figure:
    lines = sum(module.lines for module in modules)
    counts = {"files": len(modules), "statements": sum(map(statements, modules)), "lines": lines}
    return Figure(f"{name}: {', '.join(counts)}", "  ".join(f"{count:5d}" for count in counts.values()), counts)
