"""Figures as SVG text that can stand inside an HTML page beside others."""

from __future__ import annotations

import io
import re

import matplotlib
from matplotlib.figure import Figure

_DROPPED = re.compile(r"<!--.*?-->|<metadata>.*?</metadata>|<style[^>]*>.*?</style>", re.DOTALL)
_IDS = re.compile(r'(\bid="|href="#|url\(#)')


def svg(figure: Figure, prefix: str) -> str:
    """Return a figure as an ``<svg>`` element with paths for text, so that no font is needed.

    Parameters
    ----------
    figure : Figure
    prefix : str
        Put before every id: ids must differ between the figures of a page.

    Returns
    -------
    str
        Without size (the page sets it), comments or metadata; equal figures give equal text.
    """
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": prefix}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    text = _DROPPED.sub("", text[text.index("<svg") :])
    text = _IDS.sub(rf"\g<1>{prefix}-", text)
    text = re.sub(r'^<svg([^>]*?) (?:width|height)="[^"]*"', r"<svg\1", text)
    text = re.sub(r'^<svg([^>]*?) (?:width|height)="[^"]*"', r"<svg\1", text)
    return re.sub(r"\n\s*", "\n", text).strip()
