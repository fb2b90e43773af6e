"""The laboratory's figures: the grid as small multiples, curves cause → pathology, one scene through all models."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from clipsx import plots
from clipsx.datasets import Sample
from clipsx.maps import upsample
from clipsx.metrics import msc
from clipsx.plots.axes import MARKERS
from clipsx.sketchbook.laboratory.answers import FACTORS, RAW, REPAIRS, finished, of_factor, tidy
from clipsx.sketchbook.laboratory.measures import CHOICES, SHOWN, world
from clipsx.sketchbook.laboratory.runs import Results, scenes
from clipsx.sketchbook.world import Sketchbook

MAPS = {"raw": RAW, **REPAIRS}
TITLES = dict(zip(MAPS, ("raw", "MaskCLIP", "Surgery", "Surgery + FS", "Surgery + FS, grounds"), strict=True))


def along(table: pd.DataFrame, measures: Mapping[str, str], ax: Any, zero: bool = False) -> Any:
    """Measures (name: measure) of `of_factor`'s rows against the setting: points with intervals, means joined."""
    ticks = list(dict.fromkeys(table["at"]))
    for n, (name, measure) in enumerate(measures.items()):
        rows, colour = table[table["measure"] == measure], plots.shade(n)
        place = {at: k for k, at in enumerate(ticks)}
        # Models of two seeds stand side by side; points of several measures do not hide one another.
        x = rows["at"].map(place) + 0.06 * (n - (len(measures) - 1) / 2) + 0.02 * (rows["seed"] - 7)
        low, high = (rows["value"] - rows["low"]).clip(lower=0), (rows["high"] - rows["value"]).clip(lower=0)
        style = {"fmt": MARKERS[n % 5], "color": colour, "capsize": 2, "markersize": 4, "label": name}
        ax.errorbar(x, rows["value"], [low, high], **style)
        means = rows.groupby("at", sort=False)["value"].mean().reindex(ticks)
        ax.plot(range(len(ticks)), means, color=colour, linewidth=1, linestyle=("-", "--", "-.", ":", "-")[n % 5])
    if zero:
        ax.axhline(0, color=plots.STYLE["chance"], linewidth=0.8, linestyle="--")
    ax.set_xticks(range(len(ticks)), ticks, fontsize=8)
    ax.set_xlim(-0.4, len(ticks) - 0.6)
    return ax


def factors(found: Results, column: str = "mSC", names: Mapping[str, str] = MAPS) -> Any:
    """The grid as small multiples: a panel per factor, mSC ("opposite", "mIoU") of raw and repaired maps."""
    shown = _varied(tidy(found))
    figure, axes = _multiples(len(shown), f"{column} (%)")
    measures = {TITLES[name]: measure.replace("mSC", column, 1) for name, measure in names.items()}
    for (factor, rows), ax in zip(shown.items(), axes, strict=True):
        along(rows, measures, ax, zero=column == "mSC").set_xlabel(FACTORS[factor][1], fontsize=9)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=len(measures), fontsize=8)
    return figure


def _varied(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """`of_factor`'s rows of every factor that was tried at two values or more."""
    rows = {factor: of_factor(table, factor) for factor in FACTORS}
    return {factor: mine for factor, mine in rows.items() if len(set(mine["at"])) > 1}


def _multiples(count: int, unit: str | None = None) -> tuple[Any, Any]:
    """A figure and the axes of `count` panels, three in a row, of one `unit` or each of its own; others are blank."""
    rows = -(-count // 3)
    figure, grid = plots.row(3, rows, height=2.6 * rows, sharey=unit is not None)
    for ax in grid.flat[count:]:
        ax.set_axis_off()
    for ax in grid.reshape(rows, 3)[:, 0]:
        ax.set_ylabel(unit or "")
    return figure, grid.flat[:count]


def depths(found: Results) -> Any:
    """CLIP Surgery against its depth: mSC of its maps, means over seeds; dashed with feature surgery.

    A panel per factor, a line per setting; the last panel shows the built-in models.
    """
    maps = found.maps[(found.maps["method"] == "clip-surgery") & (found.maps["label_set"] == "nouns")]
    maps = finished(maps[maps["depth"].notna()])[["run", "surgery", "depth", "msc"]].merge(found.runs, on="run")
    shown = {FACTORS[factor][1]: rows for factor, rows in _varied(maps).items()}
    shown["built in"] = maps[maps["blocks"].isna()].assign(at=lambda t: t["run"])
    figure, axes = _multiples(len(shown), "mSC (%)")
    for (words, rows), ax in zip(shown.items(), axes, strict=True):
        for n, (at, mine) in enumerate(rows.groupby("at", sort=False)):
            style = {"color": plots.shade(n), "marker": MARKERS[n % 5], "markersize": 3, "linewidth": 1.2}
            for surgery, line in (("none", "-"), ("code", "--")):
                means = mine[mine["surgery"] == surgery].groupby("depth")["msc"].mean()
                ax.plot(means, line, label=at if surgery == "none" else None, **style)
        ax.axhline(0, color=plots.STYLE["chance"], linewidth=0.8, linestyle="--")
        ax.set_title(words, fontsize=9)
        ax.legend(fontsize=7)
    figure.supxlabel("depth: last blocks on the second path", fontsize=9)
    return figure


CAUSES: Sequence[tuple[str, str, Mapping[str, str]]] = (
    ("background_bias", "raw mSC (%)", {"of objects": RAW, "of the ground's label": "mSC of the ground, clip"}),
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
    figure, axes = _multiples(len(CAUSES))
    for (factor, unit, measures), ax in zip(CAUSES, axes, strict=True):
        along(of_factor(table, factor), measures, ax, zero=unit != "%").set(xlabel=FACTORS[factor][1], ylabel=unit)
        if len(measures) > 1:
            ax.legend(fontsize=7)
        else:
            ax.set_title(*measures, fontsize=9)
    return figure


def first_seeds(found: Results) -> list[str]:
    """The runs to show where each cell is shown once: its first seed, trained to the end."""
    return finished(found.runs).drop_duplicates("cell")["run"].tolist()


def scene(number: int, size: int = 192) -> Sample:
    """One of the scenes that every cell is shown on, drawn at any size."""
    return world(SHOWN, number + 1, size)[number]


def _drawn(maps: Mapping[str, Tensor], sample: Sample, number: int, label: str) -> list[np.ndarray]:
    """A label's maps of a shipped scene (of a run's `scenes`), one per choice, as large as the picture: (H, W) each."""
    place, pixels = Sketchbook.NOUNS.index(label), (sample.image.height, sample.image.width)
    chosen = [maps[f"{r.method} {r.surgery}"][number][None, ..., [place]] for r in CHOICES]  # (1, h, w, 1)
    return [upsample(sim, pixels)[0, ..., 0].numpy() for sim in chosen]


def contrasts(runs: Sequence[str]) -> dict[tuple[int, str], np.ndarray]:
    """mSC of every shipped scene and object, in %: (runs, `CHOICES`)."""
    maps, found = [scenes(run) for run in runs], {}
    for number in range(len(next(iter(maps[0].values())))):
        sample = scene(number)
        for label, mask in sample.masks.items():
            drawn = [_drawn(run, sample, number, label) for run in maps]
            found[number, label] = np.array([[msc(map, mask) for map in each] for each in drawn])
    return found


def typical(runs: Sequence[str]) -> tuple[int, str]:
    """The shipped scene and object whose `contrasts`, over all of the runs, lie nearest the mean of all objects."""
    found = contrasts(runs)
    mean = np.mean(list(found.values()), axis=0)  # (runs, CHOICES)
    return min(found, key=lambda key: float(np.square(found[key] - mean).sum()))


def _score(map: np.ndarray, sample: Sample, label: str) -> str:
    """Under a map's title, its mSC where the true region is known."""
    return f"\nmSC {round(msc(map, sample.masks[label]))} %" if label in sample.masks else ""


def side_by_side(
    runs: Sequence[str], number: int = 0, label: str | None = None, side: float = 1.35, abreast: int = 1
) -> Any:
    """One scene through models, `abreast` of them in a row: the photo with the true region, then raw and repaired maps.

    label: one of the nouns, the scene's first by default. From the shipped maps: no weights are needed.
    """
    sample = scene(number)
    label = label or next(iter(sample.masks))
    cells = []
    for run in runs:
        cells.append(plots.Cell(sample.image, None, sample.masks.get(label), run.removeprefix("lab-")))
        for map, title in zip(_drawn(scenes(run), sample, number, label), list(TITLES.values())[:4], strict=True):
            cells.append(
                plots.Cell(sample.image, map, sample.masks.get(label), f"{title}: {label}{_score(map, sample, label)}")
            )
    wide = abreast * (1 + len(CHOICES))
    return plots.sheet([cells[n : n + wide] for n in range(0, len(cells), wide)], side)
