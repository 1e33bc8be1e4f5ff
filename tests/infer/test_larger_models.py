"""Rows needed by a model with more experts than there are: errors are those of the truth's own experts, and hold."""

import numpy as np
import pytest
import torch

from gatewise import GATES, FitSpec, Measure, Mixture, sample_size
from gatewise.infer.covariance.expected import Truth
from gatewise.infer.planning import larger
from gatewise.infer.planning.value import Pilot


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


def truth():
    """Two experts of three inputs that a softmax gate tells apart."""
    gate = {"weight": tensor([[2.0, -0.5, 0.0], [0.0] * 3]), "bias": tensor([0.3, 0.0])}
    experts = {"coef": tensor([[[1.5, 0.5, -1.0]], [[-1.0, 0.0, 0.5]]]), "intercept": tensor([[1.0], [-1.0]])}
    return Mixture((GATES["softmax"],), (2,)), Measure((gate,), experts, {"scale": tensor([[0.3], [0.4]])})


def inputs(n=300):
    return np.random.default_rng(0).uniform(-2, 2, size=(n, 3))


def test_experts_that_are_split_have_no_error_and_moved_ones_theirs():
    mixture, measure = truth()
    law = Truth(mixture, measure, torch.from_numpy(inputs()))
    three = Mixture(mixture.gates, (3,))
    gate = measure.gates[0]
    gates = {name: torch.cat([value, value[:1]]) for name, value in gate.items()}  # the first expert twice
    gates["bias"] = gates["bias"] - tensor([np.log(2), 0, np.log(2)])
    rest = {name: torch.cat([value, value[:1]]) for name, value in measure.experts.items()}
    scale = torch.cat([measure.family["scale"], measure.family["scale"][:1]])
    split = Measure((gates,), rest, {"scale": scale})
    paths = ["experts.coef", "experts.intercept", "family.scale"]
    assert larger.error_of(law, three, split, paths).abs().max() < 1e-12
    rest["intercept"] = rest["intercept"] + tensor([[0.0], [0.0], [0.2]])
    share = larger.error_of(law, three, split._replace(experts=rest), ["experts.intercept"])
    assert 0.04 < float(share[0]) < 0.2  # 0.2 times the root of the weight of that half
    order = torch.tensor([2, 1, 0])
    moved = Measure(
        ({name: value[order] for name, value in gates.items()},),
        {name: value[order] for name, value in rest.items()},
        {"scale": scale[order]},
    )
    assert float(larger.error_of(law, three, moved, ["experts.intercept"])[0]) == pytest.approx(float(share[0]))


def test_a_power_of_n_is_extrapolated_to_where_it_meets_the_target():
    sizes = (500, 1000, 2000)
    errors = torch.stack([2.0 * tensor(sizes) ** -0.25, 3.0 * tensor(sizes) ** -0.5], -1)
    needed, pilot = larger.extrapolated(tensor([0.2, 0.1]), Pilot(3, sizes, errors, errors[0], 20))
    assert pilot.slope.tolist() == pytest.approx([-0.25, -0.5])
    assert needed.tolist() == pytest.approx([10_000, 900], abs=1)


@pytest.mark.slow
def test_rows_of_a_larger_model_reach_the_target_on_other_data():
    law, x = truth(), inputs()
    found = sample_size(law, {"experts.coef": 0.1}, X=x, experts=3, check=12)
    assert found.rows is not None
    assert float(found.simulated[0]) <= 1.2 * 0.1
    assert -0.5 <= float(found.pilot.slope[0]) <= -0.05
    other = larger.median_errors(
        Truth(*law, torch.from_numpy(x)), Mixture(law[0].gates, (3,)), ["experts.coef"], 12, 7, found.rows
    )
    assert 0.05 < float(other[0]) < 0.15
    assert repr(found).startswith(f"Rows needed: {found.rows}\n")
    assert "With 3 experts" in repr(found)
    assert list(found.to_frame().index) == ["experts.coef"]


def test_a_target_far_below_is_extrapolated_and_said_to_be():
    found = sample_size(truth(), {"experts.coef": 1e-4}, X=inputs(), experts=3, check=3)
    assert found.rows > 100_000
    assert bool(found.simulated.isnan().all())
    assert "not simulated" in repr(found)


def test_progress_counts_the_data_sets_of_every_size():
    mixture, measure = truth()
    law, told = Truth(mixture, measure, torch.from_numpy(inputs())), []
    three = Mixture(mixture.gates, (3,))
    larger.median_errors(law, three, ["experts.coef"], 3, 0, 200, progress=lambda *one: told.append(one))
    assert told == [("200 rows", done, 3) for done in (1, 2, 3)]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"experts": 2}, "more than the 2"),
        ({"experts": 3.0}, "more than the 2"),
        ({"experts": 3, "target": {"experts.coef[0,0,1]": 0.1}}, "paths of parameters that every expert"),
        ({"experts": 3, "target": {"gates.0.weight": 0.1}}, "experts.coef, experts.intercept, family.scale"),
        ({"experts": 3, "target": None, "against": None}, "target has nothing"),
        ({"experts": 3, "against": 1}, "one of them at a time"),
        ({"experts": 3, "target": {"experts.coef": 0.0}}, "wanted error"),
    ],
)
def test_questions_without_an_answer_are_told(options, words):
    with pytest.raises(ValueError, match=words):
        sample_size(truth(), **{"target": {"experts.coef": 0.1}, "X": inputs(), **options})


def test_a_truth_with_fixed_values_does_not_say_what_a_larger_model_has():
    mixture, measure = truth()
    law = Truth(mixture, measure, torch.from_numpy(inputs()), spec=FitSpec(bounds={"gates.0.bias": (-1.0, 1.0)}))
    with pytest.raises(ValueError, match="bounds, fixed or tied values"):
        larger.rows_for_larger(law, {"experts.coef": 0.1}, 3, 4, 0)
