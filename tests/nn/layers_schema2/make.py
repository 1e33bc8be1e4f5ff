"""Write the saved layers of this folder, of schema 2, and what they compute, with the gatewise that is installed.

    python tests/nn/layers_schema2/make.py [FOLDER]

Do not run this to make `test_saved_layers.py` pass: what an old version wrote must stay readable as it is. Once the
schema of files has a new number, copy this script beside the files of that one.
"""

import json
import sys
from pathlib import Path

import torch

from gatewise import GATES, Activated, Cosine, Distance, Gate, Mixture, NormalisedSigmoid, Tempered, TopK
from gatewise.nn import FFN, Anneal, Choice, MoE, Sparsity, TopP, from_measure, save_layer
from gatewise.nn.hub import GatedShared
from gatewise.testing import draw_measure, generator

LAYERS = {
    "plain": {},
    "tree": {"n_experts": (2, 3), "gate": ("laplace", "cosine"), "balance": "bias", "top_k": (1, 2)},
    "composed": {"gate": Gate(Tempered(Activated(Cosine(floor=0.2), "tanh")), NormalisedSigmoid())},
    "metric": {"gate": Gate(Distance(metric=(0.5, 1.0, 2.0)), TopK(k=2))},
    "swiglu": {"activation": "swiglu", "bias": True, "dim_out": 2, "scale": 2.5, "shared": 2, "normalise": "before"},
    "annealed": {"gate": GATES["dense-to-sparse"], "temperature": Anneal(2.0, 0.5, 10)},
    "grouped": {"n_experts": 6, "gate": "sigmoid", "choice": Choice(groups=3, kept=2), "z_weight": 0.1},
    "rule": {"n_experts": 4, "choice": TopP(0.8), "top_k": None, "jitter": 0.1, "balance": Sparsity()},
    "weightless": {"n_experts": 5, "identity_experts": 1, "null_experts": 1, "weigh_inputs": True, "capacity": 1.5},
    "own-shared": {"shared": "network", "noise": "learned", "token_entropy_weight": 0.2, "backend": "loop"},
}


def built():
    """Yield names and layers with three features: also one with a gated shared expert, and one of a fit."""
    for name, options in LAYERS.items():
        own = {"shared": FFN(1, 3, 5, 3, "relu", True)} if options.get("shared") == "network" else {}
        yield name, MoE(3, 2, **{"n_experts": 3, **options, **own})
    yield "gated-shared", GatedShared(MoE(3, 2, 3), 4)
    mixture = Mixture((GATES["laplace"],), (2,))
    yield "from-fit", from_measure(mixture, draw_measure(mixture, 3, 3, 2, generator(0)))


def main(folder):
    torch.manual_seed(0)
    expected = {}
    for name, layer in built():
        x, layer = torch.randn(4, 3, dtype=torch.float64), layer.double()
        with torch.no_grad():
            for value in layer.parameters():
                value += 0.3 * torch.randn_like(value)
        next(layer.parameters()).requires_grad_(name != "tree")
        layer.eval()
        save_layer(layer, folder / name)
        expected[name] = {"x": x.tolist(), "y": layer(x).tolist()}
    (folder / "expected.json").write_text(json.dumps(expected, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
