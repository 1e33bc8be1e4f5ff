"""The cases of the law of the catalogues: few, the same every time, and all levels meet that can."""

from itertools import combinations, product

import pytest

from .covering import covering

FACTORS = {"a": "uvwxyz", "b": (1, 2, 3, 4), "c": (True, False), "d": "pq"}


def together(cases, strength):
    return {group for case in cases for group in combinations(case.items(), strength)}


@pytest.mark.parametrize("strength", [1, 2, 3])
def test_all_levels_meet_that_can(strength):
    def allowed(case):
        return not (case["a"] == "u" and case["b"] < 3) and not (case["c"] and case["d"] == "p")

    every = [dict(zip(FACTORS, levels, strict=True)) for levels in product(*FACTORS.values())]
    rules = {("a", "b"): lambda case: not (case["a"] == "u" and case["b"] < 3)}
    rules["d", "c"] = lambda case: not (case["c"] and case["d"] == "p")
    found = covering(FACTORS, strength, rules)
    assert all(map(allowed, found))
    assert together(found, strength) == together(filter(allowed, every), strength)
    assert found == covering(FACTORS, strength, {tuple(FACTORS): allowed})


def test_the_two_largest_factors_decide_how_many_cases_there_are():
    assert len(covering(FACTORS, 2)) == 24
