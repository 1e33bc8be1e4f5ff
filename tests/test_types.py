"""What a type checker and an editor know of the public names."""

import subprocess
import sys
from pathlib import Path

import jedi
import numpy as np
import pytest

from gatewise import MixtureOfExpertsRegressor
from gatewise.core.experts import EXPERTS
from gatewise.core.families import FAMILIES
from gatewise.estimators.base import MixtureEstimator
from gatewise.estimators.declarations import Declared

ROOT = Path(__file__).parents[1]
USER = """\
import gatewise
from gatewise import GATES, Affine, Fit, Gate, MixtureOfExpertsRegressor, Softmax, Summary, load_model
from gatewise.data import load
from gatewise.nn import MoE
from gatewise.plots import expert_curves

tone = load("tone")
model = MixtureOfExpertsRegressor(n_experts=2, gate="laplace", random_state=0).fit(tone.X, tone.y)
tree = MixtureOfExpertsRegressor((2, 3), [Gate(Affine(), Softmax()), "laplace"], scale="shared", method="em")
tree.set_params(n_init=5).set_fit_request(sample_weight=True).fit(tone.X, tone.y, groups=[1, 2]).predict(tone.X)
summary: Summary = model.summary()
fit: Fit = model.fit_
value: float = model.log_likelihood_ + model.bic() + model.coef_.sum() + fit.log_likelihood
words: str = model.status_.words + GATES["softmax"].link.__class__.__name__ + summary.upper()
layer = MoE(dim=4, hidden=8, n_experts=(2, 2), gate=("laplace", Gate()))
expert_curves(load_model("model.json"), tone.X, tone.y).set_title("x")
print(gatewise.nn.HMoE, gatewise.__version__, model.inference(tone.X, tone.y).to_frame())
"""
BAD = (
    ('MixtureOfExpertsRegressor(n_experts="two")', "arg-type"),
    ("MixtureOfExpertsRegressor(nonsense=1)", "call-arg"),
    ('MixtureOfExpertsRegressor(method="mle")', "arg-type"),
    ('MixtureOfExpertsRegressor(scale="fre")', "arg-type"),
    ("MixtureOfExpertsRegressor(gate=3)", "arg-type"),
    ('MixtureOfExpertsRegressor(random_state="zero")', "arg-type"),
    ("model.nonsense", "attr-defined"),
    ("model.fit(tone.X)", "call-arg"),
    ("model.fit(tone.X, tone.y).nonsense", "attr-defined"),
    ('model.predict_interval(tone.X, level="high")', "arg-type"),
    ("model.summary().nonsense", "attr-defined"),
    ("gatewise.nonsense", "attr-defined"),
    ("gatewise.data.nonsense", "attr-defined"),
    ("from gatewise import nonsense", "attr-defined"),
    ("load(3)", "arg-type"),
    ('MoE(dim="four", hidden=8)', "arg-type"),
    ("fit.nonsense", "attr-defined"),
)


# Of torch only what users see is read: its compilers and its distributed parts take most of the time.
UNSEEN = ("_dynamo", "_inductor", "_functorch", "_export", "_higher_order_ops", "_prims", "_refs", "_decomp")
UNSEEN += ("_subclasses", "ao", "distributed", "export", "fx", "jit", "onnx", "profiler", "testing")


def errors_of_user(folder):
    """The errors of a user's file by line, as `mypy --strict` finds them."""
    file, settings = folder / "user.py", folder / "mypy.ini"
    settings.write_text(f"[mypy]\n[mypy-{','.join(f'torch.{name}.*' for name in UNSEEN)}]\nfollow_imports = skip\n")
    file.write_text(USER + "".join(f"{line}\n" for line, _ in BAD))
    cache = ROOT / ".mypy_cache" / "user"  # torch is read once
    command = [sys.executable, "-m", "mypy", "--strict", f"--config-file={settings}", "--follow-imports=silent"]
    command += ["--no-error-summary", f"--cache-dir={cache}", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={"MYPYPATH": str(ROOT / "src")})
    assert done.returncode == 1, done.stdout + done.stderr
    errors = {}
    for line in done.stdout.splitlines():
        _, number, kind, words = line.split(":", 3)
        if kind.strip() == "error":
            errors.setdefault(int(number), []).append(words.strip())
    return errors


def test_correct_use_is_accepted_and_wrong_use_refused(tmp_path):
    errors, first = errors_of_user(tmp_path), USER.count("\n") + 1
    assert not {line: words for line, words in errors.items() if line < first}
    found = {wrong: errors.get(first + place, ["accepted"])[0] for place, (wrong, _) in enumerate(BAD)}
    assert not {wrong: found[wrong] for wrong, kind in BAD if f"[{kind}]" not in found[wrong]}


def completed(code):
    project = jedi.Project(ROOT, added_sys_path=[str(ROOT / "src")])
    return {one.name for one in jedi.Script(code, project=project).complete()}


def test_an_editor_completes_names_and_attributes():
    start = "import gatewise\nfrom gatewise import MixtureOfExpertsRegressor\nmodel = MixtureOfExpertsRegressor()\n"
    assert {"predict", "summary", "coef_", "status_", "inference"} <= completed(start + "model.")
    assert {"predict", "log_likelihood_"} <= completed(start + "model.fit([[0.0]], [0.0]).")
    assert {"experts", "gates", "criteria", "to_frame"} <= completed(start + "model.summary().")
    assert {"MixtureOfExpertsRegressor", "GATES", "Gate", "nn"} <= completed(start + "gatewise.")


def declared():
    return {name for kind in MixtureOfExpertsRegressor.__mro__ for name in vars(kind).get("__annotations__", ())}


def test_every_argument_of_the_constructor_is_declared_and_described():
    arguments = set(MixtureOfExpertsRegressor().get_params())
    assert arguments <= set(Declared.__annotations__)
    assert not [name for name in arguments if f"    {name} : " not in MixtureOfExpertsRegressor.__doc__]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(("d", "q"), [(3, 1), (1, 2)])
@pytest.mark.parametrize(
    "choice", [{"family": "student-t"}, {"covariance": "full"}, {"method": "ls"}, {"expert": "tanh-unit"}]
)
def test_every_fitted_attribute_is_declared_and_described(choice, d, q, monkeypatch):
    monkeypatch.setattr("gatewise.fit.ends.MOST_ROUNDS", 1)  # noise, in which searches run far
    rng = np.random.default_rng(d)
    x = rng.normal(size=(60, d))
    y = rng.normal(size=(60, q)) + x[:, :1]
    if choice.get("family") and q > 1:
        choice = {}
    model = MixtureOfExpertsRegressor(2, n_init=2, random_state=0, **choice).fit(x, y)
    attributes = {name for name in vars(model) if name.endswith("_") and not name.startswith("_")}
    assert attributes <= declared()
    assert not [name for name in attributes if name not in MixtureOfExpertsRegressor.__doc__]


def test_every_parameter_of_the_catalogues_is_declared():
    parts = [*(expert.parameters(3) for expert in EXPERTS.values()), *(f.parameters(2) for f in FAMILIES.values())]
    names = {name for part in parts for name, spec in part.items() if spec.role != "covariance"}
    assert {f"{name}_" for name in names} <= declared()


def test_the_base_of_estimators_declares_nothing_twice():
    assert "__annotations__" not in vars(MixtureEstimator)
