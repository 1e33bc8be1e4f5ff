"""The package's own names: imported late, and one version everywhere."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import gatewise
from gatewise.estimators import serialise


def test_every_public_name_exists():
    for name in gatewise.__all__:
        assert getattr(gatewise, name) is not None
    assert set(gatewise.__all__) <= set(dir(gatewise))


def test_an_unknown_name_is_told_what_exists():
    with pytest.raises(AttributeError, match=r"no attribute 'Mixtures': its names are EXPERTS"):
        gatewise.Mixtures  # noqa: B018


def test_importing_the_package_imports_nothing_heavy():
    code = "import sys, gatewise; print({'torch', 'numpy', 'sklearn', 'pandas', 'scipy'}.intersection(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_there_is_one_version():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))
    assert gatewise.__version__ == serialise.VERSION == project["project"]["version"]
