"""Axes-level pictures of tables: each takes data and `ax`, draws, returns `ax`."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from jaxtyping import Float, Num
from matplotlib.axes import Axes

from clipsx.plots import styles
from clipsx.plots.over import COLOURS
from clipsx.plots.texts import in_words, narrow, plain, short
from clipsx.statistics import draws, estimate

PALETTE = "colorblind"  # of lines and bars
MARKERS = "osD^v"
DASHES = ("-", "--", "-.", ":")
STYLE = {"text": "#222222", "chance": "#777777"}


def palette(count: int = 10, name: str = PALETTE) -> list[tuple[float, float, float]]:
    """Colours by their name in seaborn."""
    import seaborn as sns  # takes seconds, and maps need no such colours

    return list(sns.color_palette(name, count))


def shade(n: int) -> tuple[float, float, float]:
    """The n-th colour of lines and bars; after ten they begin again."""
    return palette()[n % 10]


def level(line: Callable[..., Any], value: float = 0.0, **style: Any) -> None:
    """A line that results are held against, by an axes' `axvline` or `axhline`."""
    line(value, **{"color": STYLE["chance"], "linewidth": 1, "linestyle": "--"} | style)


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
    ax = ax or plt.gca()
    names, shades = list(dict.fromkeys(table[by])), list(dict.fromkeys(table[hue])) if hue else [None]
    for n, (shade, colour) in enumerate(zip(shades, palette(len(shades)), strict=True)):
        rows = table if shade is None else table[table[hue] == shade]
        y = np.array([names.index(name) for name in rows[by]]) + min(0.2, 0.8 / len(shades)) * (
            n - (len(shades) - 1) / 2
        )
        x, low, high = (rows[column].to_numpy(float) for column in (value, f"{value}_low", f"{value}_high"))
        label = None if shade is None else narrow(short(in_words(hue, shade)))
        thin = styles.current().thin
        mark = (6 if len(shades) < 3 else 4.5) * thin
        style: Any = {"fmt": MARKERS[n % 5], "color": colour, "capsize": mark / 2, "markersize": mark}
        style["label"] = label
        if chance:
            named = None if n else "95 % of random starts"
            style = {"fmt": "none", "ecolor": STYLE["chance"], "elinewidth": 7 * thin, "alpha": 0.3, "label": named}
        ax.errorbar(x, y, xerr=np.clip([x - low, high - x], 0, None), **style)
    ax.set_yticks(range(len(names)), [narrow(short(in_words(by, name))) for name in names])
    ax.set_ylim(len(names) - 0.5, -0.5)
    if zero:
        level(ax.axvline)
    if hue:
        ax.legend(fontsize=8)
    plain(ax)
    return ax


def lines(table: pd.DataFrame, x: str, y: str, hue: str, ax: Axes | None = None) -> Axes:
    """Lines of a table's means, told apart by colour, mark and dash, with their intervals as bands.

    Ends of bands stand in the table (columns `y_low`, `y_high`), or are those of the 95 % image bootstrap over its
    column `image`; without either there are none. An empty table leaves the axes empty.
    """
    ax, ends = ax or plt.gca(), [f"{y}_low", f"{y}_high"]
    for n, (name, rows) in enumerate(table.groupby(hue, sort=False)):
        colour, found = shade(n), []
        for at, some in rows.groupby(x):
            means: Any = some[[name for name in (y, *ends) if name in some]].mean()
            if ends[0] not in some and "image" in some:
                means = estimate(y, some[y].to_numpy(float), some["image"].to_numpy(), resamples=200)
            found.append((at, *(means.get(name, np.nan) for name in (y, *ends))))
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
    inside: Float[np.ndarray, "R K"],
    outside: Float[np.ndarray, "R K"],
    ax: Axes | None = None,
) -> Axes:
    """Densities of scores on objects and on background, from the shares at or above every threshold in `edges`.

    The first row of shares is drawn; of those below it, draws of images, 95 % as a band.
    """
    ax, ends = ax or plt.gca(), np.append(edges, edges[-1] + edges[1] - edges[0])
    for n, (name, share) in enumerate({"object": inside, "background": outside}.items()):
        _steps(ax, ends, -np.diff(share, axis=1, append=0.0), n, name)
    ax.set(xlabel="score", ylabel="density", xlim=(0, 1))
    ax.legend(fontsize=8)
    return ax


def _steps(ax: Axes, ends: Float[np.ndarray, " E"], counts: Num[np.ndarray, "R K"], n: int, name: str) -> None:
    """The first row of counts between `ends` as a density in steps, with 95 % of the other rows as a band."""
    with np.errstate(invalid="ignore"):  # a draw of images without any value: 0 / 0
        density, *drawn = counts / counts.sum(axis=1, keepdims=True) / np.diff(ends)
    ax.stairs(density, ends, color=shade(n), label=name, linewidth=1.3, linestyle=DASHES[n % 4])
    if len(drawn):
        low, high = (np.append(end, end[-1]) for end in np.nanquantile(drawn, [0.025, 0.975], axis=0))
        ax.fill_between(ends, low, high, step="post", color=shade(n), alpha=0.25, linewidth=0)


def _colours(table: pd.DataFrame, ax: Axes | None, centre: float | None, **options: Any) -> Axes:
    """seaborn's table of colours: even steps of lightness, or two colours that part at `centre`."""
    import seaborn as sns

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PendingDeprecationWarning)  # seaborn's own use of matplotlib
        options |= {"xticklabels": False, "yticklabels": False}  # seaborn would draw them before they are plain
        options |= {"cmap": COLOURS if centre is None else "PuOr_r", "center": centre, "ax": ax or plt.gca()}
        ax = sns.heatmap(table, **options)
    ax.set_xticks(np.arange(table.shape[1]) + 0.5, [short(name) for name in table.columns], rotation=90)
    names = [narrow(short(in_words(table.index.name, name))) for name in table.index]
    ax.set_yticks(np.arange(table.shape[0]) + 0.5, names)
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

    centre: the value of the neutral colour; half: below each number, half the width of its interval. Without a number
    the axes stay empty.
    """
    if not matrix.notna().any(axis=None):
        (ax := ax or plt.gca()).set(xticks=[], yticks=[])
        return ax
    words: Any = matrix.map(lambda value: format(value, form))
    if half is not None:
        words += half.reindex(columns=matrix.columns).map(lambda value: f"\n±{value:{form}}" if value == value else "")
    below = styles.current().width is not None  # in print the scale stands below: sideways there is no room
    bar = {"cbar_kws": {"location": "bottom", "aspect": 40}} if below else {}
    ax = _colours(matrix, ax, centre, annot=words, fmt="", annot_kws={"size": 7}, **bar)
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
    from scipy.cluster.hierarchy import leaves_list, linkage

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


def histogram(table: pd.DataFrame, value: str, ax: Axes | None = None, hue: str | None = None, bins: int = 20) -> Axes:
    """How a column is distributed, each group of `hue` with the area 1, and a band: 95 % of draws of its `image`s."""
    ax, known = ax or plt.gca(), table[np.isfinite(table[value])]
    ends = np.histogram_bin_edges(known[value], bins)
    for n, (name, rows) in enumerate(known.groupby(hue) if hue else [("", known)]):
        place, images = pd.factorize(rows["image"])
        held = np.histogram2d(place, rows[value], [np.arange(len(images) + 1), ends])[0]  # (I, bins)
        drawn = draws(lambda weights, held=held: weights @ held, len(images), 200 * (len(images) > 1))
        counts = np.concatenate([held.sum(axis=0)[None], drawn.reshape(-1, bins)])
        _steps(ax, ends, counts, n, in_words(hue, name))
    ax.set(xlabel=value, ylabel="density")
    if hue:
        ax.legend(fontsize=8)
    plain(ax)
    return ax
