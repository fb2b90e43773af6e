"""Axes-level pictures of maps and tables: each takes data and `ax`, draws, returns `ax`."""

import warnings
from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from jaxtyping import Bool, Float, Num, Shaped
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from PIL import Image
from scipy.cluster.hierarchy import leaves_list, linkage

from clipsx.plots import styles
from clipsx.plots.texts import in_words, plain, short
from clipsx.statistics import bootstrap, interval

COLOURS = "viridis"  # of maps: even steps of lightness, so it prints in grey and reads without colour vision
PALETTE = "colorblind"  # of lines and bars
MARKERS = "osD^v"
DASHES = ("-", "--", "-.", ":")
STYLE = {"text": "#222222", "chance": "#777777"}


def shade(n: int) -> tuple[float, float, float]:
    """The n-th colour of lines and bars; after ten they begin again."""
    return sns.color_palette(PALETTE)[n % 10]


def _axes(ax: Axes | None) -> Axes:
    return plt.gca() if ax is None else ax


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
    ax = _axes(ax)
    ax.imshow(image.convert("L").convert("RGB") if opacity else image)
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
    ax = _axes(ax)
    x, y = ((patch[i] + 0.5) * size[i] / grid[i] - 0.5 for i in (1, 0))
    thin = styles.current().thin
    for colour, width in (("black", 3.6), ("white", 2.0)):
        ax.plot(
            x,
            y,
            "o",
            markersize=11 * thin,
            markerfacecolor="none",
            markeredgecolor=colour,
            markeredgewidth=width * thin,
        )
    return ax


def points(xy: Num[np.ndarray, "P 2"], on: Shaped[np.ndarray, " P"], ax: Axes | None = None) -> Axes:
    """Points (x, y) over a picture: a plus where `on` says that it lies on the object, a cross where beside it."""
    ax = _axes(ax)
    for sign, marker, colour in ((True, "P", "#029e73"), (False, "X", "#d55e00")):
        chosen = xy[on.astype(bool) == sign]
        ax.scatter(
            *chosen.T,
            marker=marker,
            s=46 * styles.current().thin ** 2,
            c=colour,
            edgecolors="white",
            linewidths=0.8,
            zorder=3,
        )
    return ax


def intervals(
    table: pd.DataFrame,
    value: str,
    by: str,
    ax: Axes | None = None,
    hue: str | None = None,
    zero: bool = False,
    chance: bool = False,
) -> Axes:
    """Points with intervals, a line of `by` per row: `value` between `value_low` and `value_high`, coloured by `hue`.

    zero: draw the line between preferring the object and preferring the background; chance: draw grey bars alone, on
    which the points of another table are to lie.
    """
    ax = _axes(ax)
    names, shades = list(dict.fromkeys(table[by])), list(dict.fromkeys(table[hue])) if hue else [None]
    for n, (shade, colour) in enumerate(zip(shades, sns.color_palette(PALETTE, len(shades)), strict=True)):
        rows = table if shade is None else table[table[hue] == shade]
        y = np.array([names.index(name) for name in rows[by]]) + 0.16 * (n - (len(shades) - 1) / 2)
        x, low, high = (rows[column].to_numpy(float) for column in (value, f"{value}_low", f"{value}_high"))
        style = {
            "fmt": MARKERS[n % 5],
            "color": colour,
            "capsize": 3,
            "label": None if shade is None else short(in_words(hue, shade)),
        }
        if chance:
            named = None if n else "95 % of random starts"
            style = {"fmt": "none", "ecolor": STYLE["chance"], "elinewidth": 7, "alpha": 0.3, "label": named}
        ax.errorbar(x, y, xerr=np.clip([x - low, high - x], 0, None), **style)
    ax.set_yticks(range(len(names)), [short(in_words(by, name)) for name in names])
    ax.set_ylim(len(names) - 0.5, -0.5)
    if zero:
        ax.axvline(0, color=STYLE["chance"], linewidth=1, linestyle="--")
    if hue:
        ax.legend(fontsize=8)
    plain(ax)
    return ax


def lines(table: pd.DataFrame, x: str, y: str, hue: str, ax: Axes | None = None, band: bool = True) -> Axes:
    """Lines of a table's means, told apart by colour, mark and dash; bands are 95 % image-bootstrap intervals.

    Where the table has their ends (columns `y_low`, `y_high`) they are drawn as they stand; without those and without a
    column `image`, or with band=False, there are no bands. An empty table leaves the axes empty.
    """
    ax = _axes(ax)
    for n, (name, rows) in enumerate(table.groupby(hue, sort=False)):
        colour, found = shade(n), []
        for at, some in rows.groupby(x):
            ends = (np.nan, np.nan)
            if band and f"{y}_low" in some:
                ends = (some[f"{y}_low"].mean(), some[f"{y}_high"].mean())
            elif band and "image" in some:
                ends = interval(bootstrap(some[y].to_numpy(float), some["image"].to_numpy(), resamples=200)[1])
            found.append((at, some[y].mean(), *ends))
        at, mean, low, high = np.array(found, float).T
        few = {"marker": MARKERS[n % 5], "markersize": 3} if len(at) <= 20 else {}
        ax.plot(at, mean, DASHES[n % 4], color=colour, label=short(in_words(hue, name)), linewidth=1.3, **few)
        ax.fill_between(at, low, high, color=colour, alpha=0.2, linewidth=0)
    if len(table):
        ax.set(xlabel=x, ylabel=y)
        ax.legend(fontsize=8)
    plain(ax)
    return ax


def distribution(
    edges: Float[np.ndarray, " K"],
    inside: Float[np.ndarray, " K"],
    outside: Float[np.ndarray, " K"],
    ax: Axes | None = None,
) -> Axes:
    """Densities of scores on objects and on background, from the shares at or above every threshold in `edges`."""
    ax, ends = _axes(ax), np.append(edges, edges[-1] + edges[1] - edges[0])
    for share, name, colour, hatch in ((inside, "object", "#0173b2", None), (outside, "background", "#de8f05", "///")):
        density = -np.diff(np.append(share, 0.0)) / np.diff(ends)
        ax.stairs(density, ends, fill=True, alpha=0.4, color=colour, label=name, hatch=hatch)
    ax.set(xlabel="score", ylabel="density", xlim=(0, 1))
    ax.legend(fontsize=8)
    return ax


def _colours(table: pd.DataFrame, ax: Axes | None, centre: float | None, **options: Any) -> Axes:
    """seaborn's table of colours: even steps of lightness, or two colours that part at `centre`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PendingDeprecationWarning)  # seaborn's own use of matplotlib
        options |= {"xticklabels": False, "yticklabels": False}  # seaborn would draw them before they are plain
        ax = sns.heatmap(table, cmap=COLOURS if centre is None else "PuOr_r", center=centre, ax=_axes(ax), **options)
    ax.set_xticks(np.arange(table.shape[1]) + 0.5, [short(name) for name in table.columns], rotation=90)
    ax.set_yticks(np.arange(table.shape[0]) + 0.5, [short(in_words(table.index.name, name)) for name in table.index])
    plain(ax, *(drawn.colorbar.ax for drawn in ax.collections if drawn.colorbar))
    return ax


def heatmap(
    matrix: pd.DataFrame,
    ax: Axes | None = None,
    centre: float | None = None,
    half: pd.DataFrame | None = None,
    form: str = ".0f",
) -> Axes:
    """A table of numbers as colours with the numbers written in, where cells have room for them.

    centre: the value of the neutral colour; half: below each number, half the width of its interval.
    """
    words: Any = matrix.map(lambda value: format(value, form))
    if half is not None:
        words += half.reindex(columns=matrix.columns).map(lambda value: f"\n±{value:{form}}" if value == value else "")
    below = styles.current().width is not None  # in print the scale stands below: sideways there is no room
    bar = {"cbar_kws": {"location": "bottom", "aspect": 40}} if below else {}
    ax = _colours(matrix, ax, centre, annot=words, fmt="", annot_kws={"size": 7}, **bar)
    if below:
        ax.set_yticklabels([label.get_text().replace(" + ", "\n+ ") for label in ax.get_yticklabels()])
    ax.set(xlabel="", ylabel="")
    ax.tick_params(axis="x", labelrotation=0)
    styles.current().dress(ax)
    ax.figure.canvas.figure.draw_without_rendering()  # lays the axes out: only now is the room of a cell known
    room = 0.9 * ax.bbox.width / matrix.shape[1]  # axes drawn later may take a little more of it
    if max(label.get_window_extent().width for label in ax.get_xticklabels()) > room:
        turned = {"rotation": 90} if below else {"rotation": 40, "ha": "right", "rotation_mode": "anchor"}
        plt.setp(ax.get_xticklabels(), **turned)
    if max((number.get_window_extent().width for number in ax.texts), default=0) > room:
        for number in list(ax.texts):
            number.remove()
    return ax


def leaf_order(matrix: Float[np.ndarray, "N N"]) -> list[int]:
    """An order that puts like rows side by side: leaves of average linkage on 1 − similarity, optimally ordered.

    Asymmetric matrices are symmetrised for the order, and what is not finite counts as the least value.
    """
    known = np.nan_to_num((matrix + matrix.T) / 2, nan=np.nanmin(matrix) if np.isfinite(matrix).any() else 0.0)
    apart = known.max() - known  # (N, N), the distance of the most alike is 0
    if len(apart) < 3:
        return list(range(len(apart)))
    condensed = apart[np.triu_indices(len(apart), 1)]  # (N (N − 1) / 2,)
    return leaves_list(linkage(condensed, "average", optimal_ordering=True)).tolist()


def matrix(
    table: pd.DataFrame,
    ax: Axes | None = None,
    centre: float | None = None,
    name: str = "cosine",
    among: Sequence[pd.DataFrame] = (),
    beside: Sequence[Axes] | None = (),
) -> Axes:
    """A class × class table as colours with its scale; the diagonal is left blank, so that it does not set the scale.

    centre: the value of the neutral colour, for differences; name: what the scale measures; among: tables that share
    the scale; beside: the axes that the scale's bar stands beside (none: these), None for no bar.
    """
    same = np.equal.outer(table.index.to_numpy(), table.columns.to_numpy())
    values = np.concatenate([other.to_numpy(float)[~same] for other in among]) if among else np.array([np.nan])
    known = values[np.isfinite(values)]
    ends = {"vmin": known.min(), "vmax": known.max()} if known.size else {}
    ax = _colours(table, ax, centre, mask=same, square=True, cbar=False, **ends)
    if beside is not None:
        bar = ax.figure.colorbar(ax.collections[0], ax=[*(beside or [ax])], shrink=0.7, label=name)
        plain(bar.ax)
    ax.set_facecolor("#dddddd")
    ax.set(xlabel="", ylabel="")
    ax.tick_params(labelsize=float(np.clip(220 / len(table), 3, 8)), length=0)
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


def histogram(table: pd.DataFrame, value: str, ax: Axes | None = None, hue: str | None = None) -> Axes:
    """How a column is distributed, each group of `hue` scaled to the same area."""
    shades = PALETTE if hue else None
    options = {"bins": 30, "stat": "density", "common_norm": False, "element": "step"}
    ax = sns.histplot(table, x=value, hue=hue, palette=shades, ax=_axes(ax), **options)
    plain(ax)
    return ax
