"""Every Python example of the documents runs, in order, one namespace per document."""

import re
import sys
import warnings
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import numpy as np
import pytest

import gatewise
from gatewise import nn
from gatewise.estimators.warnings import FitWarning

ROOT = Path(__file__).parents[1]
GUIDES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md"))


def blocks(name):
    return re.findall(r"^```python\n(.*?)^```", (ROOT / name).read_text(), re.DOTALL | re.MULTILINE)


DOCUMENTS = ("README.md", "CONTRIBUTING.md", *(name for name in GUIDES if blocks(name)))


class Shown(NamedTuple):
    """A block of code, the text around it to the blocks before and after, and the output that is shown under it."""

    code: str
    around: str
    output: str | None


def shown(text):
    """Return the Python blocks of a text with what the reader is told beside each."""
    parts = re.split(r"^```python\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    under = [re.match(r"\s*^```text\n(.*?)^```", part, re.DOTALL | re.MULTILINE) for part in parts]
    return [
        Shown(parts[i], parts[i - 1] + parts[i] + parts[i + 1], under[i + 1] and under[i + 1][1])
        for i in range(1, len(parts), 2)
    ]


FAILURES = [status for status in gatewise.Status if status not in (gatewise.Status.converged, gatewise.Status.at_kink)]
# Dynamo makes an instance of every autograd function that it traces.
KNOWN = r"should not be instantiated"
if sys.version_info < (3, 12):  # whose importers the tracer asks for their representation
    KNOWN += r"|module_repr\(\) is deprecated"


def unannounced(block, caught, printed):
    """Return the warnings and the failing statuses of a block that the text around it does not name."""
    classes = {type(one.message).__name__: str(one.message) for one in caught if not re.search(KNOWN, str(one.message))}
    silent = [f"{name}: {words}" for name, words in classes.items() if f"`{name}`" not in block.around]
    found = [status for status in FAILURES if re.search(rf"\b{status}\b", printed)]
    return silent + [f"prints {status}" for status in found if not re.search(rf"\b{status}\b", block.around)]


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
def test_examples_run(name, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = shown((ROOT / name).read_text())
    assert found
    if any("from transformers import" in block.code for block in found):
        pytest.importorskip("transformers")
        pytest.importorskip("accelerate")
    namespace = {"__name__": "__main__"}
    for block in found:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            exec(compile(block.code, name, "exec"), namespace)
        printed = capsys.readouterr().out
        assert not unannounced(block, caught, printed), block.code
        if block.output is not None:
            assert_shown(block.output, printed)


NUMBER = r"-?\d+\.\d+"


def assert_shown(text, printed):
    """Compare the lines of a text with the first that were printed: the words exactly, decimals to four digits."""
    told, found = (re.sub(r" +", " ", part) for part in (text, printed))
    assert re.sub(NUMBER, "#", found).startswith(re.sub(NUMBER, "#", told))
    numbers = [[float(number) for number in re.findall(NUMBER, part)] for part in (told, found)]
    np.testing.assert_allclose(numbers[1][: len(numbers[0])], numbers[0], rtol=1e-4)


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
        assert target.exists(), file
        assert not heading or heading in headings(target), heading


def test_the_guide_to_layers_uses_every_public_name():
    text = "\n".join(path.read_text("utf-8") for path in (ROOT / "docs/guide/engineer").glob("*.md"))
    assert not [name for name in nn.__all__ if not re.search(rf"\b{name}\b", text)]


def test_the_public_names_exist():
    assert all(getattr(gatewise, name) is not None for name in gatewise.__all__)
