"""Which room may import which, and that no room swallows errors: read off the source, nothing is imported."""

import ast
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "gatewise"

FITTING = {"core", "optim", "fit", "infer"}
RESULTS = FITTING | {"estimators", "theory", "nn"}
ROOMS = {
    "files": set(),
    "core": set(),
    "optim": set(),
    "fused": {"core"},
    "markup": set(),
    "fit": {"core", "optim", "fused", "files", "markup"},
    "infer": {"core", "optim", "fit", "markup"},
    "estimators": FITTING | {"data", "files", "markup"},
    "theory": FITTING | {"files", "markup"},
    "papers": FITTING | {"theory"},
    "nn": {"core", "files"},
    "data": set(),
    "experiments": FITTING | {"nn", "data", "files", "markup"},
    "plots": RESULTS | {"experiments"},
    "report": RESULTS | {"plots", "data", "experiments", "files"},
    "testing": {"core", "fit", "optim", "nn"},
}
TOP = {"__init__", "__main__", "cli"}
TORCH_ONLY = {"core", "optim"}
STANDARD_ONLY = {"files"}
TOO_BROAD = {"Exception", "BaseException"}


def imported_names(path, tree):
    """Absolute dotted names, as tuples, that a module of the package imports."""
    package = ("gatewise", *path.parent.parts)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (tuple(alias.name.split(".")) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else ()
            base += tuple(node.module.split(".")) if node.module else ()
            yield from ((*base, alias.name) for alias in node.names)


def wrong_arrows(path, source):
    """Imports that point the wrong way; `path` is relative to the package."""
    room = path.parts[0].removesuffix(".py")
    for first, *rest in imported_names(path, ast.parse(source)):
        target = rest[0] if rest else "the whole package"
        if first == "gatewise" and room not in TOP and target not in {room, "__version__", *ROOMS[room]}:
            yield f"{path}: {room} imports {target}"
        if first not in {"gatewise", "torch", *sys.stdlib_module_names} and room in TORCH_ONLY:
            yield f"{path}: {room} imports {first}"
        if first not in sys.stdlib_module_names and room in STANDARD_ONLY:
            yield f"{path}: {room} imports {first}"


def broad_handlers(path, source):
    """Handlers that would catch a programming error."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ExceptHandler):
            caught = {getattr(part, "id", None) for part in ast.walk(node.type or ast.Name("Exception"))}
            if caught & TOO_BROAD:
                yield f"{path}:{node.lineno}: catches everything"


@pytest.mark.parametrize("check", [wrong_arrows, broad_handlers])
def test_every_module_passes(check):
    modules = sorted(SOURCE.rglob("*.py"))
    assert modules
    found = [line for path in modules for line in check(path.relative_to(SOURCE), path.read_text("utf-8"))]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("file", "statement", "message"),
    [
        ("core/gates.py", "import numpy", "core imports numpy"),
        ("core/gates.py", "from ..fit import em", "core imports fit"),
        ("optim/newton.py", "from gatewise import core", "optim imports core"),
        ("nn/layer.py", "def f():\n    from gatewise.fit.em import em", "nn imports fit"),
        ("fit/em.py", "import gatewise", "fit imports the whole package"),
        ("theory/study.py", "import gatewise.estimators.regressor", "theory imports estimators"),
        ("estimators/__init__.py", "from .. import theory", "estimators imports theory"),
        ("data/__init__.py", "from gatewise.core import gates", "data imports core"),
        ("files.py", "import torch", "files imports torch"),
        ("core/gates.py", "from gatewise.files import write_text", "core imports files"),
    ],
)
def test_a_wrong_arrow_is_found(file, statement, message):
    assert list(wrong_arrows(Path(file), statement)) == [f"{file}: {message}"]


@pytest.mark.parametrize("clause", ["except:", "except Exception:", "except (OSError, BaseException) as e:"])
def test_a_broad_handler_is_found(clause):
    found = list(broad_handlers(Path("cli.py"), f"try:\n    f()\n{clause}\n    pass"))
    assert found == ["cli.py:3: catches everything"]


def test_allowed_imports_are_left_alone():
    source = "import math, torch.nn.functional as F\nfrom .links import TopK\nfrom gatewise.core import tree"
    assert not list(wrong_arrows(Path("core/gates.py"), source))
    assert not list(wrong_arrows(Path("cli.py"), "from gatewise import fit, nn"))


def test_a_named_error_may_be_caught():
    source = "try:\n    f()\nexcept (ValueError, OSError):\n    pass"
    assert not list(broad_handlers(Path("core/gates.py"), source))
