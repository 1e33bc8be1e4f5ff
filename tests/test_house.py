"""The laws of the house, read off the source: arrows, circles, handlers, names. Nothing of the package is imported.

What a law finds today stands in a list beside it. The lists may only shrink: a new find fails, and so does a line whose
find is gone.
"""

import ast
import re
import sys
from functools import cache
from pathlib import Path, PurePosixPath

import pytest
from benchmarks.house.graph import circles, merged
from benchmarks.house.literals import ALLOWED, literals
from benchmarks.house.measures import double_classes
from benchmarks.house.source import AT_IMPORT, graph, imports, parse, read


@cache
def modules():
    """The package, read when a law first asks for it."""
    return read(Path(__file__).parents[1])


ENGINE = {"core", "objective", "fit", "infer"}  # only fit and infer know the minimisers below them
RESULTS = {*ENGINE, "optim", "estimators", "theory", "nn"}
ROOMS = {
    "core": set(),
    "optim": set(),
    "files": set(),
    "deprecation": set(),
    "markup": set(),
    "buffers": set(),
    "objective": {"core", "buffers"},
    "runs": {"files"},
    "fit": {"core", "objective", "optim", "runs", "markup", "buffers"},
    "infer": {"core", "objective", "optim", "fit", "markup", "runs"},
    "formulas": set(),
    "estimators": {*ENGINE, "data", "files", "formulas", "markup", "runs"},
    "theory": {*ENGINE, "files", "markup", "runs"},
    "theory/papers": {*ENGINE, "theory"},
    "nn": {"core", "files"},
    "data": {"buffers"},
    "experiments": {*ENGINE, "nn", "data", "files", "markup", "runs"},
    "plots": {*RESULTS, "experiments"},
    "report": {*RESULTS, "theory/papers", "plots", "data", "experiments", "files"},
    "testing": {"core", "objective", "fit", "estimators", "nn"},
}
ANYWHERE = {"__version__", "deprecation"}  # imported by any room
TOP = {"__init__", "__main__", "cli"}
DOORS = {
    "theory/__init__.py": {"theory/papers"}
}  # the public door of a room, which opens what lies above it when asked
PACKAGES = {  # what a room may import from elsewhere; rooms that are not named may import anything
    "core": {"torch"},
    "optim": {"torch"},
    "files": set(),
    "deprecation": set(),
    "buffers": {"numpy"},
    "nn": {"torch", "safetensors"},
    "data": {"numpy", "pandas", "pyarrow"},
    "formulas": {"numpy", "pandas", "formulaic"},
}
ESTIMATION = {"core", "objective", "optim", "fit", "infer", "estimators"}  # rooms that compute in double precision
MAKERS = {"tensor", "full", "zeros", "ones", "empty", "eye", "linspace", "as_tensor"}
TOO_BROAD = {"Exception", "BaseException"}
CATCHES_ALL = {("infer/identifiability/advice.py", "advise")}  # what is said of a fit that is done never fails it

KNOWN_CIRCLES: set[str] = set()
KNOWN_DOUBLES: dict[str, int] = {}
KNOWN_LITERALS: dict[str, str] = {}  # file -> names of parameters in quotes


def module(path, text):
    return parse(PurePosixPath(path), text)


def room_of(parts):
    """The room that a path or a dotted name, as a tuple without the package, belongs to."""
    room = "/".join(parts[:2])
    return room if room in ROOMS else parts[0].removesuffix(".py")


def wrong_arrows(module):
    """Imports that point the wrong way, those for the type checker too."""
    room = room_of(module.path.parts)
    for (first, *rest), _ in imports(module):
        target = room_of(rest) if rest else "the whole package"
        allowed = {room, *ANYWHERE, *ROOMS.get(room, ()), *DOORS.get(str(module.path), ())}
        if first == "gatewise" and room not in TOP and target not in allowed:
            yield f"{module.path}: {room} imports {target}"
        known = {"gatewise", *sys.stdlib_module_names, *PACKAGES.get(room, {first})}
        if first not in known:
            yield f"{module.path}: {room} imports {first}"


def broad_handlers(module, allowed=CATCHES_ALL):
    """Handlers that would catch a programming error, but for those of functions that may."""
    functions = (node for node in ast.walk(module.tree) if isinstance(node, ast.FunctionDef))
    inside = {each for one in functions if (str(module.path), one.name) in allowed for each in ast.walk(one)}
    for node in (node for node in ast.walk(module.tree) if node not in inside):
        if isinstance(node, ast.ExceptHandler):
            caught = {getattr(part, "id", None) for part in ast.walk(node.type or ast.Name("Exception"))}
            if caught & TOO_BROAD:
                yield f"{module.path}:{node.lineno}: catches everything"


def silent_dtypes(module):
    """Tensors that estimation makes in torch's default dtype, with which its results would change."""
    for node in ast.walk(module.tree) if module.room in ESTIMATION else ():
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name("torch"), attr=maker)) if maker in MAKERS:
                if "dtype" not in {keyword.arg for keyword in node.keywords}:
                    yield f"{module.path}:{node.lineno}: torch.{maker} without dtype"


def differences(found, known):
    """What is found and not known, and what is known and no longer found: a list of known finds may only shrink."""
    new = [f"new: {one}" for one in sorted(set(found) - set(known))]
    return new + [f"gone, so take it off the list: {one}" for one in sorted(set(known) - set(found))]


@pytest.mark.parametrize("check", [wrong_arrows, broad_handlers, silent_dtypes])
def test_every_module_passes(check):
    assert modules()
    found = [line for each in modules() for line in check(each)]
    assert not found, "\n".join(found)


def test_contributors_read_what_a_room_may_import():
    text = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \|[^|]*\|([^|]*)\|$", text, re.MULTILINE)
    told = {room: set(re.findall(r"\w+", words)) for room, words in rows}
    assert told.pop("cli") == {"all"}
    anywhere = {"files", "theory/papers"}  # which the text says of files, and the papers belong to theory
    for room, allowed in ROOMS.items():
        own = PACKAGES.get(room, set()) & {"torch"} if room in ("core", "optim") else set()
        assert room in anywhere or told[room] - {"files"} == allowed - anywhere | own, room
    assert set(told) == set(ROOMS) - {"theory/papers"}


def test_files_import_in_no_circle():
    assert circles(graph(modules(), AT_IMPORT)) == []
    found = {" ".join(circle) for circle in circles(graph(modules()))}
    assert not differences(found, KNOWN_CIRCLES)


def test_rooms_import_in_no_circle():
    assert circles(merged(graph(modules()), {str(each.path): each.room for each in modules()})) == []


def test_no_two_public_classes_share_a_name():
    found = {(name, len(files)) for name, files in double_classes(modules()).items() if not name.startswith("_")}
    assert not differences(found, KNOWN_DOUBLES.items())


def test_parameters_are_asked_for_by_role():
    found = {(str(each.path), one.text) for each in modules() for one in literals(each)}
    assert not differences(found, {(path, text) for path, texts in KNOWN_LITERALS.items() for text in texts.split()})


def test_every_allowed_word_is_found():
    found = {(str(each.path), one.text) for each in modules() for one in literals(each, allowed=())}
    assert not set(ALLOWED) - found


def test_a_list_of_known_finds_may_only_shrink():
    assert differences({"a", "b"}, {"a", "b"}) == []
    assert differences({"a", "c"}, {"a", "b"}) == ["new: c", "gone, so take it off the list: b"]


@pytest.mark.parametrize(
    ("file", "statement", "message"),
    [
        ("files.py", "import torch", "files imports torch"),
        ("core/gates.py", "from gatewise.files import write_text", "core imports files"),
        ("core/gates.py", "import numpy", "core imports numpy"),
        ("core/gates.py", "from ..fit import em", "core imports fit"),
        ("optim/newton.py", "from gatewise import core", "optim imports core"),
        ("nn/layer.py", "def f():\n    from gatewise.fit.em import em", "nn imports fit"),
        ("nn/hub/files.py", "import transformers", "nn imports transformers"),
        ("fit/em.py", "import gatewise", "fit imports the whole package"),
        ("fit/em.py", "if TYPE_CHECKING:\n    from gatewise.infer import bands", "fit imports infer"),
        ("theory/study.py", "import gatewise.estimators.regressor", "theory imports estimators"),
        ("theory/study.py", "from gatewise.theory.papers import STUDIES", "theory imports theory/papers"),
        ("theory/runner.py", "from gatewise.optim import newton", "theory imports optim"),
        ("theory/papers/traps.py", "from gatewise.report import page", "theory/papers imports report"),
        ("estimators/__init__.py", "from .. import theory", "estimators imports theory"),
        ("data/__init__.py", "from gatewise.core import gates", "data imports core"),
        ("data/views.py", "import torch", "data imports torch"),
        ("testing/fits/laws.py", "from gatewise.optim import newton", "testing imports optim"),
    ],
)
def test_a_wrong_arrow_is_found(file, statement, message):
    assert list(wrong_arrows(module(file, statement))) == [f"{file}: {message}"]


def test_allowed_imports_are_left_alone():
    source = "import math, torch.nn.functional as F\nfrom .links import TopK\nfrom gatewise.core import tree"
    assert not list(wrong_arrows(module("core/gates.py", source)))
    assert not list(wrong_arrows(module("cli.py", "from gatewise import fit, nn")))
    assert not list(wrong_arrows(module("theory/papers/traps.py", "from gatewise.theory.claims import Claim")))


@pytest.mark.parametrize("clause", ["except:", "except Exception:", "except (OSError, BaseException) as e:"])
def test_a_broad_handler_is_found(clause):
    found = list(broad_handlers(module("cli.py", f"try:\n    f()\n{clause}\n    pass")))
    assert found == ["cli.py:3: catches everything"]


def test_one_function_may_catch_everything():
    (place,) = CATCHES_ALL
    (advice,) = [each for each in modules() if str(each.path) == place[0]]
    (found,) = broad_handlers(advice, allowed=())
    assert "catches everything" in found
    source = "def advise():\n    pass\ntry:\n    advise()\nexcept Exception:\n    pass"
    assert list(broad_handlers(module(place[0], source))) == [f"{place[0]}:5: catches everything"]


def test_a_named_error_may_be_caught():
    source = "try:\n    f()\nexcept (ValueError, OSError):\n    pass"
    assert not list(broad_handlers(module("core/gates.py", source)))


def test_a_tensor_without_dtype_is_found_where_numbers_are_double():
    source = "one = torch.ones(())\ntwo = torch.full((2,), 0.5, dtype=torch.float64)\nthree = x.new_ones(2)"
    assert list(silent_dtypes(module("fit/em.py", source))) == ["fit/em.py:1: torch.ones without dtype"]
    assert not list(silent_dtypes(module("nn/layer.py", source)))
