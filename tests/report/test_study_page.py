"""Pages of studies: every claim with its word, symbol and reason; the front page's cells; files; the terminal."""

import csv
import io
import re
from dataclasses import replace

import pandas as pd
import pytest
from rich.console import Console

from gatewise.core.gates import GATES
from gatewise.core.mixture import Mixture
from gatewise.report.study import write as report
from gatewise.report.study.facts import LOOKS, MEANINGS, level_rows, series_rows, typeset
from gatewise.report.study.front import front_page
from gatewise.report.study.page import _probe, figures, panels, study_page
from gatewise.theory.arms import NearTruth
from gatewise.theory.claims import Claim, VerdictKind
from gatewise.theory.curves import curve
from gatewise.theory.papers import NO_STUDY, STUDIES
from gatewise.theory.probes import Probed
from gatewise.theory.rate_verdicts import answers
from gatewise.theory.rates import ORDER_ONLY, RATES
from gatewise.theory.verdict import Verdict, judge

from .conftest import SERIES


@pytest.fixture(scope="module")
def page(studied):
    return study_page(studied, [("softmax", "near", "loss exact")])


@pytest.fixture(scope="module")
def slight(small):
    """The same with the errors of one parameter alone."""
    return small._replace(frame=small.frame.drop(columns=SERIES.keys() - {"experts.coef exact"}, errors="ignore"))


@pytest.fixture(scope="module")
def small(studied):
    """One arm, nothing claimed, nothing to warn of."""
    arms = tuple(arm for arm in studied.study.arms if arm.name == "plain")
    study = replace(studied.study, arms=arms, claims=())
    return studied._replace(study=study, verdicts=(), missing=0, faults=(), changed=())


def text(html):
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html)).replace("&nbsp;", " ")


def test_a_quick_run_says_so(small):
    made = {"fingerprint": "f", "engine": {"gatewise": "1", "torch": "2"}, "origin": {"tier": "quick"}}
    assert "decides nothing" in text(study_page(small._replace(made=made)))
    assert "decides nothing" not in text(study_page(small))


def test_a_reason_of_several_claims_is_said_once(studied):
    one, *rest = studied.verdicts
    same = tuple(v._replace(reason="a long reason", settle="") for v in rest)
    page = study_page(studied._replace(verdicts=(one, *same)))
    found = text(page)
    assert found.count("a long reason") == 1
    assert page.count('href="#note-1"') == len(same)
    assert typeset(one.reason) in found


def test_every_claim_stands_with_word_symbol_and_reason(page, studied):
    body = re.search(r'<h2 id="claims">.*?</table>', page, re.S).group()
    rows = re.findall(r"<tr>\s*<td.*?</tr>", body, re.S)
    assert len(rows) == len(studied.verdicts)
    for row, verdict in zip(rows, studied.verdicts, strict=True):
        look = LOOKS[verdict.word]
        assert f'class="verdict {look.sheet}"' in row
        assert f">{look.symbol}</span>&nbsp;{verdict.word}" in row
        assert verdict.claim.source in text(row)
        assert verdict.claim.standing in text(row)
        assert f"{verdict.slope.value:.3f}".replace("-", "−") in row
        assert verdict.reason.split(":")[0][:20] in text(row)
    assert {v.word for v in studied.verdicts} == set(VerdictKind)


def test_verdicts_differ_without_colour():
    assert len({look.symbol for look in LOOKS.values()}) == len(VerdictKind) == len(MEANINGS)


def test_what_is_open_says_what_would_settle_it(page, studied):
    assert page.count("To settle it:") == sum(bool(v.settle) for v in studied.verdicts) > 0


def test_warnings_come_first(page):
    warned = page.index("Before you believe")
    assert warned < page.index('id="claims"')
    for words in ("3 of 1440 fits are missing", "line 7: torn", "claims were changed"):
        assert words in page[warned : page.index('id="claims"')]


@pytest.mark.usefixtures("undrawn")
def test_no_warnings_no_box(small):
    html = study_page(small)
    assert "Before you believe" not in html
    assert "Nothing is claimed" in html
    assert html == study_page(small)


def test_the_page_is_alone(page):
    assert "<script" not in page
    assert not re.search(r'(?:src|href)="(?!#|data:)', re.sub(r"<svg.*?</svg>", "", page, flags=re.S))
    found = re.findall(r'\bid="([^"]+)"', page)
    assert len(found) == len(set(found))


def test_names_are_escaped(page):
    assert "softmax &amp; co_2" in page
    assert "softmax & co_2" not in re.sub(r"<svg.*?</svg>", "", page, flags=re.S)


def test_panels_hold_every_series_once(studied):
    from gatewise.plots.words import recorded

    held = [name for series in panels(studied, "softmax").values() for name in series]
    assert sorted(held) == sorted(recorded(studied, "softmax"))
    assert next(iter(panels(studied, "softmax"))) == "experts.coef"  # claimed first


def test_a_start_is_drawn_where_it_was_recorded(studied):
    assert "start" in [one.name for one in figures(studied, "near")]
    assert "start" not in [one.name for one in figures(studied, "softmax")]


def test_of_many_arms_only_claimed_groups_are_drawn(studied, monkeypatch):
    assert [one.name for one in figures(studied, "near", claimed_only=True)] == [
        "rates experts.coef",
        "dropped",
        "start",
        "bounds",
    ]
    asked = []
    monkeypatch.setattr("gatewise.report.study.page.MANY", 3)
    monkeypatch.setattr("gatewise.report.study.page.figures", lambda *_, claimed_only: asked.append(claimed_only) or [])
    assert "There are many curves" in study_page(studied)
    assert asked == [True] * len(studied.study.arms)


def test_certificates_by_size(studied):
    rows = level_rows(studied, "softmax")
    assert [row["n"].replace("\N{NARROW NO-BREAK SPACE}", "") for row in rows] == [
        str(n) for n in studied.study.arm("softmax").sizes
    ]
    assert {row["fits"] for row in rows} == {"60/60"}
    assert {row["statuses"] for row in rows} == {"59 converged, 1 stalled"}
    assert {row["certified"] for row in rows} == {"98%"}
    frame = studied.frame[studied.frame["axis"] != 300]
    bare = level_rows(studied._replace(frame=frame), "softmax")[1]
    assert (bare["fits"], bare["certified"]) == ("0/60", "–")


def test_slopes_of_every_series(studied):
    rows = {row["series"]: row for row in series_rows(studied, "softmax")}
    assert rows["experts.coef over"]["claimed"]
    assert not rows["experts.coef exact"]["claimed"]
    assert rows["loss exact"]["slope"].startswith("−0.")
    assert rows["loss exact"]["used"] == "60"


def test_rows_for_the_same_error(page):
    part = text(page[page.index('id="rows"') : page.index('id="a0"')])
    assert "experts.coef over: softmax &amp; co_2 over softmax" in part
    assert "loss exact: near over softmax" in part


def test_atoms_that_the_dendrogram_selects_stand_with_their_size(studied):
    assert "selected" not in level_rows(studied, "softmax")[0]["statuses"]
    frame = studied.frame.copy()
    frame["selected"] = 2.0
    frame.loc[(frame["axis"] == 300) & (frame["replicate"] < 15), "selected"] = 3.0
    rows = level_rows(studied._replace(frame=frame), "softmax")
    assert rows[0]["statuses"] == "59 converged, 1 stalled; 2 atoms selected in 100%"
    assert rows[1]["statuses"].endswith("2 atoms selected in 75%")


@pytest.fixture
def undrawn(monkeypatch):
    """Pages without figures, which take most of their time."""
    monkeypatch.setattr("gatewise.report.study.page.figures", lambda *_, **__: [])


@pytest.mark.usefixtures("undrawn")
def test_a_difference_between_two_series_names_both(studied):
    """The second series is not recorded in the first arm, nor the first one in the second."""
    frame = studied.frame.copy()
    frame.loc[frame["arm"] == "near", "gates.0.weight over"] = float("nan")
    frame.loc[frame["arm"] == "near", "gates.0.center over"] = frame["experts.coef over"]
    claim = Claim("softmax", "gates.0.weight over", "difference", 0.0, 0.1, "this project", "own", "near")
    claim = replace(claim, other_series="gates.0.center over")
    study = replace(studied.study, claims=(claim,))
    both = studied._replace(study=study, frame=frame, verdicts=(judge(study, frame, claim),))
    html = study_page(both)
    assert "gates.0.weight over minus that of near: gates.0.center over" in text(html)
    sides = (("softmax", "gates.0.weight over"), ("near", "gates.0.center over"))
    one, two = (curve(frame, study.arm(arm), series).certified.value for arm, series in sides)
    shown = f"{one - two:.3f}".replace("-", "\N{MINUS SIGN}")
    assert f"certified {shown}," in text(html)


@pytest.mark.usefixtures("undrawn")
def test_curves_that_share_no_errors_say_so(studied):
    far = studied.frame.drop(columns=[c for c in studied.frame if "." in c or c == "hellinger"])
    far.loc[far["arm"] == "near", "loss exact"] *= 1e6
    bare = studied._replace(frame=far, study=replace(studied.study, claims=()), verdicts=())
    html = study_page(bare, [("softmax", "near", "loss exact")])
    assert "have no errors in common, and nothing is extrapolated" in html


# the front page


def cell(html, rate, specification="over-specified"):
    rows = re.findall(r"<tr>.*?</tr>", html[html.index('id="rates"') : html.index('id="claims"')], re.S)
    row = next(r for r in rows if f"{rate.gate} gate, {rate.experts} experts<br>" in r and f", {specification}<" in r)
    parts = re.findall(r'<span class="rate">.*?(?=<span class="rate">|</td>)', row, re.S)
    return next(part for part in parts if f"<code>{rate.parameter}</code>" in part)


def rate(gate, parameter, specification):
    return next(r for r in RATES if (r.gate, r.parameter, r.specification) == (gate, parameter, specification))


def test_the_front_page_places_verdicts_in_the_rate_table(studied):
    html = front_page([("synthetic/index.html", studied)])
    for gate, parameter, kind, word in (
        ("softmax", "experts.coef", "over", "supported"),
        ("softmax", "gates.0.weight", "over", "supported"),
        ("softmax", "experts.coef", "exact", "supported"),
        ("dense-to-sparse", "gates.0.temperature", "exact", "not identified"),
    ):
        shown = cell(html, rate(gate, parameter, kind), {"over": "over-specified", "exact": "exact"}[kind])
        assert word in shown, (gate, parameter)
        assert 'href="synthetic/index.html"' in shown
    for gate, parameter in (
        ("laplace", "experts.coef"),
        ("softmax", "family.variance"),
        ("dense-to-sparse", "gates.0.weight"),
    ):
        assert "no study" in cell(html, rate(gate, parameter, "over")), (gate, parameter)
    assert html.count("no study") == len(RATES) - 4 + len(NO_STUDY)
    assert "THEORY" not in html


def test_the_front_page_shows_how_many_more_rows_models_need(studied):
    html = front_page([("a.html", studied)])
    pairs = {(one.arm, one.other) for one in studied.study.claims if one.other and not one.other_series}
    assert pairs
    assert f"{len(pairs)} {'comparison' if len(pairs) == 1 else 'comparisons'} of two models" in html
    alone = studied._replace(study=replace(studied.study, claims=studied.study.claims[:1], comparisons=()))
    assert "of two models" not in front_page([("a.html", alone._replace(verdicts=studied.verdicts[:1]))])


def test_the_front_page_counts_the_cells_that_are_open(studied):
    assert "4 of the" in front_page([("a.html", studied)])
    assert "0 of these are unresolved in every claim about them, 0 in some" in front_page([("a.html", studied)])
    slope, gate, *others = studied.verdicts
    verdicts = (slope._replace(word=VerdictKind.unresolved), gate, gate._replace(word=VerdictKind.unresolved), *others)
    html = front_page([("a.html", studied._replace(verdicts=verdicts))])
    assert "1 of these are unresolved in every claim about them, 1 in some" in html


def test_a_claim_of_another_rate_source_kind_or_model_is_not_in_the_cell(studied):
    given, arm = studied.verdicts[0], studied.study.arm("softmax")
    held = rate("softmax", "experts.coef", "over")
    assert answers(held, arm, given)

    def other(**changes):
        return given._replace(claim=replace(given.claim, **changes))

    for changes in (
        {"value": -0.5},
        {"source": "this project"},
        {"kind": "difference", "other": "softmax"},
        {"series": "experts.coef exact"},
        {"series": "experts.intercept over"},
    ):
        assert not answers(held, arm, other(**changes)), changes
    laplace = replace(arm, model=replace(arm.model, mixture=Mixture((GATES["laplace"],), (3,))))
    assert not answers(held, laplace, given)
    assert not answers(held, replace(arm, model=replace(arm.model, mixture=Mixture((GATES["softmax"],), (2,)))), given)


def test_starts_near_the_truth_are_marked_and_those_that_approach_it_left_out(studied):
    held, given, arm = rate("softmax", "experts.coef", "over"), studied.verdicts[0], studied.study.arm("softmax")
    assert not answers(held, replace(arm, starts=NearTruth(0.1, 0.083)), given)
    near = replace(arm, starts=NearTruth(0.1))
    assert answers(held, near, given)
    arms = tuple(near if one.name == "softmax" else one for one in studied.study.arms)
    html = front_page([("a.html", studied._replace(study=replace(studied.study, arms=arms)))])
    assert "from near the truth" in cell(html, held)
    assert "from near the truth" not in cell(html, rate("dense-to-sparse", "gates.0.temperature", "exact"), "exact")


def test_early_stopped_em_does_not_answer(studied):
    held, given, arm = rate("softmax", "experts.coef", "over"), studied.verdicts[0], studied.study.arm("softmax")
    assert not answers(held, replace(arm, model=replace(arm.model, method="em")), given)


def test_the_studies_of_the_papers_reach_their_cells():
    """Without running one: every rate of the rows that have a study is answered by a claim of it."""
    claims = [
        (study.arm(c.arm), Verdict(c, VerdictKind.unresolved, None, ""))
        for study in STUDIES.values()
        for c in study.claims
    ]
    rows = {
        ("ml", "softmax", "linear"),
        ("ml", "softmax (sharper)", "linear"),
        ("ml", "laplace", "linear"),
        ("ml", "activation-dense-to-sparse", "linear"),
        ("ml", "hmoe LL", "linear"),
        ("ml", "dense-to-sparse", "linear"),
        ("ml", "softmax", "strongly identifiable"),
        ("ml", "input-free", "linear"),
        ("ml", "gaussian-score", "linear"),
        ("ml", "normalised-sigmoid, sparse", "strongly identifiable"),
        ("ls", "cosine", "any"),
        ("ls", "perturbed-cosine", "strongly identifiable"),
        ("ls", "quadratic-monomial", "strongly identifiable"),
        ("ls", "quadratic", "strongly identifiable"),
        ("ls", "sigmoid, regime 1", "constant"),
        ("ls", "sigmoid, regime 2", "constant"),
        ("ls", "sigmoid, regime 2", "polynomial"),
        ("ls", "softmax", "feed-forward"),
        ("ls", "sigmoid, regime 1", "feed-forward"),
        ("ls", "sigmoid, regime 2", "feed-forward"),
    }
    wanted = [r for r in RATES if (r.estimator, r.gate, r.experts) in rows]
    assert {(r.estimator, r.gate, r.experts) for r in wanted} == rows
    open_cells = [r[:5] for r in wanted if not any(answers(r, *claim) for claim in claims)]
    assert open_cells == []


def test_an_exponent_that_cannot_be_computed_says_why_in_the_place_of_numbers():
    probe = STUDIES["softmax-over"].probes[0]
    record = {"eps": probe.eps, "distance": [0.1] * 5, "local": [4.0] * 4, "certified": [True] * 3 + [False]}
    found = Probed(probe, VerdictKind.unresolved, "4.000 is not certified: use more starts", record)
    assert _probe(found)["local"] == "4.000, 4.000, 4.000, 4.000 (not certified)"
    failed = record | {"failed": True, "distance": [None] * 5, "local": [None] * 4, "certified": [False] * 4}
    shown = _probe(found._replace(reason="cannot be computed: too many counts", record=failed))
    assert (shown["local"], shown["reason"]) == ("", "cannot be computed: too many counts")


def test_rates_without_exponents_take_what_says_which_model_is_slower():
    study = STUDIES["hierarchical-rates"]
    slower = [c for c in study.claims if c.kind == "at_least"]
    rows = [r for r in RATES if r.kind == ORDER_ONLY and r.gate == "hmoe SS, SL" and r.parameter != "experts.intercept"]
    assert len(rows) == 2
    for row in rows:
        given = [c for c in slower if c.series.startswith(row.parameter)]
        answered = [c for c in slower if answers(row, study.arm(c.arm), Verdict(c, VerdictKind.unresolved, None, ""))]
        assert answered == given != []
    others = [r for r in RATES if r.kind != ORDER_ONLY]
    assert not any(
        answers(r, study.arm(c.arm), Verdict(c, VerdictKind.unresolved, None, "")) for r in others for c in slower
    )


def test_a_temperature_as_it_stands_answers_for_every_cell():
    study = STUDIES["temperature-rates"]
    for what, specification in (("exact", "exact"), ("over", "over")):
        (claim,) = [c for c in study.claims if c.arm == f"identity, {what}" and c.series.endswith(" raw")]
        given = Verdict(claim, VerdictKind.not_identified, None, "")
        held = [r for r in RATES if answers(r, study.arm(claim.arm), given)]
        assert [(r.gate, r.parameter, r.specification) for r in held] == [
            ("dense-to-sparse", "gates.0.temperature", specification)
        ]


def test_models_without_a_study_stand_below_the_rates(studied):
    html = front_page([("a.html", studied)])
    table = html[html.index('id="rates"') : html.index('id="claims"')]
    for name, reason in NO_STUDY.items():
        (row,) = [r for r in re.findall(r"<tr>.*?</tr>", table, re.S) if f">{name}</td>" in r]
        assert text(row).split(name)[1].strip() == f"no study : {reason}"


def test_a_derived_rate_takes_claims_of_our_own(studied):
    held = rate("softmax (sharper)", "gates.0.weight", "over")
    given, arm = studied.verdicts[1], studied.study.arm("softmax")
    assert not answers(held, arm, given)
    own = given._replace(claim=replace(given.claim, kind="equal", value=-0.25, standing="own", source="this project"))
    assert answers(held, arm, own)


def test_a_front_page_needs_a_study():
    with pytest.raises(ValueError, match="at least one result"):
        front_page([])


# files and the terminal


def test_csv_holds_the_numbers_in_full(studied):
    rows = list(csv.DictReader(io.StringIO(report.claims_csv(studied))))
    assert [float(row["slope"]) for row in rows] == [v.slope.value for v in studied.verdicts]
    assert [row["verdict"] for row in rows] == [str(v.word) for v in studied.verdicts]
    assert rows[7]["other"] == "softmax & co_2"
    assert {row["study"] for row in rows} == {studied.study.name}
    twice = list(csv.DictReader(io.StringIO(report.claims_csv(studied, studied))))
    assert twice == rows * 2


def test_latex_is_escaped_and_needs_booktabs_alone(studied):
    found = report.claims_latex(studied)
    assert found.isascii()
    assert r"softmax \& co\_2" in found
    body = found.splitlines()[4:-2]
    assert len(body) == len(studied.verdicts)
    assert {len(re.findall(r"(?<!\\)&", line)) for line in body} == {5}
    assert re.findall(r"\\(\w+rule)", found) == ["toprule", "midrule", "bottomrule"]


@pytest.mark.parametrize(("form", "head"), [("pdf", b"%PDF"), ("svg", b"<?xml")])
def test_figures_go_to_files_that_are_equal_each_time(slight, tmp_path, form, head):
    first = {path.name: path.read_bytes() for path in report.write_figures(slight, tmp_path / "a", form)}
    assert {path.name for path in (tmp_path / "a").iterdir()} == set(first)
    assert f"plain-rates-experts.coef.{form}" in first
    assert all(data.startswith(head) for data in first.values())
    assert first == {path.name: path.read_bytes() for path in report.write_figures(slight, tmp_path / "b", form)}


def test_figures_of_arms_with_alike_names_are_files_of_their_own(slight, tmp_path):
    arm = slight.study.arms[0]
    twin = replace(arm, name=arm.name.upper() + "!")
    study = replace(slight.study, arms=(arm, twin), claims=(), comparisons=())
    mine = slight.frame[slight.frame["arm"] == arm.name]
    both = slight._replace(study=study, frame=pd.concat([mine, mine.assign(arm=twin.name)]))
    paths = report.write_figures(both, tmp_path, "svg")
    assert len({path.name.casefold() for path in paths}) == len(paths)
    assert len(paths) == 2 * len(report.write_figures(slight, tmp_path, "svg"))


@pytest.mark.usefixtures("undrawn")
def test_comparisons_with_one_arm_share_a_picture_and_have_a_table_each(small):
    first = small.study.arms[0]
    twins = tuple(replace(first, name=name) for name in ("second", "third"))
    study = replace(small.study, arms=(first, *twins), claims=(), comparisons=())
    mine = small.frame[small.frame["arm"] == first.name]
    more = [mine.assign(arm=twin.name) for twin in twins]
    series = f"{mine.columns[mine.columns.str.startswith('experts.coef exact')][0]}"
    three = small._replace(study=study, frame=pd.concat([mine, *more]))
    html = study_page(three, [(first.name, twin.name, series) for twin in twins])
    assert html.count("<figcaption>rows for the same error</figcaption>") == 1
    assert all(f"{twin.name} over {first.name}</h3>" in html for twin in twins)
    assert f"rows that second, third need over those of {first.name}" in html


@pytest.mark.usefixtures("undrawn")
def test_a_page_says_what_made_its_records_and_which_truth_is_shut_out(small):
    made = {"fingerprint": "0123", "engine": {"gatewise": "0.0.7", "torch": "1.2.3"}}
    html = study_page(small._replace(made=made, truths_outside_box=("the truth lies outside",)))
    assert "gatewise 0.0.7, torch 1.2.3" in html
    assert "<code>0123</code>" in html
    assert html.index("the truth lies outside") < html.index("How to read")


@pytest.mark.parametrize("width", [78, 120])
def test_the_terminal_shows_every_verdict(studied, width):
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(report.verdict_table(studied, width))
    shown = console.file.getvalue()
    assert max(map(len, shown.splitlines())) <= width
    for verdict in studied.verdicts:
        assert f"{LOOKS[verdict.word].symbol} {str(verdict.word).split()[0]}" in shown
    assert "warning: 3 of 1440 fits are missing" in shown
    assert "to settle it" in re.sub(r"\s+", " ", shown)


@pytest.mark.usefixtures("undrawn")
def test_pages_are_written_whole_with_relative_links(small, tmp_path):
    report.write_page(small, tmp_path / "runs" / "a" / "index.html")
    report.write_front([(tmp_path / "runs" / "a", small)], tmp_path / "runs" / "index.html")
    assert 'href="a/index.html"' in (tmp_path / "runs" / "index.html").read_text("utf-8")
    assert sorted(p.name for p in (tmp_path / "runs").rglob("*") if p.is_file()) == ["index.html", "index.html"]


@pytest.mark.usefixtures("undrawn")
def test_an_interrupted_study_has_a_page(studied):
    first = studied.study.arms[0].name
    frame = studied.frame[studied.frame["arm"] == first]
    verdicts = tuple(judge(studied.study, frame, claim) for claim in studied.study.claims)
    html = study_page(studied._replace(frame=frame, verdicts=verdicts, missing=7))
    assert "has been run" in html
    assert first in html
    assert "nan" not in re.sub(r"<svg.*?</svg>", "", html, flags=re.DOTALL)
