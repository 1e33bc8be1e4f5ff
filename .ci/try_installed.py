"""What an installed wheel must be able to do: fit, print, save and load, write a card, list, make a layer."""

import subprocess
import sys
import tempfile
from pathlib import Path

import torch

import gatewise
from gatewise import MixtureOfExpertsRegressor, load_model, save_model
from gatewise.data import load
from gatewise.nn import MoE


def run(*words: str) -> str:
    """Return what a command prints."""
    return subprocess.run([sys.executable, "-m", "gatewise", *words], check=True, capture_output=True, text=True).stdout


if Path(gatewise.__file__).is_relative_to(Path(__file__).resolve().parents[1] / "src"):
    raise SystemExit("this is the source tree, not what was installed")
tone = load("tone")
model = MixtureOfExpertsRegressor(2, gate="laplace", random_state=0).fit(tone.X, tone.y)
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "model.json"
    save_model(model, path)
    if (load_model(path).predict(tone.X) != model.predict(tone.X)).any():
        raise SystemExit("a saved model predicts otherwise")
    if f"Status: {model.status_}." not in run("card", str(path)):
        raise SystemExit("the card of a model does not say its status")
layer = MoE(16, 32, n_experts=4)
layer(torch.randn(3, 16)).sum().backward()
for words in (("--version",), ("data", "list"), ("study", "list"), ("experiment", "list")):
    if not run(*words).strip():
        raise SystemExit(f"gatewise {' '.join(words)} prints nothing")
sys.stdout.write(f"gatewise {gatewise.__version__} from the wheel: {model.status_}, {model.log_likelihood_:.3f}\n")
