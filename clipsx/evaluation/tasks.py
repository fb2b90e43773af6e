"""Four tasks by any readings, one shape of table: reading, measure, value, low, high, n (`clipsx evaluate`)."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import pandas as pd

from clipsx.clip import Clip
from clipsx.datasets import BUILT_IN, Sample, labels_of, recipe_of
from clipsx.datasets.vocabularies import Given
from clipsx.evaluation import explain, points, protocols, recognise, segment, summary
from clipsx.evaluation.asked import vocabulary_of
from clipsx.evaluation.parts import Parts
from clipsx.evaluation.protocols import Protocol
from clipsx.evaluation.stream import Measure, keep
from clipsx.reading import SURGERIES, Reading, crossed, readings
from clipsx.segmenters.named import WALKER
from clipsx.unmix.projectors import PROMPTS, spatial_head

TASKS = {
    "explain": tuple(summary.MEASURES),
    "segment": ("mIoU",),
    "recognise": ("mAP", "CF1", "CF1_per_class", "OF1"),
    "points": tuple(points.MEASURES),
}
"""What is measured, all in %: maps of the labels present against their masks; the best label at every position; which
labels are there, by the class feature; points chosen from maps and the masks they yield."""


def evaluate(
    clip: Clip,
    task: str,
    tuning: Sequence[Sample],
    test: Sequence[Sample],
    asked: str | Sequence[str | Reading] = (),
    *,
    protocol: str | None = None,
    vocabulary: Given | None = None,
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
    A class is asked for by all query words that the data set's vocabulary has for it, of which the best counts at every
    place, else by its name; or by those of another `vocabulary` (`Vocabulary.of`), in the order of its classes. What is
    no class is asked for by the protocol's words, where it has any, or by those of a vocabulary that is not built in.
    Errors: those of `protocols.protocol`, of `stream` and of the task's measure; ValueError for a vocabulary that is
    unknown, or of another number of classes.
    """
    rules, labels = protocols.protocol(protocol, task), labels_of(test)
    head = (PROMPTS, spatial_head) if rules.rule == protocols.HEAD else None
    default = crossed(clip.methods) if task != "recognise" else crossed(("clip",), ("none",) if head else SURGERIES)
    shown, asking = readings(asked) if asked else default, vocabulary_of(test, vocabulary)
    words = dict(zip(labels, asking.queries, strict=True))
    own = asking.background if rules.background and BUILT_IN.get(asking.name) != asking else ()
    grounds = own or rules.background
    make = {
        "explain": explain.measure,
        "segment": partial(segment.measure, grounds=grounds, rules=rules),
        "recognise": partial(recognise.measure, head=head),
        "points": partial(points.measure, segmenter=segmenter),
    }[task]
    measure = make(clip, labels, shown, templates=rules.templates, words=words)
    alone = not len(tuning) or not chooses(task, rules)
    kept = {"rules": rules.name, "tuned_on": 0 if alone else len(tuning), "dataset": named(test)}
    several = any(len(some) > 1 for some in asking.queries)
    by = getattr(test, "labelled", "") if task == "recognise" else ""
    kept["wording"] = f"; words of {asking.name}" + "; the best of a class's words" * several
    kept["wording"] += f", also its {len(own)} for the background" * bool(own) + f"; labels from {by}" * bool(by)
    measure = replace(measure, about={**measure.about, **kept})
    choosing = explain.measure(clip, labels, shown, words=words) if task == "points" else measure  # needs no segmenter
    size = clip.patch_size if rules.windows else rules.size  # what is seen beside the windows costs next to nothing
    options |= {"size": size} if size else {}

    def parts(samples: Sequence[Sample], asks: Measure, part: str, told: str) -> Parts:
        return keep(clip, samples, [asks], folder=folder and Path(folder, part), words=told, **options)

    found = parts(test, measure, ".", "measuring")
    tuned = None if alone else parts(tuning, choosing, "tuning", "choosing thresholds")
    return pd.DataFrame() if options.get("shard", (1, 1))[1] > 1 else _summarised(found, tuned)


def chooses(task: str, rules: Protocol) -> bool:
    """Whether something of the protocol is chosen on other images."""
    return task != "segment" and rules.yes is None


def merged(folder: str | Path) -> pd.DataFrame:
    """The table of a run whose parts lie in `folder`, whoever made them: that of `evaluate`, to the digit.

    Errors: those of `both`, and of `Parts` for parts that are missing.
    """
    return _summarised(*both(folder))


def both(folder: str | Path) -> tuple[Parts, Parts | None]:
    """The parts of a run in `folder`, and those that its thresholds were chosen on, where there are any.

    Errors: ValueError for a folder without a run.
    """
    found = Parts.of(Path(folder))
    return found, Parts.of(Path(folder, "tuning")) if told(found)["tuned_on"] else None


def told(parts: Parts) -> dict[str, Any]:
    """What a run says of itself: its `task`, and the columns that are the same in all its rows."""
    (name, measure), *_ = parts.measures.items()
    return {"task": name, "tuned_on": 0, **measure["about"]}


def _summarised(found: Parts, tuned: Parts | None) -> pd.DataFrame:
    """The table of a task from the rows of test images and of others, by the protocol that they say."""
    about, others = told(found), {} if tuned is None else tuned.by_reading()
    task, rules = about["task"], protocols.protocol(about["rules"], about["task"])
    each = [  # a reading at a time: memory holds the rows of one
        SUMMARIES[task](rows(), others[name]() if name in others else None, rules)
        for name, rows in found.by_reading().items()
    ]
    table = _long(pd.concat(each, ignore_index=True), TASKS[task] + rules.more)
    alone = "" if tuned is not None or not chooses(task, rules) else "; no other images to choose a threshold on"
    said = [f"{rules}{about['wording']}; {words}{alone}" for words in table["protocol"]]
    return table.assign(protocol=said, dataset=about["dataset"])


def named(samples: Sequence[Sample]) -> str:
    """The data set by the name that `datasets.load` knows it by, also of a part; "given" for a plain sequence."""
    recipe: Any = recipe_of(samples)
    while recipe and "of" in recipe:
        recipe = recipe["of"]
    return recipe["dataset"] if recipe else "given"


def _explained(table: pd.DataFrame, tuning: pd.DataFrame | None, rules: Protocol) -> pd.DataFrame:
    """A summary of every reading's rows; beside it mIoU by other rules of its threshold, where a protocol has them."""
    found = summary.summarise(table, tuning)
    others = {"miou_searched": table, "miou_fixed": None}
    for name in rules.more:
        other = summary.summarise(table, others[name])
        found = found.assign(**{f"{name}{end}": other[f"miou{end}"] for end in ("", "_low", "_high")})
    return found


def _recognised(table: pd.DataFrame, tuning: pd.DataFrame | None, rules: Protocol) -> pd.DataFrame:
    """A summary of a reading's rows, its cosines by the protocol's rule."""
    name, asked = str(table["reading"].iloc[0]), None if rules.yes is not None else tuning
    each = [recognise.by_protocol(some, rules.rule) for some in (table, asked) if some is not None]
    (scores, targets), *others = [({name: own}, known) for own, known in each]
    how: Any = {"absent": rules.absent, "yes": 0.5 if rules.yes is None else rules.yes}
    row = recognise.summarise(scores, targets, others[0] if others else None, **how).drop(columns="labels")
    return row.rename(columns={"rule": "reading"}).assign(**summary.constants(table, ["reading"]))


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
