"""A response of labels by a formula: the classifier with frames, in memory and in files."""

import numpy as np
import pandas as pd
import pytest

from gatewise import MixtureOfExpertsClassifier, bootstrap, load_model, moe, save_model, select

RNG = np.random.default_rng(4)
N = 400
FRAME = pd.DataFrame(RNG.normal(size=(N, 3)), columns=["x", "z", "w"]).assign(site=RNG.choice(["n", "s"], N))
ODDS = np.where(RNG.random(N) < 1 / (1 + np.exp(-2 * FRAME.z)), 3 * FRAME.x, -3 * FRAME.x + (FRAME.site == "s"))
FRAME["kind"] = np.where(RNG.random(N) < 1 / (1 + np.exp(-ODDS)), "yes", "no")
OPTIONS = {"gate_formula": "~ z", "family": "categorical", "n_init": 4, "random_state": 0}


@pytest.fixture(scope="module")
def model():
    return moe("kind ~ x + w + site", FRAME, **OPTIONS)


def test_it_is_the_classifier_of_the_same_columns(model):
    assert isinstance(model, MixtureOfExpertsClassifier)
    assert model.classes_.tolist() == ["no", "yes"]
    x = FRAME[["x", "w"]].assign(s=(FRAME.site == "s").astype(float))
    same = MixtureOfExpertsClassifier(2, n_init=4, random_state=0).fit(x, FRAME.kind, gate_X=FRAME[["z"]])
    assert model.log_likelihood_ == pytest.approx(same.log_likelihood_, rel=1e-9)
    np.testing.assert_allclose(model.predict_proba(FRAME), same.predict_proba(x, gate_X=FRAME[["z"]]), atol=1e-6)
    assert model.score() == model.score(FRAME) == np.mean(model.predict(FRAME) == FRAME.kind)
    np.testing.assert_allclose(model.responsibilities(), same.responsibilities(x, FRAME.kind, FRAME[["z"]]), atol=1e-5)
    assert model._log_density(FRAME, None).sum() == pytest.approx(model.log_likelihood_, rel=1e-9)
    table = model.confint()
    np.testing.assert_allclose(table["std. error"], model.inference(FRAME).confint()["std. error"])
    assert "site[T.s][expert 0]" in table.index
    assert "kind ~ x + w + site" in model.summary()
    assert bootstrap(model, n_boot=3).drawn.shape[0] == 3
    assert model.relabel("x").classes_.tolist() == ["no", "yes"]


@pytest.mark.filterwarnings("ignore::gatewise.FitWarning")
def test_the_number_of_experts_is_chosen_for_labels():
    three = FRAME.assign(kind=np.where(FRAME.w > 1, "maybe", FRAME.kind))
    for frame in (FRAME, three):
        model = moe("kind ~ x + w + site", frame, **OPTIONS)
        for criterion in ("bic", "cv"):
            found = select(model, n_experts=(1, 2), criterion=criterion)
            both = found.candidates[1]
            assert both.log_likelihood == pytest.approx(model.log_likelihood_, rel=1e-8)
            assert found.best_estimator_.classes_.tolist() == model.classes_.tolist()
            assert found.best_estimator_.predict(frame[:5]).tolist() in (
                model.predict(frame[:5]).tolist(),
                moe("kind ~ x + w + site", frame, n_experts=1, **OPTIONS).predict(frame[:5]).tolist(),
            )


def test_files_keep_the_classes(model, tmp_path):
    save_model(model, tmp_path / "m.json")
    again = load_model(tmp_path / "m.json")
    np.testing.assert_array_equal(again.predict(FRAME), model.predict(FRAME))
    assert again.score(FRAME) == model.score()
    np.testing.assert_allclose(again.responsibilities(FRAME), model.responsibilities())
    with pytest.raises(TypeError, match="not in memory"):
        again.score()


@pytest.mark.parametrize(
    "labels",
    [
        lambda kind: kind.astype("category"),
        lambda kind: kind == "yes",
        lambda kind: (kind == "yes").astype(int) + 3,
        lambda kind: kind.astype("string"),
    ],
)
def test_labels_of_any_kind_are_classes(labels):
    frame = FRAME.assign(kind=labels(FRAME.kind))
    frame.loc[5, "x"] = np.nan
    model = moe("kind ~ x", frame, **{**OPTIONS, "n_init": 2, "n_experts": 1})
    assert len(model.classes_) == 2
    assert set(model.predict(frame.dropna()).tolist()) <= set(model.classes_.tolist())
    assert 0.4 < model.score() < 1.0


def test_columns_for_every_class_are_a_response_of_several_columns():
    frame = FRAME.assign(yes=(FRAME.kind == "yes").astype(float), no=(FRAME.kind == "no").astype(float))
    model = moe("no + yes ~ x", frame, **{**OPTIONS, "n_experts": 1})
    assert not isinstance(model, MixtureOfExpertsClassifier)


def test_what_is_wrong_is_said(model):
    with pytest.raises(ValueError, match="'maybe', which is none of the classes"):
        model.responsibilities(FRAME.assign(kind="maybe"))
    with pytest.raises(ValueError, match="has one class"):
        moe("kind ~ x", FRAME.assign(kind="yes"), **OPTIONS)
    with pytest.raises(TypeError, match="scale is given with classes"):
        moe("kind ~ x", FRAME, scale="shared", **OPTIONS)
    with pytest.raises(ValueError, match="is computed: give a column of labels"):
        moe("log(x) ~ z", FRAME, **{**OPTIONS, "gate_formula": "~ 1"})
    with pytest.raises(ValueError, match="Unknown label type"):
        moe("w ~ x", FRAME, **OPTIONS)
