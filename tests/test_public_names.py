"""The public names: what the doors offer, what the documents import, no name twice, nothing heavy before its use."""

import ast
import importlib
import re
import subprocess
import sys
import tomllib
from collections import defaultdict
from pathlib import Path

import pytest

import gatewise
from gatewise.estimators import serialise

ROOT = Path(__file__).parents[1]
DOORS = (
    "gatewise",
    *(f"gatewise.{name}" for name in ("data", "experiments", "nn", "plots", "testing", "theory")),
)
PAGE = ROOT / "docs" / "public-names.md"


def names_of(door):
    return importlib.import_module(door).__all__


@pytest.mark.parametrize("door", DOORS)
def test_every_public_name_exists(door):
    module = importlib.import_module(door)
    assert len(set(module.__all__)) == len(module.__all__)
    assert all(getattr(module, name) is not None for name in module.__all__)
    assert set(module.__all__) <= set(dir(module))


def test_doors_open_at_their_first_use():
    assert set(DOORS[1:]) == {getattr(gatewise, door.removeprefix("gatewise.")).__name__ for door in DOORS[1:]}


def test_no_name_stands_for_two_things():
    found = defaultdict(set)
    for door in DOORS:
        for name in names_of(door):
            found[name].add(id(getattr(importlib.import_module(door), name)))
    assert not [name for name, things in found.items() if len(things) > 1]


def test_a_public_name_hides_no_module_that_loads_late():
    for door in DOORS:
        module = importlib.import_module(door)
        late = set(getattr(module, "_ROOMS", ())) | set(getattr(module, "_VIEWS", ()))
        folder = Path(module.__file__).parent
        assert not [name for name in late if (folder / name).is_dir() or (folder / f"{name}.py").exists()]


def test_types_and_late_imports_say_the_same():
    tree = ast.parse(Path(gatewise.__file__).read_text("utf-8"))
    typed = {
        alias.name: node.module
        for block in tree.body
        if isinstance(block, ast.If)
        for node in ast.walk(block)
        if isinstance(node, ast.ImportFrom) and node.module != "gatewise"
        for alias in node.names
    }
    assert typed == gatewise._ROOMS
    assert set(typed) == set(gatewise.__all__) - {"__version__"}


def listed(text):
    """The names that the page lists, by door."""
    found = {}
    for part in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        door = re.match(r"`([\w.]+)`", part)
        if door:
            cells = [row.split("|")[-2] for row in part.split("\n") if row.startswith("|")]
            found[door[1]] = re.findall(r"`(\w+)`", " ".join(cells))
    return found


def test_the_page_lists_every_public_name_once():
    found = listed(PAGE.read_text("utf-8"))
    for door in DOORS:
        names = [name for name in names_of(door) if not name.startswith("law_")]
        assert sorted(found.pop(door)) == sorted(names), door
    assert not found


def blocks(name):
    return re.findall(r"^```python[^\n]*\n(.*?)^```", (ROOT / name).read_text("utf-8"), re.DOTALL | re.MULTILINE)


def documented_sources():
    guides = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("docs/**/*.md"))
    for name in ("README.md", "CONTRIBUTING.md", *guides):
        yield from ((name, block) for block in blocks(name))
    yield from ((path.name, path.read_text("utf-8")) for path in sorted((ROOT / "examples").glob("*.py")))


def private_imports(source):
    """What a source imports of gatewise that no door offers."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names if alias.name.split(".")[0] == "gatewise"]
            yield from (module for module in modules if module not in DOORS)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "gatewise":
            offered = set(names_of(node.module)) if node.module in DOORS else set()
            doors = {door.removeprefix("gatewise.") for door in DOORS} if node.module == "gatewise" else set()
            yield from (f"{node.module}: {a.name}" for a in node.names if a.name not in offered | doors)


def test_documents_and_examples_import_public_names_only():
    sources = list(documented_sources())
    assert len({name for name, _ in sources}) > 6
    found = [f"{name}: {line}" for name, source in sources for line in private_imports(source)]
    assert not found, "\n".join(found)


def test_a_private_import_is_found():
    source = "import gatewise.core.gates\nfrom gatewise.fit.many import Plan\nfrom gatewise import Gate, nn, Plant"
    assert list(private_imports(source)) == [
        "gatewise.core.gates",
        "gatewise.fit.many: Plan",
        "gatewise: Plant",
    ]


def test_an_unknown_name_is_told_what_exists():
    with pytest.raises(AttributeError, match=r"no attribute 'Mixtures': its names are EXPERTS"):
        gatewise.Mixtures  # noqa: B018


def test_importing_the_package_imports_nothing_heavy():
    heavy = "{'torch', 'numpy', 'sklearn', 'pandas', 'scipy', 'matplotlib', 'tqdm', 'rich'}"
    code = f"import sys, gatewise; print({heavy}.intersection(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_there_is_one_version():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    assert gatewise.__version__ == serialise.VERSION == project["project"]["version"]
