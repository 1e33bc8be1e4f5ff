"""Every cell "you write" of `docs/coming-from.md` runs, beside the words that announce what it warns of."""

import re
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import statsmodels.formula.api as smf
from statsmodels.miscmodels.ordinal_model import OrderedModel

import gatewise
from gatewise.data import load
from gatewise.estimators.warnings import FitWarning

PAGE = (Path(__file__).parents[1] / "docs/coming-from.md").read_text("utf-8")
PARTS = re.split(r"^## ", PAGE, flags=re.MULTILINE)
QUICK = {"random_state": 0, "n_init": 10}


def cells(line):
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]


def rows(part):
    """Return the cells of the tables "they write, you write, what differs" of a section."""
    lines = part.splitlines()
    found, inside = [], False
    for line in lines:
        inside = line.startswith("|") and (inside or line.startswith("| they write | you write |"))
        if inside and not re.match(r"\| they write|\|--", line):
            found.append(cells(line))
    return found


def quick(estimator):
    """An estimator that fits fast and from a seed unless told otherwise."""
    return lambda *args, **options: estimator(*args, **{**QUICK, **options})


def namespace_of(part):
    """Run the blocks of the page's beginning and of a section, and return what they define."""
    names = {}
    for block in re.findall(r"^```python\n(.*?)^```", PARTS[0] + part, re.DOTALL | re.MULTILINE):
        exec(compile(block, "docs/coming-from.md", "exec"), names)
    names["moe"] = partial(gatewise.moe, **QUICK)
    for name in ("MixtureOfExpertsRegressor", "MixtureOfExpertsClassifier"):
        names[name] = quick(getattr(gatewise, name))
    return names


PEERS = {part.splitlines()[0]: part for part in PARTS if rows(part)}


def test_the_page_has_a_table_for_every_peer():
    assert list(PEERS) == [
        *("flexmix", "Stata fmm", "MoEClust", "mixtools", "StepMix and poLCA", "statsmodels", "scikit-learn")
    ]
    assert all(len(row) == 3 for part in PEERS.values() for row in rows(part))


def silent(code, told, names):
    """Run a cell; return the warnings about the fit that its row does not name."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        exec(compile(f"value = {code}", "docs/coming-from.md", "exec"), names)
    assert names["value"] is not None, code
    kinds = {one.category.__name__: str(one.message) for one in caught if issubclass(one.category, FitWarning)}
    return [f"{code}: {name}: {words}" for name, words in kinds.items() if f"`{name}`" not in told]


@pytest.mark.parametrize("peer", PEERS)
def test_what_you_write_runs(peer, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = namespace_of(PEERS[peer])
    found = []
    for theirs, yours, differs in rows(PEERS[peer]):
        codes = re.findall(r"`([^`]+)`", yours)
        assert codes, theirs
        found += [line for code in codes for line in silent(code, differs, names)]
    assert not found, "\n".join(found)


def test_what_is_said_to_differ_from_statsmodels_does():
    names = namespace_of("")
    d, alone = names["d"], partial(names["moe"], data=names["d"], n_experts=1)
    line, ols = alone("y ~ x"), smf.ols("y ~ x", d).fit()
    errors = line.inference().confint()["std. error"].iloc[[1, 0]]
    np.testing.assert_allclose(errors, ols.bse * np.sqrt((len(d) - 2) / len(d)), rtol=1e-6)
    robust = line.inference(kind="sandwich", clusters="id").confint()["std. error"].iloc[[1, 0]]
    known = ols.get_robustcov_results("cluster", groups=d.id, use_correction=False).bse
    groups = d.id.nunique()
    np.testing.assert_allclose(robust, known * np.sqrt(groups / (groups - 1)), rtol=1e-6)
    alpha = smf.negativebinomial("visits ~ x", d).fit(disp=0).params["alpha"]
    np.testing.assert_allclose(1 / alone("visits ~ x", family="negative-binomial").size_.ravel(), alpha, rtol=1e-4)
    grade = alone("grade ~ x", family=gatewise.OrderedLogit(levels=3))
    peer = OrderedModel(d.grade, d[["x"]], distr="logit").fit(method="bfgs", disp=0)
    cuts = peer.model.transform_threshold_params(peer.params)[1:-1]
    mine = [-grade.intercept_[0], grade.gap_.ravel()[0] - grade.intercept_[0]]
    np.testing.assert_allclose(mine, cuts, rtol=1e-4)


def test_a_cell_that_fails_warns_or_gives_nothing_is_seen():
    names = namespace_of("")
    far = """moe("AnnualAnomaly ~ Year", load("tempanomalies").frame)"""
    names["load"] = load
    assert len(silent(far, "", names)) == 1
    assert not silent(far, "`SeparatedWarning`: said", names)
    for code, kind in (("m.nothing", AttributeError), ("d.update(d)", AssertionError)):
        with pytest.raises(kind):
            silent(code, "", names)
