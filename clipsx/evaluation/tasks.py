"""Four tasks by any readings, one shape of table: reading, measure, value, low, high, n (`clipsx evaluate`)."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from clipsx.clip import Clip
from clipsx.datasets import BUILT_IN, Sample, Vocabulary, labels_of, recipe_of
from clipsx.evaluation import explain, points, protocols, recognise, segment, summary
from clipsx.evaluation.parts import Parts
from clipsx.evaluation.protocols import Protocol
from clipsx.evaluation.stream import stream
from clipsx.messages import require_known
from clipsx.reading import SURGERIES, Reading, crossed, readings
from clipsx.segmenters.named import WALKER

TASKS = {
    "explain": tuple(summary.MEASURES),
    "segment": ("mIoU",),
    "recognise": ("mAP", "CF1", "CF1_per_class", "OF1"),
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
    protocol: str | None = None,
    vocabulary: str | None = None,
    folder: str | Path | None = None,
    segmenter: str | Path = WALKER,
    **options: Any,
) -> pd.DataFrame:
    """A row per reading and measure: value, low, high (95 % image bootstrap), n images, and what made it.

    Thresholds are chosen on `tuning`, everything is reported on `test`; without other images (none in `tuning`) they
    are fixed, as the table then says. With `shard` among the options the table is empty: `merged` makes it once all
    shards are there. asked: readings; none: every method that the model can do, plain and with feature surgery (to
    recognise: CLIP's class feature by every form of it). protocol: a name in `PROTOCOLS`, the task's own by default.
    folder: where rows are kept as they come, test's in `rows`, tuning's in `tuning/rows`: the same call goes on where
    it stopped. segmenter: of the task points, as `segmenters.load` takes it. options: those of `stream`.
    To segment, a class is asked for by all query words that the data set's vocabulary has for it, else by its name; or
    by those of a built-in `vocabulary`, in the order of its classes.
    Errors: those of `protocols.protocol`, of `stream` and of the task's measure; ValueError for a vocabulary that is
    unknown, or of another number of classes.
    """
    rules, labels = protocols.protocol(protocol, task), labels_of(test)
    default = crossed(("clip",), SURGERIES) if task == "recognise" else crossed(clip.methods)
    shown, asking = readings(asked) if asked else default, _vocabulary(test, vocabulary)
    words = dict(zip(labels, asking.queries, strict=True))
    grounds = rules.background and (asking.background or rules.background)
    make = {
        "explain": explain.measure,
        "segment": partial(segment.measure, grounds=grounds, words=words, rules=rules),
        "recognise": recognise.measure,
        "points": partial(points.measure, segmenter=segmenter),
    }[task]
    measure = make(clip, labels, shown, templates=rules.templates)
    kept = {"rules": rules.name, "others": 0 if task == "segment" else len(tuning), "dataset": named(test)}
    kept["wording"] = f"; words of {vocabulary}" if vocabulary else ""
    measure = replace(measure, about={**measure.about, **kept})
    choosing = explain.measure(clip, labels, shown) if task == "points" else measure  # a threshold needs no segmenter
    size = clip.patch_size if rules.windows else rules.size  # what is seen beside the windows costs next to nothing
    options |= {"size": size} if size else {}

    def rows(samples: Sequence[Sample], part: str, words: str) -> pd.DataFrame | None:
        place, asked = None if folder is None else Path(folder, part), measure if samples is test else choosing
        return next(iter(stream(clip, samples, [asked], folder=place, words=words, **options)), None)

    found = rows(test, ".", "measuring")
    tuned = None if task == "segment" or not len(tuning) else rows(tuning, "tuning", "choosing thresholds")
    return pd.DataFrame() if found is None else _summarised(task, found, tuned)


def merged(folder: str | Path) -> pd.DataFrame:
    """The table of a run whose parts lie in `folder`, whoever made them: that of `evaluate`, to the digit.

    Errors: those of `Parts`: for parts that are missing, and of another run; ValueError for a folder without a run.
    """
    (name, found), *_ = Parts.of(Path(folder)).tables().items()
    task, alone = TASK_OF.get(name, name), "others" in found and not found["others"].any()
    tuned = None if alone else next(iter(Parts.of(Path(folder, "tuning")).tables().values()))
    return _summarised(task, found, tuned)


def _summarised(task: str, found: pd.DataFrame, tuned: pd.DataFrame | None) -> pd.DataFrame:
    """The table of a task from the rows of test images and of others, by the protocol that they say."""
    rules = protocols.protocol(found["rules"].iloc[0], task)
    table = _long(SUMMARIES[task](found, tuned, rules), TASKS[task] + rules.more)
    alone = "" if tuned is not None or task == "segment" else "; no other images to choose a threshold on"
    said = [f"{rules}{found['wording'].iloc[0]}; {words}{alone}" for words in table["protocol"]]
    return table.assign(protocol=said, dataset=found["dataset"].iloc[0])


def named(samples: Sequence[Sample]) -> str:
    """The data set by the name that `datasets.load` knows it by, also of a part; "given" for a plain sequence."""
    recipe: Any = recipe_of(samples)
    while recipe and "of" in recipe:
        recipe = recipe["of"]
    return recipe["dataset"] if recipe else "given"


def _vocabulary(samples: Any, name: str | None) -> Vocabulary:
    """A built-in vocabulary, else that of a data set, else its labels."""
    labels, own = labels_of(samples), getattr(samples, "vocabulary", None)
    if name is not None:
        require_known("vocabulary", name, BUILT_IN)
        own = BUILT_IN[name]
    found = own or Vocabulary.single(labels)
    if len(found.queries) != len(labels):
        raise ValueError(f"The vocabulary has {len(found.queries)} classes, the data set {len(labels)}: take its own.")
    return found


def _explained(table: pd.DataFrame, tuning: pd.DataFrame | None, rules: Protocol) -> pd.DataFrame:
    """A summary of every reading's rows; beside it mIoU by other rules of its threshold, where a protocol has them."""
    found = summary.summarise(table, tuning)
    others = {"miou_searched": table, "miou_fixed": None}
    for name in rules.more:
        other = summary.summarise(table, others[name])
        found = found.assign(**{f"{name}{end}": other[f"miou{end}"] for end in ("", "_low", "_high")})
    return found


def _recognised(table: pd.DataFrame, tuning: pd.DataFrame | None, rules: Protocol) -> pd.DataFrame:
    """A summary of every reading's rows, its cosines by the protocol's rule."""
    found = []
    for name, rows in table.groupby("reading", sort=False):
        rule = recognise.OF_COSINES["cosine" if Reading.parse(str(name)).surgery != "none" else rules.rule]
        chosen = None if tuning is None or rules.yes is not None else tuning[tuning["reading"] == name]
        given = [recognise.as_arrays(some) for some in (rows, chosen) if some is not None]
        each = [({str(name): rule(torch.tensor(scores)).numpy()}, targets) for scores, targets in given]
        how: Any = {"absent": rules.absent, "yes": 0.5 if rules.yes is None else rules.yes}
        row = recognise.summarise(*each[0], each[1] if chosen is not None else None, **how).drop(columns="labels")
        found.append(row.rename(columns={"rule": "reading"}).assign(**summary.constants(rows, ["reading"])))
    return pd.concat(found, ignore_index=True)


SUMMARIES: dict[str, Callable[[pd.DataFrame, pd.DataFrame | None, Protocol], pd.DataFrame]] = {
    "explain": _explained,
    "segment": lambda table, tuning, rules: segment.summarise(table, mean=rules.mean),
    "recognise": _recognised,
    "points": lambda table, tuning, rules: points.summarise(table, tuning),
}


def _long(table: pd.DataFrame, measures: Sequence[str]) -> pd.DataFrame:
    """A summary's measures below each other; its other columns, what made it, at the end."""
    own = {name: {name: "value", f"{name}_low": "low", f"{name}_high": "high"} for name in measures}
    about = table.drop(columns=["reading", "images", *chain(*own.values())], errors="ignore")
    parts = []
    for name, columns in own.items():
        part = table.reindex(columns=["reading", *columns, "images"]).rename(columns=columns | {"images": "n"})
        part.insert(1, "measure", name)
        parts.append(part.join(about))
    return pd.concat(parts).sort_index(kind="stable").reset_index(drop=True)
