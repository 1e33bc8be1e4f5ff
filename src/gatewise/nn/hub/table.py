"""The table of architectures, as it stands in docs/guide/engineer/sparse-blocks.md: a test compares them."""

from __future__ import annotations

from gatewise.nn.hub.architectures import ARCHITECTURES, REFUSED, Architecture
from gatewise.nn.hub.options import Clamp, Setting

BOUNDS = {"before": "bounds", "after": "bounds behind SiLU", "soft": "soft bounds"}
SCORES = {"softmax": "softmax", "sigmoid": "sigmoid", "sqrtsoftplus": "sqrt-softplus"}


def markdown() -> str:
    """Return both tables: what is read and written, and what is refused.

    Examples
    --------
    >>> print(markdown().splitlines()[2])
    | `afmoe` | `AfmoeSparseMoeBlock` | sigmoid, correction, renormalised, scaling | gated | weight one | files |
    """
    lines = ["| style | block of transformers | gate and choice | experts | shared expert | files, remarks |"]
    lines += ["|---|---|---|---|---|---|"]
    for name, row in ARCHITECTURES.items():
        remarks = "; ".join(
            filter(None, ["files" if row.files else "", "returns logits too" * (row.returns != "one"), row.note])
        )
        cells = (f"`{name}`", f"`{row.block}`", _gate(row), _experts(row), _shared(row), remarks)
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "| not read | why |", "|---|---|"]
    lines += [f"| `{name}` | {why} |" for name, why in REFUSED.items()]
    return "\n".join(lines)


def _gate(row: Architecture) -> str:
    """Return in words how experts are chosen and weighed."""
    parts = ["as the config says" if isinstance(row.gate, Setting) else SCORES[row.gate]]
    parts += ["bias"] if row.router_bias else []
    parts += ["correction" if row.correction.by == "weights" else "correction of scores"] if row.correction else []
    parts += ["groups"] if row.groups else []
    parts += ["renormalised"] if row.normalise is True else []
    parts += ["renormalised if the config says so"] if isinstance(row.normalise, Setting) else []
    parts += ["scaling"] if row.scale else []
    return ", ".join(parts + (["weighs inputs"] if row.weigh_inputs else []))


def _experts(row: Architecture) -> str:
    """Return in words what an expert is."""
    kind = f"SwiGLU with {BOUNDS[row.activation.bound]}" if isinstance(row.activation, Clamp) else "gated"
    kind = kind if row.gated else "not gated"
    kind += ", and some that return their input" if row.identity else ""
    return kind + (", biases" if row.router_bias and row.gated else "")


def _shared(row: Architecture) -> str:
    """Return in words what the shared expert is."""
    if row.joined is not None:
        return "chosen always"
    if row.shared is None:
        return ""
    kind = "weight by a gate" if row.shared.gate else "weight one"
    kind += " or average" if row.shared.average else ""
    return f"{kind}, bounds" if isinstance(row.shared.activation, Clamp) else kind
