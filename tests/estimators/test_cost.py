"""What a fit to many rows costs: the formulas, and the constants that a worker measures."""

import pytest

from gatewise.estimators.cost import CostConstants, plan_fit, predicted_cost
from gatewise.objective.compiled import ROWS

FOUND = CostConstants(2.0, 20, 10, 1e-7, 1e-9, 0.01, 1000.0, 3000.0, 5000.0)


def test_time_is_search_work_and_latency():
    one, two = (predicted_cost(FOUND, 1_000_000, 4, 3, workers) for workers in (1, 2))
    work = 1e6 * (1e-7 + (20 + 2) * 5 * 1e-9)
    assert one.processor == two.processor == pytest.approx(work)
    assert one.seconds == pytest.approx(2.0 + work + 30 * 0.01)
    assert two.seconds == pytest.approx(2.0 + work / 2 + 30 * 0.01)
    assert predicted_cost(FOUND, 1_000_000, 4, 3, 2, threads=4).seconds < two.seconds


def test_memory_is_that_of_blocks_and_not_of_rows():
    few, many = (predicted_cost(FOUND, rows, 4, 3, 2) for rows in (10**6, 10**9))
    assert few.memory == many.memory == 8 * ROWS * 5 * 10 + 5000
    assert many.held - many.memory == 8 * 5 * 10**9 / 2
    assert few.traffic == 4000
    assert few.total_traffic == 4000 * 2 * 20


@pytest.mark.parametrize("name", ["rows", "features", "experts", "workers", "threads"])
def test_numbers_below_one_are_errors(name):
    given = {"rows": 1000, "features": 3, "experts": 2, "workers": 1, "threads": 1, name: 0}
    with pytest.raises(ValueError, match=f"{name}=0: give a number from 1"):
        plan_fit(**given)


def test_constants_are_measured_on_a_client():
    distributed = pytest.importorskip("distributed")
    with distributed.Client(processes=False, n_workers=1, threads_per_worker=1, dashboard_address=":0") as client:
        plan = plan_fit(10**7, 3, 2, 2, client=client)
    found = plan.constants
    assert found.passes > 5
    assert 0 < found.samples < found.passes
    assert min(found.search, found.per_row, found.latency, found.out, found.back) > 0
    assert plan.seconds < found.search + plan.processor + (found.passes + found.samples) * found.latency
