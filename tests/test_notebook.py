"""A notebook shows results as tables and pictures, each once, and the log of a run has no bars."""

import base64
import io
import re

import nbformat
import numpy as np
import pytest
from matplotlib import image
from nbclient import NotebookClient

CELLS = (
    """
import warnings
warnings.simplefilter("ignore")
from gatewise import MixtureOfExpertsRegressor, identify
from gatewise.data import load
from gatewise.plots import expert_curves, gate_curves, objective_per_start, overview, predicted_observed
tone = load("tone")
model = MixtureOfExpertsRegressor(2, n_init=2, random_state=0, verbose=1).fit(tone.X, tone.y)
errors = model.inference(tone.X, tone.y)
""",
    "model.summary()",
    "model.fit_",
    "errors",
    "errors.wald()",
    "errors.information",
    'errors.delta("experts.coef")',
    'errors.profile("experts.coef[0,0,0]")',
    'identify("softmax", "linear")',
    "model.summary().experts",
    "expert_curves(model, tone.X, tone.y)",
    "gate_curves(model, tone.X)",
    "objective_per_start(model)",
    "predicted_observed(model, tone.X, tone.y)",
    "overview(model, tone.X, tone.y)",
    "%matplotlib inline\noverview(model, tone.X, tone.y)",
    "ax = gate_curves(model, tone.X)\nax.set_title('mine')\nax",
    "import matplotlib.pyplot as plt\nfig, ax = plt.subplots()\n_ = gate_curves(model, tone.X, ax)",
)
TABLES, PICTURES = range(1, 10), range(10, len(CELLS))


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    """The cells of a notebook after it has run."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    folder = tmp_path_factory.mktemp("notebook")
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(folder)}}).execute()
    nbformat.write(notebook, folder / "ran.ipynb")
    return nbformat.read(folder / "ran.ipynb", as_version=4).cells


def shown(cell):
    return [output["data"] for output in cell.outputs if "data" in output]


@pytest.mark.parametrize("place", TABLES, ids=[CELLS[place] for place in TABLES])
def test_a_result_is_shown_as_html(cells, place):
    (data,) = shown(cells[place])
    html = data["text/html"]
    assert "\n" in data["text/plain"] or place == 2 or place == 7  # the text of a terminal has lines, not \n
    assert not re.search(r"\\n|<script|tensor\(", html)
    assert "<table" in html or place == 7
    assert html.count("<div") == html.count("</div")


@pytest.mark.parametrize("place", PICTURES, ids=[CELLS[place] for place in PICTURES])
def test_a_plot_is_one_picture(cells, place):
    (picture,) = [data["image/png"] for data in shown(cells[place]) if "image/png" in data]
    pixels = image.imread(io.BytesIO(base64.b64decode(picture)))
    assert min(pixels.shape[:2]) > 200
    assert len(np.unique(pixels.reshape(-1, pixels.shape[-1]), axis=0)) > 10  # not an empty sheet


def test_progress_leaves_a_notebook_readable(cells):
    streams = [output for output in cells[0].outputs if output.output_type == "stream"]
    assert not [output for output in streams if output.name == "stdout" or "arning" in output.text]
