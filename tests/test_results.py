"""Results for the reader: short in a terminal, tables in a notebook, numbers as data frames."""

import pickle
from html import escape
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
import torch

from gatewise import FitWarning, MixtureOfExpertsRegressor, identify
from gatewise.data import load
from gatewise.estimators.summary import _starts
from gatewise.experiments import Experiment, Metric, collect_experiment, run_experiment
from gatewise.infer.bands import mean_band
from gatewise.markup import SHOWN, page, table
from gatewise.objective.columns import columns
from gatewise.theory import collect, efficiency, quick, run_study
from gatewise.theory.curves import curve
from gatewise.theory.papers import STUDIES

NAMES = ["<b>dose</b>", "age & sex", "x|y"]


def data(d, q=1, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(150, d))
    first = rng.random(150) < 1 / (1 + np.exp(-2 * x[:, 0]))
    y = np.where(first, 1 + x[:, -1], -2 - x[:, -1])[:, None] + 0.3 * rng.normal(size=(150, q))
    return pd.DataFrame(x, columns=NAMES[:d]), y[:, 0] if q == 1 else y


def fitted(d, q=1, **options):
    x, y = data(d, q)
    return x, y, MixtureOfExpertsRegressor(2, n_init=3, random_state=0, **options).fit(x, y)


class Checker(HTMLParser):
    """Collects cells, and raises where tags do not close in order or carry anything but text to the right."""

    def __init__(self):
        super().__init__()
        self.open, self.cells, self.tags = [], [], set()

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        self.tags.add(tag)
        assert all(pair == ("style", "text-align: right") for pair in attrs)
        if tag == "td":
            self.cells.append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, text):
        if self.open and self.open[-1] == "td":
            self.cells[-1] += text


def cells_of(result):
    checker = Checker()
    checker.feed(result._repr_html_())
    assert not checker.open
    assert checker.tags <= {"div", "p", "strong", "table", "caption", "thead", "tbody", "tr", "th", "td", "pre"}
    return checker.cells


@pytest.mark.parametrize("d", [1, 3])
@pytest.mark.parametrize("q", [1, 2])
def test_a_summary_is_its_text_with_tables(d, q):
    x, _, model = fitted(d, q)
    found = model.summary()
    assert found == str(found) == repr(found) == f"{found}"
    assert found.startswith("Mixture of 2 experts\n")
    experts = found.experts
    slopes = experts[experts["parameter"].str.contains("dose", regex=False)]
    assert slopes["owner"].tolist() == [leaf for leaf in "01" for _ in range(q)]
    np.testing.assert_array_equal(slopes["estimate"], model.coef_[..., 0].ravel())
    errors = model.standard_errors_["experts.coef"][..., 0].ravel()
    np.testing.assert_allclose(slopes["std. error"], errors)
    assert (slopes["lower"] < slopes["estimate"]).all()
    gates = found.gates
    assert gates["part"].tolist() == ["gate 0"] * 2 * (d + 1)
    assert gates["note"].tolist() == [""] * (d + 1) + ["reference"] * (d + 1)
    assert found.criteria[["AIC", "BIC", "ICL"]].tolist() == [model.aic(), model.bic(), model.icl()]
    assert len(found.to_frame()) == len(experts) + len(gates)
    assert set(x.columns) <= {name for cell in cells_of(found) for name in NAMES if name in cell}
    again = pickle.loads(pickle.dumps(found))  # noqa: S301
    assert again == found
    pd.testing.assert_frame_equal(again.to_frame(), found.to_frame())


def test_a_summary_of_levels_names_them():
    x, y = data(1)
    model = MixtureOfExpertsRegressor((2, 2), gate="constant", n_init=1, random_state=0, method="ls")
    with pytest.warns(FitWarning, match="the fit is"):
        found = model.fit(x, y).summary()
    assert set(found.gates["part"]) == {"gate 0", "gate 1"}
    assert set(found.experts["owner"]) == {"0/0", "0/1", "1/0", "1/1"}
    assert found.criteria["SSE"] == model.sse_


def test_a_fit_is_one_line_and_a_table():
    _, _, model = fitted(3)
    assert repr(model.fit_) == f"<Fit: 2 experts, {model.status_}, log-likelihood {model.log_likelihood_:.6g}>"
    assert f"log-likelihood = {model.log_likelihood_:.6f}" in model.fit_.text()
    found = model.fit_.to_frame()
    assert found.loc["experts.coef[1,0,2]", "value"] == model.coef_[1, 2]
    assert len(found) == sum(value.numel() for value in model.measure_.paths().values())
    assert "experts.coef[1,0,2]" in cells_of(model.fit_)
    starts = model.fit_.starts
    assert len(starts.to_frame()) == len(starts.log_likelihood)
    assert "\n" not in repr(starts)


@pytest.mark.parametrize("d", [1, 3])
def test_inference_as_frames_and_tables(d):
    x, y, model = fitted(d)
    errors = model.inference(x, y)
    intervals = errors.wald()
    frame = errors.to_frame()
    pd.testing.assert_frame_equal(frame, intervals.to_frame())
    assert list(frame.index) == list(intervals.names)
    np.testing.assert_array_equal(frame["std. error"], intervals.error)
    assert set(intervals.names) <= set(cells_of(errors)) & set(cells_of(intervals))
    assert set(errors.information.names) <= set(cells_of(errors.information))
    np.testing.assert_array_equal(errors.information.to_frame()["estimate"], intervals.estimate)
    wider = errors.to_frame(0.99)
    assert (wider["upper"] >= frame["upper"]).all()
    name = f"{NAMES[d - 1]}[expert 1]"
    profile = errors.profile(f"experts.coef[1,0,{d - 1}]")
    assert profile.to_frame().loc[name, ["lower", "upper"]].tolist() == [profile.lower, profile.upper]
    assert escape(name) in profile._repr_html_()
    derived = errors.delta("experts.coef")
    assert derived.to_frame().loc[f"[1,0,{d - 1}]", "estimate"] == model.coef_[1, d - 1]
    one = errors.delta(lambda measure: measure.experts["coef"][0, 0, 0])
    assert one.to_frame().loc["value", "estimate"] == model.coef_[0, 0]
    assert "value" in cells_of(one)
    band = mean_band(errors.information, columns(x.to_numpy()))
    assert band.to_frame().loc[(0, 7), "estimate"] == pytest.approx(model.predict(x)[7])


def test_refused_inference_says_why_in_html():
    x, y = data(1)
    model = MixtureOfExpertsRegressor(2, n_init=3, random_state=0, bounds={"family.scale": (0.5, 5.0)})
    with pytest.warns(FitWarning, match="the fit is"):
        model.fit(x, y)
    errors = model.inference(x, y)
    assert errors.refused
    assert "No errors, because" in errors._repr_html_()
    with pytest.raises(ValueError, match="this fit has no standard errors"):
        errors.to_frame()


def test_identifiability_lists_its_relations():
    found = identify("softmax", "linear")
    frame = found.to_frame()
    assert len(frame) == len(found.relations)
    assert [one for one in frame["equation"] if one] == [r.equation for r in found.relations if r.equation]
    assert set(found.equations) <= set(cells_of(found))


def test_a_study_is_shown_by_its_claims(tmp_path):
    study = quick(STUDIES["softmax-exact"])
    assert repr(run_study(study, tmp_path)) == f"<Contents: {study.fits()} records, 0 lines not used>"
    found = collect(study, tmp_path)
    assert repr(found) == found.text()
    frame = found.to_frame()
    assert frame["series"].tolist() == [claim.series for claim in study.claims]
    assert frame["verdict"].tolist() == [str(one.word) for one in found.verdicts]
    assert set(frame["series"]) <= set(cells_of(found))
    arm = study.arms[0]
    one = curve(found.frame, arm, frame["series"][0])
    alike = efficiency(one, one)
    np.testing.assert_allclose(alike.to_frame()["ratio"], 1.0)
    assert "ratio" in alike._repr_html_()


def toy(job):
    torch.manual_seed(job.seed)
    error = float(torch.rand(())) + (job.gate == "ss")
    return {"validation": -error, "error": error, "moved": True}


def test_an_experiment_is_shown_by_its_measures(tmp_path):
    measures = {"error": Metric("test <error>", more=False)}
    experiment = Experiment("toy", "Toy & more", "Why.", ("a",), ("ss", "ll"), measures, toy, rates=(0.1,))
    with pytest.raises(ValueError, match="holds no records"):
        collect_experiment(experiment, tmp_path)
    run_experiment(experiment, tmp_path, seeds=6)
    found = collect_experiment(experiment, tmp_path)
    frame = found.to_frame()
    tests = frame[~frame["tuning"].astype(bool)]
    assert len(tests) == 12
    less = tests[tests["gate"] == "ll"]["error"].mean() - tests[tests["gate"] == "ss"]["error"].mean()
    ((variant, name, word, interval),) = found.verdicts()
    assert (variant, name, word) == ("a", "error", "better")
    assert interval.mean == pytest.approx(less) == pytest.approx(-1)
    assert "better: a, error: ll less ss" in repr(found)
    assert {"a", "error", "better"} <= set(cells_of(found))
    assert "Toy &amp; more" in found._repr_html_()


def test_data_sets_are_one_line():
    assert repr(load("tone")) == "<DataSet tone: 150 rows, tuned by stretchratio>"


def test_tables_escape_and_end():
    html = table({"<i>": ["<script>", "a&b"], "n": [1, float("nan")]}, "<c>")
    assert "<script>" not in html
    assert "<i>" not in html
    assert "&lt;c&gt;" in html
    assert "nan" not in html
    long = table({"n": list(range(SHOWN + 5))})
    assert long.count("<tr>") == SHOWN + 1
    assert "and 5 more" in long
    assert "&lt;" in page("<")


@pytest.mark.parametrize(("count", "words"), [(1, "the one start did not reach"), (8, "none of 8 reached")])
def test_a_best_value_that_no_start_reached_is_told_in_a_sentence(count, words):
    x = np.arange(30.0)[:, None]
    fit = MixtureOfExpertsRegressor(1, n_init=1, random_state=0).fit(x, np.sin(x[:, 0])).fit_
    values = torch.zeros(count, dtype=torch.float64)
    text = "\n".join(_starts(fit._replace(starts=fit.starts._replace(log_likelihood=values, hits=0, moved=True))))
    assert f"Starts: {words} the best value; " in text
    assert "the best value was found by refining the best end points" in text
