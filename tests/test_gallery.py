"""The gallery of the documentation: what its scripts may import, what they must say, and that they run.

Two cheap scripts run by default, all of them with ``-m slow``, with warnings as errors. What a text claims in numbers
its script computes: a text holds no decimals of its own.
"""

import ast
import importlib
import re
import runpy
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import pytest

FOLDER = Path(__file__).parents[1] / "docs" / "gallery"
SECTIONS = {"statistics": 15, "theory": 6, "layers": 6}
SCRIPTS = sorted(FOLDER.glob("*/plot_*.py"))
NAMES = [f"{path.parent.name}/{path.stem}" for path in SCRIPTS]
CHEAP = ("statistics/plot_groups", "theory/plot_voronoi")
DOORS = ("gatewise", *(f"gatewise.{name}" for name in ("data", "experiments", "nn", "plots", "testing", "theory")))
BESIDE = {"numpy", "pandas", "matplotlib", "torch", "sklearn"}
STANDARD = {"copy", "dataclasses", "pathlib", "tempfile", "time", "warnings"}
FIGURE = {"figure", "subplots", "overview"}
DECIMAL = r"(?<![\d.])\d+\.\d+(?![\d.])"
every_script = pytest.mark.parametrize("path", SCRIPTS, ids=NAMES)


def prose(source):
    """Return the texts of a script: its docstring and the comments that begin a block."""
    blocks = re.findall(r"^# %%\n((?:#.*\n)*)", source, re.MULTILINE)
    texts = [re.sub(r"^# ?", "", block, flags=re.MULTILINE) for block in blocks]
    return [ast.get_docstring(ast.parse(source)), *texts]


def foreign(source):
    """Return what a script imports that is neither public, nor of a library that it may use."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            allowed = {*BESIDE, *STANDARD}
            yield from (one.name for one in node.names if one.name.split(".")[0] not in allowed | set(DOORS[:1]))
            yield from (one.name for one in node.names if one.name.startswith("gatewise") and one.name not in DOORS)
        elif isinstance(node, ast.ImportFrom):
            room = (node.module or "").split(".")[0]
            if room == "gatewise":
                offered = set(importlib.import_module(node.module).__all__) if node.module in DOORS else set()
                yield from (f"{node.module}: {one.name}" for one in node.names if one.name not in offered)
            elif node.level or room not in BESIDE | STANDARD:
                yield node.module


def figures(source):
    """Return the calls of a script that make a figure."""
    called = [node.func for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    return [one for one in called if getattr(one, "attr", getattr(one, "id", "")) in FIGURE]


def places(source):
    """Return strings of a script that name a place in a file system."""
    texts = [node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant)]
    return [one for one in texts if isinstance(one, str) and re.search(r"(^|\s)(/|~/|\.\.?/|[A-Z]:\\)\w", one)]


def test_every_section_has_a_header_and_its_examples():
    assert (FOLDER / "GALLERY_HEADER.rst").exists()
    for section, least in SECTIONS.items():
        assert (FOLDER / section / "GALLERY_HEADER.rst").exists()
        assert sum(path.parent.name == section for path in SCRIPTS) >= least, section
    assert {path.parent.name for path in SCRIPTS} == set(SECTIONS)
    assert set(CHEAP) <= set(NAMES)


@every_script
def test_a_script_imports_public_names_only(path):
    assert not list(foreign(path.read_text("utf-8")))


@every_script
def test_a_script_has_a_title_prose_and_a_conclusion(path):
    source = path.read_text("utf-8")
    first, *blocks = prose(source)
    title, rule, blank, *told = first.split("\n")
    assert rule == "=" * len(title)
    assert not blank
    assert told
    assert len(blocks) >= 3
    assert blocks[-1].startswith("**Conclusion.**")


@every_script
def test_a_text_holds_no_numbers_of_its_own(path):
    """Versions of numbers that a script computes would grow old; those of papers (arXiv 2410.02935) may stand."""
    for text in prose(path.read_text("utf-8")):
        plain = re.sub(r"``[^`]*``|\d{4}\.\d{5}", "", text)
        assert not re.findall(DECIMAL, plain), plain


@every_script
def test_a_script_draws_and_names_no_path(path):
    source = path.read_text("utf-8")
    assert figures(source)
    assert source.count("plt.show()") >= 1
    assert not places(source)


@every_script
def test_a_script_is_as_short_as_an_example(path):
    assert len(path.read_text("utf-8").splitlines()) <= 130


def test_what_the_laws_forbid_is_seen():
    source = (
        "import scipy\nfrom gatewise.fit import Fit\nfrom gatewise import Gate, Fit\nfrom .own import x\nopen('/tmp/x')"
    )
    assert list(foreign(source)) == ["scipy", "gatewise.fit: Fit", "own"]
    assert places(source) == ["/tmp/x"]
    assert not places('"a / b", "mean cost (1000 €/h)", "softmax and/or laplace"')
    assert not figures("plot(x)")
    assert re.findall(DECIMAL, "the slope is 0.25 here") == ["0.25"]


def run(path, monkeypatch):
    """Run a script as a reader does, its pictures counted instead of shown."""
    shown = []
    monkeypatch.setattr(plt, "show", lambda: shown.extend(plt.get_fignums()) or plt.close("all"))
    with matplotlib.rc_context():
        runpy.run_path(str(path), run_name="__main__")
    assert shown
    assert not plt.get_fignums()


@pytest.mark.parametrize("name", CHEAP)
def test_a_cheap_script_runs_without_warnings(name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    run(SCRIPTS[NAMES.index(name)], monkeypatch)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@every_script
def test_a_script_runs_without_warnings(path, monkeypatch, tmp_path):
    if path.stem == "plot_large":
        pytest.importorskip("pyarrow")
    monkeypatch.chdir(tmp_path)
    run(path, monkeypatch)
    assert not list(tmp_path.iterdir())
