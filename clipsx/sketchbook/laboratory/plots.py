"""The laboratory's figures: the grid as small multiples, curves cause → pathology, one scene through all models."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from clipsx import plots
from clipsx.plots import styles
from clipsx.plots.axes import DASHES, MARKERS, level
from clipsx.sketchbook.laboratory.answers import CENTRE, RANDOM, RAW, REPAIRS
from clipsx.sketchbook.laboratory.floors import bands
from clipsx.sketchbook.laboratory.measures import CHOICES, TEST, TUNING
from clipsx.sketchbook.laboratory.runs import Results, finished, tidy

RAWS = {"CLIP": RAW}
MAPS = RAWS | REPAIRS
TITLES = dict(zip(MAPS, (*(reading.title for reading in CHOICES), "the same, grounds asked as well"), strict=True))
FACTORS = {  # the grid's name: the setting that it changes, or two that it crosses, and what it is called
    "background_bias": ("background_bias", "background bias"),
    "background_bias and named": ("background_bias, named", "background bias / share of grounds named"),
    "co_occurrence": ("co_occurrence", "co-occurrence"),
    "blocks": ("blocks", "blocks"),
    "patch_size": ("patch_size", "patch, px"),
    "patch_dropout": ("lifted", "dropout, last stretch"),
    "pooling": ("pooling", "pooling"),
    "largest_scale": ("largest_scale", "logit scale at most"),
    "length": ("images", "images seen"),
    "tower": ("tower", "tower"),
}


def of_factor(table: pd.DataFrame, factor: str) -> pd.DataFrame:
    """Rows of `answers.tidy` along one factor, the centre's among them; `at` is the setting's value, in words.

    Two factors are crossed: each at the centre's value and at that of the cell that changes both.
    """
    settings, alike = FACTORS[factor][0].split(", "), table["factor"].isin([factor, *factor.split(" and "), CENTRE])
    if factor == "length":  # one run, looked into: checkpoints, of the seeds that were trained longer
        rows = table[alike & table["seed"].isin(table["seed"][table["cell"] == "long"])]
    else:
        ends = table[table["factor"].isin([factor, CENTRE])]
        rows = finished(table[alike & table[settings].isin(ends[settings].to_dict("list")).all(axis=1)])
    at = rows[settings].map(written).agg(" / ".join, axis=1) if len(rows) else pd.Series(dtype=str)
    return rows.assign(at=at).sort_values(settings)


def written(value: Any) -> str:
    """A setting's value as a figure or a dial shows it."""
    if isinstance(value, str):
        return {"tok": "class token", "avg": "mean of patches"}.get(value, value)
    return f"{value / 1000:.0f}k" if value >= 1000 else f"{value:g}"


def _points(ax: Any, x: Any, rows: pd.DataFrame, n: int, name: str) -> None:
    """Points at x with their intervals in the n-th colour and mark."""
    low, high = (rows["value"] - rows["low"]).clip(lower=0), (rows["high"] - rows["value"]).clip(lower=0)
    style = {"fmt": MARKERS[n % 5], "color": plots.shade(n), "capsize": 2, "markersize": 4, "linewidth": 1}
    ax.errorbar(x, rows["value"], [low, high], label=name, **style)


def along(table: pd.DataFrame, measures: Mapping[str, str], ax: Any, zero: bool = False) -> Any:
    """Measures (name: measure) of `of_factor`'s rows against the setting: points with intervals, means joined.

    zero: draw the line between preferring the object and the background and, of raw maps alone, where chance lies.
    """
    place = {at: k for k, at in enumerate(dict.fromkeys(table["at"]))}
    if zero:
        level(ax.axhline)
    if measures == RAWS:
        grey = bands(table.groupby("at", sort=False)["run"].first().tolist())
        style = {"color": plots.STYLE["chance"], "alpha": 0.25, "label": "95 % of random starts"}
        ax.bar([*place.values()], grey["value_high"] - grey["value_low"], 0.7, grey["value_low"], **style)
    for n, (name, measure) in enumerate(measures.items()):
        rows = table[table["measure"] == measure]
        # Models of two seeds stand side by side; points of several measures do not hide one another.
        x = rows["at"].map(place) + 0.09 * (n - (len(measures) - 1) / 2) + 0.02 * (rows["seed"] - 8)
        _points(ax, x, rows, n, TITLES.get(name, name))
        means = rows.groupby("at", sort=False)["value"].mean().reindex([*place])
        ax.plot(range(len(place)), means, color=plots.shade(n), linewidth=1, linestyle=DASHES[n % 4])
    ax.set_xticks(range(len(place)), [*place], fontsize=8)
    ax.set_xlim(-0.4, len(place) - 0.6)
    return ax


def factors(found: Results, names: Mapping[str, str] = RAWS) -> Any:
    """The grid's vision transformers as small multiples: a panel per factor, mSC of raw maps, or of others (`MAPS`)."""
    shown = _varied(tidy(found))
    figure, axes = _multiples(len(shown), "mSC (%)")
    for (factor, rows), ax in zip(shown.items(), axes, strict=True):
        along(rows, names, ax, zero=True).set_xlabel(FACTORS[factor][1], fontsize=9)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=4, fontsize=8)
    return figure


def others(found: Results) -> Any:
    """Models beside the grid's vision transformers, ResNets and built-in ones: mSC of raw maps, and of repaired ones.

    Grey: where 95 % of random starts of the tower lie, read at the same size.
    """
    table = finished(tidy(found)).query("not blocks > 0 and factor != @RANDOM").sort_values("tower", kind="stable")
    titles = {measure: TITLES[name] for name, measure in MAPS.items()}
    table = table.assign(value_low=table["low"], value_high=table["high"], map=table["measure"].map(titles))
    figure, axes = plots.row(2, height=2.8, sharey=True)
    plots.intervals(bands(table["run"].unique().tolist()), "value", "run", axes[0], chance=True)
    for ax, names in zip(axes, (RAWS, REPAIRS), strict=True):
        plots.intervals(table[table["measure"].isin(names.values())], "value", "run", ax, hue="map", zero=True)
        ax.set_xlabel("mSC (%)")
        columns = styles.current().fits(2, 4)
        ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=columns, fontsize=8, frameon=False)
    return figure


def _varied(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """`of_factor`'s rows of every factor that was tried in vision transformers at two values or more."""
    rows = {factor: of_factor(table[table["blocks"] > 0], factor) for factor in FACTORS}
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


def depths(found: Results, surgery: str = "none") -> Any:
    """mSC of CLIP Surgery's maps against its depth: every model with its interval, means over seeds joined.

    A panel per factor, a colour per setting; the last panel shows the built-in models. surgery: "code", after feature
    surgery.
    """
    maps = found.maps.query("method == 'clip-surgery' and label_set == 'nouns' and surgery == @surgery and depth > 0")
    maps = finished(maps)[["run", "depth", "msc", "msc_low", "msc_high"]].merge(found.runs, on="run")
    maps = maps.rename(columns={"msc": "value", "msc_low": "low", "msc_high": "high"})
    shown = {FACTORS[factor][1]: rows for factor, rows in _varied(maps).items()}
    shown["built in"] = maps[maps["blocks"].isna() & (maps["factor"] != RANDOM)].assign(at=lambda t: t["run"])
    figure, axes = _multiples(len(shown), "mSC (%)")
    for (words, rows), ax in zip(shown.items(), axes, strict=True):
        for n, (at, mine) in enumerate(rows.groupby("at", sort=False)):
            _points(ax, mine["depth"] + 0.1 * (n - 1) + 0.03 * (mine["seed"] - 8), mine, n, str(at))
            ax.plot(mine.groupby("depth")["value"].mean(), DASHES[n % 4], color=plots.shade(n), linewidth=1)
        level(ax.axhline)
        ax.set_title(words, fontsize=9)
        ax.legend(fontsize=7, loc="upper left", ncols=2)
    axes[0].set_ylim(top=axes[0].get_ylim()[1] + 7)  # room for the legends
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


def about(found: Results) -> dict[str, str]:
    """What a figure prints: how many models, on what, by which protocol."""
    protocol = found.maps["protocol"].iloc[0]
    models = f"{len(found.runs)} runs in data/laboratory/runs, their weights in the table"
    count = found.maps["images"].max()
    data = f"sketchbook, both dials 0, {count} scenes of seed {TEST}, thresholds from seed {TUNING}"
    return {"models": models, "data": data, "templates": "clip-surgery", "protocol": protocol}
