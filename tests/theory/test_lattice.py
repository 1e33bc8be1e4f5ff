"""Classes on a lattice of inputs: counts in place of rows say the same, whatever the size of the sample."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from gatewise.core.families import FAMILIES
from gatewise.core.gates import GATES
from gatewise.core.mixture import Measure, Mixture, log_density
from gatewise.objective.rows import make_rows
from gatewise.theory import Arm, Claim, Data, DataDrivenStarts, Lattice, Model, Study, Uniform, collect, run_study
from gatewise.theory.claims import VerdictKind
from gatewise.theory.completion import completion
from gatewise.theory.exponents import untied
from gatewise.theory.probes import judge_probes, run_probes
from gatewise.theory.records import draw
from gatewise.theory.truths import log_likelihood


def value(values):
    return torch.tensor(values, dtype=torch.float64)


MIXTURE = Mixture((GATES["softmax"],), (2,), family=FAMILIES["categorical"])
TRUTH = Measure(
    ({"weight": value([[3.0, -0.5, 0.5], [0.0, 0.0, 0.0]]), "bias": value([0.3, 0.0])},),
    {
        "coef": value([[[2.0, 0.0, 0.5], [-1.0, 1.5, 0.5]], [[-1.5, 1.0, 0.0], [1.0, -2.0, 1.0]]]),
        "intercept": value([[1.0, -1.0], [-1.0, 1.0]]),
    },
    {},
)
BOX = {"gates.0.weight": (-6.0, 6.0), "experts.coef": (-6.0, 6.0)}


LATTICE = Lattice(4, d=3)


def arm(sizes, **given):
    data, model = Data(MIXTURE, TRUTH, LATTICE), Model(MIXTURE, box=BOX, min_scale=0.1)
    return replace(Arm("classes", data, model, sizes, 4, DataDrivenStarts(3)), **given)


def study(own):
    claim = Claim("classes", "experts.coef exact mean", "equal", -0.5, 0.1, "this project", "own")
    return Study("lattice", "Classes on a lattice", "Counts.", (own,), (claim,))


def test_points_are_equally_likely_and_hold_the_ends():
    lattice = Lattice(4, -1.0, 2.0, d=3)
    points, nodes = lattice.support(), lattice.nodes()
    assert points.shape == (64, 3)
    assert points.amin(0).tolist() == [-1.0] * 3
    assert points.amax(0).tolist() == [2.0] * 3
    assert nodes.x.T.equal(points)
    assert nodes.weight.tolist() == pytest.approx([1 / 64] * 64)
    rows = lattice.draw(64_000, np.random.default_rng(0))
    found, counts = rows.unique(dim=0, return_counts=True)
    assert found.equal(points.unique(dim=0))
    assert 800 < int(counts.min()) < int(counts.max()) < 1200


@pytest.mark.parametrize(
    ("given", "words"), [((1,), "at least two"), ((4, 1.0, 1.0), "low < high"), ((4, 0, 1, 0), "at least one")]
)
def test_what_is_no_lattice_is_refused(given, words):
    with pytest.raises(ValueError, match=words):
        Lattice(*given)


def test_counts_have_the_likelihood_of_the_rows_that_they_count():
    own = arm((500,))
    rows = draw(study(own), own, own.levels()[0], 0)
    assert own.levels()[0].rows == rows.n == 64 * 3
    assert rows.total == 500
    x, _, y, weight = rows.read(0, rows.n)[:4]
    each = make_rows(x.mT.repeat_interleave(weight.long(), 0), y.mT.repeat_interleave(weight.long(), 0))
    assert each.n == 500
    one, other = (float(log_likelihood(MIXTURE, TRUTH, part)) for part in (rows, each))
    assert one == pytest.approx(other, rel=1e-12)


def test_counts_have_the_shares_of_the_law():
    own = arm((10**9,))
    rows = draw(study(own), own, own.levels()[0], 1)
    x, _, y, weight = rows.read(0, rows.n)[:4]
    expected = log_density(MIXTURE, TRUTH, x, x, y).exp() / 64 * 10**9
    assert ((weight - expected).abs() < 6 * expected.sqrt() + 6).all()


def test_rates_are_seen_at_a_billion_rows(tmp_path):
    """Errors at n = 1e9 are a hundredth of those at 1e5, and every fit is certified, no worse than the truth."""
    own = study(arm((100_000, 10_000_000, 1_000_000_000)))
    run_study(own, tmp_path)
    fits = collect(own, tmp_path).frame
    assert fits["certified"].all()
    means = fits.groupby("n")["experts.coef exact mean"].mean()
    assert means[100_000] / means[1_000_000_000] == pytest.approx(100, rel=0.5)


@pytest.mark.parametrize("change", [{"inputs": Uniform(d=3)}, {"mixture": Mixture(MIXTURE.gates, (2,))}])
def test_other_inputs_and_responses_are_rows_of_their_own(change):
    truth = (
        TRUTH
        if "inputs" in change
        else TRUTH._replace(
            experts={"coef": TRUTH.experts["coef"][:, :1], "intercept": TRUTH.experts["intercept"][:, :1]},
            family={"scale": value([[0.5], [0.7]])},
        )
    )
    data = replace(Data(MIXTURE, truth, Lattice(4, d=3)), **change)
    own = arm((300,), data=data, model=Model(data.mixture, min_scale=0.1))
    rows = draw(study(own), own, own.levels()[0], 0)
    assert (rows.n, rows.weight, own.levels()[0].rows) == (300, None, 300)


def test_exponents_of_single_cells_sum_over_the_lattice(tmp_path):
    """Three inputs: with one expert too many the slopes of the other one have exponent one, whichever is shared."""
    fitted = Model(Mixture(MIXTURE.gates, (3,), family=MIXTURE.family), box=BOX, min_scale=0.1)
    own = study(arm((2000, 6400, 20_000, 64_000), model=fitted, replicates=40))
    alone = completion(own)
    assert len(alone) == 2 * 6  # choices of the shared expert, and entries
    assert {probe.inputs for probe in alone} == {LATTICE}
    nodes = alone[0].inputs.graded(torch.empty(0, 3), torch.empty(0, 3), 0.1, 2)
    assert nodes.x.equal(LATTICE.nodes().x)
    run_probes(replace(own, probes=alone[:1]), tmp_path)
    (found,) = judge_probes(replace(own, probes=alone[:1]), tmp_path)[:1]
    assert found.word is VerdictKind.supported
    assert untied(own.claims[0], own.arms[0], alone[0]) == ()
    elsewhere = replace(alone[0], data=replace(alone[0].data, inputs=Lattice(5, d=3)), inputs=Lattice(5, d=3))
    assert untied(own.claims[0], own.arms[0], elsewhere) == ("inputs",)
