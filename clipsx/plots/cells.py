"""Sheets of pictures: a photo, a map over it, the true region, a patch ringed, in rows."""

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Bool, Float
from matplotlib.figure import Figure
from PIL import Image

from clipsx.plots.axes import overlay, points, ring
from clipsx.plots.texts import plain


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


def sheet(rows: Sequence[Sequence[Cell]], side: float = 1.7) -> Figure:
    """Rows of pictures, `side` inches each; a shorter row leaves its last places empty.

    Errors: ValueError where there is no picture, as for data without a single mask.
    """
    if not any(rows):
        raise ValueError("There is no picture to draw: no sample has a mask.")
    wide, shape = max(map(len, rows)), max(cell.image.height / cell.image.width for row in rows for cell in row)
    size = (side * wide, (side * min(1, shape) + 0.25) * len(rows))
    figure, axes = plt.subplots(len(rows), wide, squeeze=False, layout="constrained", figsize=size)
    for ax in axes.flat:
        ax.axis("off")
    for cells, line in zip(rows, axes, strict=True):
        for cell, ax in zip(cells, line, strict=False):
            pixels = (cell.image.height, cell.image.width)
            shown, opacity = (np.zeros(pixels), 0.0) if cell.map is None else (cell.map, cell.opacity)
            overlay(cell.image, shown, ax, opacity, cell.outline)
            ax.set_title(cell.title, fontsize=4 * side)
            if cell.ring is not None:
                ring(*cell.ring, pixels, ax)
            if cell.points is not None:
                points(*cell.points, ax)
    plain(figure)
    return figure
