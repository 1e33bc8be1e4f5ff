"""Colours, line styles and markers that stay apart for colour-blind readers and in black and white."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D

from gatewise.core.mixture import Mixture

# Okabe and Ito (2008), without the yellow, which is too pale on white
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ((0, ()), (0, (5, 2)), (0, (1.5, 1.5)), (0, (7, 2, 1.5, 2)), (0, (3, 1, 1, 1, 1, 1)))
MARKERS = ("o", "^", "s", "D", "v", "P", "X", "*")  # one more than colours, so that expert 7 differs from expert 0
INK, GREY, RULE = "#1a1a1a", "#595959", "#d0d0d0"
SHARP = 2  # pixels of a picture in a notebook per pixel of the page


class Picture(Figure):
    """A figure that a notebook shows where it is the value of a cell: once, without pyplot."""

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        file = BytesIO()
        self.savefig(file, format="png", dpi=SHARP * self.dpi)
        width, height = (round(inches * self.dpi) for inches in self.get_size_inches())
        return file.getvalue(), {"width": width, "height": height}


class PictureAxes(Axes):
    """Axes on a `Picture` of their own, which a notebook shows in their place."""

    def _repr_png_(self) -> tuple[bytes, dict[str, int]] | None:
        return self.figure._repr_png_() if isinstance(self.figure, Picture) else None


def colour(leaf: int) -> str:
    """Return the colour of a leaf; colours, dashes and markers repeat with different periods."""
    return COLOURS[leaf % len(COLOURS)]


def dash(leaf: int) -> tuple[int, tuple[float, ...]]:
    """Return the line style of a leaf."""
    return DASHES[leaf % len(DASHES)]


def hatch(leaf: int) -> str:
    """Return the hatching of an area of a leaf: none, but where its colour is that of an earlier one."""
    return "////" * (leaf // len(COLOURS) % 2)


def marker(leaf: int) -> str:
    """Return the marker of a leaf."""
    return MARKERS[leaf % len(MARKERS)]


def blend(shares: np.ndarray, looks: Sequence[int]) -> np.ndarray:
    """Return the colour (n, 3) of rows whose leaves have the shares (L, n): the shares' mean of the leaves' colours."""
    palette = np.array([to_rgb(colour(leaf)) for leaf in looks])
    return np.clip(shares.T @ palette, 0.0, 1.0)


def leaf_names(mixture: Mixture) -> list[str]:
    """Return a name per leaf: that of its law, or its position in the tree, counted from zero as in ``measure``."""
    places = zip(np.ndindex(*mixture.branching), mixture.titles, strict=True)
    return [title or f"expert {'/'.join(map(str, index))}" for index, title in places]


def plain(label: str, longest: int = 44) -> str:
    """Return a label from foreign text, such as a column name: no formulas, cut where it would not fit."""
    short = label if len(label) <= longest else label[: longest - 1] + "\N{HORIZONTAL ELLIPSIS}"
    return short.replace("$", r"\$")


def shortened(label: str, longest: int = 44) -> str:
    """Return a label without its middle where it would not fit: columns often differ at their ends.

    Examples
    --------
    >>> shortened("C(region)[T.north]", 12)
    'C(reg…north]'
    """
    keep = longest - 1
    short = (
        label
        if len(label) <= longest
        else label[: keep // 2] + "\N{HORIZONTAL ELLIPSIS}" + label[-(keep - keep // 2) :]
    )
    return plain(short, longest)


def own_axes(width: float, height: float) -> Axes:
    """Return Axes on a figure of their own, of a size in inches."""
    return Picture(figsize=(width, height), layout="constrained").add_subplot(axes_class=PictureAxes)


def figure_of(ax: Axes) -> Figure:
    """Return the figure that Axes stand on, of a subfigure the one around it."""
    return ax.figure.figure if isinstance(ax.figure, SubFigure) else ax.figure


def canvas(ax: Axes | None) -> Axes:
    """Return the Axes, or new ones on a figure of their own, with light rules behind the data."""
    if ax is None:
        ax = own_axes(4.6, 3.2)
    ax.set_axisbelow(True)
    ax.grid(color=RULE, linewidth=0.5)
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(GREY)
    ax.tick_params(colors=INK, labelsize=9)
    for label in (ax.xaxis.label, ax.yaxis.label, ax.title):
        label.set(color=INK, fontsize=9.5)
    return ax


def palette_of(count: int, palette: Sequence[int] | None) -> list[int]:
    """Return which colour, dash and marker each leaf takes: its own number unless a palette says otherwise.

    Raises
    ------
    ValueError
        If the palette has another length.
    """
    if palette is not None and len(palette) != count:
        raise ValueError(f"palette has {len(palette)} entries for {count} experts: give one per expert")
    return list(range(count) if palette is None else palette)


def leaf_handles(mixture: Mixture, palette: Sequence[int] | None = None) -> list[Line2D]:
    """Return a legend entry per leaf: line style, colour and marker together."""
    names = leaf_names(mixture)
    return [
        Line2D([], [], color=colour(look), linestyle=dash(look), marker=marker(look), markersize=5, label=name)
        for look, name in zip(palette_of(len(names), palette), names, strict=True)
    ]


def per_row(count: int) -> int:
    """Return how many legend entries stand side by side: rows of equal length, at most three wide."""
    return next((k for k in (3, 2) if count % k == 0), min(3, count))


def legend_above(ax: Axes, handles: Sequence[Artist], title: str = "") -> None:
    """Put a legend above the axes, where it hides nothing."""
    ax.legend(
        handles=list(handles), title=title or None, loc="lower center", bbox_to_anchor=(0.5, 1.0),
        ncols=per_row(len(handles)), fontsize=8, title_fontsize=8.5, frameon=False, borderaxespad=0.2,
    )  # fmt: skip


def scatter(ax: Axes, x: np.ndarray, y: np.ndarray, shares: np.ndarray, palette: Sequence[int] | None) -> None:
    """Draw rows in the colour of their shares (L, n), with the marker of the leaf that has the largest."""
    looks = palette_of(len(shares), palette)
    leader, tint = shares.argmax(0), blend(shares, looks)
    small = 16.0 if len(x) <= 400 else max(2.0, 6400.0 / len(x))
    for leaf, look in enumerate(looks):
        mine = leader == leaf
        if mine.any():
            ax.scatter(
                x[mine], y[mine], s=small, c=tint[mine], marker=marker(look), linewidths=0.3, edgecolors="white",
                zorder=2, rasterized=len(x) > 5000, label=f"_data of leaf {leaf}",
            )  # fmt: skip


def room(ax: Axes, y: np.ndarray, share: float = 0.08) -> None:
    """Let the y axis hold the data and a margin: curves that leave it are cut, not followed."""
    low, high = float(np.min(y)), float(np.max(y))
    margin = share * (high - low) or 1.0
    ax.set_ylim(low - margin, high + margin)
