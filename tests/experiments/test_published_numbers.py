"""The page of published numbers: what is computed from the numbers there is recomputed here."""

import re
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

PAGE = (Path(__file__).parents[2] / "docs" / "published-numbers.md").read_text("utf-8")
SECTIONS = [part for part in re.split(r"^(?=## )", PAGE, flags=re.MULTILINE) if part.startswith("## ")]
RUNS = re.findall(r"^\| ([\w -]+) \| ([^|]+) \| ((?:\d\d\.\d\d ?){5})\| (\d\d\.\d\d) \| (\d\.\d\d) \|$", PAGE, re.M)
GATES = ("softmax gate", "Gaussian gate", "Laplace gate")


def accuracies(model, gates):
    return next([float(one) for one in runs.split()] for m, g, runs, _, _ in RUNS if (m, g) == (model, gates))


def test_there_are_ten_rows_of_five_accuracies():
    assert [(model, gates) for model, gates, *_ in RUNS] == [
        (model, gates)
        for model in ("one layer", "Vision-MoE")
        for gates in ("softmax, one level", "SS", "LS", "SL", "LL")
    ]


@pytest.mark.parametrize("row", RUNS, ids=lambda row: f"{row[0]} {row[1]}")
def test_mean_and_deviation_are_those_of_the_five_accuracies(row):
    runs = np.array([float(one) for one in row[2].split()])
    assert len(runs) == 5
    assert (f"{runs.mean():.2f}", f"{runs.std(ddof=1):.2f}") == row[3:]


@pytest.mark.parametrize("model", ["one layer", "Vision-MoE"])
def test_the_intervals_of_the_difference_hold_zero(model):
    found = stats.ttest_ind(accuracies(model, "LL"), accuracies(model, "SL"), equal_var=False).confidence_interval()
    assert found.low < 0 < found.high
    assert f"{found.low:.2f} to {found.high:.2f} for {model}" in PAGE.replace("\n", " ")


def test_how_often_the_laplace_gate_is_highest_of_three():
    rows = {gate: re.findall(rf"^\| {gate} \| (.+) \|$", PAGE, re.M) for gate in GATES}
    figures = np.array([[[float(x) for x in re.split(r" [|/] ", row)] for row in rows[gate]] for gate in GATES])
    assert figures.shape == (3, 3, 6)
    first = int((figures.argmax(0) == 2).sum())
    assert f"highest of the three\ngates in {first}." in PAGE
    assert f"Of these {figures[0].size} figures" in PAGE


def test_the_ablation_has_as_many_runs_as_it_says():
    counts = [[int(n) for n in row.split(" | ")] for row in re.findall(r"^\| runs \| (.+) \|$", PAGE, re.M)]
    assert [sum(row) for row in counts] == [29, 29]
    assert "29 runs for every pair" in PAGE


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.splitlines()[0][3:40])
def test_every_section_names_its_source_and_a_standing_that_is_explained(section):
    _, text = section.replace("\n", " ").split("  ", 1)
    found = re.match(r"Source: .+?\. Standing: ([^.]+)\.", text)
    kinds = re.findall(r"published|in public code|hand-typed|recalled", found[1])
    assert kinds
    assert all(f"\n| {kind} | " in PAGE for kind in kinds)


def test_the_page_says_first_that_nothing_is_comparable():
    assert "None of these numbers can be compared with a result of\ngatewise" in PAGE.partition("## ")[0]


def test_the_guide_to_experiments_links_the_page():
    guide = Path(__file__).parents[2] / "docs/guide/engineer/experiments.md"
    assert "(../../published-numbers.md)" in guide.read_text("utf-8")
