"""Every Python example of the documents runs, in order, one namespace per document."""

import re
import warnings
from pathlib import Path
from unittest import mock

import pytest

import gatewise
from gatewise import nn
from gatewise.estimators.warnings import FitWarning

from .documents import TRAINED, assert_shown, run, shown, unannounced

ROOT = Path(__file__).parents[1]
GENERATED = ROOT / "docs" / "examples"  # the gallery, which the site's build writes and checks
GUIDES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md"))


def blocks(name):
    return re.findall(r"^```python\n(.*?)^```", (ROOT / name).read_text(), re.DOTALL | re.MULTILINE)


# Those of TRAINED run in nn/test_guide.py, where their layers are trained too.
DOCUMENTS = ("README.md", "CONTRIBUTING.md", *(name for name in GUIDES if blocks(name) and name not in TRAINED))


def test_what_a_block_does_not_announce_is_seen():
    block, told = shown("Before.\n```python\nfit()\n```\nIt warns `FitWarning`, for it is stalled.\n")[0], []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.warn("one", FitWarning, stacklevel=1)
        told = [unannounced(block, caught, "stalled 2.7")]
        warnings.warn("two", UserWarning, stacklevel=1)
        told.append(unannounced(block, caught, "unsound"))
    assert told == [[], ["UserWarning: two", "prints unsound"]]


@pytest.fixture
def same_tables():
    """The tables that pages add to are afterwards what they were."""
    with mock.patch.dict(nn.BALANCE_METHODS), mock.patch.dict(nn.CHOICE_RULES):
        yield


@pytest.mark.usefixtures("same_tables")
@pytest.mark.parametrize("name", DOCUMENTS)
def test_examples_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = shown((ROOT / name).read_text())
    assert found
    if any("from transformers import" in block.code for block in found):
        pytest.importorskip("transformers")
        pytest.importorskip("accelerate")
    namespace = {"__name__": "__main__"}
    for block in found:
        run(block, name, namespace)


@pytest.mark.parametrize("name", ["README.md", "docs/guide/statistician/fit.md"])
def test_the_summary_is_that_of_the_first_example(name):
    summary = re.findall(r"^```text\n(.*?)^```", (ROOT / name).read_text("utf-8"), re.DOTALL | re.MULTILINE)[1]
    namespace = {}
    exec(blocks(name)[0], namespace)
    assert_shown(summary.removesuffix("...\n"), str(namespace["model"].summary()))


def test_a_number_or_a_word_that_is_not_printed_is_seen():
    assert_shown("Fit: 145.6503 of 8\n", "Fit:  145.65031 of 8\nmore 1.0")
    for other in ("Fit: 145.7 of 8\n", "Fit: 145.6503 of 9\n", "Fits: 145.6503 of 8\n"):
        with pytest.raises(AssertionError):
            assert_shown(other, "Fit: 145.65031 of 8\n")


def test_the_readme_is_a_front_page():
    text = (ROOT / "README.md").read_text("utf-8")
    assert len(text.split()) < 1000
    order = [
        "![",
        "pip install",
        "```python",
        "print(model.summary())",
        "## Three doors",
        "## Beside",
        "## Set-up with make",
    ]
    assert [text.index(part) for part in order] == sorted(text.index(part) for part in order)
    assert all(f"make {target}" in text for target in ("demo", "test", "docs"))


def test_the_readme_counts_gates_and_families():
    text = (ROOT / "README.md").read_text("utf-8")
    reading = [gate for gate in gatewise.GATES.values() if not isinstance(gate.score, gatewise.Bias)]
    assert int(re.search(r"\[(\d+) by name\]", text)[1]) == len(reading)
    kinds = {name.removeprefix("full-") for name in gatewise.FAMILIES}
    assert int(re.search(r"\[(\d+) kinds\]", text)[1]) == len(kinds)


def test_every_part_is_in_its_guide():
    guides = {"gates.md": gatewise.GATES, "experts.md": gatewise.EXPERTS, "families.md": gatewise.FAMILIES}
    for name, parts in {**guides, "status.md": gatewise.Status}.items():
        text = (ROOT / "docs/guide/statistician" / name).read_text("utf-8")
        assert not [part for part in parts if f"`{part}`" not in text and f"`{part.split('-')[0]}-`" not in text], name


@pytest.mark.parametrize("name", ["README.md", *GUIDES])
def test_pictures_say_what_they_show(name):
    for words, file in re.findall(r"!\[([^\]]*)\]\(([^)]*)\)", (ROOT / name).read_text("utf-8")):
        assert len(words.split()) > 10, file


def headings(path):
    """The anchors of a document's headings."""
    found = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in found}


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", *GUIDES])
def test_links_lead_to_files_and_headings(name):
    for file, heading in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", (ROOT / name).read_text()):
        target = (ROOT / name).parent / file if file else ROOT / name
        if GENERATED in target.resolve().parents:
            continue
        assert target.exists(), file
        assert not heading or heading in headings(target), heading


def test_the_guide_to_layers_uses_every_public_name():
    text = "\n".join(path.read_text("utf-8") for path in (ROOT / "docs/guide/engineer").glob("*.md"))
    assert not [name for name in nn.__all__ if not re.search(rf"\b{name}\b", text)]


def test_the_public_names_exist():
    assert all(getattr(gatewise, name) is not None for name in gatewise.__all__)
