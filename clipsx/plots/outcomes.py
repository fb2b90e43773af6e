"""The pictures of a run that came out worst and best, and those that changed most from one model to another."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from clipsx.clip import Clip
from clipsx.datasets import Sample, labels_of
from clipsx.evaluation import results
from clipsx.evaluation.parts import Parts
from clipsx.evaluation.protocols import Protocol
from clipsx.plots import sheets
from clipsx.plots.cells import Cell
from clipsx.segmenters.named import WALKER

BESIDE = 4  # readings in a row


def worst_and_best(
    clip: Clip, rules: Protocol, folder: str | Path, samples: Sequence[Sample], count: int = 2, segmenter: str = WALKER
) -> list[list[Cell]]:
    """Rows of a sheet: of the run in `folder` the pictures that its last reading is worst at, then its best.

    Each by the run's last readings, by its protocol. No row for pictures that are not among the samples, and where a
    tower has no maps. Errors: those of `Parts`.
    """
    rows = Parts.of(Path(folder)).by_reading()
    readings = list(rows)[-BESIDE:]
    worth = results.images(rows[readings[-1]](), readings[-1])
    shown = results.ends(samples, worth, count)
    drawn = zip(shown, _rows(clip, rules, shown, labels_of(samples), readings, segmenter), strict=False)
    return [[titled(row[0], f"{sample.name}: {worth[sample.name]:.0f} %"), *row[1:]] for sample, row in drawn]


def mapped(
    clip: Clip, rules: Protocol, changes: pd.DataFrame, samples: Sequence[Sample], segmenter: str = WALKER
) -> list[list[Cell]]:
    """A row for every picture of `compare.compared`, as one model sees it by the reading that changed."""
    place, labels = {samples[n].name: n for n in range(len(samples))}, labels_of(samples)
    each = [(samples[place[name]], reading) for name, reading in changes[["image", "reading"]].itertuples(index=False)]
    return [row for one, reading in each for row in _rows(clip, rules, [one], labels, [reading], segmenter)]


def changed(
    before: Sequence[Sequence[Cell]], after: Sequence[Sequence[Cell]], changes: pd.DataFrame
) -> list[list[Cell]]:
    """Rows of a sheet: what `mapped` gives of either model beside each other, with what the picture was worth."""
    found = []
    for one, other, (_, row) in zip(before, after, changes.iterrows(), strict=False):
        before_it = (titled(cell, f"before: {row['before']:.0f} %") for cell in one[1:])
        after_it = (titled(cell, f"after: {row['after']:.0f} %") for cell in other[1:])
        found.append([titled(one[0], str(row["image"])), *before_it, *after_it])
    return found


def titled(cell: Cell, words: str) -> Cell:
    """The cell with words above its title."""
    return replace(cell, title=f"{words}\n{cell.title}")


def _rows(
    clip: Clip, rules: Protocol, shown: Sequence[Sample], labels: Sequence[str], readings: Sequence[str], segmenter: str
) -> list[list[Cell]]:
    """The figure of the protocol's task, a row a picture; none where there are no maps to draw."""
    if not clip.methods or len(labels) < 2:
        return []
    if rules.task == "segment":
        return sheets.class_maps(clip, shown, labels, readings, rules)
    if rules.task == "points":
        return sheets.prompted(clip, shown, labels, readings, segmenter, size=rules.size)
    return sheets.methods(clip, shown, labels, readings, size=rules.size)
