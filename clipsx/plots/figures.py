"""Figures of several axes, as the notebooks show them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from clipsx.evaluation.summary import curve, exceeded, split_by
from clipsx.metrics import THRESHOLDS
from clipsx.plots import styles
from clipsx.plots.axes import distribution, heatmap, intervals, level, lines, shade
from clipsx.plots.styles import LEAST
from clipsx.plots.texts import LETTER, broken, in_words, plain, short
from clipsx.reading import Reading
from clipsx.statistics import student


def row(
    columns: int,
    rows: int = 1,
    height: float = 3.2,
    width: float = 13,
    least: float = 2.2,
    flat: float | None = None,
    **options: Any,
) -> tuple[Figure, Any]:
    """A figure with its axes side by side, `width` × `height` inches on a screen; axes as `plt.subplots` gives them.

    In print it is as wide as the style says, and a row whose axes would not have `least` inches each goes on below;
    flat: how high they are there, to their width.
    """
    style = styles.current()
    if style.width is None:
        figure = styles.blank(figsize=(width, height), layout="constrained")
        return figure, figure.subplots(rows, columns, **options)
    lines = -(-columns // style.fits(columns, least))  # that a row takes
    wide = -(-columns // lines)
    shape = flat or max(height / rows / (width / columns), 0.66)  # of axes, high to wide
    if lines > 1:
        options.pop("width_ratios", None)
    size = (style.width, shape * style.width / wide * lines * rows)
    squeezed = options.pop("squeeze", True)
    figure = styles.blank(figsize=size, layout="constrained")
    each = figure.subplots(rows * lines, wide, squeeze=False, **options).reshape(rows, lines * wide)
    for ax in each[:, columns:].flat:
        ax.set_axis_off()
    each = each[:, :columns]
    return figure, each if not squeezed else each.item() if each.size == 1 else each.squeeze()


def _legend(figure: Figure, free: Sequence[Axes] = ()) -> None:
    """One legend of what all axes name, in place of theirs: in the first of the `free` axes, or else below them all."""
    named = {}
    for ax in figure.axes:
        if legend := ax.get_legend():
            named |= dict(zip(*reversed(ax.get_legend_handles_labels()), strict=True))
            legend.remove()
    for ax in free:
        ax.set_axis_off()
    style: dict[str, Any] = {"handles": named.values(), "labels": named, "fontsize": 8, "frameon": False}
    if len(free):
        free[0].legend(loc="upper left", bbox_to_anchor=(0, 1), borderaxespad=0, **style).set_in_layout(False)
    else:
        figure.legend(loc="outside lower center", ncols=styles.current().fits(3, 2.2), **style)


def _series(summary: pd.DataFrame, several: bool) -> pd.DataFrame:
    """A summary with each reading's `method` without feature surgery, and its `series`: that surgery, after the model
    where there are several."""
    read = [Reading.parse(text) for text in summary["reading"]]
    words = [in_words("surgery", reading.surgery) for reading in read]
    if several:
        pairs = zip(summary["model"], read, words, strict=True)
        words = [model if reading.surgery == "none" else f"{model} + {said}" for model, reading, said in pairs]
    return summary.assign(method=[str(reading.features) for reading in read], series=words)


def measures(summary: pd.DataFrame, names: Mapping[str, str], floor: pd.DataFrame | None = None) -> Figure:
    """A summary's measures side by side, at most four in a row: a line per method, a colour per surgery and model.

    floor: the same readings' bands of chance: a grey bar is where 95 % of random starts lie, read in the same way.
    """
    several = "model" in summary and len(summary["model"].unique()) > 1
    on = [name for name in ("reading", "model") if floor is not None and name in floor and name in summary]
    alike = None if floor is None else _series(summary[on].merge(floor, on=on), several)
    table, style = _series(summary, several), styles.current()
    shown = {value: name for value, name in names.items() if value in summary}
    across, high = style.fits(min(len(shown), 4), 1.05), 0.6 + 0.24 * table["method"].nunique()
    rows = -(-len(shown) // across)
    options: dict[str, Any] = {"sharey": True, "squeeze": False, "least": 1.0}
    figure, axes = row(across, rows, height=2 * high * rows, flat=high * across / (style.width or 1), **options)
    for ax, (value, name) in zip(axes.flat, shown.items(), strict=False):
        if alike is not None and value in alike:
            intervals(alike, value, "method", ax, "series", chance=True)
        signed = value in ("msc", "gain", "others", "absent")
        intervals(table, value, "method", ax, "series", zero=signed)
        ax.set_xlabel(
            name if style.width is None else broken(name, 72 * (style.width / across - 0.2) / (LETTER * LEAST))
        )
        if not signed:
            ax.set_xlim(left=max(0.0, ax.get_xlim()[0]))  # a band of chance knows no least value
    _legend(figure, [*axes.flat][len(shown) :])
    plain(figure)
    return figure


def deletion(summary: pd.DataFrame, names: Mapping[str, str]) -> Figure:
    """What scores lose without a region, and gain by it alone: a line per region, coloured by model."""
    figure, axes = row(len(names), flat=0.55, sharey=True)
    for ax, (value, name) in zip(axes, names.items(), strict=True):
        regions = summary.rename(columns={"region": "reading"})
        intervals(regions, value, "reading", ax, hue="model", zero=True).set_xlabel(name)
    _legend(figure)
    plain(figure)
    return figure


def scores(table: pd.DataFrame) -> Figure:
    """Scores on objects and beside them for every method without feature surgery, and mIoU against the threshold."""
    names = table["method"].unique()
    figure, axes = row(len(names) + 1, flat=0.6)
    for ax, method in zip(axes, names, strict=False):
        some = table[(table["method"] == method) & (table["surgery"] == "none")]
        distribution(THRESHOLDS, *exceeded(some, 200), ax).set_title(in_words("method", method))
    lines(curve(table, resamples=200), "threshold", "miou", "reading", axes[-1]).set_ylabel("mIoU (%)")
    _legend(figure)
    return figure


def splits(table: pd.DataFrame) -> Figure:
    """mSC of every reading by class and by size of the object."""
    figure, ax = row(1, height=3.6, flat=1.0)
    means, halves = (
        split_by(table, "label", half=half).join(split_by(table, "size", half=half).add_prefix("size: "))
        for half in (False, True)
    )
    heatmap(means, ax, 0, halves).set_title("mSC (%) by label, and by the object's size")
    return figure


def bars(table: pd.DataFrame, name: str, most: int = 20) -> Figure:
    """What every class is worth by every reading, with its interval (`results.classes`), the best by their mean first.

    Of more than `most` classes those at both ends are shown.
    """
    order = table.groupby("label")["value"].mean().sort_values(ascending=False).index.tolist()
    ends = order if len(order) <= most else order[: most // 2] + order[-most // 2 :]
    width, thick = styles.current().width or 8, 0.8 / table["reading"].nunique()
    flat = (0.6 + 0.13 * len(ends) + 0.12 / thick) / width
    figure, ax = row(1, height=1 + 0.3 * len(ends), width=8, flat=flat)
    for n, (reading, rows) in enumerate(table[table["label"].isin(ends)].groupby("reading", sort=False)):
        y = np.array([ends.index(label) for label in rows["label"]]) + (n + 0.5) * thick - 0.4
        reach = [rows["value"] - rows["value_low"], rows["value_high"] - rows["value"]]
        style: Any = {
            "color": shade(n),
            "label": short(in_words("reading", reading)),
            "error_kw": {"elinewidth": 0.8 * styles.current().thin},
        }
        ax.barh(y, rows["value"], thick, xerr=np.clip(reach, 0, None), **style)
    ax.set_yticks(range(len(ends)), [short(name) for name in ends])
    ax.set_ylim(len(ends) - 0.5, -0.5)
    shown = "" if ends is order else f", the {most // 2} best and worst of {len(order)} classes"
    ax.set(xlabel=f"{name}{shown}", ylabel="")
    ax.legend()
    _legend(figure)
    plain(figure)
    return figure


def tradeoff(summary: pd.DataFrame, costs: pd.DataFrame, value: str = "msc", name: str = "mSC (%)") -> Figure:
    """A measure of every reading with its interval, the best first, and what it costs: times one `encode_image`."""
    both = _series(summary, False).merge(costs[["reading", "ratio"]].rename(columns={"reading": "method"}), on="method")
    both, high = both.sort_values(value, ascending=False), 0.7 + 0.17 * len(both)
    flat = 2 * high / (styles.current().width or 1)
    figure, (left, right) = row(2, height=1.6 * high, width=10, least=1.2, flat=flat, sharey=True)
    intervals(both, value, "reading", left, zero=True).set_xlabel(name)
    right.barh(range(len(both)), both["ratio"], 0.55, color=shade(0))
    level(right.axvline, 1.0)
    right.set_xlabel("time over\nencode_image")
    plain(figure)
    return figure


def repair(swept: pd.DataFrame, names: Mapping[str, str]) -> Figure:
    """Measures of both forms of feature surgery, and without, by the number of labels and by τ (`redundancy.sweep`)."""
    figure, axes = row(len(names), rows=2, height=5.4, least=1.6, flat=0.85)
    letters = 99 if styles.current().width is None else 16
    for line, (varied, said) in zip(axes, {"labels": "labels compared", "tau": "τ"}.items(), strict=True):
        for ax, (measure, name) in zip(line, names.items(), strict=True):
            lines(swept[swept["varied"] == varied], varied, measure, "form", ax).set_ylabel(broken(name, letters))
            ax.set_xlabel(said)
    _legend(figure)
    plain(figure)
    return figure


def nouns(summary: pd.DataFrame) -> Figure:
    """mSC of nouns' own maps, of their labels' and of the end token by reading (`words.summarise`), a panel per way."""
    ways = summary.groupby("how", sort=False)
    figure, axes = row(len(ways), flat=0.6, sharex=True, sharey=True, squeeze=False)
    for ax, (how, rows) in zip(axes[0], ways, strict=True):
        intervals(rows, "msc", "reading", ax, hue="map", zero=True).set_xlabel("mSC on the noun's object (%)")
        ax.set_title(how)
    _legend(figure)
    plain(figure)
    return figure


def ablation(table: pd.DataFrame) -> Figure:
    """Settings of `unmix.ablate`: mAP, and the mean off-diagonal of labels trained and not; means over seeds.

    With their 95 % interval over seeds (Student's t); a single seed has none.
    """
    names = {"mAP": "", "after": "cosine, labels trained on", "held after": "cosine, labels not trained on"}
    parts = []
    for name in (name for name in names if name in table):
        seeds = table.groupby("setting", sort=False)[name]
        mean, half = seeds.mean(), student(seeds.size() - 1) * seeds.std() / seeds.size() ** 0.5
        part = {"value": mean, "value_low": mean - half, "value_high": mean + half, "which": names[name]}
        parts.append(pd.DataFrame(part).reset_index())
    figure, axes = row(2, sharey=True)
    intervals(parts[0], "value", "setting", axes[0]).set_xlabel("mAP (%)")
    intervals(pd.concat(parts[1:]), "value", "setting", axes[1], hue="which")
    axes[1].set_xlabel("mean off-diagonal cosine")
    level(axes[1].axvline, float(table["before"].iloc[0]), linestyle=":")
    for ax in axes:
        ax.grid(axis="y", linewidth=0.4)
    _legend(figure)
    plain(figure)
    return figure


def blocks(shares: pd.DataFrame, cosines: pd.DataFrame) -> Figure:
    """Attention of an object's patches inside it, and cosines of sub-modules with the class feature and the texts."""
    figure, axes = row(3)
    lines(shares, "block", "share_others", "kind", axes[0]).set_ylabel("attention inside the object (%)")
    level(axes[0].axhline, shares["chance"].mean(), linestyle=":", label="its share of the picture")
    axes[0].set_ylim(bottom=0)
    axes[0].legend(fontsize=8)
    lines(cosines, "block", "cosine", "part", axes[1]).set_ylabel("cosine with the class feature")
    lines(cosines, "block", "cosine_text", "part", axes[2]).set_ylabel("cosine with the labels' text")
    for ax in axes:
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    plain(figure)
    return figure
