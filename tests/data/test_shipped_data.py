"""The shipped data sets: complete, unaltered, documented, and clear about what is wrong."""

import dataclasses
import re
import subprocess
import sys
from importlib import resources

import numpy as np
import pytest

from gatewise import data
from gatewise.data import loading
from gatewise.data.catalogue import CATALOGUE

HOME = resources.files("gatewise.data")


@pytest.mark.parametrize("name", data.names())
def test_a_data_set_is_what_its_description_says(name):
    entry, loaded = data.describe(name), data.load(name)
    assert loaded.frame.shape == (entry.n, len(entry.columns))
    assert tuple(loaded.frame.columns) == entry.columns
    assert tuple(loaded.X.columns) == entry.features
    assert loaded.y.name == entry.target not in entry.features
    assert np.isfinite(loaded.X.to_numpy(float)).all()
    assert np.isfinite(loaded.y.to_numpy(float)).all()
    for field in ("name", "target", "features", "source", "licence", "sha256"):
        assert getattr(loaded, field) == getattr(entry, field)


@pytest.mark.parametrize(
    ("name", "row", "expected"),
    [("tone", 0, (1.35, 1.461)), ("mcycle", 132, (57.6, 10.7)), ("ethanol", 0, (3.741, 0.907))],
)
def test_values_are_the_published_ones(name, row, expected):
    np.testing.assert_allclose(data.load(name).frame.iloc[row].to_numpy(float), expected)


def test_files_catalogue_and_sources_page_name_the_same_data_sets():
    files = {path.name for path in (HOME / "files").iterdir()}
    assert files == {entry.file for entry in CATALOGUE.values()}
    page = (HOME / "SOURCES.md").read_text("utf-8")
    rows = re.findall(r"^\| `(\w+)` \| `(\S+)` \| (\d+) \|", page, re.MULTILINE)
    assert sorted(rows) == sorted((e.name, e.file, str(e.n)) for e in CATALOGUE.values())


def test_every_data_set_has_a_licence_whose_text_is_shipped():
    page = (HOME / "SOURCES.md").read_text("utf-8")
    rows = [row.split(" | ") for row in page.replace("\\|", "or").splitlines() if re.match(r"\| `\w+` \| `", row)]
    found = {row[0].strip("| `"): (row[5], row[4]) for row in rows}
    assert found.keys() == CATALOGUE.keys()
    for name, (licence, package) in found.items():
        told = data.describe(name).licence
        assert told.startswith(f"{licence} (R package "), name
        assert re.search(r"R package (\S+ [\d.-]*\d)", told)[0] in package, name
        versions = re.findall(r"GPL-(\d)\.0-(?:only|or-later)", licence)
        assert versions, name
        for version in versions:
            text = (HOME / f"GPL-{version}.txt").read_text("utf-8")
            assert re.match(rf"\s+GNU GENERAL PUBLIC LICENSE\s+Version {version},", text)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tones", "no data set is called 'tones': did you mean 'tone'? There are ais, co2,"),
        ("zzz", "no data set is called 'zzz'. There are ais, co2,"),
        (3, "no data set is called 3. There are ais, co2,"),
    ],
)
def test_an_unknown_name_is_told_what_exists(name, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        data.load(name)


def test_a_missing_file_names_the_file_and_the_remedy(monkeypatch):
    gone = dataclasses.replace(CATALOGUE["tone"], file="gone.csv")
    monkeypatch.setitem(loading.CATALOGUE, "tone", gone)
    with pytest.raises(FileNotFoundError, match=r"'tone' needs .*gone\.csv.*: reinstall gatewise"):
        data.load("tone")


def test_an_altered_file_is_refused(monkeypatch):
    altered = dataclasses.replace(CATALOGUE["tone"], file="mcycle.csv")
    monkeypatch.setitem(loading.CATALOGUE, "tone", altered)
    with pytest.raises(ValueError, match=r"mcycle\.csv has SHA-256 13037104.*expected 4cab22ee.*: reinstall"):
        data.load("tone")


def test_describing_imports_neither_pandas_nor_torch():
    code = (
        "import sys; from gatewise import data; data.describe('tone');"
        "print({'pandas', 'torch'}.intersection(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
