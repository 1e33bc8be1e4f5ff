"""What tests of studies share."""

import pytest


@pytest.fixture
def few_nodes(monkeypatch):
    """Distances from few points, of which a check reads no more than that they are defined."""
    monkeypatch.setattr("gatewise.theory.inputs.NODES", {1: 8, 2: 3, 3: 2})
    monkeypatch.setattr("gatewise.theory.inputs.HALVINGS", 0)
