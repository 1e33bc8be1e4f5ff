"""The page: self-contained, complete, escaped, and the same for equal fits."""

import contextlib
import io
import json
import re
import warnings
from html.parser import HTMLParser

import pytest
from matplotlib.figure import Figure

from gatewise.estimators.warnings import FitWarning
from gatewise.fit import Status
from gatewise.report import Page, demo, drawing, facts, render, results_table, status_lines
from gatewise.report.facts import evidence_lines, named

VOID = {"meta", "link", "br"}
LOADS = {"src", "srcset", "action", "data", "poster"}


class Outline(HTMLParser):
    """Collects ids, references and unclosed tags."""

    def __init__(self, page):
        super().__init__()
        self.ids, self.references, self.open, self.text = [], [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value)
            if name in LOADS or name.endswith("href"):
                self.references.append(value)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def html(section):
    return render(demo.page([section], "gatewise demo", "0.1.0"))


def test_the_page_is_closed_and_its_ids_are_unique(html):
    outline = Outline(html)
    assert not outline.open
    assert len(outline.ids) == len(set(outline.ids)) > 50


def test_the_page_refers_to_nothing_outside_itself(html):
    outline = Outline(html)
    assert all(reference.startswith(("#", "data:")) for reference in outline.references)
    assert {r[1:] for r in outline.references if r[:1] == "#"} <= set(outline.ids)
    assert set(re.findall(r"https?://[^\s\"'<]+", html)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }
    assert "<script" not in html
    assert not re.search(r"url\((?!#)", html)
    assert "@import" not in html


def test_every_reference_of_a_drawing_exists(html):
    ids = set(re.findall(r'id="([^"]+)"', html))
    assert set(re.findall(r"url\(#([^)]+)\)", html)) <= ids


def test_the_page_says_numbers_statuses_and_code(html, section):
    text = "".join(Outline(html).text)
    for one in section.fits:
        found = facts(one.fit)
        assert f"{found['log_likelihood']:.2f}" in text
        assert all(number in text for _, number in evidence_lines(found))
    assert all(status.words in text for status in Status)
    assert "from gatewise import MixtureOfExpertsRegressor" in text
    assert "unidentified (on this page)" in text
    assert "stalled (on this page)" not in text


def test_equal_fits_give_the_same_page(html, section):
    assert render(demo.page([section], "gatewise demo", "0.1.0")) == html


def test_foreign_text_is_escaped(section):
    foul = '<script>alert("$x$")</script>'
    fits = [one._replace(label=foul, names=[foul], target=foul) for one in section.fits]
    page = render(Page(foul, foul, [section._replace(title=foul, about=foul, fits=fits, code=foul)], foul))
    assert "<script" not in page
    assert page.count("&lt;script&gt;") > 5
    assert not Outline(page).open


def test_the_code_on_the_page_gives_the_same_fits(section):
    heard = io.StringIO()
    with warnings.catch_warnings(), contextlib.redirect_stdout(heard):
        warnings.simplefilter("ignore", FitWarning)
        exec(section.code, {})
    printed = [line.split() for line in heard.getvalue().splitlines()]
    expected = [[one.label, repr(one.fit.log_likelihood), str(one.fit.status)] for one in section.fits]
    assert [line[:3] for line in printed] == expected


def test_dense_to_sparse_equals_softmax_and_says_unidentified(section):
    plain, sparse = (one.fit for one in section.fits)
    assert sparse.log_likelihood == pytest.approx(plain.log_likelihood, abs=1e-6)
    assert (plain.status, sparse.status) == (Status.converged, Status.unidentified)
    assert float(sparse.measure.gates[0]["temperature"]) == 1.0


def test_facts_are_json_and_count_identified_parameters(section):
    fit = section.fits[1].fit
    found = facts(fit._replace(starts=fit.starts._replace(gap=float("inf"))))
    again = json.loads(json.dumps(found, allow_nan=False))
    assert again["gap"] is None
    assert again["df"] == facts(section.fits[0].fit)["df"] == 6
    assert ("gap to the next value", "none other found") in evidence_lines(found)


def test_what_carries_a_status_is_named(section):
    fit = section.fits[0].fit
    evidence = fit.certificate._replace(separated=("gates.0.weight[0,0]",), starved=(1,), kinks=("gates.0.center[0]",))
    assert named(fit._replace(certificate=evidence)) == [
        "gates.0.weight[0,0] grows without limit",
        "expert 1 has too few observations for its parameters or its scale",
        "gates.0.center[0] sits on a kink",
    ]


def test_a_page_names_parameters_as_the_summary_does(section):
    one = section.fits[0]
    evidence = one.fit.certificate._replace(separated=("gates.0.weight[0,0] & experts.coef[1,0,0]",))
    fit = one.fit._replace(certificate=evidence, notes=("gates.0.bias leaves the objective unchanged",))
    column = one.called.labels.inputs[0]
    words = f"gate weight {column}[branch 0] &amp; {column}[expert 1] grows without limit"
    html = render(Page("title", "lead", (section._replace(fits=(one._replace(fit=fit),)),)))
    assert words in html
    assert "gate bias leaves the objective unchanged" in html
    assert "gates.0" not in html
    assert "gates.0.bias leaves the objective unchanged" in facts(fit)["notes"]  # of a Fit, which has no columns


def test_refused_fits_are_listed(section):
    fit = section.fits[0].fit
    found = facts(fit._replace(starts=fit.starts._replace(better_unsound=(9.0, 8.0))))
    assert evidence_lines(found)[-1] == ("higher but unsound", "9.00, 8.00")


def test_the_terminal_table_has_a_row_per_fit(section):
    from rich.console import Console

    console = Console(width=80, file=io.StringIO())
    console.print(results_table("Counts", section.fits))
    shown = console.file.getvalue().splitlines()
    assert shown[0].startswith("Counts")
    assert max(len(line.rstrip()) for line in shown) <= 80
    assert any(line.split()[:4] == ["dense-to-sparse", "2", "-440.55", "6"] for line in shown)
    words = [str(line) for line in status_lines(section.fits)]
    assert [line.split(":")[0] for line in words] == ["unidentified", "converged"]


def test_a_drawing_is_reproducible_and_prefixed():
    def draw(prefix):
        figure = Figure(figsize=(2, 1))
        figure.add_subplot().plot([0, 1], [0, 1])
        return drawing.svg(figure, prefix)

    assert draw("a") == draw("a")
    assert not set(re.findall(r'id="([^"]+)"', draw("a"))) & set(re.findall(r'id="([^"]+)"', draw("b")))
    assert re.match(r"<svg[^>]* viewBox=", draw("a"))
    assert not re.match(r"<svg[^>]* width=", draw("a"))
