"""The verbs of studies on a study of a user's own file: one expert, fitted in an instant."""

import json
import shutil
from functools import partial

import pytest
from typer.testing import CliRunner

from gatewise import theory
from gatewise.cli import app
from gatewise.runs.records import line_of, parsed
from gatewise.theory.store import lines_of, seconds

FILE = """
import torch
from parts import mixture
from gatewise.core.mixture import Measure
from gatewise.theory import Arm, DataDrivenStarts, Claim, Data, Model, Probe, Study

one = lambda *shape: torch.ones(shape, dtype=torch.float64)
truth = Measure(({"bias": one(1)},), {"coef": one(1, 1, 1), "intercept": one(1, 1)}, {"scale": 0.5 * one(1, 1)})
data, model = Data(mixture, truth), Model(mixture, min_scale=0.1)
arm = Arm("one", data, model, (30, 60), 20, DataDrivenStarts(1))
claim = Claim("one", "experts.coef exact mean", "equal", -0.5, 0.1, "mine", "own", probe="slope")
probe = Probe("slope", data, model, "experts.coef", (0,), 1.0, 0.1, "mine", "own", eps=(0.02, 0.01), starts=1)
study = Study("mine", "One expert", "It is fast.", (arm,), (claim,), probes=(probe,))
"""
PARTS = """
from gatewise.core.gates import GATES
from gatewise.core.mixture import Mixture

mixture = Mixture((GATES["constant"],), (1,))
"""

MINE = ("--study", "my_study.py:study")


def call(*arguments):
    return CliRunner().invoke(app, ["study", *map(str, arguments)], env={"COLUMNS": "120", "NO_COLOR": "1"})


def said(*arguments):
    result = call(*arguments)
    assert result.exit_code == 0, result.output
    return result.output


def refused(*arguments):
    result = call(*arguments)
    assert result.exit_code == 2, result.output
    return result.output


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """A folder with a study file, a file that it imports, and its records."""
    home = tmp_path_factory.mktemp("home")
    (home / "my_study.py").write_text(FILE)
    (home / "parts.py").write_text(PARTS)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        assert "40 fits" in said("run", "my_study.py:study")
    return home


@pytest.fixture(autouse=True, scope="module")
def undrawn(ran):
    """Pages without figures, which take most of their time, from the second run on."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gatewise.report.study.page.figures", lambda *_, **__: [])
        yield


@pytest.fixture
def home(ran, tmp_path, monkeypatch):
    shutil.copytree(ran, tmp_path / "home")
    monkeypatch.chdir(tmp_path / "home")
    return tmp_path / "home"


def origin(home, where):
    path = home / "out/mine/study.json"
    held = json.loads(path.read_text())
    path.write_text(json.dumps({**held, "origin": {**held["origin"], "where": where}}))


def test_a_page_is_written_again_from_any_folder(ran, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "unresolved" in said("report", ran / "out/mine", "--study", f"{ran / 'my_study.py'}:study")


@pytest.mark.parametrize("where", ["gone.py:study", "my_study.py:study", ""])
def test_a_study_of_a_file_is_named_where_its_folder_is_judged(home, where):
    origin(home, where)
    assert f"the study 'mine' of {where!r}: a folder is data" in refused("report", "out/mine")


def test_a_study_of_a_file_that_is_gone_is_judged_where_the_file_is_named(home):
    origin(home, "gone.py:study")
    assert "unresolved" in said("report", "out/mine", "--study", "my_study.py:study")
    assert "experts.coef" in said("table", "mine", "--study", "my_study.py:study")


def test_a_changed_truth_is_not_judged_with_old_records(home):
    path = home / "my_study.py"
    path.write_text(FILE.replace("0.5 * one(1, 1)", "0.6 * one(1, 1)"))
    assert "arm 'one' changed after the run" in refused("report", "out/mine", "--study", "my_study.py:study")
    assert "different: arms (one)" in refused("run", "my_study.py:study", "--resume")


def test_reports_after_a_long_run_are_of_all_replicates(home, monkeypatch):
    monkeypatch.setattr("gatewise.theory.long", partial(theory.long, times=2))  # of ten
    assert "80 fits" in said("run", "my_study.py:study", "--resume", "--long")
    out = said("report", "out/mine", *MINE)
    assert "2 replicates" not in out
    assert "20 replicates" not in out
    assert "one" in (home / "out/mine/index.html").read_text()
    assert "40 at 2 sizes" in (home / "out/mine/index.html").read_text()


def test_records_are_packed_and_come_back_and_fits_are_run_again(home):
    assert "1 folder, 40 fits" in said("pack", "out/mine", "--out", "all.tar.xz")
    assert "study report" in said("unpack", "all.tar.xz", "--out", "again")
    assert lines_of(home / "again/mine") == lines_of(home / "out/mine")
    assert "20 fits" in said("replay", "again/mine", *MINE)
    assert "is there already" in refused("unpack", "all.tar.xz", "--out", "again")
    assert "has no records" in refused("pack", "again", "--out", "none.tar.xz")
    path = home / "again/mine/records.jsonl"
    records = [parsed(line) for line in path.read_text().splitlines()]
    path.write_text("".join(line_of({**one, "log_likelihood": one["log_likelihood"] + 1e-9}) for one in records))
    assert "20 of 20 fits have other records" in refused("replay", "again/mine", *MINE)


def test_parts_of_two_machines_are_joined_in_one_folder(home):
    for part, folder in (("1/2", "a"), ("2/2", "b")):
        assert "study join DIR..." in said("run", "my_study.py:study", "--shard", part, "--out", folder)
    assert "20 of 40 fits are missing" in said("report", "a", *MINE)
    assert "both holds 40 records" in said("join", "a", "b", "--out", "both")
    out = said("report", "both", *MINE)
    assert "missing" not in out
    assert "another study" not in out
    assert lines_of(home / "both") == lines_of(home / "out/mine")
    assert seconds(home / "both") == pytest.approx(seconds(home / "a") + seconds(home / "b"))
    assert "both holds 40 records" in said("join", "a", "b", "--out", "both")  # again: nothing is counted twice
    assert seconds(home / "both") == pytest.approx(seconds(home / "a") + seconds(home / "b"))
    log = home / "both/log-joined.jsonl"
    log.write_text(log.read_text().replace('"study": "', '"study": "0'))
    assert "log-joined.jsonl was written by another study" in said("report", "both", *MINE).replace("\n", " ")


def test_what_does_not_belong_together_is_not_joined(home):
    assert "is one of the folders to join" in refused("join", "out/mine", "--out", "out/mine").replace("\n", " ")
    shutil.copytree("out/mine", "other")
    header = home / "other/study.json"
    header.write_text(
        header.read_text().replace('"seed": 0', '"seed": 1').replace('"fingerprint": "', '"fingerprint": "0')
    )
    assert "different: seed" in refused("join", "out/mine", "other", "--out", "both").replace("\n", " ")
    assert not (home / "both").exists()
    shutil.copytree("out/mine", "changed")
    (path,) = (home / "changed").glob("records*.jsonl")
    lines = [parsed(line) for line in path.read_text().splitlines()]
    lines[3]["status"] = "separated"
    path.write_text("".join(map(line_of, lines)))
    assert "hold different records of the fit ('one', 60, 3)" in refused(
        "join", "out/mine", "changed", "--out", "both"
    ).replace("\n", " ")
    assert not (home / "both").exists()
    path.write_text(path.read_text()[:-20])
    assert "torn" in said("join", "changed", "--out", "left")


def test_a_study_is_shown_before_it_runs_and_after(home):
    shown = said("show", "softmax-over")
    assert "20 claims" in shown
    assert "registered protocol" in shown
    assert "2305.03288" in shown
    mine = said("show", "my_study.py:study")
    assert "not registered" in mine
    assert "1 population exponents" in mine
    assert "supported" not in mine
    assert "fits in" in said("show", "out/mine", *MINE)
    assert "Demystifying" in said("show", "softmax-over", "--bibtex")


def test_an_interruption_says_where_finished_exponents_are(home, monkeypatch):
    def interrupt(*given, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(theory, "run_probes", interrupt)
    result = call("probe", "my_study.py:study")
    assert result.exit_code == 130
    assert "finished exponents are in out/mine: continue with the same command" in result.stderr


def test_exponents_are_told_and_figures_and_tables_are_written(home):
    assert "supported" in said("probe", "my_study.py:study")
    assert "2 sizes over 0.3 decades" in said("table", "mine", *MINE)  # an exponent is no substitute for a window
    assert r"\begin{tabular}" in said("table", "mine", "--format", "latex", *MINE)
    assert "one-bounds.svg" in said("figure", "mine", "--format", "svg", *MINE)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("experts.coef exact mean", "experts.coef exact means", "has no series 'experts.coef exact means'"),
        ("experts.coef exact mean", "experts.coeff exact mean", "is of experts.coef; correct the series"),
        ("0.5 * one(1, 1)", "-one(1, 1)", "family.scale = [[-1.0]]"),
        ("nothing of this", "1 / 0", "wrong.py, line 14: ZeroDivisionError"),
        ("min_scale=0.1", "min_scale=0.1, box={'experts.slope': (0, 1)}", "'experts.slope' is not a parameter"),
    ],
)
def test_mistakes_are_told_before_anything_runs(home, old, new, words):
    text = FILE.replace(old, new) if old in FILE else FILE + new
    (home / "wrong.py").write_text(text)
    assert words in refused("run", "wrong.py:study", "--out", "wrong")
    assert not (home / "wrong").exists()


def test_a_box_without_the_truth_is_told_before_the_run_and_on_the_page(home):
    (home / "wrong.py").write_text(FILE.replace("min_scale=0.1", "min_scale=0.1, box={'experts.coef': (-0.5, 0.5)}"))
    words = "the truth lies outside the fitted model, experts.coef = 1 beyond [-0.5, 0.5]"
    out = said("run", "wrong.py:study", "--quick", "--out", "wrong")
    assert out.index(words) < out.index("One expert")
    assert words in (home / "wrong/index.html").read_text()


def test_a_confirmatory_run_stands_beside_the_exploratory_one(ran, monkeypatch):
    monkeypatch.chdir(ran)
    assert "40 fits" in said("run", "my_study.py:study", "--confirm")
    page = (ran / "out" / "mine-confirmatory" / "index.html").read_text()
    assert "exploratory: unresolved" in page
    assert "Protocol " in page
    assert "exploratory:" not in (ran / "out" / "mine" / "index.html").read_text()
    assert "40 fits" in said("report", "out/mine-confirmatory", *MINE)
    assert "exploratory: unresolved" in (ran / "out" / "mine-confirmatory" / "index.html").read_text()
    assert "--quick, --long, --confirm: choose one" in refused("run", "my_study.py:study", "--confirm", "--quick")


def test_a_page_stands_alone(home):
    """Truth, limits, seed and command are on it."""
    page = (home / "out" / "mine" / "index.html").read_text()
    for words in ("experts.coef = [[[1]]]", "family.scale = [[0.5]]", "standard deviations from 0.1", "seed 0"):
        assert words in page
    assert "gatewise study run my_study.py:study</code>" in page


def test_another_seed_has_a_folder_of_its_own(home):
    assert "40 fits" in said("run", "my_study.py:study", "--seed", "7")
    page = (home / "out" / "mine-seed-7" / "index.html").read_text()
    assert "gatewise study run my_study.py:study --seed 7</code>" in page
    assert "40 fits" in said("report", "out/mine-seed-7", *MINE)
    old, new = ((home / "out" / name / "records.jsonl").read_text() for name in ("mine", "mine-seed-7"))
    assert old != new
    assert "has the seed of its protocol" in refused("run", "my_study.py:study", "--confirm", "--seed", "7")


def test_packed_studies_become_pages_tables_and_references(home, tmp_path):
    shutil.copytree(home / "out/mine", home / "out/more")
    said("pack", "out/mine", "--out", "mine.tar.xz")
    said("pack", "out/more", "--out", "more.tar.xz")
    files = ("mine.tar.xz", "more.tar.xz")
    assert "2 claims of 2 studies" in said("atlas", *files, "--out", tmp_path / "atlas", *MINE)
    place = tmp_path / "atlas"
    assert {path.relative_to(place).as_posix() for path in place.rglob("*.*") if "jsonl" not in path.name} == {
        *("index.html", "claims.csv", "references.bib"),
        *(f"{name}/{file}" for name in ("mine", "more") for file in ("index.html", "claims.tex", "study.json")),
    }
    rows = (place / "claims.csv").read_text().splitlines()
    assert len(rows) == 3
    assert rows[1].startswith("mine,one,experts.coef exact mean")
    assert 'href="more/index.html"' in (place / "index.html").read_text()
    assert "is there already" in refused("atlas", *files, "--out", place, *MINE)


def test_the_figures_of_an_atlas_are_of_a_known_kind(home):
    assert "choose pdf or svg" in refused("atlas", "mine.tar.xz", "--figures", "png", *MINE)
