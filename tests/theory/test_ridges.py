"""Directions that the data do not identify touch the errors that they move, and no others."""

from dataclasses import dataclass, replace
from math import inf

import numpy as np
import pandas as pd
import pytest
import torch

from gatewise.core.experts import EXPERTS
from gatewise.core.families import FAMILIES, Family, Gaussian
from gatewise.core.gates import GATES
from gatewise.core.mixture import Mixture, sample
from gatewise.core.parameters import Parameter
from gatewise.fit import maximum_likelihood
from gatewise.fit.spec import FitSpec
from gatewise.infer.identifiability import Atom, identify_atom
from gatewise.objective.rows import make_rows
from gatewise.testing import draw_measure, generator
from gatewise.theory import Arm, Claim, Data, Model, NearTruth, Study, Uniform, collect, run_study
from gatewise.theory.claims import VerdictKind
from gatewise.theory.records import facts
from gatewise.theory.replaying import _known
from gatewise.theory.ridges import directions_of, moves, ridge
from gatewise.theory.verdict import judge

SIZES = (1000, 3162, 10000, 31623)


@dataclass(frozen=True)
class Repeated:
    """Three inputs, the last of which is the first."""

    d: int = 3

    def draw(self, n, generator):
        x = generator.uniform(-2, 2, (n, 3))
        x[:, 2] = x[:, 0]
        return torch.from_numpy(x)

    def nodes(self):
        return Uniform(d=3).nodes()


def arm_of(*gates, expert="linear", family=None, gauge="none", k=2, **model):
    mixture = Mixture(tuple(GATES[gate] for gate in gates), (k,) * len(gates), EXPERTS[expert], family or Gaussian())
    truth = draw_measure(mixture, 3, 3, 1, generator(1))
    method = {"method": "ls"} if model.get("method") == "ls" else {"min_scale": 0.1}
    data = Data(mixture, truth, Uniform(d=3), noise=0.1 if "method" in model else None)
    return Arm("a", data, Model(mixture, gauge=gauge, **{**method, **model}), SIZES, 60)


@pytest.mark.parametrize(
    ("arm", "series", "found"),
    [
        (arm_of("dense-to-sparse", "softmax"), "gates.0.weight exact mean", ("gates.0.weight",)),
        (arm_of("dense-to-sparse", "softmax"), "gates.1.weight exact mean", ()),
        (arm_of("softmax", "dense-to-sparse"), "gates.1.weight exact mean", ("gates.1.weight",)),
        (arm_of("softmax", "dense-to-sparse"), "gates.0.weight exact mean", ()),
        (arm_of("softmax", expert="relu-unit"), "experts.coef over mean", ("experts.coef",)),
        (arm_of("softmax", expert="relu-unit"), "gates.0.weight over mean", ()),
        (arm_of("softmax", expert="relu-unit", gauge="fixed"), "experts.coef over mean", ("experts.coef",)),
    ],
)
def test_a_ridge_is_of_the_parameters_of_one_part(arm, series, found):
    """Every level has a weight, and an expert may have a name that a gate has too."""
    assert ridge(arm, series) == found


def test_what_a_study_fixes_is_on_no_ridge():
    free = arm_of("softmax", expert="relu-unit")
    output = free.data.truth.experts["output"]
    some = output.clone()
    some[0] = torch.nan
    for fixed in ({"experts.output": output}, {"experts.output": some}):
        arm = replace(free, model=replace(free.model, fixed=fixed))
        assert ridge(arm, "experts.coef exact mean") == ()
        assert ridge(arm, "loss exact") == ()
    nothing = {"experts.output": torch.full_like(output, torch.nan)}
    for kept in ({"fixed": nothing}, {"box": {"experts.output": (-4.0, 4.0)}}):
        assert ridge(replace(free, model=replace(free.model, **kept)), "experts.coef exact mean") == ("experts.coef",)
    narrow = {"experts.output": (1.0, 1.0)}
    assert ridge(replace(free, model=replace(free.model, box=narrow)), "experts.coef exact mean") == ()


@dataclass(frozen=True)
class Twofold(Family):
    """Normal with the standard deviation ``scale * factor``: no data tell the two apart."""

    location_scale = True

    def parameters(self, q):
        positive = {"transform": "log", "bounds": (0.0, inf), "initial": 1.0}
        return {"scale": Parameter((q,), "scale", **positive), "factor": Parameter((q,), "shape", **positive)}

    def log_prob(self, params, y, eta):
        width = (params["scale"] * params["factor"])[..., None]
        return torch.distributions.Normal(eta, width).log_prob(y).sum(-2)

    def mean(self, params, eta):
        return eta

    def variance(self, params, eta):
        return ((params["scale"] * params["factor"]) ** 2)[..., None].expand_as(eta)

    def sample(self, params, eta, generator):
        noise = torch.randn(eta.shape, generator=generator, dtype=eta.dtype)
        return eta + (params["scale"] * params["factor"])[..., None] * noise


def test_parameters_of_a_family_may_be_on_a_ridge():
    arm = arm_of("laplace", family=Twofold(), gauge="fixed")
    assert ridge(arm, "family.variance exact mean") == ("family.scale",)
    assert ridge(arm, "family.factor exact mean") == ("family.factor",)
    assert ridge(arm, "experts.coef exact mean") == ()
    assert ridge(arm, "loss exact") == ("family.scale", "family.factor")
    counts = arm_of("softmax", family=FAMILIES["poisson"], gauge="fixed", box=None)
    assert ridge(counts, "experts.coef exact mean") == ()


def test_scales_that_losses_take_off_are_no_ridge_of_a_loss():
    for gate, path in (("dense-to-sparse", "gates.0.weight"), ("cosine", "gates.0.weight")):
        arm = arm_of(gate)
        assert ridge(arm, f"{path} exact mean") == (path,)
        for series in ("loss exact", "merged loss exact unweighted", "mass exact mean", "hellinger"):
            assert ridge(arm, series) == ()
    unit = arm_of("dense-to-sparse", expert="relu-unit")
    assert ridge(unit, "loss exact") == ("experts.coef", "experts.intercept", "experts.output")
    assert ridge(unit, "mass exact mean") == ()


BIAS, WEIGHT, COEF, HEAT = "gates.0.bias", "gates.0.weight", "experts.coef", "gates.0.temperature"


@pytest.mark.parametrize(
    ("arm", "series", "directions", "moved"),
    [
        (arm_of("laplace"), "loss exact", (), False),
        (arm_of("laplace"), "loss exact", (("gates.0.center", BIAS),), True),
        (arm_of("laplace"), "mass over mean", (("gates.0.center", BIAS),), True),
        (arm_of("laplace"), "mass over mean", (("gates.0.center",),), False),
        (arm_of("laplace"), "hellinger", (("gates.0.center", BIAS),), False),
        (arm_of("laplace"), "experts.coef over mean", (("gates.0.center", BIAS),), False),
        (arm_of("laplace"), "family.variance over mean", ((COEF,), (COEF, "family.scale")), True),
        # weight shifted between two equal atoms
        (arm_of("softmax"), "loss exact", ((BIAS,),), False),
        (arm_of("softmax"), "mass over mean", ((BIAS,),), False),
        (arm_of("softmax"), "bias exact mean", ((BIAS,),), False),
        (arm_of("softmax"), "bias over mean", ((BIAS,),), True),
        (arm_of("softmax"), "merged loss exact", ((BIAS,), (BIAS, WEIGHT)), True),
        (arm_of("normalised-sigmoid"), "loss sigmoid-regime-2", ((BIAS,),), True),
        # of two levels: of equal leaves, and between the levels
        (arm_of("softmax", "softmax"), "loss exact", (("gates.1.bias",),), False),
        (arm_of("softmax", "softmax"), "loss exact", (("gates.0.bias", "gates.1.bias"),), True),
        (arm_of("softmax", "softmax"), "mass exact mean", (("gates.1.weight",),), False),
        (arm_of("softmax", "softmax"), "mass exact mean", (("gates.0.bias", "gates.0.weight"),), False),
        # a temperature that no data identify takes one direction of its gate
        (arm_of("dense-to-sparse"), "loss exact", ((WEIGHT, HEAT, BIAS),), False),
        (arm_of("dense-to-sparse"), "loss exact", ((WEIGHT, HEAT), (WEIGHT, HEAT)), True),
        (arm_of("dense-to-sparse"), "loss exact", ((WEIGHT, HEAT), (COEF,)), True),
        (arm_of("dense-to-sparse", gauge="fixed"), "loss exact", ((WEIGHT,),), True),
        (arm_of("dense-to-sparse"), "gates.0.temperature raw", ((WEIGHT, HEAT),), True),
    ],
)
def test_null_directions_of_a_fit_move_errors_and_losses(arm, series, directions, moved):
    assert moves(arm, series, directions) is moved


def judged_loss(share, series="loss exact", gauge="fixed"):
    """The verdict on a loss that falls as it should, `share` of 60 fits having a null direction of coefficients."""
    claim = Claim("a", series, "equal", -0.5, 0.1, "source", "own")
    rng = np.random.default_rng(0)
    rows = [
        {"arm": "a", "axis": n, "replicate": r, series: n**-0.5 * np.exp(0.1 * rng.normal()), "certified": True}
        | {"flat": ((COEF, WEIGHT),) if r < share else ()}
        for n in SIZES
        for r in range(60)
    ]
    study = Study("s", "S", "", (arm_of("softmax", gauge=gauge),), (claim,))
    return judge(study, pd.DataFrame(rows), claim)


@pytest.mark.parametrize(("share", "word"), [(60, "not identified"), (6, "unresolved"), (2, "supported")])
def test_a_loss_of_parameters_that_the_fits_call_unidentified_has_no_rate(share, word):
    found = judged_loss(share)
    assert found.word is VerdictKind(word)
    assert ("do not identify a parameter that it sums" in found.reason) == (word != "supported")
    assert judged_loss(share, "hellinger").word is VerdictKind.supported


def test_a_loss_on_a_ridge_of_the_model_has_no_rate():
    claim = Claim("a", "loss exact", "at_most", -0.5, 0.1, "source", "own")
    study = Study("s", "S", "", (arm_of("softmax", expert="relu-unit"),), (claim,))
    rows = [{"arm": "a", "axis": n, "replicate": 0, "loss exact": n**-0.5, "certified": True} for n in SIZES]
    found = judge(study, pd.DataFrame(rows), claim)
    assert found.word is VerdictKind.not_identified
    assert "experts.coef, experts.intercept and experts.output are not identified" in found.reason
    assert "loss exact is another one along it" in found.reason


def test_names_of_null_directions_are_completed():
    assert directions_of(["gates.0.bias[0] & gates.0.bias[1]"]) == ((BIAS,),)
    both = directions_of(["a.b[0]", "a.c[0,1] & a.b[1]"], ["a.b", "a.c", "d.e"])
    assert both == (("a.b", "d.e"), ("a.c", "a.b", "d.e"))
    assert directions_of([]) == ()
    assert directions_of([], ["a.b", "a.c"]) == (("a.b", "a.c"),)


def rows_of(mixture, truth, seed):
    """Three columns, of which the last is the first."""
    x = 4 * torch.rand(400, 3, generator=generator(seed), dtype=torch.float64) - 2
    x[:, 2] = x[:, 0]
    y, _ = sample(mixture, truth, x.T, x.T, generator(seed + 1))
    return make_rows(x, y.T)


TWO = Mixture((GATES["softmax"],), (2,))
FIVE = draw_measure(TWO, 3, 3, 5, generator(3))
FIVE = FIVE._replace(experts={**FIVE.experts, "coef": 3 * FIVE.experts["coef"]})
LIMITS = dict.fromkeys((WEIGHT, COEF), (-30.0, 30.0))


def fitted(**spec):
    """With five outputs, gate weights are a small share of most null directions."""
    return maximum_likelihood(TWO, rows_of(TWO, FIVE, 4), FitSpec(**spec), starts=[FIVE])


def test_a_record_holds_what_the_names_of_its_null_directions_leave_out():
    fit = fitted(bounds=LIMITS)
    assert len(fit.certificate.null) == 11
    assert set(fit.flat) == {WEIGHT, COEF}
    named = {path for one in directions_of(fit.certificate.null) for path in one}
    assert ("flat" in facts(fit, None, fit.measure)) == (named != {WEIGHT, COEF})
    cut = fit._replace(certificate=fit.certificate._replace(null=(f"{COEF}[0,0,0] & {COEF}[0,0,2]",)))
    record = facts(cut, None, fit.measure)
    assert directions_of(record["null"], record["flat"]) == ((COEF, WEIGHT),)
    older = {name: value for name, value in record.items() if name != "flat"}
    assert _known(record, older) == older
    assert _known(record, {**record, "flat": [COEF]}) == record


def test_a_record_names_slopes_that_are_the_shortest_of_many():
    """Without a box, slopes of equal columns are equal: the fit converges, and not to the truth."""
    fit = fitted()
    assert fit.status == "converged"
    assert fit.certificate.null == ()
    record = facts(fit, None, fit.measure)
    assert set(record["flat"]) == {WEIGHT, COEF}
    assert moves(arm_of("softmax"), "experts.coef exact mean", directions_of(record["null"], record["flat"]))


@pytest.mark.parametrize(("shift", "taken"), [(0.0, set()), (1.0, {"experts.intercept", BIAS})])
def test_a_constant_among_the_columns_takes_the_intercepts_along(shift, taken):
    rows = rows_of(TWO, FIVE, 4)
    x, _, y = rows.read(0, rows.n)[:3]
    x[2] = x[0] + shift
    fit = maximum_likelihood(TWO, make_rows(x.T, y.T), starts=[FIVE])
    assert set(fit.flat) == {WEIGHT, COEF} | taken


@pytest.mark.parametrize("box", [None, LIMITS])
def test_slopes_of_equal_columns_are_not_identified(box, tmp_path):
    truth = draw_measure(TWO, 3, 3, 1, generator(2))
    model = Model(replace(TWO, branching=(3,)), box=box, min_scale=0.1)
    arm = Arm("a", Data(TWO, truth, Repeated()), model, (300, 600), 2, NearTruth(0.1))
    series = ("gates.0.weight over mean", "experts.coef exact mean", "loss exact", "mass exact mean", "hellinger")
    study = Study(
        "s", "S", "", (arm,), tuple(Claim("a", one, "at_most", -0.25, 0.1, "source", "own") for one in series)
    )
    run_study(study, tmp_path)
    words = [found.word is VerdictKind.not_identified for found in collect(study, tmp_path).verdicts]
    assert words == [True, True, True, False, False]


def test_an_atom_of_ones_own_tells_its_levels_apart():
    """Two gates of an atom of one's own are told from each other by their weights, whatever their names."""
    atom = Atom(
        lambda x, y, theta: torch.exp((theta[0] + theta[1]) * x[0]) * y,
        ("outer", "inner"),
        lambda g: torch.randn(2, generator=g, dtype=torch.float64),
        1,
        levels=(("outer",), ("inner",)),
    )
    found = identify_atom(atom, order=2)
    assert found.dependent == found.of_gates == ("outer", "inner")
    assert "the sum-to-one constraint of the inner gate" in found.words
    assert found.paths == {}
