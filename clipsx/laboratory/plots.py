"""The laboratory's figures: the grid as small multiples, curves cause → pathology, one scene through all models."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from clipsx import plots
from clipsx.datasets import Sample, Sketchbook
from clipsx.laboratory.answers import CENTRE, RAW, REPAIRS, tidy
from clipsx.laboratory.measures import CHOICES, SHOWN, world
from clipsx.laboratory.runs import Results, scenes
from clipsx.maps import upsample

FACTORS = {  # the grid's name: the setting that it changes, and what it is called
    "background_bias": ("background_bias", "background bias"),
    "named": ("named", "backgrounds named, share"),
    "co_occurrence": ("co_occurrence", "co-occurrence"),
    "blocks": ("blocks", "blocks"),
    "patch_dropout": ("lifted", "dropout, last stretch"),
    "pooling": ("pooling", "pooling"),
    "largest_scale": ("largest_scale", "logit scale at most"),
    "length": ("images", "images seen"),
    "tower": ("tower", "tower"),
}
MAPS = {"raw": RAW, **REPAIRS}
TITLES = dict(zip(MAPS, ("raw", "MaskCLIP", "Surgery", "Surgery + FS", "Surgery + FS, grounds"), strict=True))


def of_factor(table: pd.DataFrame, factor: str) -> pd.DataFrame:
    """Rows of `answers.tidy` along one factor, the centre's among them; `at` is the setting's value, in words."""
    rows = table[table["factor"].isin([factor, CENTRE])]
    if factor != "length":
        rows = rows[~rows["run"].str.contains("@")]
    else:
        rows = table[table["cell"].isin([CENTRE, "long"]) & (table["seed"] == 7)]
    setting = FACTORS[factor][0]
    tower = np.where(rows["blocks"] == 0, "ResNet", "ViT")
    rows = rows.assign(order=rows.get(setting, tower))
    return rows.sort_values("order").assign(at=lambda t: t["order"].map(written))


def written(value: Any) -> str:
    """A setting's value as a figure or a dial shows it."""
    return value if isinstance(value, str) else f"{value / 1000:.0f}k" if value >= 1000 else f"{value:g}"


def along(table: pd.DataFrame, measures: Mapping[str, str], ax: Any, zero: bool = False) -> Any:
    """Measures (name: measure) of `of_factor`'s rows against the setting: points with intervals, means joined."""
    ticks = list(dict.fromkeys(table["at"]))
    for n, (name, measure) in enumerate(measures.items()):
        rows, colour = table[table["measure"] == measure], plots.shade(n)
        place = {at: k for k, at in enumerate(ticks)}
        # Models of two seeds stand side by side; points of several measures do not hide one another.
        x = rows["at"].map(place) + 0.06 * (n - (len(measures) - 1) / 2) + 0.02 * (rows["seed"] - 7)
        low, high = (rows["value"] - rows["low"]).clip(lower=0), (rows["high"] - rows["value"]).clip(lower=0)
        ax.errorbar(
            x, rows["value"], [low, high], fmt="osD^v"[n % 5], color=colour, capsize=2, markersize=4, label=name
        )
        means = rows.groupby("at", sort=False)["value"].mean().reindex(ticks)
        ax.plot(range(len(ticks)), means, color=colour, linewidth=1, linestyle=("-", "--", "-.", ":", "-")[n % 5])
    if zero:
        ax.axhline(0, color=plots.STYLE["chance"], linewidth=0.8, linestyle="--")
    ax.set_xticks(range(len(ticks)), ticks, fontsize=8)
    ax.set_xlim(-0.4, len(ticks) - 0.6)
    return ax


def factors(found: Results, column: str = "mSC", names: Mapping[str, str] = MAPS) -> Any:
    """The grid as small multiples: a panel per factor, mSC ("opposite", "mIoU") of raw and repaired maps."""
    table = tidy(found)
    shown = [factor for factor in FACTORS if len(set(of_factor(table, factor)["at"])) > 1]
    columns = 3 if len(shown) > 4 else max(1, len(shown))
    figure, grid = plots.row(columns, -(-len(shown) // columns), height=2.6 * -(-len(shown) // columns), sharey=True)
    axes = np.ravel(grid)
    measures = {TITLES[name]: measure.replace("mSC", column, 1) for name, measure in names.items()}
    for factor, ax in zip(shown, axes, strict=False):
        along(of_factor(table, factor), measures, ax, zero=column == "mSC").set_xlabel(FACTORS[factor][1], fontsize=9)
    for ax in axes[len(shown) :]:
        ax.set_axis_off()
    for ax in axes[::columns]:
        ax.set_ylabel(f"{column} (%)")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=len(measures), fontsize=8)
    return figure


def depths(found: Results) -> Any:
    """CLIP Surgery against its depth, by cell: mSC of its maps, plain and after feature surgery."""
    maps = found.maps[(found.maps["method"] == "clip-surgery") & (found.maps["label_set"] == "nouns")]
    maps = maps[~maps["run"].str.contains("@") & maps["depth"].notna()]
    figure, axes = plots.row(2, height=3.8, sharey=True)
    for ax, surgery in zip(axes, ("none", "code"), strict=True):
        for n, (run, rows) in enumerate(maps[maps["surgery"] == surgery].groupby("run", sort=False)):
            style = {"color": plots.shade(n), "marker": "osD^v"[n % 5], "linestyle": ("-", "--", ":")[n // 10 % 3]}
            rows = rows.sort_values("depth")
            ax.plot(
                rows["depth"], rows["msc"], markersize=3, linewidth=1.2, label=str(run).removeprefix("lab-"), **style
            )
            ax.fill_between(rows["depth"], rows["msc_low"], rows["msc_high"], color=style["color"], alpha=0.07)
        ax.axhline(0, color=plots.STYLE["chance"], linewidth=0.8, linestyle="--")
        ax.set(
            xlabel="depth: last blocks on the second path", title="plain" if surgery == "none" else "+ feature surgery"
        )
    axes[0].set_ylabel("mSC (%)")
    axes[1].legend(fontsize=6.5, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


CAUSES: Sequence[tuple[str, str, Mapping[str, str]]] = (
    ("background_bias", "mSC (%)", {"raw, of objects": RAW, "raw, of the ground's label": "mSC of the ground, clip"}),
    ("co_occurrence", "cosine", {"similarity, companions − others": "similarity, companions − others"}),
    ("co_occurrence", "mean of a map", {"co-activation, companions − others": "co-activation, companions − others"}),
    ("co_occurrence", "%", {"absent companion ranks above": "absent companion above other absent nouns"}),
    ("length", "%", {"top-1": "top-1", "mAP": "mAP"}),
    ("length", "cosine", {"last FFN": "cosine of the last ffn with the class feature",
                          "last attention": "cosine of the last attention with the class feature"}),
)  # fmt: skip


def causes(found: Results) -> Any:
    """Curves cause → pathology with their intervals (`CAUSES`)."""
    table = tidy(found)
    figure, grid = plots.row(3, 2, height=6.0)
    for (factor, unit, measures), ax in zip(CAUSES, np.ravel(grid), strict=True):
        along(of_factor(table, factor), measures, ax, zero=unit != "%").set(xlabel=FACTORS[factor][1], ylabel=unit)
        ax.legend(fontsize=7)
    return figure


def scene(number: int, size: int = 192) -> Sample:
    """One of the scenes that every cell is shown on, drawn at any size."""
    return world(SHOWN, number + 1, size)[number]


def side_by_side(runs: Sequence[str], number: int = 0, label: str | None = None, side: float = 1.35) -> Any:
    """One scene through models: a row per run; the photo with the true region, then raw and repaired maps.

    label: one of the nouns, the scene's first by default. From the shipped maps: no weights are needed.
    """
    sample = scene(number)
    label = label or next(iter(sample.masks))
    place, pixels = Sketchbook.NOUNS.index(label), sample.image.size[::-1]
    rows = []
    for run in runs:
        maps, cells = scenes(run), [plots.Cell(sample.image, None, sample.masks.get(label), run.removeprefix("lab-"))]
        for (method, surgery), title in zip(CHOICES, list(TITLES.values())[:4], strict=True):
            map = upsample(maps[f"{method} {surgery}"][number][None, ..., [place]], pixels)[0, ..., 0].numpy()
            cells.append(plots.Cell(sample.image, map, sample.masks.get(label), f"{title}: {label}"))
        rows.append(cells)
    return plots.sheet(rows, side)
