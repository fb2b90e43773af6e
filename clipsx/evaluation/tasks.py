"""Three tasks by any readings, one shape of table: reading, measure, value, low, high, n (`clipsx evaluate`)."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from clipsx.clip import Clip
from clipsx.datasets import Sample, labels_of
from clipsx.evaluation import explain, recognise, segment, summary
from clipsx.evaluation.stream import Look, Measure, stream
from clipsx.features import DenseFeatures
from clipsx.maps import surgery_scores
from clipsx.reading import SURGERIES, Reading, crossed, readings

TASKS = {"explain": ("msc", "opposite", "miou"), "segment": ("mIoU",), "recognise": ("mAP", "CF1", "OF1")}
"""What is measured, all in %: maps of the labels present against their masks; the best label at every position; which
labels are there, by the class feature."""


def evaluate(
    clip: Clip,
    task: str,
    tuning: Sequence[Sample],
    test: Sequence[Sample],
    asked: str | Sequence[str | Reading] = (),
    *,
    folder: str | Path | None = None,
    **options: Any,
) -> pd.DataFrame:
    """A row per reading and measure: value, low, high (95 % image bootstrap), n images, and what made it.

    Thresholds are chosen on `tuning`, everything is reported on `test`. asked: readings; none: every method that the
    model can do, plain and with feature surgery (to recognise: CLIP's class feature by every form of it). folder: where
    rows are kept as they come, test's in `rows`, tuning's in `tuning/rows`: the same call goes on where it stopped.
    options: those of `stream`. Errors: those of `stream` and of the task's measure.
    """
    default = crossed(("clip",), SURGERIES) if task == "recognise" else crossed(clip.methods)
    shown, labels = readings(asked) if asked else default, labels_of(test)
    make = {"explain": explain.measure, "segment": segment.measure, "recognise": recognition}[task]
    measure = make(clip, labels, shown)

    def rows(samples: Sequence[Sample], place: Path | None, words: str) -> pd.DataFrame:
        return stream(clip, samples, [measure], folder=place, words=words, **options)[0]

    place = None if folder is None else Path(folder)
    found = rows(test, place, "measuring")
    if task == "segment":
        return _long(segment.summarise(found), task)
    tuned = rows(tuning, None if place is None else place / "tuning", "choosing thresholds")
    return _long(summary.summarise(found, tuned) if task == "explain" else _recognised(found, tuned), task)


def recognition(clip: Clip, labels: Sequence[str], asked: Sequence[Reading]) -> Measure:
    """A row per image, reading and label: `score` of the reading's class feature, and whether the label is `present`.

    The score is the cosine, or what feature surgery makes of it where the reading has it (`maps.surgery_scores`).
    """
    names, text = tuple(labels), clip.encode_labels(labels)  # (N, D)
    columns = {reading: reading.columns(clip.tower) for reading in asked}

    def rows(look: Look) -> Iterator[dict[str, Any]]:
        for reading in asked:
            for label, score in zip(names, _scores(reading, look.dense(reading), text), strict=True):
                row = {"image": look.name, "label": label, "score": score, "present": label in look.sample.labels}
                yield columns[reading] | row

    about = {"templates": "clip-surgery", "labels": len(names)}
    return Measure("recognition", rows, tuple(asked), about=about, asks={"names": names})


def _scores(reading: Reading, dense: DenseFeatures, text: Any) -> list[float]:
    plain = reading.surgery == "none"
    scores = dense.cls @ text.T if plain else surgery_scores(dense, text, reading.surgery, tau=reading.tau)
    return scores[0].tolist()  # (N,)


def _recognised(table: pd.DataFrame, tuning: pd.DataFrame) -> pd.DataFrame:
    """A summary of every reading's rows."""
    found = []
    for reading, rows in table.groupby("reading", sort=False):
        scores, targets = recognise.as_arrays(rows)
        tuned, known = recognise.as_arrays(tuning[tuning["reading"] == reading])
        row = recognise.summarise({reading: scores}, targets, ({reading: tuned}, known)).drop(columns="labels")
        found.append(row.rename(columns={"rule": "reading"}).assign(**summary.constants(rows, ["reading"])))
    return pd.concat(found, ignore_index=True)


def _long(table: pd.DataFrame, task: str) -> pd.DataFrame:
    """A summary's measures below each other; its other columns, what made it, at the end."""
    names = TASKS[task]
    own = [name + end for name in names for end in ("", "_low", "_high")]
    about = table.drop(columns=["reading", "images", *(name for name in own if name in table)])
    none = pd.Series(float("nan"), table.index)
    parts = []
    for name in names:
        low, high = (table.get(name + end, none) for end in ("_low", "_high"))
        part = {"reading": table["reading"], "measure": name, "value": table[name], "low": low, "high": high}
        parts.append(pd.DataFrame(part | {"n": table["images"]}).join(about))
    return pd.concat(parts).sort_index(kind="stable").reset_index(drop=True)
