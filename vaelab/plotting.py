"""Matplotlib figures, and tables as CSV or Markdown."""

from __future__ import annotations

import csv
import functools
import io
import sys
from typing import Any

import numpy as np
from matplotlib import font_manager, rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font
from PIL import Image

from vaelab.cli import markdown
from vaelab.images import image_grid
from vaelab.language import N_, _, fill

PROBE = N_("nats per image (valid: at z = mu)")  # a text whose characters a font must have
DEFAULT_FONT = "DejaVu Sans"  # matplotlib's own
COLOURS = 256  # in the palette of a figure's PNG file, which is a third of the size of one in full colour


def to_csv(rows: list[dict[str, Any]]) -> str:
    """The rows as CSV text, with a column for each key of any row."""
    buffer = io.StringIO()
    columns = list(dict.fromkeys(key for row in rows for key in row))
    writer = csv.DictWriter(buffer, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def to_table(rows: list[dict[str, Any]]) -> str:
    """The rows, which have the same keys, as a Markdown table with numbers to four significant digits."""

    def cell(value: Any) -> str:
        return f"{value:.4g}" if isinstance(value, float) else str(value)

    return markdown(list(rows[0]), [[cell(value) for value in row.values()] for row in rows])


# --- Figures ------------------------------------------------------------------------------------


def figure_text(text: str, /, **values: Any) -> str:
    """A message for a figure: in the user's language if a font has its characters, else in English."""
    translated = _(text, **values)
    unknown = frozenset(translated) - characters(font_manager.findfont(DEFAULT_FONT))
    if not unknown - {"\n"}:
        return translated
    font = find_font(unknown - {"\n"})
    if font is None:
        return fill(text, values)
    rcParams["font.family"] = [DEFAULT_FONT, font]  # the second has what the first lacks
    return translated


@functools.cache
def characters(path: str) -> frozenset[str]:
    """The characters of a font file; none if it can't be read."""
    try:
        return frozenset(map(chr, FT2Font(path).get_charmap()))
    except (OSError, RuntimeError):
        return frozenset()


@functools.cache
def find_font(needed: frozenset[str]) -> str | None:
    """The name of a font that has the characters. None, after a line on stderr, if there is none."""
    paths = {font.fname for font in font_manager.fontManager.ttflist}
    others = set(font_manager.findSystemFonts()) - paths
    for path in sorted(paths) + sorted(others, key=lambda path: ("bold" in path.lower(), path)):
        # "Last Resort" has a box for every character.
        if needed <= characters(path) and "LastResort" not in path:
            font_manager.fontManager.addfont(path)
            return font_manager.get_font(path).family_name
    warn_once()
    return None


@functools.cache
def warn_once() -> None:
    """Say once that the figures are in English."""
    note = _("note: the figures are in English, since no font has the characters of this language")
    print(note, file=sys.stderr)


def new_figure(width: float, height: float) -> Figure:
    """An empty figure. width, height: in inches, at 100 pixels per inch."""
    figure_text(PROBE)  # matplotlib takes the font when an axis is made, before its label is written
    return Figure(figsize=(width, height), dpi=100, layout="constrained")


def show_images(
    axes: Axes, images: np.ndarray, columns: int, title: str = "", extent: tuple | None = None, gap: int = 1
) -> None:
    """Draw a grid of images. images: uint8 [N, H, W] or [N, C, H, W].

    extent: the data coordinates (left, right, bottom, top) of the grid; without it, no axes are drawn.
    """
    grid = image_grid(images, columns, gap=gap, scale=1)
    axes.imshow(
        grid,
        cmap="gray",
        vmin=0,
        vmax=255,
        interpolation="lanczos",
        extent=extent,
        aspect="equal" if extent is None else "auto",
    )
    axes.set_title(title, fontsize=10)
    if extent is None:
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_visible(False)


def show_codes(axes: Axes, z: np.ndarray, labels: np.ndarray, title: str = "") -> None:
    """Draw a scatter plot of codes, coloured by label, with each label written at the median of its class.

    z: [N, 2]; labels: [N].
    """
    axes.scatter(z[:, 0], z[:, 1], c=labels, cmap="tab10", vmin=-0.5, vmax=9.5, s=3, linewidths=0, alpha=0.7)
    for label in np.unique(labels):
        x, y = np.median(z[labels == label], axis=0)
        box = {"boxstyle": "circle,pad=0.15", "facecolor": "white", "edgecolor": f"C{label}", "alpha": 0.85}
        axes.text(x, y, str(label), ha="center", va="center", fontsize=9, fontweight="bold", bbox=box)
    axes.set_title(title, fontsize=10)


def figure_png(figure: Figure) -> bytes:
    """The bytes of a PNG file of the figure, reduced to a palette of 256 colours."""
    buffer, small = io.BytesIO(), io.BytesIO()
    figure.savefig(buffer, format="png")
    image = Image.open(buffer).convert("RGB")
    # MAXCOVERAGE: a palette chosen by frequency would be all greys, without the colours of a plot's points.
    image = image.quantize(COLOURS, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    image.save(small, format="png", optimize=True)
    return small.getvalue()
