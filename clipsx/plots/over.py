"""What is drawn over a picture: a map with its region, a ring, points, and the scale of colours of all maps."""

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Bool, Float, Num, Shaped
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from PIL import Image

from clipsx.plots import styles
from clipsx.plots.texts import plain

COLOURS = "viridis"  # of maps: even steps of lightness, so it prints in grey and reads without colour vision


def overlay(
    image: Image.Image,
    map: Float[np.ndarray, "H W"],
    ax: Axes | None = None,
    opacity: float = 0.6,
    outline: Bool[np.ndarray, "H W"] | None = None,
    title: str | None = None,
) -> Axes:
    """A map, 0…1 at the picture's size, over the picture in grey; the true region is outlined in white.

    With opacity 0 the picture alone is drawn, in its colours.

    Errors: ValueError where the map's or the outline's size is not the picture's, or opacity leaves 0…1.
    """
    for name, array in (("map", map), ("outline", outline)):
        if array is not None and array.shape != image.size[::-1]:
            raise ValueError(f"The {name} is {array.shape}, the picture {image.size[::-1]} (H, W): upsample it first.")
    if not 0 <= opacity <= 1:
        raise ValueError(f"opacity must lie in 0…1, not {opacity}.")
    ax = ax or plt.gca()
    ax.imshow(image.convert("L").convert("RGB") if opacity else image)
    if opacity:
        ax.imshow(map, cmap=COLOURS, vmin=0, vmax=1, alpha=opacity, interpolation="nearest")
    if outline is not None and outline.any():
        # Padded, so that a region at the border is closed too; black under white reads on any colour.
        region = np.pad(outline, 1).astype(float)
        ys, xs = np.arange(-1, outline.shape[0] + 1), np.arange(-1, outline.shape[1] + 1)
        thin = styles.current().thin
        for colour, width in (("black", 2.4 * thin), ("white", 1.2 * thin)):
            ax.contour(xs, ys, region, levels=[0.5], colors=colour, linewidths=width)
        ax.set(xlim=(-0.5, outline.shape[1] - 0.5), ylim=(outline.shape[0] - 0.5, -0.5))
    ax.set(xticks=[], yticks=[])
    if title is not None:
        ax.set_title(title, fontsize=10)
    plain(ax)
    return ax


def ring(patch: tuple[int, int], grid: tuple[int, int], size: tuple[int, int], ax: Axes | None = None) -> Axes:
    """A white ring around a patch (row, column) of a grid (h, w) over a picture of (H, W) pixels."""
    ax = ax or plt.gca()
    x, y = ((patch[i] + 0.5) * size[i] / grid[i] - 0.5 for i in (1, 0))
    thin = styles.current().thin
    for colour, width in (("black", 3.6 * thin), ("white", 2.0 * thin)):
        style: Any = {"markerfacecolor": "none", "markeredgecolor": colour, "markeredgewidth": width}
        ax.plot(x, y, "o", markersize=11 * thin, **style)
    return ax


def points(xy: Num[np.ndarray, "P 2"], on: Shaped[np.ndarray, " P"], ax: Axes | None = None) -> Axes:
    """Points (x, y) over a picture: a plus where `on` says that it lies on the object, a cross where beside it."""
    ax = ax or plt.gca()
    style: Any = {"s": 46 * styles.current().thin ** 2, "edgecolors": "white", "linewidths": 0.8, "zorder": 3}
    for sign, marker, colour in ((True, "P", "#029e73"), (False, "X", "#d55e00")):
        ax.scatter(*xy[on.astype(bool) == sign].T, marker=marker, c=colour, **style)
    return ax


def scale(axes: Axes | Sequence[Axes] | np.ndarray) -> None:
    """The one scale of colours of all maps of a row or a sheet, below its axes."""
    axes = np.ravel(np.asarray(axes, dtype=object))
    figure, style = axes[0].figure, styles.current()
    share = min(1.0, 2.2 * figure.dpi / figure.bbox.width)  # 2.2 inches
    colours = ScalarMappable(Normalize(0, 1), COLOURS)
    bar = figure.colorbar(colours, ax=[*axes], location="bottom", shrink=share, aspect=25, pad=0.01, ticks=[0, 1])
    bar.set_ticklabels(["lowest of the map", "highest"])
    bar.ax.tick_params(labelsize=style.points(7), length=2)
