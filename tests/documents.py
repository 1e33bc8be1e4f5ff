"""The Python blocks of the documents, and what is told beside them."""

import re
import sys
import warnings
from contextlib import redirect_stdout
from io import StringIO
from typing import NamedTuple

import numpy as np

import gatewise


class Shown(NamedTuple):
    """A block of code, the text around it to the blocks before and after, and the output that is shown under it."""

    code: str
    around: str
    output: str | None


def shown(text):
    """Return the Python blocks of a text with what the reader is told beside each."""
    parts = re.split(r"^```python\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    under = [re.match(r"\s*^```text\n(.*?)^```", part, re.DOTALL | re.MULTILINE) for part in parts]
    return [
        Shown(parts[i], parts[i - 1] + parts[i] + parts[i + 1], under[i + 1] and under[i + 1][1])
        for i in range(1, len(parts), 2)
    ]


FAILURES = [status for status in gatewise.Status if status not in (gatewise.Status.converged, gatewise.Status.at_kink)]
# Dynamo makes an instance of every autograd function that it traces.
KNOWN = r"should not be instantiated"
if sys.version_info < (3, 12):  # whose importers the tracer asks for their representation
    KNOWN += r"|module_repr\(\) is deprecated"


def unannounced(block, caught, printed):
    """Return the warnings and the failing statuses of a block that the text around it does not name."""
    classes = {type(one.message).__name__: str(one.message) for one in caught if not re.search(KNOWN, str(one.message))}
    silent = [f"{name}: {words}" for name, words in classes.items() if f"`{name}`" not in block.around]
    found = [status for status in FAILURES if re.search(rf"\b{status}\b", printed)]
    return silent + [f"prints {status}" for status in found if not re.search(rf"\b{status}\b", block.around)]


def run(block, name, namespace):
    """Run a block of a document, and fail with its code if it does what the text beside it does not announce."""
    with warnings.catch_warnings(record=True) as caught, redirect_stdout(StringIO()) as printed:
        warnings.simplefilter("always")
        exec(compile(block.code, name, "exec"), namespace)
    assert not unannounced(block, caught, printed.getvalue()), block.code
    if block.output is not None:
        assert_shown(block.output, printed.getvalue())


NUMBER = r"-?\d+\.\d+"


def assert_shown(text, printed):
    """Compare the lines of a text with the first that were printed: the words exactly, decimals to four digits."""
    told, found = (re.sub(r" +", " ", part) for part in (text, printed))
    assert re.sub(NUMBER, "#", found).startswith(re.sub(NUMBER, "#", told))
    numbers = [[float(number) for number in re.findall(NUMBER, part)] for part in (told, found)]
    np.testing.assert_allclose(numbers[1][: len(numbers[0])], numbers[0], rtol=1e-4)
