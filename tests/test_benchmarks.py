"""Every benchmark can be imported and is a function: what the package renames, benchmarks follow."""

from importlib import import_module

import pytest
from benchmarks.__main__ import BENCHMARKS


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_benchmark_is_a_function(name):
    module, _, function = BENCHMARKS[name].partition(".")
    assert callable(getattr(import_module(f"benchmarks.{module}"), function))
