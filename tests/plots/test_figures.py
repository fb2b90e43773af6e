"""Figures of several axes: what stands on which."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from clipsx import plots
from clipsx.analyses import deletion, redundancy
from clipsx.evaluation import explain, summary
from clipsx.evaluation.stream import stream
from clipsx.panels.elements import png_of
from clipsx.plots import styles
from helpers import masked, tiny_clip

LABELS = ("cat", "dog", "boat")
READINGS = ("clip", "maskclip")


def test_deletion_has_a_line_for_every_region_and_a_mark_for_every_model() -> None:
    values = {f"{name}{end}": 1.0 for name in deletion.MEASURES for end in ("", "_low", "_high")}
    regions = (deletion.OBJECT, "clip-surgery", deletion.REVERSED)
    table = pd.DataFrame([{"region": r, "model": m} | values for m in ("one", "other") for r in regions])
    axes = plots.deletion(table, deletion.MEASURES).axes
    assert [ax.get_xlabel() for ax in axes] == list(deletion.MEASURES.values())
    ticks = [label.get_text() for label in axes[0].get_yticklabels()]
    assert ticks == ["the object", "CLIP Surgery", "CLIP, reversed"] and len(axes[0].containers) == 2


def test_costs_stand_beside_what_they_buy_the_best_first() -> None:
    found = pd.DataFrame({"reading": ["clip", "clip-surgery+code", "gem"], "msc": [-9.0, 20.0, 1.0]})
    found = found.assign(msc_low=found["msc"] - 2, msc_high=found["msc"] + 2)
    costs = pd.DataFrame({"reading": ["gem", "clip", "clip-surgery", "sclip"], "ratio": [1.9, 1.0, 1.1, 1.0]})
    left, right = plots.tradeoff(found, costs).axes
    ticks = [label.get_text() for label in left.get_yticklabels()]
    assert ticks == ["CLIP Surgery + feature surgery", "GEM", "CLIP"]
    assert [bar.get_width() for bar in right.patches] == [1.1, 1.9, 1.0]


@pytest.mark.parametrize(("style", "across"), [("screen", 3), ("column", 2)])
def test_repair_shows_both_sweeps_with_one_legend(style: str, across: int) -> None:
    row = {"labels": 2, "tau": 1.0, "energy": 70.0, "msc": 1.0, "iou": 5.0, "image": "a"}
    swept = pd.DataFrame([row | {"varied": v, "form": f} for v in ("labels", "tau") for f in ("none", "code")])
    with styles.using(style):
        figure = plots.repair(swept, redundancy.MEASURES)
    axes = [ax for ax in figure.axes if ax.axison]
    assert [ax.get_xlabel() for ax in axes] == ["labels compared"] * 3 + ["τ"] * 3
    assert figure.axes[0].get_gridspec().ncols == across
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["no feature surgery", "feature surgery"]


def test_nouns_have_a_panel_for_each_way_and_one_legend() -> None:
    row = {"reading": "clip", "msc": 1.0, "msc_low": 0.0, "msc_high": 2.0}
    table = pd.DataFrame([row | {"how": how, "map": map} for how in ("in it", "alone") for map in ("word", "label")])
    figure = plots.nouns(table)
    assert [ax.get_title() for ax in figure.axes] == ["in it", "alone"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["word", "label"]
    assert not any(ax.get_legend() for ax in figure.axes)


def test_scores_and_splits() -> None:
    clip = tiny_clip(image_size=32, layers=2, width=32, patch_size=8)
    samples = [masked(20, 28, ("cat", "dog"), n) for n in range(3)]
    (rows,) = stream(clip, samples, [explain.measure(clip, LABELS, "clip, clip+code, maskclip")])
    axes = plots.scores(rows).axes
    assert [ax.get_title() for ax in axes] == ["CLIP", "MaskCLIP", ""] and axes[-1].get_ylabel() == "mIoU (%)"
    means, halves = (summary.split_by(rows, "label", half=half).to_numpy().ravel() for half in (False, True))
    written = {text.get_text() for text in plots.splits(rows).axes[0].texts}
    assert {f"{mean:.0f}\n±{half:.0f}" for mean, half in zip(means, halves, strict=True)} <= written


def test_bars_show_every_class_or_both_ends() -> None:
    names = [f"c{n}" for n in range(30)]
    values = {"label": names, "value": np.arange(30.0)}
    ends = {"value_low": values["value"] - 1, "value_high": np.append(values["value"][:-1] + 2, np.nan)}
    table = pd.concat([pd.DataFrame({"reading": r} | values | ends) for r in READINGS])
    (ax,) = plots.bars(table, "IoU (%)").axes
    shown = [label.get_text() for label in ax.get_yticklabels()]
    assert shown == [f"c{n}" for n in [*range(29, 19, -1), *range(9, -1, -1)]] and "of 30 classes" in ax.get_xlabel()
    (ax,) = plots.bars(table[table["value"] < 5], "IoU (%)").axes
    assert ax.get_xlabel() == "IoU (%)" and len(ax.patches) == 10
    assert [text.get_text() for text in ax.figure.legends[0].get_texts()] == ["CLIP", "MaskCLIP"]
    segments = ax.containers[0].get_children()[0].get_segments()  # of the bars' intervals, the first reading's
    assert [[x for x, _ in part] for part in segments] == [[n - 1, n + 2] for n in range(5)]
    plt.close("all")


@pytest.mark.slow
def test_an_ablation_shows_means_over_seeds_with_their_interval() -> None:
    rows = [
        {"setting": name, "seed": seed, "mAP": 90.0 + n + seed, "after": 0.3, "held after": 0.4, "before": 0.7}
        for n, name in enumerate(("unmix", "pooling kept"))
        for seed in range(3)
    ]
    table = pd.DataFrame(rows)
    left, right = plots.ablation(table).axes
    (bar,) = left.containers[0].lines[2]
    half = 4.302653 * 1 / 3**0.5  # Student's t with two degrees of freedom, sd 1
    assert [list(end) for end in bar.get_segments()[0][:, 0:1].T] == [pytest.approx([91 - half, 91 + half])]
    words = [text.get_text() for text in left.figure.legends[0].get_texts()]
    assert len(right.containers) == 2 and words == ["cosine, labels trained on", "cosine, labels not trained on"]
    assert plots.ablation(table[table["seed"] == 0]).axes[0].containers  # a point without an interval


def test_what_is_drawn_alone_is_not_pyplots() -> None:
    """A notebook's main thread would draw and show it, at any moment."""
    shown, seen = plt.get_fignums(), []

    def draw() -> Figure:
        figure, _ = plots.row(2)
        seen.append(plt.get_fignums())
        return figure

    assert png_of(draw)[1:4] == b"PNG" and seen == [shown]
    plt.close(draw())
    assert len(seen[1]) == len(shown) + 1
