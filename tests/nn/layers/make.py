"""Write the saved layers of this folder, and what they compute, with the gatewise that is installed.

    python tests/nn/layers/make.py [FOLDER]

The folder holds layers as the first release wrote them: `tests/nn/test_saved_layers.py` reads each of them and
compares. Do not run this to make that test pass: a file that an old version wrote must stay readable as it is. Run it
into another folder to add layers of a new kind, and copy these.
"""

import json
import sys
from pathlib import Path

import torch

from gatewise.core.gates import GATES, Gate
from gatewise.core.links import NormalisedSigmoid, TopK
from gatewise.core.scores import Activated, Cosine, Distance, Tempered
from gatewise.nn import Anneal, MoE
from gatewise.nn.hub import GatedShared, save_layer

LAYERS = {
    **{f"gate-{name}": {"gate": name} for name in ("softmax", "laplace", "quadratic", "perturbed-cosine", "sigmoid")},
    "tree": {"n_experts": (2, 3), "gate": ("laplace", "cosine"), "balance": "bias"},
    "composed": {"gate": Gate(Tempered(Activated(Cosine(floor=0.2), "tanh")), NormalisedSigmoid())},
    "metric": {"gate": Gate(Distance(metric=(0.5, 1.0, 2.0)), TopK(k=2))},
    "swiglu": {"activation": "swiglu", "bias": True, "dim_out": 2, "scale": 2.5, "shared": 2},
    "annealed": {"gate": GATES["dense-to-sparse"], "temperature": Anneal(2.0, 0.5, 10)},
}


def main(folder):
    torch.manual_seed(0)
    expected = {}
    for name, options in {**LAYERS, "gated-shared": None}.items():
        x = torch.randn(3, 3, dtype=torch.float64)
        layer = GatedShared(MoE(3, 2, 3), 4) if options is None else MoE(3, 2, **{"n_experts": 3, **options})
        layer = layer.double()
        with torch.no_grad():
            for value in layer.parameters():
                value += 0.3 * torch.randn_like(value)
        layer.eval()
        save_layer(layer, folder / name)
        expected[name] = {"x": x.tolist(), "y": layer(x).tolist()}
    (folder / "expected.json").write_text(json.dumps(expected, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
