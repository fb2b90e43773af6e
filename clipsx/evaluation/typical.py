"""Which picture to open on: the most typical by a stated rule, and the counter-example with how often it happens."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from clipsx.clip import Clip
from clipsx.datasets import Sample
from clipsx.datasets.protocol import Subset
from clipsx.evaluation import explain
from clipsx.evaluation.stream import Look, stream
from clipsx.reading import Reading

FIRST = 24  # pictures that are looked at


@dataclass(frozen=True)
class Example:
    """An object of a picture: its place in the data set, its label, its mSC before and after, in %."""

    image: int
    label: str | None = None
    before: float = float("nan")
    after: float = float("nan")

    @property
    def state(self) -> dict[str, Any]:
        """What opens a `SurgeryPanel` on it."""
        return {"image": self.image, "shown": self.label}

    def __str__(self) -> str:
        return f"{self.label!r} in picture {self.image} (mSC {self.before:.1f} → {self.after:.1f} %)"


@dataclass(frozen=True)
class Typical:
    """The most typical object, that which loses most (None where none does), the objects' table, the rule in words."""

    shown: Example
    counter: Example | None
    table: pd.DataFrame  # a row per object: number, label, before, after
    rule: str

    def __str__(self) -> str:
        if self.shown.label is None:
            return self.rule
        words, lost = f"Shown: {self.shown}. {self.rule}", self.table[self.table["after"] < self.table["before"]]
        if self.counter is None:
            return f"{words} None of them comes out lower."
        most = str(lost["label"].value_counts().index[0])
        of_it = (int((part["label"] == most).sum()) for part in (lost, self.table))
        often = f"{len(lost)} of {len(self.table)} objects come out lower ({most!r}: {' of '.join(map(str, of_it))})"
        return f"{words} Counter-examples: {often}; the furthest is {self.counter}."


def typical(
    clip: Clip,
    samples: Sequence[Sample],
    asked: str | Reading = "clip-surgery+code",
    after: Clip | None = None,
    first: int = FIRST,
    templates: str | Sequence[str] = "clip-surgery",
) -> Typical:
    """The object, among those of the first pictures, that a change of its map is most typical of.

    The change is that of mSC from the model's own map to the reading `asked` (of the model `after`, where one is
    given). Most typical is the object whose mSC before and whose change lie nearest the medians over all objects (the
    sum of both distances; the first one among equals); the counter-example is the one whose mSC falls most.
    Without masks, or where none is of a label that is asked for, the first picture is shown, as the rule then says.
    """
    first, reading = min(first, len(samples)), Reading.parse(asked)
    some = Subset(samples, range(first), f"the first {first}")
    seen = [(set(sample.masks), sample.labels) for sample in some]
    labels = tuple(some.labels) or tuple(dict.fromkeys(label for _, own in seen for label in own))
    if len(labels) < 2 or not any(masks & set(labels) for masks, _ in seen):
        return Typical(
            Example(0), None, pd.DataFrame(), "No true region of a label is known here: the first picture is shown."
        )
    models = {"before": (clip, Reading()), "after": (after or clip, reading)}
    table = pd.concat([_scores(*how, some, labels, templates, name) for name, how in models.items()], axis=1).dropna()
    if table.empty:
        return Typical(Example(0), None, table, "No mask here has a background: the first picture is shown.")
    table = table.reset_index()
    both = pd.DataFrame({"before": table["before"], "change": table["after"] - table["before"]})
    middle, order = both.median(), (both - both.median()).abs().sum(axis=1)
    by = reading.title if after is None else "the projectors"
    rule = (
        f"Of {len(table)} objects in the first {first} pictures its own mSC and the change by {by} lie nearest "
        f"the medians ({middle['before']:.1f} % and {middle['change']:+.1f})."
    )
    worst = int(both["change"].argmin())
    counter = _example(table, worst) if both["change"].iloc[worst] < 0 else None
    return Typical(_example(table, int(order.argmin())), counter, table, rule)


def _scores(
    clip: Clip, reading: Reading, samples: Subset, labels: Sequence[str], templates: Any, name: str
) -> pd.Series:
    """mSC (%) by picture and label."""
    measure = explain.measure(clip, labels, [reading], templates)

    def rows(look: Look) -> Iterator[dict[str, Any]]:
        row: Any
        for row in measure.rows(look):
            yield {"number": look.number, **row}

    (found,) = stream(clip, samples, [replace(measure, rows=rows)], words="choosing a picture")
    return found.set_index(["number", "label"])["msc"].rename(name)


def _example(table: pd.DataFrame, place: int) -> Example:
    row: Any = table.iloc[place]
    return Example(int(row["number"]), str(row["label"]), float(row["before"]), float(row["after"]))
