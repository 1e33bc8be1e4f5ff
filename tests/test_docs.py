"""Every Python example of the documents runs, in order, one namespace per document."""

import re
import warnings
from pathlib import Path

import numpy as np
import pytest

import gatewise
from gatewise import nn
from gatewise.estimators.warnings import FitWarning

from .documents import run, shown, unannounced

ROOT = Path(__file__).parents[1]
GUIDES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").glob("*.md"))


def blocks(name):
    return re.findall(r"^```python\n(.*?)^```", (ROOT / name).read_text(), re.DOTALL | re.MULTILINE)


ELSEWHERE = "docs/layers.md"  # runs in nn/test_guide.py, where its layers are trained too
DOCUMENTS = ("README.md", "CONTRIBUTING.md", *(name for name in GUIDES if blocks(name) and name != ELSEWHERE))


def test_what_a_block_does_not_announce_is_seen():
    block, told = shown("Before.\n```python\nfit()\n```\nIt warns `FitWarning`, for it is stalled.\n")[0], []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.warn("one", FitWarning, stacklevel=1)
        told = [unannounced(block, caught, "stalled 2.7")]
        warnings.warn("two", UserWarning, stacklevel=1)
        told.append(unannounced(block, caught, "unsound"))
    assert told == [[], ["UserWarning: two", "prints unsound"]]


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


NUMBER = r"-?\d+\.\d+"


def assert_shown(text, printed):
    """Compare the lines of a text with the first that were printed: the words exactly, decimals to four digits."""
    told, found = (re.sub(r" +", " ", part) for part in (text, printed))
    assert re.sub(NUMBER, "#", found).startswith(re.sub(NUMBER, "#", told))
    numbers = [[float(number) for number in re.findall(NUMBER, part)] for part in (told, found)]
    np.testing.assert_allclose(numbers[1][: len(numbers[0])], numbers[0], rtol=1e-4)


def test_readme_shows_what_its_first_example_prints(capsys):
    text = (ROOT / "README.md").read_text()
    printed, summary, *_ = re.findall(r"^```text\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    namespace = {}
    exec(blocks("README.md")[0], namespace)
    assert capsys.readouterr().out == printed
    assert_shown(summary.removesuffix("...\n"), str(namespace["model"].summary()))


def test_a_number_or_a_word_that_is_not_printed_is_seen():
    assert_shown("Fit: 145.6503 of 8\n", "Fit:  145.65031 of 8\nmore 1.0")
    for other in ("Fit: 145.7 of 8\n", "Fit: 145.6503 of 9\n", "Fits: 145.6503 of 8\n"):
        with pytest.raises(AssertionError):
            assert_shown(other, "Fit: 145.65031 of 8\n")


def test_readme_opens_with_the_two_commands():
    head = (ROOT / "README.md").read_text()[:400]
    assert "make demo" in head
    assert "make test" in head


def test_every_gate_is_in_the_readme():
    text = (ROOT / "README.md").read_text()
    missing = [name for name in gatewise.GATES if f"`{name}`" not in text and f"`{name.split('-')[0]}-`" not in text]
    assert not missing


def test_every_status_is_in_the_readme():
    text = (ROOT / "README.md").read_text()
    assert all(f"`{status}`" in text for status in gatewise.Status)


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
    text = (ROOT / "docs/layers.md").read_text()
    assert not [name for name in nn.__all__ if not re.search(rf"\b{name}\b", text)]


def test_the_public_names_exist():
    assert all(getattr(gatewise, name) is not None for name in gatewise.__all__)
