"""What a fitted estimator says: means, quantiles, draws, responsibilities, criteria; and data too large to copy."""

import numpy as np
import pytest
from scipy import stats

from gatewise import MixtureOfExpertsRegressor, Status


@pytest.fixture(scope="module")
def model(lines):
    return MixtureOfExpertsRegressor(n_init=5, random_state=0).fit(*lines)


def test_predictions_agree_with_the_formula(model, lines):
    x, y = lines
    weight = model.gate_proba(x)
    params = model.gate_params_[0]
    score = x @ params["weight"].T + params["bias"]
    np.testing.assert_allclose(weight, np.exp(score) / np.exp(score).sum(1, keepdims=True), atol=1e-12)
    mean = x @ model.coef_.T + model.intercept_
    np.testing.assert_allclose(model.predict(x), (weight * mean).sum(1), atol=1e-12)
    joint = weight * stats.norm.pdf(y[:, None], mean, model.scale_)
    np.testing.assert_allclose(model.score_samples(x, y), np.log(joint.sum(1)), atol=1e-10)
    share = joint / joint.sum(1, keepdims=True)
    np.testing.assert_allclose(model.responsibilities(x, y), share, atol=1e-10)
    entropy = -(share * np.log(share.clip(1e-300))).sum()
    assert model.score_samples(x, y).sum() == pytest.approx(model.log_likelihood_, abs=1e-9)
    assert model.bic() == pytest.approx(-2 * model.log_likelihood_ + model.fit_.df * np.log(300))
    assert model.aic() == pytest.approx(-2 * model.log_likelihood_ + 2 * model.fit_.df)
    assert model.icl() == pytest.approx(model.bic() + 2 * entropy, abs=1e-8)


def test_intervals_hold_the_stated_share_of_draws(model, lines):
    x = np.repeat(lines[0], 40, 0)
    drawn = model.sample(x, random_state=1)
    for level in (0.5, 0.9):
        low, high = model.predict_interval(x, level).T
        inside = ((drawn >= low) & (drawn <= high)).mean()
        assert inside == pytest.approx(level, abs=4 * np.sqrt(level * (1 - level) / len(x)))
    median = model.predict_quantile(x, 0.5)
    assert (drawn < median).mean() == pytest.approx(0.5, abs=0.02)
    np.testing.assert_allclose(drawn.mean(), model.predict(x).mean(), atol=0.05)


def test_draws_repeat_with_the_seed(model, lines):
    x, _ = lines
    assert (model.sample(x, 5) == model.sample(x, 5)).all()
    assert (model.sample(x, 5) != model.sample(x, 6)).any()
    assert (model.sample(x) != model.sample(x)).any()


@pytest.mark.parametrize("family", ["poisson", "binomial", "student-t"])
def test_other_families_predict_quantiles(lines, family):
    x, y = lines
    y = {"poisson": np.round(np.exp(0.5 * y)), "binomial": (y > 0).astype(float), "student-t": y}[family]
    model = MixtureOfExpertsRegressor(1, family=family, n_init=1, random_state=0)
    model.fit(x, y)
    eta = x @ model.coef_[0] + model.intercept_[0]
    levels = [0.05, 0.5, 0.95]
    expected = {
        "poisson": lambda p: stats.poisson.ppf(p, np.exp(eta)),
        "binomial": lambda p: stats.binom.ppf(p, 1, 1 / (1 + np.exp(-eta))),
        "student-t": lambda p: eta + model.scale_[0] * stats.t.ppf(p, model.dof_[0]) if family == "student-t" else None,
    }[family]
    np.testing.assert_allclose(model.predict_quantile(x, levels), np.stack([expected(p) for p in levels], 1), atol=1e-8)


def test_groups_share_one_responsibility(lines):
    x, _ = lines
    rng = np.random.default_rng(0)
    group = rng.permutation(np.repeat(np.arange(75), 4))
    first = (np.arange(75) % 3 == 0)[group]
    y = np.where(first, 1 + x[:, 1], -1 - x[:, 1]) + 1.5 * rng.normal(size=300)
    model = MixtureOfExpertsRegressor(gate="constant", n_init=5, random_state=0).fit(x, y, groups=group)
    share = model.responsibilities(x, y, groups=group)
    joint = np.log(model.gate_proba(x))
    density = stats.norm.logpdf(y[:, None], x @ model.coef_.T + model.intercept_, model.scale_)
    joint = joint[:75] + np.stack([density[group == g].sum(0) for g in range(75)])
    each = np.exp(joint - np.logaddexp.reduce(joint, axis=1)[:, None])
    np.testing.assert_allclose(share, each[group], atol=1e-9)
    assert model.log_likelihood_ == pytest.approx(np.logaddexp.reduce(joint, axis=1).sum(), abs=1e-8)
    assert ((share.max(1) > 0.9).mean()) > 0.5
    order = rng.permutation(300)
    names = np.array([f"g{g}" for g in group])
    again = MixtureOfExpertsRegressor(gate="constant", n_init=5, random_state=0)
    again.fit(x[order], y[order], groups=names[order])
    assert again.log_likelihood_ == pytest.approx(model.log_likelihood_, abs=1e-8)


def test_groups_must_have_one_gate_input_and_one_weight(lines):
    x, y = lines
    group = np.repeat(np.arange(75), 4)
    model = MixtureOfExpertsRegressor(n_init=2, random_state=0)
    with pytest.raises(ValueError, match="gate inputs differ within a group"):
        model.fit(x, y, groups=group)
    with pytest.raises(ValueError, match="differs within a group"):
        model.set_params(gate="constant").fit(x, y, groups=group, sample_weight=1 + np.arange(300) % 2)
    with pytest.raises(ValueError, match="one group label per observation"):
        model.fit(x, y, groups=group[:-1])
    with pytest.raises(ValueError, match="every row needs a group"):
        model.fit(x, y, groups=np.where(group == 0, np.nan, group))
    shared = np.repeat(x[::4], 4, 0)
    fitted = model.set_params(gate="softmax").fit(x, y, groups=group, gate_X=shared)
    assert fitted.status_ in Status


def test_memory_mapped_inputs_are_read_in_place(lines, tmp_path):
    x, y = lines
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", y)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    response = np.load(tmp_path / "y.npy", mmap_mode="r")
    weight = np.arange(300) % 3
    for extra, features in (({}, None), ({"sample_weight": weight}, [0])):
        held = MixtureOfExpertsRegressor(n_init=3, random_state=0, gate_features=features)
        lazy = MixtureOfExpertsRegressor(n_init=3, random_state=0, gate_features=features)
        held.fit(x, y, **extra)
        lazy.fit(mapped, response, **extra)
        assert lazy.log_likelihood_ == pytest.approx(held.log_likelihood_, abs=1e-9)
        assert lazy.icl() == pytest.approx(held.icl(), abs=1e-6)
        np.testing.assert_allclose(lazy.predict(mapped), held.predict(x), atol=1e-9)


@pytest.mark.slow
def test_ten_million_mapped_rows_fit_in_150_megabytes(tmp_path):
    n = 10_000_000
    rng = np.random.default_rng(0)
    x = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.float64, (n, 5))
    y = np.lib.format.open_memmap(tmp_path / "y.npy", "w+", np.float64, (n,))
    for i in range(0, n, 100_000):
        part = rng.normal(size=(100_000, 5))
        z = rng.random(100_000) < 1 / (1 + np.exp(-2 * part[:, 0]))
        x[i : i + 100_000] = part
        y[i : i + 100_000] = np.where(z, 1 + part[:, 1], -1 - part[:, 1]) + 0.4 * rng.normal(size=100_000)
    del x, y
    x, y = (np.load(tmp_path / name, mmap_mode="r") for name in ("x.npy", "y.npy"))
    MixtureOfExpertsRegressor(n_init=2, random_state=0).fit(np.array(x[:5000]), np.array(y[:5000]))
    model, peak = fit_and_watch(MixtureOfExpertsRegressor(n_init=2, random_state=0), x, y)
    assert model.converged_
    assert peak < 150
    assert not any(np.size(value) >= n for value in vars(model).values() if isinstance(value, np.ndarray))


def fit_and_watch(model, x, y):
    """Fit while another thread watches the anonymous memory of the process; its rise in megabytes."""
    import threading
    from pathlib import Path

    def anonymous():
        status = Path("/proc/self/status").read_text("ascii")
        return int(status.split("RssAnon:")[1].split()[0]) / 1024

    before, seen, done = anonymous(), [0.0], threading.Event()

    def watch():
        while not done.wait(0.02):
            seen[0] = max(seen[0], anonymous())

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        model.fit(x, y)
        return model, seen[0] - before
    finally:
        done.set()
        thread.join()
