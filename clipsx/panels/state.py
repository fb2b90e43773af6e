"""What a panel shows, as a small dictionary that can be saved, restored and put in a call."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, TypeVar

from clipsx.clip import Clip
from clipsx.messages import nearest, require, require_known
from clipsx.methods import able, rows_of
from clipsx.reading import Reading, crossed

RELATIONS = ("qk", "vv")  # out of `methods.PAIRS`: the attention of a chosen patch
SHARES = ("threshold", "opacity", "cut")  # entries that lie in 0 … 1
NO_LABEL = "A panel needs one label at least."
Held = TypeVar("Held", bound="Entries")


@dataclass(frozen=True)
class Entries:
    """What a panel shows."""

    def checked(self: Held, clip: Clip) -> Held:
        """This state, a reading in its shortest text, if `clip` can show it; the picture is for who opens it.

        Errors: ValueError that names the entry, its value and what would do.
        """
        own = vars(self)
        for name in SHARES:
            require(name, own.get(name, 0), 0, 1)
        if "reading" not in own:
            return self
        reading = Reading.parse(own["reading"])
        reading.plan(clip.tower)
        return self.updated({"reading": reading})

    def updated(self: Held, changes: Mapping[str, Any]) -> Held:
        """This state with some of its entries changed. Errors: ValueError for an entry it does not have.

        Lists, also those in them, become tuples, and a reading its text.
        """
        names = [f.name for f in fields(self)]
        kept = {}
        for name, value in changes.items():
            if name not in names:
                raise ValueError(f"a panel's state has no {name!r}{nearest(name, names)}")
            kept[name] = str(value) if isinstance(value, Reading) else _tupled(value)
        return replace(self, **kept)

    def plain(self) -> dict[str, Any]:
        """This state as values that JSON would give back the same."""
        return json.loads(json.dumps(asdict(self)))


@dataclass(frozen=True)
class State(Entries):
    """The whole of the surgery panel's state. JSON holds it: `labels` and `patch` may come as lists.

    `image`: a place in the samples, or the path of a picture; `size`: the side it is read at, in pixels, None for the
    model's own; `labels`: None for the sample's own and a few others; `shown`: None for the first; `reading`: the text
    of a `Reading`; `patch`: (row, column), None for the patch most like the label shown; `attention`: one of
    `RELATIONS`; `block`: counted from 0, −1 is the last.
    """

    image: int | str = 0
    size: int | None = None
    labels: tuple[str, ...] | None = None
    shown: str | None = None
    reading: str = "clip-surgery+code"
    threshold: float = 0.6
    opacity: float = 0.6
    patch: tuple[int, int] | None = None
    attention: str = "vv"
    block: int = -1

    def checked(self, clip: Clip) -> "State":
        require_known("attention", self.attention, RELATIONS)
        blocks = clip.tower.blocks
        if not -blocks <= self.block < blocks:
            raise ValueError(f"block is {self.block}: {clip.name} has blocks 0 to {blocks - 1}")
        if self.labels is not None and (not self.labels or accepted(self.labels)[1]):
            raise ValueError(" ".join(accepted(self.labels)[1]) or NO_LABEL)
        return super().checked(clip)


def offered(clip: Clip) -> tuple[Reading, ...]:
    """What a menu offers: every method with feature surgery and without; without it those that need the texts."""
    return crossed(clip.methods) + crossed(able(clip.tower, texts=True), ("none",))


def turned(reading: str, part: str, value: Any) -> str:
    """A reading with one part ("method", "depth", "surgery", "tau") changed; a method drops what it has not."""
    now = Reading.parse(reading)
    if part == "method" and rows_of(value)[0].texts:
        now = now.features  # without feature surgery
    return str(replace(now, **{part: value}))


def _tupled(value: Any) -> Any:
    return tuple(map(_tupled, value)) if isinstance(value, list | tuple) else value


def accepted(labels: tuple[str, ...]) -> tuple[tuple[str, ...], list[str]]:
    """Labels without outer blanks, and in words what was left out: blanks, one given twice. "" is the empty label."""
    if isinstance(labels, str):
        raise TypeError(f"labels must be a list of texts: [{labels!r}], not {labels!r}.")
    kept: list[str] = []
    refused = []
    for label in labels:
        name = label.strip()
        if label and not name:
            refused.append("A label of blanks says nothing: type a word, or press ∅ for the empty label.")
        elif name in kept:
            refused.append(f"The label {name!r} is there already." if name else "The empty label is there already.")
        else:
            kept.append(name)
    return tuple(kept), refused
