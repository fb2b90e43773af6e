"""Four tasks by any readings, one shape of table: reading, measure, value, low, high, n (`clipsx evaluate`)."""

from collections.abc import Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import pandas as pd

from clipsx.clip import Clip
from clipsx.datasets import Sample, labels_of
from clipsx.evaluation import explain, points, recognise, segment, summary
from clipsx.evaluation.parts import Parts
from clipsx.evaluation.stream import stream
from clipsx.reading import SURGERIES, Reading, crossed, readings
from clipsx.segmenters.named import WALKER

TASKS = {
    "explain": tuple(summary.MEASURES),
    "segment": ("mIoU",),
    "recognise": ("mAP", "CF1", "OF1"),
    "points": tuple(points.MEASURES),
}
"""What is measured, all in %: maps of the labels present against their masks; the best label at every position; which
labels are there, by the class feature; points chosen from maps and the masks they yield."""
TASK_OF = {
    "explain": "explain",
    "segmentation": "segment",
    "recognition": "recognise",
    "points": "points",
}  # by measure


def evaluate(
    clip: Clip,
    task: str,
    tuning: Sequence[Sample],
    test: Sequence[Sample],
    asked: str | Sequence[str | Reading] = (),
    *,
    folder: str | Path | None = None,
    segmenter: str | Path = WALKER,
    **options: Any,
) -> pd.DataFrame:
    """A row per reading and measure: value, low, high (95 % image bootstrap), n images, and what made it.

    Thresholds are chosen on `tuning`, everything is reported on `test`. With `shard` among the options the table is
    empty: `merged` makes it once all shards are there. asked: readings; none: every method that the
    model can do, plain and with feature surgery (to recognise: CLIP's class feature by every form of it). folder: where
    rows are kept as they come, test's in `rows`, tuning's in `tuning/rows`: the same call goes on where it stopped.
    segmenter: of the task points, as `segmenters.load` takes it.
    options: those of `stream`. Errors: those of `stream` and of the task's measure.
    """
    default = crossed(("clip",), SURGERIES) if task == "recognise" else crossed(clip.methods)
    shown, labels = readings(asked) if asked else default, labels_of(test)
    make = {
        "explain": explain.measure,
        "segment": segment.measure,
        "recognise": recognise.measure,
        "points": partial(points.measure, segmenter=segmenter),
    }[task]
    measure = make(clip, labels, shown)
    choosing = explain.measure(clip, labels, shown) if task == "points" else measure  # a threshold needs no segmenter

    def rows(samples: Sequence[Sample], part: str, words: str) -> pd.DataFrame | None:
        place, asked = None if folder is None else Path(folder, part), measure if samples is test else choosing
        return next(iter(stream(clip, samples, [asked], folder=place, words=words, **options)), None)

    found = rows(test, ".", "measuring")
    tuned = None if task == "segment" else rows(tuning, "tuning", "choosing thresholds")
    return pd.DataFrame() if found is None else _summarised(task, found, tuned)


def merged(folder: str | Path) -> pd.DataFrame:
    """The table of a run whose parts lie in `folder`, whoever made them: that of `evaluate`, to the digit.

    Errors: those of `Parts`: for parts that are missing, and of another run; ValueError for a folder without a run.
    """
    (name, found), *_ = Parts.of(Path(folder)).tables().items()
    task = TASK_OF.get(name, name)
    tuned = None if task == "segment" else next(iter(Parts.of(Path(folder, "tuning")).tables().values()))
    return _summarised(task, found, tuned)


def _summarised(task: str, found: pd.DataFrame, tuned: pd.DataFrame | None) -> pd.DataFrame:
    said = {"explain": summary.summarise, "recognise": _recognised, "points": points.summarise}
    return _long(segment.summarise(found) if tuned is None else said[task](found, tuned), task)


def _recognised(table: pd.DataFrame, tuning: pd.DataFrame) -> pd.DataFrame:
    """A summary of every reading's rows."""
    found = []
    for reading, rows in table.groupby("reading", sort=False):
        scores, targets = recognise.as_arrays(rows)
        tuned, known = recognise.as_arrays(tuning[tuning["reading"] == reading])
        name = str(reading)
        row = recognise.summarise({name: scores}, targets, ({name: tuned}, known)).drop(columns="labels")
        found.append(row.rename(columns={"rule": "reading"}).assign(**summary.constants(rows, ["reading"])))
    return pd.concat(found, ignore_index=True)


def _long(table: pd.DataFrame, task: str) -> pd.DataFrame:
    """A summary's measures below each other; its other columns, what made it, at the end."""
    own = {name: {name: "value", f"{name}_low": "low", f"{name}_high": "high"} for name in TASKS[task]}
    about = table.drop(columns=["reading", "images", *chain(*own.values())], errors="ignore")
    parts = []
    for name, columns in own.items():
        part = table.reindex(columns=["reading", *columns, "images"]).rename(columns=columns | {"images": "n"})
        part.insert(1, "measure", name)
        parts.append(part.join(about))
    return pd.concat(parts).sort_index(kind="stable").reset_index(drop=True)
