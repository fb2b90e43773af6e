"""Sheets of pictures: a photo, a map over it, the true region, a patch ringed, in rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Bool, Float
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke
from PIL import Image

from clipsx.plots import styles
from clipsx.plots.over import COLOURS, overlay, points, ring, scale
from clipsx.plots.texts import LETTER, broken, plain

NARROW, TALL, WIDE = 0.54, 12, 13  # inches that a picture in print has at least; rows of a page; inches of a screen


@dataclass(frozen=True, eq=False)
class Cell:
    """One picture of a sheet: a photo, a map (0…1, at its size) over it, the true region, a patch ringed, points."""

    image: Image.Image
    map: Float[np.ndarray, "H W"] | None = None
    outline: Bool[np.ndarray, "H W"] | None = None
    title: str = ""
    ring: tuple[tuple[int, int], tuple[int, int]] | None = None  # patch (row, column), grid (h, w)
    opacity: float = 0.65  # of the map
    points: tuple[np.ndarray, np.ndarray] | None = None  # (P, 2) as (x, y) pixels, (P,) on the object or beside it
    colours: Mapping[str, Any] = field(default_factory=dict)  # what the colours in the picture are called
    words: Sequence[tuple[float, float, str]] = ()  # (x, y) pixels and what stands there, where there is room


def sheet(rows: Sequence[Sequence[Cell]], side: float = 1.7) -> Figure:
    """Rows of pictures, `side` inches each on a screen; below them one scale for all maps, and the colours' names.

    A shorter row leaves its last places empty. In print pictures share the style's width; a row of too many goes on
    below. Errors: ValueError where there is no picture, as for data without a single mask.
    """
    if not any(rows):
        raise ValueError("There is no picture to draw: no sample has a mask.")
    style = styles.current()
    most = style.fits(max(map(len, rows)), NARROW)
    rows = [row[n : n + most] for row in rows for n in range(0, len(row), most)]
    least, room = (side, WIDE) if style.width is None else (NARROW, style.width)
    if len(rows) > TALL and 2 * max(map(len, rows)) * least <= room:
        half = -(-len(rows) // 2)  # the second half goes beside the first
        rows = [[*row, *below] for row, below in zip_longest(rows[:half], rows[half:], fillvalue=())]
    wide, shape = max(map(len, rows)), max(cell.image.height / cell.image.width for row in rows for cell in row)
    side = side if style.width is None else style.width / wide
    size = style.points(min(4 * side, 10))
    titles = [[broken(cell.title, 72 * side / (LETTER * size)) for cell in row] for row in rows]
    lines = [max(title.count("\n") + 1 for title in row) for row in titles]  # that the titles of a row take
    heights = [side * min(1, shape) + (1.25 * size * count + 4) / 72 for count in lines]
    shown = any(cell.map is not None for row in rows for cell in row)
    names = {name: colour for row in rows for cell in row for name, colour in cell.colours.items()}
    columns = max(1, int(side * wide * 72 / (LETTER * size * (max(map(len, names), default=0) + 8))))
    below = 0.45 * shown + (0.12 + 1.8 * size / 72 * -(-len(names) // columns)) * bool(
        names
    )  # the scale, the colours' names
    figure = styles.blank(figsize=(side * wide, sum(heights) + below), layout="constrained")
    axes = figure.subplots(len(rows), wide, squeeze=False, height_ratios=heights)
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0, hspace=0)  # type: ignore[union-attr]
    for ax in axes.flat:
        ax.axis("off")
    for cells, words, line in zip(rows, titles, axes, strict=True):
        for cell, title, ax in zip(cells, words, line, strict=False):
            pixels = (cell.image.height, cell.image.width)
            overlay(_painted(cell), np.zeros(pixels), ax, 0.0, cell.outline)
            ax.set_title(title, fontsize=size, pad=2)
            if cell.ring is not None:
                ring(*cell.ring, pixels, ax)
            if cell.points is not None:
                points(*cell.points, ax)
            for x, y, word in cell.words if side >= 1 else ():
                edge = [withStroke(linewidth=2, foreground="black")]
                ax.text(x, y, word, color="white", fontsize=size, ha="center", va="center", path_effects=edge)
    if shown:
        scale(axes)
    if names:
        patches = [Patch(color=colour, label=name) for name, colour in sorted(names.items())]
        figure.legend(handles=patches, loc="outside lower center", ncols=columns, fontsize=size, frameon=False)
    plain(figure)
    return figure


def _painted(cell: Cell) -> Image.Image:
    """The map's colours over the greyed photo, as `overlay` has them: files then hold one picture, not two."""
    if cell.map is None:
        return cell.image
    grey = np.asarray(cell.image.convert("L"))[..., None] / 255  # (H, W, 1)
    blend = (1 - cell.opacity) * grey + cell.opacity * plt.get_cmap(COLOURS)(cell.map)[..., :3]  # (H, W, 3)
    return Image.fromarray((255 * blend).round().astype(np.uint8))


def closed(figure: Figure) -> Figure:
    """The figure, no longer among those that pyplot keeps open and a notebook shows by itself."""
    plt.close(figure)
    return figure
