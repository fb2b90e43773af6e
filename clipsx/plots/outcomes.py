"""The pictures of a run that came out worst and best, and those that changed most from one model to another."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from clipsx.clip import Clip
from clipsx.datasets import Sample, labels_of
from clipsx.evaluation import results
from clipsx.evaluation.parts import Parts
from clipsx.plots import sheets
from clipsx.plots.cells import Cell

DRAWN = {
    "explain": sheets.methods,
    "segment": sheets.class_maps,
    "recognise": sheets.methods,
    "points": sheets.prompted,
}
BESIDE = 4  # readings in a row


def worst_and_best(
    clip: Clip, task: str, folder: str | Path, samples: Sequence[Sample], count: int = 2, **how: Any
) -> list[list[Cell]]:
    """Rows of a sheet: of the run in `folder` the pictures that its last reading is worst at, then its best.

    Each by the run's last readings, as the task's own figure has them (`how`: its options). No row for pictures that
    are not among the samples, and where the tower has no maps. Errors: those of `Parts`.
    """
    rows = Parts.of(Path(folder)).by_reading()
    readings = list(rows)[-BESIDE:]
    worth = results.images(rows[readings[-1]](), readings[-1])
    shown = results.ends(samples, worth, count) if clip.methods else []
    drawn = zip(shown, DRAWN[task](clip, shown, labels_of(samples), readings, **how), strict=True)
    return [[titled(row[0], f"{sample.name}: {worth[sample.name]:.0f} %"), *row[1:]] for sample, row in drawn]


def mapped(clip: Clip, task: str, changes: pd.DataFrame, samples: Sequence[Sample], **how: Any) -> list[list[Cell]]:
    """A row for every picture of `compare.compared`, as one model sees it by the reading that changed."""
    place, labels = {samples[n].name: n for n in range(len(samples))}, labels_of(samples)
    each = zip(changes["image"], changes["reading"], strict=True)
    return [DRAWN[task](clip, [samples[place[name]]], labels, [reading], **how)[0] for name, reading in each]


def changed(
    before: Sequence[Sequence[Cell]], after: Sequence[Sequence[Cell]], changes: pd.DataFrame
) -> list[list[Cell]]:
    """Rows of a sheet: what `mapped` gives of either model beside each other, with what the picture was worth."""
    found = []
    for one, other, (_, row) in zip(before, after, changes.iterrows(), strict=True):
        before_it = (titled(cell, f"before: {row['before']:.0f} %") for cell in one[1:])
        after_it = (titled(cell, f"after: {row['after']:.0f} %") for cell in other[1:])
        found.append([titled(one[0], str(row["image"])), *before_it, *after_it])
    return found


def titled(cell: Cell, words: str) -> Cell:
    """The cell with words above its title."""
    return replace(cell, title=f"{words}\n{cell.title}")
