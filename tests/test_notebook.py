"""A notebook shows results as tables and pictures, each once, and the log of a run has no bars."""

import base64
import io
import re

import nbformat
import numpy as np
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
ONE_LINE = ("model.fit_", 'errors.profile("experts.coef[0,0,0]")')
TABLES, PICTURES = range(1, 10), range(10, len(CELLS))


def run(folder):
    """The cells of a notebook that has run, was written, and read again."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(folder)}}).execute()
    nbformat.write(notebook, folder / "ran.ipynb")
    return nbformat.read(folder / "ran.ipynb", as_version=4).cells


def shown(cell):
    return [output["data"] for output in cell.outputs if "data" in output]


def check_table(code, cell):
    """The value of a cell is shown as HTML; its text is that of a terminal, with lines instead of \\n."""
    (data,) = shown(cell)
    html, text = data["text/html"], data["text/plain"]
    assert not re.search(r"\\n|<script|tensor\(", html + text), code
    assert html.count("<div") == html.count("</div"), code
    assert ("<table" in html and "\n" in text) or code in ONE_LINE, code


def check_picture(code, cell):
    """A cell shows one picture, and something is on it."""
    (picture,) = [data["image/png"] for data in shown(cell) if "image/png" in data]
    pixels = image.imread(io.BytesIO(base64.b64decode(picture)))
    assert min(pixels.shape[:2]) > 200, code
    assert len(np.unique(pixels.reshape(-1, pixels.shape[-1]), axis=0)) > 10, code


def test_a_notebook_shows_tables_and_pictures(tmp_path):
    cells = run(tmp_path)
    for place in TABLES:
        check_table(CELLS[place], cells[place])
    for place in PICTURES:
        check_picture(CELLS[place], cells[place])
    told = [output for output in cells[0].outputs if output.output_type == "stream"]
    assert not [output for output in told if output.name == "stdout" or "arning" in output.text]
