"""What is said of versions in several places is the same in all of them."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

import gatewise

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
OLDEST = {"sympy": "1.13.3"}  # what the pinned torch needs; torch 2.6 needs the lower bound
RAISED = {"mypy", "ruff"}  # whose bounds are raised on purpose, with an upper one
CONDA = {"torch": "pytorch", "matplotlib": "matplotlib-base", "dask": "dask-core"}  # names there
FOREIGN = {"pyparsing", "click"}  # pinned for packages that are not ours


def pins(name):
    """The versions that a constraints file names."""
    lines = (ROOT / "constraints" / name).read_text("utf-8").splitlines()
    found = [line.split("==") for line in lines if line and not line.startswith("#")]
    return dict(found)


def lower_bounds(requirements):
    """The lower bound of every requirement that is not one of gatewise's own extras."""
    for text in requirements:
        one = Requirement(text)
        if one.name != "gatewise":
            (least,) = [each.version for each in one.specifier if each.operator == ">="]
            yield one.name, least


def bounds():
    extras = PROJECT["optional-dependencies"]
    tested = (PROJECT["dependencies"], *(extras[name] for name in ("parquet", "dask", "hub", "test")))
    return dict(pair for some in tested for pair in lower_bounds(some) if pair[0] not in RAISED)


def release(version):
    """The numbers of a version."""
    return tuple(map(int, version.split(".")))


def test_the_oldest_versions_are_the_lower_bounds():
    oldest, least = pins("minimum.txt"), bounds()
    assert set(oldest) == {*least, *FOREIGN} - {"torch"}
    assert len(least) > 25
    for name, version in oldest.items():
        if name in least:
            bound = OLDEST.get(name, least[name])
            assert release(version)[: len(release(bound))] == release(bound), name
            assert not any(release(version)[len(release(bound)) :]), name  # 2025.1 is 2025.1.0


def test_a_version_is_pinned_once():
    tested, oldest = pins("cpu.txt"), pins("minimum.txt")
    assert tested["torch"]
    both = tested.keys() & oldest.keys()
    assert {name: tested[name] for name in both} == {name: oldest[name] for name in both}


@pytest.fixture
def steps(tmp_path):
    """A function that says what make would do in a copy of the project."""
    if shutil.which("make") is None:
        pytest.skip("needs make")
    shutil.copy(ROOT / "Makefile", tmp_path)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(ROOT / "constraints", tmp_path / "constraints")

    # without the variables by which a make that runs these tests speaks to a make inside it
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}

    def said(*words):
        done = subprocess.run(
            ["make", "-n", *words], cwd=tmp_path, env=clean, capture_output=True, text=True, check=True
        )
        installed = re.findall(r"(\S+)/bin/python -m pip install .*? -e '(.*)'", done.stdout)
        return installed, done.stdout.splitlines()[-1]

    said.folder = tmp_path
    return said


def test_the_demonstration_installs_the_package_alone(steps):
    assert steps("demo") == ([(".venv-demo", ".")], ".venv-demo/bin/gatewise demo")
    assert steps("test")[0] == [(".venv", ".[test,transformers,onnx]")]


def test_the_demonstration_uses_the_environment_of_the_tests_where_it_is(steps):
    (steps.folder / ".venv").mkdir()
    (steps.folder / ".venv" / ".ready-cpu").touch()
    assert steps("demo") == ([], ".venv/bin/gatewise demo")


def test_another_python_has_an_environment_of_its_own_and_the_short_subset(steps):
    installed, run = steps("test-python", f"PYTHON={sys.executable}")
    environment = f".venv-{Path(sys.executable).name}"
    assert installed == [(environment, ".[test]")]
    assert run.startswith(f"{environment}/bin/python -m pytest -n auto")
    paths = [word for word in run.split() if word.startswith(("src", "tests"))]
    assert paths == [word for word in steps("test-minimum")[1].split() if word.startswith(("src", "tests"))]
    assert paths
    assert all((ROOT / path).exists() for path in paths)


@pytest.fixture(scope="module")
def recipe():
    return yaml.safe_load((ROOT / "recipe" / "recipe.yaml").read_text("utf-8"))


def in_conda(requirements):
    """The requirements as conda writes them."""
    return [f"{CONDA.get(name, name)} >={bound}" for name, bound in lower_bounds(requirements)]


def test_the_conda_recipe_requires_what_the_project_does(recipe):
    needs, extras = recipe["requirements"], PROJECT["optional-dependencies"]
    python, *run = needs["run"]
    assert python == "python >=${{ python_min }}"
    assert PROJECT["requires-python"] == f">={recipe['context']['python_min']}"
    assert run == in_conda(PROJECT["dependencies"])
    build = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["build-system"]["requires"]
    assert needs["host"] == ["python ${{ python_min }}.*", "pip", *in_conda(build)]
    users = [one for name, some in extras.items() if name not in ("docs", "test") for one in some]
    assert sorted(needs["run_constraints"]) == sorted(set(in_conda(users)))


def test_the_conda_recipe_is_of_this_package(recipe):
    assert recipe["context"]["version"] == PROJECT["version"]
    assert recipe["package"] == {"name": PROJECT["name"], "version": "${{ version }}"}
    (entry,) = [f"{name} = {where}" for name, where in PROJECT["scripts"].items()]
    assert recipe["build"]["python"]["entry_points"] == [entry]
    about = recipe["about"]
    assert (about["summary"], about["license"]) == (PROJECT["description"], PROJECT["license"])
    shipped = {path.relative_to(ROOT).as_posix() for one in PROJECT["license-files"] for path in ROOT.glob(one)}
    assert set(about["license_file"]) == shipped
    tested = {name.removeprefix("gatewise.") for name in recipe["tests"][0]["python"]["imports"]}
    assert tested == {"gatewise", *gatewise._DOORS}


def test_the_citation_names_this_version():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert (cited["version"], cited["license"]) == (PROJECT["version"], PROJECT["license"])
