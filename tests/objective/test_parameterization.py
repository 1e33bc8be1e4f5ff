"""Parameterization: names, what the gauge holds, and refusals in words."""

import pytest
import torch

from gatewise.core.families import FAMILIES, FullGaussian, StudentT
from gatewise.core.gates import GATES
from gatewise.core.mixture import Mixture
from gatewise.objective.parameterization import make_parameterization
from gatewise.testing import assert_close

LAPLACE = Mixture((GATES["laplace"], GATES["softmax"]), (2, 3))


def test_coordinates_are_named_after_their_entries():
    parameterization = make_parameterization(Mixture((GATES["softmax"],), (2,), family=StudentT()), 1, 2, 1)
    assert parameterization.names == (
        "gates.0.weight[0,0]",
        "gates.0.weight[0,1]",
        "gates.0.bias[0]",
        "experts.coef[0,0,0]",
        "experts.coef[1,0,0]",
        "experts.intercept[0,0]",
        "experts.intercept[1,0]",
        "family.scale[0,0]",
        "family.scale[1,0]",
        "family.dof[0,0]",
        "family.dof[1,0]",
    )


def test_every_inner_gate_has_its_own_reference():
    parameterization = make_parameterization(LAPLACE, 1, 1, 1)
    bias = [name for name in parameterization.names if name.startswith("gates.1.bias")]
    assert bias == [f"gates.1.bias[{i},{j}]" for i in (0, 1) for j in (0, 1)]
    centers = [name for name in parameterization.names if name.startswith("gates.0.center")]
    assert len(centers) == 2  # a location has no translation


@pytest.mark.parametrize(
    ("gate", "held"),
    [
        ("dense-to-sparse", True),
        ("relu-dense-to-sparse", True),
        ("gelu-dense-to-sparse", False),
        ("scaled-laplace", False),
    ],
)
def test_a_temperature_behind_a_homogeneous_score_is_held_at_one(gate, held):
    mixture = Mixture((GATES[gate],), (3,))
    fixed, none = (make_parameterization(mixture, 1, 1, 1, gauge=gauge) for gauge in ("fixed", "none"))
    assert fixed.held == (("gates.0.temperature",) if held else ())
    assert none.size - fixed.size == int(held)
    if held:
        measure = fixed.measure(torch.zeros(fixed.size, dtype=torch.float64))
        assert float(measure.gates[0]["temperature"]) == 1.0


def test_scales_are_positive_and_degrees_of_freedom_are_read_as_reciprocals():
    parameterization = make_parameterization(Mixture((GATES["equal"],), (2,), family=StudentT()), 1, 1, 1)
    box = dict(
        zip(
            parameterization.names,
            zip(parameterization.lower.tolist(), parameterization.upper.tolist(), strict=True),
            strict=True,
        )
    )
    assert box["family.scale[0,0]"] == (-torch.inf, torch.inf)
    assert box["family.dof[0,0]"] == (1e-8, 1 / 1.1)
    free = torch.zeros(parameterization.size, dtype=torch.float64)
    free[-2:] = torch.tensor([0.25, 0.125])
    measure = parameterization.measure(free)
    assert_close(measure.family["dof"][:, 0], torch.tensor([4.0, 8.0]).double(), "1 / free")
    assert_close(measure.family["scale"], torch.ones(2, 1).double(), "exp(0)")
    assert "bias" in measure.gates[0]


def test_positive_values_stay_positive_numbers_however_far_a_search_goes():
    mixture = Mixture((GATES["softmax"],), (2,), family=FAMILIES["ordered"])
    parts = make_parameterization(mixture, 3, 3, 1)
    far = torch.tensor([[-1e4], [1e4]], dtype=torch.float64).expand(2, parts.size)
    gaps = parts.measure(far).family["gap"]
    assert bool(((gaps > 0) & gaps.isfinite()).all())
    assert bool((gaps[1] > 1e307).all() and (gaps[0] < 1e-307).all())


def test_a_cholesky_factor_has_a_positive_diagonal_and_any_corner():
    parameterization = make_parameterization(Mixture((GATES["equal"],), (1,), family=FullGaussian()), 1, 1, 2)
    free = torch.full((parameterization.size,), -1.0, dtype=torch.float64)
    packed = parameterization.measure(free).family["cholesky"][0]
    assert_close(packed, torch.tensor([-1.0, 0, -1.0]).double().exp() * torch.tensor([1, -1, 1]), "packed factor")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            {"fixed": {"gates.0.slope": 1.0}},
            r"'gates.0.slope' is not a parameter of this mixture: the paths are gates\.0",
        ),
        ({"bounds": {"scale": (0, 1)}}, "'scale' is not a parameter"),
        ({"gauge": "last"}, "gauge='last': choose 'fixed' or 'none'"),
        ({"bounds": {"family.scale": (2.0, 1.0)}}, "bounds of family.scale: a lower limit is above the upper one"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        make_parameterization(LAPLACE, 1, 1, 1, **arguments)


def test_columns_of_an_unknown_path_are_refused():
    with pytest.raises(ValueError, match=r"'gates.2.bias' is not a parameter of this mixture"):
        make_parameterization(LAPLACE, 1, 1, 1).columns("gates.2.bias")


def test_a_mixture_needs_a_gate_per_level_and_branches():
    with pytest.raises(ValueError, match=r"1 gates for branching \(2, 3\): give one gate per level"):
        Mixture((GATES["softmax"],), (2, 3))
    with pytest.raises(ValueError, match="every level needs at least one branch"):
        Mixture((GATES["softmax"],), (0,))


def test_a_fixed_branch_takes_the_place_of_the_reference():
    mixture = Mixture((GATES["softmax"],), (3,))
    nan = torch.nan
    parameterization = make_parameterization(
        mixture, 1, 1, 1, fixed={"gates.0.weight": torch.tensor([[0.0], [nan], [nan]])}
    )
    assert parameterization.columns("gates.0.weight").flatten().tolist()[0] == -1
    assert (parameterization.columns("gates.0.weight").flatten()[1:] >= 0).all()
    assert parameterization.columns("gates.0.bias").tolist()[-1] == -1


def test_shared_leaves_are_fixed_together():
    mixture = Mixture((GATES["softmax"],), (2,), shared=("family.scale",))
    half = {"family.scale": torch.tensor([[0.5], [torch.nan]], dtype=torch.float64)}
    parameterization = make_parameterization(mixture, 1, 1, 1, fixed=half)
    assert parameterization.measure(torch.zeros(parameterization.size, dtype=torch.float64)).family[
        "scale"
    ].flatten().tolist() == [0.5, 0.5]
    with pytest.raises(ValueError, match="all experts share it"):
        make_parameterization(mixture, 1, 1, 1, fixed={"family.scale": torch.tensor([[0.5], [0.3]])})
