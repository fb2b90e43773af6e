"""What a panel shows, as a small dictionary that can be saved, restored and put in a call."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, TypeVar

from clipsx.clip import Clip
from clipsx.maps import FORMS
from clipsx.messages import nearest
from clipsx.methods import plan

SURGERIES = ("off", *FORMS)
RELATIONS = {"qk": "q-k", "vv": "v-v"}  # the attention of a chosen patch
NO_LABEL = "A panel needs one label at least."
Shown = TypeVar("Shown")  # a panel's state, a frozen dataclass


@dataclass(frozen=True)
class State:
    """The whole of a panel's state. JSON holds it: `labels` and `patch` may come as lists.

    `image`: a place in the samples, or the path of a picture; `size`: the side it is read at, in pixels, None for the
    model's own; `labels`: None for the sample's own and a few others; `shown`: None for the first; `patch`: (row,
    column), None for the patch most like the label shown; `block`: counted from 0, −1 is the last.
    """

    image: int | str = 0
    size: int | None = None
    labels: tuple[str, ...] | None = None
    shown: str | None = None
    method: str = "clip-surgery"
    surgery: str = "code"
    depth: int = 6
    tau: float = 2.0
    threshold: float = 0.6
    opacity: float = 0.6
    patch: tuple[int, int] | None = None
    attention: str = "vv"
    block: int = -1

    def checked(self, clip: Clip, count: int) -> "State":
        """This state if `clip` and a gallery of `count` samples can show it.

        Raises ValueError that names the entry, its value and what would do.
        """
        for name, choices in (("method", clip.methods), ("surgery", SURGERIES), ("attention", tuple(RELATIONS))):
            value = getattr(self, name)
            if value not in choices:
                raise ValueError(f"{name} {value!r} is not to be had with {clip.name}{nearest(str(value), choices)}")
        for name, high in (("tau", 1e6), ("threshold", 1), ("opacity", 1)):
            if not 0 <= getattr(self, name) <= high:
                raise ValueError(f"{name} is {getattr(self, name)}: give a number from 0 to {high:g}")
        blocks = clip.tower.blocks
        if takes_depth(clip, self.method) and not 1 <= self.depth <= blocks:
            raise ValueError(f"depth is {self.depth}: {clip.name} has {blocks} blocks, give 1 to {blocks}")
        if not -blocks <= self.block < blocks:
            raise ValueError(f"block is {self.block}: {clip.name} has blocks 0 to {blocks - 1}")
        if isinstance(self.image, int) and not 0 <= self.image < count:
            raise ValueError(f"image is {self.image}: the gallery has samples 0 to {count - 1}")
        if self.labels is not None and (not self.labels or accepted(self.labels)[1]):
            raise ValueError(" ".join(accepted(self.labels)[1]) or NO_LABEL)
        return self


def updated(state: Shown, changes: Mapping[str, Any]) -> Shown:
    """A state, of any panel, with some of its entries changed. Raises ValueError for an entry it does not have."""
    names = [f.name for f in fields(state)]
    for name in changes:
        if name not in names:
            raise ValueError(f"a panel's state has no {name!r}{nearest(name, names)}")
    frozen = {name: tuple(value) if isinstance(value, list) else value for name, value in changes.items()}
    return replace(state, **frozen)


def plain(state: Any) -> dict[str, Any]:
    """A state as values that JSON would give back the same."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(state).items()}


def accepted(labels: tuple[str, ...]) -> tuple[tuple[str, ...], list[str]]:
    """Labels without outer blanks, and in words what was left out: blanks, one given twice. "" is the empty label."""
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


def takes_depth(clip: Clip, method: str) -> bool:
    """Whether a method, on this model's tower, has a number of blocks to choose."""
    return getattr(plan(method, clip.tower.family), "blocks", 0) is None
