"""The source of the package as values: its files as syntax trees, what they import, and the graph of the imports.

Nothing of the package is imported. An edge goes from a file to the file that it names: the longest part of the dotted
name that is a file, so ``from gatewise.fit.em import em`` is an edge to ``fit/em.py`` and ``from gatewise.fit import
Fit`` one to ``fit/__init__.py``. That Python also runs the ``__init__.py`` of every folder on the way is no edge, and
neither are names that are imported from strings.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from benchmarks.house.graph import Graph

PACKAGE = "gatewise"
AT_IMPORT, IN_FUNCTION, TYPING = "at import", "in a function", "typing"
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


class Module(NamedTuple):
    """A file of the package; its path is relative to the package."""

    path: PurePosixPath
    tree: ast.Module
    lines: int

    @property
    def dotted(self) -> tuple[str, ...]:
        """The name as a tuple, without ``__init__``."""
        return (PACKAGE, *(part for part in self.path.with_suffix("").parts if part != "__init__"))

    @property
    def room(self) -> str:
        """The folder below the package that holds the file; the name of a file that stands in none."""
        return self.path.parts[0].removesuffix(".py")


class Import(NamedTuple):
    """An absolute dotted name that a file imports, and where: `AT_IMPORT`, `IN_FUNCTION` or `TYPING`."""

    name: tuple[str, ...]
    where: str


def parse(path: PurePosixPath, text: str) -> Module:
    """Return the module of a text."""
    return Module(path, ast.parse(text), text.count("\n"))


def read(root: Path) -> tuple[Module, ...]:
    """Return the modules of the package in a checkout, sorted by path."""
    home = root / "src" / PACKAGE
    if not home.is_dir():
        raise FileNotFoundError(f"{home} is no folder: pass the root of a checkout, the folder that holds src")
    files = sorted(home.rglob("*.py"))
    return tuple(parse(PurePosixPath(file.relative_to(home).as_posix()), file.read_text("utf-8")) for file in files)


def imports(module: Module) -> Iterator[Import]:
    """Yield everything that a module imports, from the package or not."""
    package = (PACKAGE, *module.path.parent.parts)
    for node, where in _statements(module.tree, AT_IMPORT):
        if isinstance(node, ast.Import):
            yield from (Import(tuple(alias.name.split(".")), where) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else ()
            base += tuple(node.module.split(".")) if node.module else ()
            yield from (Import((*base, alias.name), where) for alias in node.names)


def _statements(node: ast.AST, where: str) -> Iterator[tuple[ast.AST, str]]:
    for child in ast.iter_child_nodes(node):
        inside = IN_FUNCTION if isinstance(child, FUNCTIONS) and where == AT_IMPORT else where
        yield child, inside
        if isinstance(child, ast.If) and ast.unparse(child.test).removeprefix("typing.") == "TYPE_CHECKING":
            yield from _statements(ast.Module(child.body, []), TYPING)
            yield from _statements(ast.Module(child.orelse, []), inside)
        else:
            yield from _statements(child, inside)


def graph(modules: Sequence[Module], *where: str) -> Graph:
    """Return which files each file imports; imports for the type checker alone do not count unless asked for."""
    files = {module.dotted: str(module.path) for module in modules}
    found: Graph = {}
    for module in modules:
        wanted = [each.name for each in imports(module) if each.where in (where or (AT_IMPORT, IN_FUNCTION))]
        prefixes = (next((name[:i] for i in range(len(name), 0, -1) if name[:i] in files), None) for name in wanted)
        found[str(module.path)] = {files[name] for name in prefixes if name} - {str(module.path)}
    return found
