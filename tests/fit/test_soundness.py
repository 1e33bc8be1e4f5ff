"""A narrow expert is sound when more rows follow it than chance lines up."""

import pytest
import torch

from gatewise.core.gates import GATES
from gatewise.core.mixture import Measure, Mixture
from gatewise.core.rows import make_rows
from gatewise.fit.certify import soundness
from gatewise.fit.frames import reframe
from gatewise.fit.model import prepare
from gatewise.fit.problem import Problem


@pytest.mark.parametrize(("followers", "lucky"), [(8, True), (300, False)])
def test_a_narrow_expert_needs_more_rows_than_chance_lines_up(followers, lucky):
    generator = torch.Generator().manual_seed(0)
    n = 1000
    x = 4 * torch.rand(n, 1, generator=generator, dtype=torch.float64) - 2
    y = torch.randn(n, 1, generator=generator, dtype=torch.float64)
    y[:followers] = x[:followers] + 0.05 * torch.randn(followers, 1, generator=generator, dtype=torch.float64)
    share = followers / n
    measure = Measure(
        ({"bias": torch.tensor([1 - share, share], dtype=torch.float64).log()},),
        {
            "coef": torch.tensor([[[0.0]], [[1.0]]], dtype=torch.float64),
            "intercept": torch.zeros(2, 1, dtype=torch.float64),
        },
        {"scale": torch.tensor([[1.0], [0.05]], dtype=torch.float64)},
    )
    mixture, rows = Mixture((GATES["constant"],), (2,)), make_rows(x, y)
    model = prepare(mixture, rows)
    free = model.chart.free(reframe(mixture, measure, model.framing)[1])
    state = soundness(Problem(model.chart, model.rows, floor=model.floor), free[None])
    assert not state.starved.any()
    assert not state.floor.any()
    assert state.chance.tolist() == [[False, lucky]]
