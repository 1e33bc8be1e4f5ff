"""Old names work and say the new one; no name stays longer than its last release."""

import ast
import inspect
import re
import sys
import types
import warnings
from pathlib import Path

import pytest
from sklearn.base import BaseEstimator, clone

import gatewise
from gatewise.deprecation import renamed_attributes, renamed_function, renamed_parameters

SOURCES = Path(gatewise.__file__).parent


def scaled(x, slope=1.0, *, shift=0.0):
    """Return a line."""
    return slope * x + shift


def lines_of(heard):
    """Where warnings point to."""
    return {(Path(one.filename).name, one.lineno) for one in heard}


def test_an_old_function_calls_the_new_one_and_warns_its_caller():
    old = renamed_function("stretched", scaled, removal="0.3")
    words = r"^stretched is deprecated and will be removed in gatewise 0\.3: use scaled$"
    with pytest.warns(FutureWarning, match=words) as heard:
        assert old(2.0, 3.0, shift=1.0) == 7.0
    assert lines_of(heard) == {(Path(__file__).name, inspect.currentframe().f_lineno - 1)}
    assert inspect.signature(old) == inspect.signature(scaled)
    assert (old.__name__, "scaled" in old.__doc__, "0.3" in old.__doc__) == ("stretched", True, True)
    assert scaled.__doc__ == "Return a line."


def test_an_old_method_is_one_of_its_object():
    class Line:
        def __init__(self, slope):
            self.slope = slope

        def at(self, x):
            return self.slope * x

        value = renamed_function("value", at, removal="0.3")

    with pytest.warns(FutureWarning, match="^value is deprecated .*: use at$"):
        assert Line(3.0).value(2.0) == 6.0
    assert Line.value.__qualname__.endswith("Line.value")


def test_old_parameters_are_taken_and_warn_the_caller():
    renamed = renamed_parameters({"gain": "slope", "offset": "shift"}, removal="0.3")(scaled)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert renamed(2.0, 3.0, shift=1.0) == 7.0
    with pytest.warns(FutureWarning) as heard:
        assert renamed(2.0, gain=3.0, offset=1.0) == 7.0
    assert lines_of(heard) == {(Path(__file__).name, inspect.currentframe().f_lineno - 1)}
    said = sorted(str(one.message) for one in heard)
    end = "is deprecated and will be removed in gatewise 0.3"
    assert said == [
        f"the parameter gain of scaled {end}: use slope",
        f"the parameter offset of scaled {end}: use shift",
    ]
    with pytest.raises(TypeError, match="scaled is given slope and gain, its old name: give slope alone"):
        renamed(2.0, slope=3.0, gain=3.0)
    with pytest.raises(TypeError, match="unexpected keyword argument 'gradient'"):
        renamed(2.0, gradient=3.0)
    with pytest.warns(FutureWarning), pytest.raises(TypeError, match="multiple values for argument 'slope'"):
        renamed(2.0, 3.0, gain=3.0)


def test_an_estimator_with_a_renamed_parameter_is_cloned_under_the_new_name():
    class Fitter(BaseEstimator):
        @renamed_parameters({"n_components": "n_experts"}, removal="0.3")
        def __init__(self, n_experts=2, alpha=0.0):
            self.n_experts, self.alpha = n_experts, alpha

    with pytest.warns(FutureWarning, match="^the parameter n_components of Fitter is deprecated"):
        made = Fitter(n_components=3, alpha=1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert clone(made).get_params() == {"n_experts": 3, "alpha": 1.0}


@pytest.fixture
def module(monkeypatch):
    made = types.ModuleType("changed_names")
    made.LEVEL, made.Line = 0.95, type("Line", (), {})
    monkeypatch.setitem(sys.modules, made.__name__, made)
    return made


def test_an_old_attribute_of_a_module_is_the_new_one(module):
    module.__getattr__ = renamed_attributes(module.__name__, {"ALPHA": "LEVEL", "Ray": "Line"}, removal="0.4")
    words = r"^changed_names\.ALPHA is deprecated and will be removed in gatewise 0\.4: use changed_names\.LEVEL$"
    with pytest.warns(FutureWarning, match=words) as heard:
        assert module.ALPHA == 0.95
    assert lines_of(heard) == {(Path(__file__).name, inspect.currentframe().f_lineno - 1)}
    with pytest.warns(FutureWarning, match="Ray"):
        from changed_names import Ray
    assert Ray is module.Line
    with pytest.raises(AttributeError, match="module 'changed_names' has no attribute 'BETA'"):
        module.BETA  # noqa: B018


def test_a_module_that_loads_late_still_does(module):
    late = {"Fit": 1}
    module.__getattr__ = renamed_attributes(
        module.__name__, {"Fitted": "Fit"}, removal="0.4", otherwise=late.__getitem__
    )
    assert module.Fit == 1
    with pytest.warns(FutureWarning, match=r"use changed_names\.Fit$"):
        assert module.Fitted == 1


def version(text):
    assert re.fullmatch(r"\d+(\.\d+)+", text), f"{text} is no version"
    return tuple(map(int, text.split(".")))


def overdue(source, now):
    """The lines of a source that keep a name until a version that has come, or until none."""
    for node in ast.walk(ast.parse(source)):
        name = getattr(getattr(node, "func", None), "id", "") if isinstance(node, ast.Call) else ""
        if name in ("renamed_function", "renamed_parameters", "renamed_attributes"):
            (removal,) = [one.value for one in node.keywords if one.arg == "removal"]
            if version(ast.literal_eval(removal)) <= version(now):
                yield node.lineno


def test_no_old_name_is_kept_beyond_its_release():
    found = {path: list(overdue(path.read_text("utf-8"), gatewise.__version__)) for path in SOURCES.rglob("*.py")}
    assert len(found) > 100
    assert not {path: lines for path, lines in found.items() if lines}


def test_an_overdue_name_is_found():
    source = (
        'a = renamed_function("a", b, removal="0.3")\n@renamed_parameters({"c": "d"}, removal="0.10")\ndef b(d): ...\n'
    )
    assert list(overdue(source, "0.2.9")) == []
    assert list(overdue(source, "0.3.0")) == [1]
    assert list(overdue(source, "1.0.0")) == [1, 2]
