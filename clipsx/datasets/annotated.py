"""Pictures with lists of their objects, whoever wrote them: which labels are there, where, and what is unclear."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool

from clipsx.datasets.protocol import Listed
from clipsx.datasets.sample import Sample
from clipsx.datasets.vocabularies import Vocabulary
from clipsx.images import PictureError, decode
from clipsx.messages import one_of, require_package
from clipsx.quiet import quiet

Mask = Bool[np.ndarray, "H W"]
REGIONS = ("masks", "boxes")
TREATMENTS = ("positive", "negative", "excluded")
"""How unclear objects count: as objects; as if they were not there; neither way. Excluded: a picture without a clear
object of a class says nothing of that class (`Sample.unsure`), and their pixels count nowhere."""


@dataclass(frozen=True)
class Object:
    """A label in a picture; unclear: VOC's difficult ones, COCO's crowds.

    box: x, y, width and height in pixels; segmentation: polygons or run lengths, as COCO writes them; name: for errors.
    """

    label: str
    unclear: bool = False
    box: Sequence[float] = ()
    segmentation: Any = None
    name: str = ""


Seen = tuple[Sequence[Object], tuple[int, int]]


class Annotated(Listed):
    """Pictures whose objects `seen` tells by their names, with the (W, H) of each.

    files: those of a picture, itself first. unclear: one of `TREATMENTS`. regions: what masks are. "masks": objects'
    own, united per label, the label with the smaller area in front; the box of an object without one counts nowhere.
    "boxes": filled, to point at, not to segment by; None: there are none. Other arguments as of `Listed`.
    Errors: ValueError for another treatment; when a part is opened, PictureError for a mask that cannot be drawn.
    """

    labelled = "annotations"

    def __init__(
        self, seen: Callable[[str], Seen], files: Callable[[str], Sequence[Path]], root: Path, names: Sequence[str],
        vocabulary: Vocabulary, recipe: dict[str, Any], said: Sequence[str] = (), whole: Sequence[Path] = (),
        unclear: str = "positive", regions: str | None = None,
    ) -> None:  # fmt: skip
        self._seen, self._files, self._regions = seen, files, regions
        self._unclear = one_of(unclear, TREATMENTS, "How unclear objects count")
        said = [*["boxes in place of masks"] * (regions == "boxes"), *said]
        super().__init__(root, names, vocabulary, recipe | {"vocabulary": vocabulary.plain()}, said, whole)

    def sources(self) -> Iterable[Path]:
        return (file for name in self.names for file in self._files(name))

    def __getitem__(self, index: int) -> Sample:  # type: ignore[override]
        name = self.names[index]
        seen = cache(partial(self._seen, name))
        drawn = cache(lambda: self._drawn(*seen()))
        labels, unsure = (lambda n=n: self._labels(seen()[0])[n] for n in (0, 1))
        masks, ignore, size = (
            (lambda: drawn()[0], lambda: drawn()[1], lambda: seen()[1]) if self._regions else [None] * 3
        )
        return Sample(partial(decode, self._files(name)[0]), labels, masks, (), ignore, name, size, unsure)

    def _labels(self, objects: Sequence[Object]) -> tuple[list[str], list[str]]:
        """The labels that are there, and those of which nothing is said."""
        clear, every = {o.label for o in objects if not o.unclear}, {o.label for o in objects}
        there = every if self._unclear == "positive" else clear
        unsure = every - clear if self._unclear == "excluded" else ()
        return [label for label in self.labels if label in there], [label for label in self.labels if label in unsure]

    def _drawn(self, objects: Sequence[Object], size: tuple[int, int]) -> tuple[dict[str, Mask], Mask]:
        """The masks of the labels, the larger first, and the pixels that count nowhere."""
        masks, ignore = {}, np.zeros(size[::-1], bool)
        for object in objects:
            if object.unclear and self._unclear == "negative":
                continue
            whole = self._regions == "masks" and bool(object.segmentation)
            mask = drawn(object.segmentation, size, object.name) if whole else boxed(object.box, size)
            if (object.unclear and self._unclear == "excluded") or not (whole or self._regions == "boxes"):
                ignore |= mask
            else:
                masks[object.label] = masks.get(object.label, False) | mask
        found = sorted(masks.items(), key=lambda item: -int(item[1].sum()))
        return {label: mask for label, mask in found if mask.any()}, ignore


def boxed(box: Sequence[float], size: tuple[int, int]) -> Mask:
    """The pixels whose centres lie in a box (x, y, width, height; none: nowhere). size: (W, H)."""
    mask = np.zeros(size[::-1], bool)
    if box:
        x, y, width, height = box
        left, right, top, bottom = (max(0, math.ceil(edge - 0.5)) for edge in (x, x + width, y, y + height))
        mask[top:bottom, left:right] = True
    return mask


def drawn(segmentation: Any, size: tuple[int, int], name: str) -> Mask:
    """The pixels of polygons or run lengths, by pycocotools. size: (W, H).

    Errors: ImportError, saying what to install; PictureError, with the name, for what cannot be drawn.
    """
    require_package("pycocotools", "data", "Masks from polygons and run lengths")
    from pycocotools import mask as runs

    width, height = size
    try:
        found = segmentation
        if isinstance(segmentation, list):
            if any(len(corners) < 6 or len(corners) % 2 for corners in segmentation):  # four are taken for a box
                raise ValueError("a polygon needs three corners or more, x and y each")
            found = runs.merge(runs.frPyObjects(segmentation, height, width))
        elif tuple(segmentation["size"]) != (height, width):
            raise ValueError(f"its run lengths are of {tuple(segmentation['size'])} (H, W), not {(height, width)}")
        elif isinstance(
            counts := segmentation["counts"], list
        ):  # not compressed: off and on by turns, down the columns
            return np.repeat(np.arange(len(counts)) % 2 == 1, counts).reshape(width, height).T
        with quiet():  # of how it makes arrays
            return runs.decode(found).astype(bool)
    except Exception as error:  # its readers raise whatever broken numbers lead to
        raise PictureError(f"{name}: its mask cannot be drawn ({error}).") from None
