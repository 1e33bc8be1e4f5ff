"""Known counts: numbers of derivatives and relations, first derivatives involved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gatewise.core.experts import Activation, Expert, Linear, expert
from gatewise.core.families.gaussian import log_normal
from gatewise.core.gates import Gate
from gatewise.core.links import Sigmoid
from gatewise.core.parameters import Parameter
from gatewise.core.predictors import Params
from gatewise.core.scores import Activated, Affine, Distance, Score, SquaredDistance, Tempered
from gatewise.infer.identifiability.atoms import Atom
from gatewise.infer.identifiability.check import identify_atom
from gatewise.infer.identifiability.compose import identify
from gatewise.infer.identifiability.proof import Proof
from gatewise.infer.identifiability.result import Identifiability

# names of parameters, read off the parts that have them
COEF, INTERCEPT = Linear().parameters(1)
WEIGHT, BIAS = Affine().parameters(1)
(CENTER,), (TEMPERATURE,) = Distance().names("location"), Tempered().names("temperature")


@dataclass(frozen=True)
class BiasOutside(Score):
    """``inner / temperature + bias``: a temperature that leaves the bias alone."""

    inner: Score = Affine()

    def parameters(self, d: int) -> dict[str, Parameter]:
        return Tempered(self.inner).parameters(d)

    def __call__(self, params: Params, x: Tensor) -> Tensor:
        plain = {**params, "bias": torch.zeros_like(params["bias"])}
        return Tempered(self.inner)(plain, x) + params["bias"][..., None]


def joint_gaussian(centred: bool = False) -> Atom:
    """Return the atom of a Gaussian gate fitted through the joint density, ``N(x | c, Gamma) N(y | a x + b, nu)``."""

    def function(x: Tensor, y: Tensor, theta: Tensor) -> Tensor:
        center, spread, coef, intercept, variance = theta
        return normal(x[0], center, spread) * normal(y, coef * x[0] + intercept, variance)

    def normal(at: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        return torch.exp(log_normal((at - mean) ** 2 / variance, 0.5 * torch.log(variance)))

    def draw(generator: torch.Generator) -> Tensor:
        theta = 0.7 * torch.randn(5, generator=generator, dtype=torch.float64)
        theta[[1, 4]] = theta.new_tensor([1.3, 0.8])
        theta[0] = 0.0 if centred else theta[0]
        return theta

    names = (CENTER, "spread", COEF, INTERCEPT, "variance")
    return Atom(function, names, draw, d=1, title="joint Gaussian gate, linear expert, maximum likelihood")


class Known(NamedTuple):
    """One row of the table.

    Attributes
    ----------
    source : str
        Section of the table.
    name : str
    settings : dict
        Arguments of `identify`, or of `identify_atom` when there is an ``atom``.
    n_atoms, nullity : int
    parameters : set of str or None
        Parameters whose first derivatives are involved; for least squares only ``gate`` and ``expert`` are told apart;
        None where they are not known.
    remark : str
        Where the row differs from what the table lists, and why.
    """

    source: str
    name: str
    settings: Mapping[str, Any]
    n_atoms: int
    nullity: int
    parameters: frozenset[str] | None
    remark: str = ""

    def run(self, seed: int = 0, **more: Any) -> Identifiability:
        """Run the check, with more arguments of `identify` if any."""
        settings = {**self.settings, "seed": seed, **more}
        atom = settings.pop("atom", None)
        return identify(**settings) if atom is None else identify_atom(atom, **settings)

    def proved(self, proof: Proof) -> bool:
        """Return whether counts and parameters are proved to be the known ones."""
        counts = (proof.n_atoms, proof.nullity) == (self.n_atoms, self.nullity)
        return counts and proof.decided and self.parameters in (None, self.involved(proof))

    def involved(self, found: Identifiability | Proof) -> frozenset[str]:
        """Return the parameters involved, in the words of `parameters`."""
        if self.settings.get("estimator") != "ls":
            return frozenset(found.parameters)
        own = expert(self.settings["expert"]).parameters(1)
        return frozenset("expert" if name in own else "gate" for name in found.parameters)

    def reproduced(self, found: Identifiability) -> bool:
        """Return whether counts and parameters are the known ones and all draws agree."""
        counts = (found.n_atoms, found.nullity) == (self.n_atoms, self.nullity)
        return counts and found.verdict != "undecided" and self.parameters in (None, self.involved(found))


def _likelihood() -> list[Known]:
    """Gaussian maximum likelihood with linear experts, flat (7.3)."""
    heat, none = {"variance"}, frozenset[str]()
    activated = {fn: Gate(Activated(Affine(), fn)) for fn in ("sigmoid", "tanh", "gelu")}
    sparse = {fn: Gate(Tempered(Activated(Affine(), fn))) for fn in ("identity", "relu", "square", *activated)}
    tempered = {WEIGHT, TEMPERATURE}
    table: list[tuple[str, Any, int, int, int, Any]] = [
        ("softmax", "softmax", 2, 27, 6, {COEF, *heat}),
        ("Laplace", "laplace", 2, 27, 2, heat),
        ("Gaussian score", Gate(SquaredDistance()), 2, 27, 6, {COEF, INTERCEPT, *heat}),
        ("cosine", "cosine", 1, 6, 1, {WEIGHT}),
        ("cosine", "cosine", 2, 27, 8, {WEIGHT, *heat}),
        ("perturbed cosine", "perturbed-cosine", 1, 6, 0, none),
        ("perturbed cosine", "perturbed-cosine", 2, 27, 2, heat),
        *((f"activated {fn}", gate, 2, 27, 2, heat) for fn, gate in activated.items()),
        *((f"dense-to-sparse {fn}", sparse[fn], 1, 7, 1, tempered) for fn in ("identity", "relu", "square")),
        ("dense-to-sparse identity", sparse["identity"], 2, 35, 14, {*tempered, COEF, *heat}),
        ("dense-to-sparse relu", sparse["relu"], 2, 35, 10, {*tempered, *heat}),
        ("dense-to-sparse square", sparse["square"], 2, 35, 12, {*tempered, *heat}),
        *((f"dense-to-sparse {fn}", sparse[fn], 1, 7, 0, none) for fn in activated),
        *((f"dense-to-sparse {fn}", sparse[fn], 2, 35, 2, heat) for fn in activated),
        ("Laplace with temperature", "scaled-laplace", 1, 7, 0, none),
        ("Laplace with temperature", "scaled-laplace", 2, 35, 3, None),
        ("quadratic monomial", "quadratic-monomial", 2, 35, 7, None),
        ("quadratic", "quadratic", 2, 54, 20, None),
    ]
    rows = [_known("7.3", name, {"gate": gate, "order": order}, *rest) for name, gate, order, *rest in table]
    joint = [
        _known("7.3", f"joint Gaussian, center {place}", {"atom": joint_gaussian(place == "0")}, 20, 6, None)
        for place in ("not 0", "0")
    ]
    return rows + joint


def _hierarchical() -> list[Known]:
    """Two levels, Gaussian maximum likelihood, linear experts (7.4)."""
    outer, inner, rest = "gates.0.", "gates.1.", {COEF, "variance"}
    letters = {"S": ("softmax", WEIGHT), "L": ("laplace", CENTER)}
    free = {
        "SS": (23, {outer + WEIGHT, inner + WEIGHT, *rest}),
        "SL": (8, {inner + CENTER, *rest}),
        "LS": (8, {outer + CENTER, *rest}),
        "LL": (3, {"variance"}),
    }
    held = {"SS": (6, rest), "LS": (6, rest), "SL": (2, {"variance"}), "LL": (2, {"variance"})}
    rows = []
    for pair in free:
        gates = tuple(letters[letter][0] for letter in pair)
        rows.append(_known("7.4", pair, {"gate": gates}, 44, *free[pair]))
        settings = {"gate": gates, "held": (outer + letters[pair[0]][1],)}
        rows.append(_known("7.4", f"{pair}, outer held", settings, 27, *held[pair]))
    return rows


CONSTANT = (
    "the table lists gate and expert; by hand the relations are du/dw_i = c d2u/dw_i dc, "
    "and du/dc = exp(w.x) is in neither"
)
FN = {"GELU": "gelu", "tanh": "tanh", "ReLU": "relu"}
PLAIN: dict[str, Expert] = {f"{name}(a.x)": Activation(fn, bias=False) for name, fn in FN.items()}
BIASED: dict[str, Expert] = {f"{name}(a.x+b)": Activation(fn) for name, fn in FN.items()}
UNITS: dict[str, Expert] = {f"c*{name}(a.x)": Activation(fn, bias=False, output=True) for name, fn in FN.items()}
CORE = {"linear": "linear", "(a.x+b)^2": "square", "const": "constant"}
ALL: dict[str, str | Expert] = {**PLAIN, **BIASED, **UNITS, **CORE}


def _least_squares() -> list[Known]:
    """Least squares, second order: softmax, and sigmoid with slopes zero (7.5)."""
    expert, both = {"expert"}, {"gate", "expert"}
    table: dict[str, tuple[int, int, Any]] = {
        "GELU(a.x)": (14, 1, frozenset()),
        "tanh(a.x)": (14, 1, frozenset()),
        "GELU(a.x+b)": (20, 3, expert),
        "tanh(a.x+b)": (20, 3, expert),
        "c*GELU(a.x)": (19, 5, both),
        "c*tanh(a.x)": (19, 5, both),
        "ReLU(a.x)": (11, 3, {"gate"}),
        "c*ReLU(a.x)": (16, 8, both),
        "ReLU(a.x+b)": (14, 5, both),
        "linear": (14, 5, both),
        "(a.x+b)^2": (20, 8, both),
        "const": (8, 2, {"gate"}),
    }
    rows = [_ls(f"softmax, {name}", "softmax", ALL[name], *row) for name, row in table.items()]
    rows += [_ls(f"sigmoid slopes 0, {name}", "sigmoid", ALL[name], *row, regime=1) for name, row in table.items()]
    rows = [row._replace(remark=CONSTANT if row.name.endswith("const") else "") for row in rows]
    rows += [_ls("quadratic monomial, linear", "quadratic-monomial", "linear", 21, 6, None)]
    return [*rows, _ls("quadratic, linear", "quadratic", "linear", 38, 19, None)]


def _sigmoid() -> list[Known]:
    """Least squares behind a sigmoid of general slopes, with the bias (7.5)."""
    free = {name: ALL[name] for name in ALL if name != "c*ReLU(a.x)"}
    sizes = {name: 3 + len(PLAIN) - 1 + (name in BIASED) + (name in UNITS) for name in free}
    sizes |= {"linear": 6, "(a.x+b)^2": 6, "const": 4}
    rows = [_ls(f"sigmoid, {name}", "sigmoid", one, sizes[name], 0, frozenset(), order=1) for name, one in free.items()]
    rows += [_ls("sigmoid, c*ReLU(a.x)", "sigmoid", ALL["c*ReLU(a.x)"], 6, 1, None, order=1)]
    rows += [_ls("sigmoid, const", "sigmoid", "constant", 13, 3, None)]
    two: dict[str, Any] = {"order": 1, "atoms": 2}
    for name, count, nullity in (("const", 8, 4), ("linear", 12, 4), ("GELU(a.x)", 10, 0)):
        rows.append(
            _ls(f"sigmoid, 2 x {name}, same gate", "sigmoid", ALL[name], count, nullity, None, shared_gate=True, **two)
        )
    return [*rows, _ls("sigmoid, 2 x linear", "sigmoid", "linear", 12, 0, frozenset(), **two)]


def _temperatures() -> list[Known]:
    """Least squares with a temperature inside the sigmoid, first order (7.5)."""
    gates = {
        "(w.x+b0)/t": (Gate(Tempered(Affine()), Sigmoid()), 1, {WEIGHT, BIAS, TEMPERATURE}),
        "w.x/t+b0": (Gate(BiasOutside(), Sigmoid()), 1, {WEIGHT, TEMPERATURE}),
        "(|x-c|+b0)/t": (Gate(Tempered(Distance()), Sigmoid()), 0, set[str]()),
        "|x-c|/t+b0": (Gate(BiasOutside(Distance()), Sigmoid()), 0, set[str]()),
    }
    rows = []
    for name, (gate, nullity, taking) in gates.items():
        known = {"gate"} if taking else set[str]()
        rows.append(_ls(f"sigmoid {name}, linear", gate, "linear", 7, nullity, known, order=1))
        unit = ALL["c*ReLU(a.x)"]
        rows.append(_ls(f"sigmoid {name}, c*ReLU", gate, unit, 7, nullity + 1, {*known, "expert"}, order=1))
    return rows


def _known(source: str, name: str, settings: dict[str, Any], n_atoms: int, nullity: int, parameters: Any) -> Known:
    named = None if parameters is None else frozenset(parameters)
    return Known(source, name, settings, n_atoms, nullity, named)


def _ls(name: str, gate: Any, expert: Any, n_atoms: int, nullity: int, parameters: Any, **more: Any) -> Known:
    settings = {"gate": gate, "expert": expert, "estimator": "ls", **more}
    return _known("7.5", name, settings, n_atoms, nullity, parameters)


KNOWN: tuple[Known, ...] = (*_likelihood(), *_hierarchical(), *_least_squares(), *_sigmoid(), *_temperatures())
