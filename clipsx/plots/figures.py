"""Figures of several axes, as the notebooks show them."""

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from clipsx.evaluation.summary import curve, exceeded, split_by
from clipsx.metrics import THRESHOLDS
from clipsx.plots import styles
from clipsx.plots.axes import distribution, heatmap, intervals, level, lines
from clipsx.plots.texts import beside, in_words, plain, short
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
        return plt.subplots(rows, columns, figsize=(width, height), layout="constrained", **options)
    lines = -(-columns // style.fits(columns, least))  # that a row takes
    wide = -(-columns // lines)
    shape = flat or max(height / rows / (width / columns), 0.66)  # of axes, high to wide
    if lines > 1:
        options.pop("width_ratios", None)
    size = (style.width, shape * style.width / wide * lines * rows)
    squeezed = options.pop("squeeze", True)
    figure, axes = plt.subplots(rows * lines, wide, figsize=size, layout="constrained", squeeze=False, **options)
    each = axes.reshape(rows, lines * wide)
    for ax in each[:, columns:].flat:
        ax.set_axis_off()
    each = each[:, :columns]
    return figure, each if not squeezed else each.item() if each.size == 1 else each.squeeze()


def _legend(figure: Figure, title: str | None = None) -> None:
    """One legend for all axes, below them: that of the last axes that have one."""
    named = next(ax.get_legend_handles_labels() for ax in reversed(figure.axes) if ax.get_legend())
    for ax in figure.axes:
        if (legend := ax.get_legend()) and ax.get_legend_handles_labels()[1] == named[1]:
            legend.remove()
    columns = styles.current().fits(3, 2.2)
    figure.legend(*named, title=title, loc="outside lower center", ncols=columns, fontsize=8)


def measures(summary: pd.DataFrame, names: Mapping[str, str], floor: pd.DataFrame | None = None) -> Figure:
    """A summary's measures side by side, four in a row: a line per method, or of several models a line per reading.

    Coloured by feature surgery, or by model. floor: the same readings' bands of chance: a grey bar is where 95 % of
    random starts lie, read in the same way.
    """
    several = "model" in summary and len(summary["model"].unique()) > 1
    by, hue = ("reading", "model") if several else ("method", "surgery")
    shown = {value: name for value, name in names.items() if value in summary}
    across = min(len(shown), 4) if styles.current().width is None else len(shown)
    rows = -(-len(shown) // across)
    figure, axes = row(across, rows, height=3.2 * rows, flat=0.55, sharey=True, squeeze=False)
    for ax in axes.flat[len(shown) :]:
        ax.set_axis_off()
    about = list(dict.fromkeys(["reading", by, hue]))
    alike = None if floor is None else summary[about].merge(floor, on=["reading", *["model"] * several])
    for ax, (value, name) in zip(axes.flat, shown.items(), strict=False):
        if alike is not None and value in alike:
            intervals(alike, value, by, ax, hue, chance=True)
        signed = value in ("msc", "gain", "others", "absent")
        intervals(summary, value, by, ax, hue=hue, zero=signed).set_xlabel(name)
    _legend(figure, "model" if several else "feature surgery")
    plain(figure)
    return figure


def deletion(summary: pd.DataFrame, names: Mapping[str, str]) -> Figure:
    """What scores lose without a region, and gain by it alone: a line per region, coloured by model."""
    figure, axes = row(len(names), flat=0.55, sharey=True)
    for ax, (value, name) in zip(axes, names.items(), strict=True):
        regions = summary.rename(columns={"region": "reading"})
        intervals(regions, value, "reading", ax, hue="model", zero=True).set_xlabel(name)
    _legend(figure, "model")
    plain(figure)
    return figure


def scores(table: pd.DataFrame) -> Figure:
    """Scores on objects and beside them for every method without feature surgery, and mIoU against the threshold."""
    names = table["method"].unique()
    figure, axes = row(len(names) + 1, flat=0.6)
    for ax, method in zip(axes, names, strict=False):
        some = table[(table["method"] == method) & (table["surgery"] == "none")]
        distribution(THRESHOLDS, *exceeded(some), ax).set_title(in_words("method", method))
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
    """What every class is worth by every reading (columns reading, label, value), the best by their mean first.

    Of more than `most` classes those at both ends are shown.
    """
    order = table.groupby("label")["value"].mean().sort_values(ascending=False).index.tolist()
    ends = order if len(order) <= most else order[: most // 2] + order[-most // 2 :]
    figure, ax = row(1, height=1 + 0.3 * len(ends), width=8)
    titles = table.reset_index(drop=True).assign(
        reading=[short(in_words("reading", text)) for text in table["reading"]]
    )
    sns.barplot(titles, x="value", y="label", hue="reading", order=ends, palette="colorblind", ax=ax)
    shown = "" if ends is order else f", the {most // 2} best and worst of {len(order)} classes"
    ax.set(xlabel=f"{name}{shown}", ylabel="")
    ax.legend(title="", fontsize=8)
    plain(figure)
    return figure


def tradeoff(summary: pd.DataFrame, costs: pd.DataFrame, value: str = "msc", name: str = "mSC (%)") -> Figure:
    """A measure of every reading, with its interval, against what it costs beside `encode_image`; readings by name."""
    both = summary.assign(plain=[str(Reading.parse(text).features) for text in summary["reading"]]).merge(
        costs[["reading", "ratio"]].rename(columns={"reading": "plain"}), on="plain"
    )
    figure, ax = row(1, height=4.6, width=9)
    low, high = ((both[f"{value}_{end}"] - both[value]).abs() for end in ("low", "high"))
    ax.errorbar(both["ratio"], both[value], yerr=[low, high], fmt="o", color="#0173b2", capsize=3)
    level(ax.axhline)
    ax.set(xlabel="time beside encode_image", ylabel=name)
    ax.margins(x=0.15)
    named = [short(in_words("reading", text)) for text in both["reading"]]
    beside(ax, zip(both["ratio"], both[value], named, strict=True))
    plain(figure)
    return figure


def ablation(table: pd.DataFrame) -> Figure:
    """Settings of `unmix.ablate`: mAP, and the mean off-diagonal of labels trained and not; means over seeds.

    With their 95 % interval over seeds (Student's t); a single seed has none.
    """
    names = {"mAP": "", "after": "labels trained on", "held after": "labels not trained on"}
    parts = []
    for name in (name for name in names if name in table):
        seeds = table.groupby("setting", sort=False)[name]
        mean, half = seeds.mean(), student(seeds.size() - 1) * seeds.std() / seeds.size() ** 0.5
        part = {"value": mean, "value_low": mean - half, "value_high": mean + half, "which": names[name]}
        parts.append(pd.DataFrame(part).reset_index())
    figure, axes = row(2, sharey=True)
    intervals(parts[0], "value", "setting", axes[0]).set_xlabel("mAP (%)")
    intervals(pd.concat(parts[1:]), "value", "setting", axes[1], hue="which")
    axes[1].set_xlabel("mean off-diagonal cosine after training")
    level(axes[1].axvline, float(table["before"].iloc[0]), linestyle=":")
    axes[1].legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, fontsize=8, frameon=False)
    for ax in axes:
        ax.grid(axis="y", linewidth=0.4)
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
