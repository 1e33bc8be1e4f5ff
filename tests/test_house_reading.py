"""What the measures and the laws of the house rest on: imports, graphs, names and literals of small sources."""

from pathlib import PurePosixPath

import pytest
from benchmarks.house import table
from benchmarks.house.graph import circles, longest_chain, merged, shortest_path
from benchmarks.house.literals import literals
from benchmarks.house.measures import Figure, double_classes, public_names, statements, trip
from benchmarks.house.source import AT_IMPORT, IN_FUNCTION, TYPING, graph, imports, parse


def module(path, text):
    return parse(PurePosixPath(path), text)


def test_imports_say_where_they_stand():
    source = """
import os
if TYPE_CHECKING:
    from . import result
else:
    from gatewise.fit import em
def f():
    from ..core.gates import Gate
"""
    assert [(".".join(name), where) for name, where in imports(module("fit/parts.py", source))] == [
        ("os", AT_IMPORT),
        ("gatewise.fit.result", TYPING),
        ("gatewise.fit.em", AT_IMPORT),
        ("gatewise.core.gates.Gate", IN_FUNCTION),
    ]


def test_an_edge_goes_to_the_file_that_is_named():
    package = [
        module("fit/__init__.py", "from gatewise.fit.em import em"),
        module("fit/em.py", "def f():\n    from gatewise.core import gates"),
        module("core/__init__.py", ""),
        module("core/gates.py", "if TYPE_CHECKING:\n    from gatewise.fit import em, Fit"),
    ]
    assert graph(package) == {
        "fit/__init__.py": {"fit/em.py"},
        "fit/em.py": {"core/gates.py"},
        "core/__init__.py": set(),
        "core/gates.py": set(),
    }
    assert graph(package, TYPING)["core/gates.py"] == {"fit/em.py", "fit/__init__.py"}
    assert graph(package, AT_IMPORT)["fit/em.py"] == set()


def test_circles_chains_and_paths():
    edges = {"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set(), "e": {"d"}, "f": set()}
    assert circles(edges) == [["b", "c"]]
    assert longest_chain(edges) == ["a", "b", "c", "d"]
    assert shortest_path(edges, "a", "e") == ["a", "b", "c", "d", "e"]
    assert shortest_path(edges, "a", "f") == []
    assert merged(edges, {"a": "x", "b": "x", "c": "y", "d": "y", "e": "z", "f": "z"}) == {
        "x": {"y"},
        "y": {"x"},
        "z": {"y"},
    }


def test_classes_are_counted_at_the_top_of_files():
    package = [
        module("a.py", "class Plan: ...\nclass _Own: ..."),
        module("b.py", "class Plan:\n    class Inner: ..."),
        module("c.py", "def f():\n    class Plan: ...\nclass _Own: ...\nclass Inner: ..."),
    ]
    assert double_classes(package) == {"Plan": ["a.py", "b.py"], "_Own": ["a.py", "c.py"]}


def test_statements_and_public_names():
    source = '"""Text."""\nx: int = 1\n"""What x is."""\ndef f():\n    """Text."""\n    return 1\n'
    assert statements(module("a.py", source)) == 3
    assert public_names(module("nn/__init__.py", '__all__ = ["A"]\n__all__ += ["b"]')) == ["A", "b"]


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ('params["bias"]', "bias"),
        ('x[0, "scale"]', "scale"),
        ('params.get("temperature", 1)', "temperature"),
        ('path.endswith(".scale")', ".scale"),
        ('path.startswith(("family.dof", "x"))', "family.dof"),
        ('name == "coef"', "coef"),
        ('specs["scale"].role == "output"', "scale"),
        ('"cholesky" in params', "cholesky"),
        ('name in ("x", "intercept")', "intercept"),
        ('{"center": 1}', "center"),
        ('for name in ["output"]: pass', "output"),
        ('f("gates.1.weight")', "gates.1.weight"),
        ('f(f"gates.{level}.quadratic")', ".quadratic"),
        ('match name:\n    case "threshold": pass', "threshold"),
    ],
)
def test_a_literal_parameter_name_is_found(source, text):
    found = list(literals(module("fit/em.py", source)))
    assert [(one.path, one.text) for one in found] == [("fit/em.py", text)]
    assert list(literals(module("core/gates.py", source))) == []
    assert list(literals(module("theory/papers/traps.py", source))) == []


@pytest.mark.parametrize(
    "source",
    [
        '"""The bias of a gate: experts.coef, family.scale."""',
        'mixture.paths("family", "scale")',
        'spec.role in ("scale", "output")',
        '"slope" == spec.role or spec.role == "intercept"',
        'Parameter((), "intercept")',
        'def f(kind: Literal["bias", "none"]): ...',
        'raise ValueError(f"{name} is no experts.coef")',
        'raise ValueError("give a weight, or a scale")',
        'Schedule(scale="free")',
        'class Own(Score):\n    def parameters(self, d): ...\n    def __call__(self, p, x):\n        return p["bias"]',
        'weights["x_weight"] == "biased"',
    ],
)
def test_other_words_are_left_alone(source):
    assert list(literals(module("fit/em.py", source))) == []


def test_a_claim_travels_through_files_that_say_so():
    package = [
        module("theory/claims.py", "class Claim: ..."),
        module("theory/study.py", "from gatewise.theory.claims import Claim\nclass Study:\n    claims: tuple[Claim]"),
        module(
            "theory/papers/one.py",
            "from gatewise.theory.claims import Claim\nfrom gatewise.theory.study import Study\n"
            "from gatewise.core.gates import GATES\nONE = Study(Claim())",
        ),
        module("theory/verdict.py", "from gatewise.theory import study\ndef judge(claim): ..."),
        module("core/gates.py", "GATES = {}"),
        module(
            "report/page.py",
            "from gatewise.theory.verdict import judge\nfrom gatewise.core.gates import GATES\nfill('study.html.j2')",
        ),
    ]
    files, saying = trip(package)
    assert files.behind == ["theory/papers/one.py", "theory/study.py", "theory/verdict.py", "report/page.py"]
    assert saying.value == 4


def test_a_table_of_two_checkouts_has_two_columns():
    columns = {"before": [Figure("files", 12), Figure("old", 1)], "after": [Figure("files", 9)]}
    assert table(columns) == ["       before  after", "files      12      9", "old         1       "]
