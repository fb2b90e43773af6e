"""One picture with what is known about it: the same type for every data set, opened when asked."""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np
from jaxtyping import Bool, Int
from PIL import Image

from clipsx import arrays
from clipsx.datasets.lines import listed, spelled
from clipsx.datasets.places import Places
from clipsx.images import PictureError, decode


class Sample:
    """A picture, the labels present in it, and where they are. It does not change: `replace` makes another one.

    image (PIL), labels, masks, ignore and size may each be given as they are, or as a function that opens them: it is
    called when the part is first asked for, and what it gives is kept. masks: {label: (H, W)}, the visible pixels of
    each label, united over its objects; they may overlap. ignore: (H, W), pixels that count nowhere; None for none.
    Both as bool, integers 0 and 1, uint8 0 and 255 or floats 0 … 1 (from 0.5 on), arrays or tensors; or masks as
    `Places`, which say what they ignore. size: (W, H), where that is known without decoding the picture.
    unsure: labels of which it is not said whether they are there: the picture counts neither way for them.
    Errors: ValueError for a mask of another kind, or of another size than the picture, at once where it and the size
    are given as they are, else when it is opened.
    """

    name: str
    captions: tuple[str, ...]
    _given: dict[str, Any]

    def __init__(
        self,
        image: Image.Image | Callable[[], Image.Image],
        labels: Sequence[str] | Callable[[], Sequence[str]] = (),
        masks: Mapping[str, Any] | Callable[[], Mapping[str, Any]] | None = None,
        captions: Sequence[str] = (),
        ignore: Any = None,
        name: str = "",
        size: tuple[int, int] | Callable[[], tuple[int, int]] | None = None,
        unsure: Sequence[str] | Callable[[], Sequence[str]] = (),
    ) -> None:
        given = {"image": image, "labels": labels if callable(labels) else listed(labels), "masks": masks}
        given |= {"captions": tuple(captions), "ignore": ignore, "name": name, "size": size, "unsure": unsure}
        self.__dict__.update(name=name, captions=given["captions"], _given=given)
        if isinstance(image, Image.Image) or isinstance(size, tuple):
            for part in ("image", "masks", "ignore"):
                if given[part] is not None and not callable(given[part]):
                    given[part] = getattr(self, part)  # checked, and out of the caller's reach

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"A sample does not change: make another one by replace({name}=…).")

    def _open(self, part: str) -> Any:
        given = self._given[part]
        return given() if callable(given) else given

    @cached_property
    def image(self) -> Image.Image:
        """The picture, RGB."""
        image, size = self._open("image"), self.__dict__.get("size", self._given["size"])
        if isinstance(size, tuple) and image.size != size:
            raise PictureError(f"{self.name}: the picture is {image.size} (W, H), but its size was given as {size}.")
        return image if image.mode == "RGB" else decode(image)

    @cached_property
    def size(self) -> tuple[int, int]:
        """(W, H) of the picture, which is decoded only where nothing else tells."""
        size = None if "image" in self.__dict__ else self._open("size")
        return self.image.size if size is None else size

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The names of what is there, with a mask or without."""
        return listed(self._open("labels"))

    @cached_property
    def masks(self) -> Mapping[str, Bool[np.ndarray, "H W"]]:
        """The visible pixels of each label; empty where no mask is known."""
        masks = self._open("masks")
        masks = {} if masks is None else masks
        if isinstance(masks, Places):
            self._fits(masks.index, "mask")
            return masks
        return MappingProxyType(
            {spelled(name): self._checked(mask, f"mask of {name!r}") for name, mask in masks.items()}
        )

    @cached_property
    def ignore(self) -> Bool[np.ndarray, "H W"]:
        """The pixels that count nowhere."""
        ignore = self._open("ignore")
        if ignore is None and isinstance(self.masks, Places):
            ignore = self.masks.ignore
        if ignore is None:
            return np.broadcast_to(np.False_, self.size[::-1])  # (H, W), one value, read-only
        return self._checked(ignore, "mask `ignore`")

    @cached_property
    def unsure(self) -> tuple[str, ...]:
        """The names of what may be there or not."""
        return listed(self._open("unsure"))

    def index_map(self, labels: Sequence[str]) -> Int[np.ndarray, "H W"]:
        """At every pixel its label's place in `labels`, their number for the background, −1 where nothing counts.

        Nothing counts where pixels are ignored, and under the mask of a label that is not asked for. Where masks
        overlap, the later one wins.
        """
        labels = listed(labels)
        if isinstance(self.masks, Places):
            found = self.masks.among(labels)
        else:
            found = np.full(self.size[::-1], len(labels))
            for label, mask in self.masks.items():
                found[mask] = labels.index(label) if label in labels else -1
        found[self.ignore] = -1
        return found

    def replace(self, **changes: Any) -> "Sample":
        """The same sample with other parts, named as in the constructor; the size follows a new picture."""
        return Sample(**{**self._given, **({"size": None} if "image" in changes else {}), **changes})

    def opened(self) -> "Sample":
        """The same sample with all parts as they are, which another process can be sent."""
        return Sample(*self._parts())

    def closed(self) -> "Sample":
        """The same sample with nothing kept that can be opened again."""
        return Sample(**self._given)

    def _parts(self) -> tuple[Any, ...]:
        image, masks = self.image, self.masks  # in this order: the picture's own size is what the others must fit
        masks = masks if isinstance(masks, Places) else dict(masks)
        return image, self.labels, masks, self.captions, self.ignore, self.name, self.size, self.unsure

    def __reduce__(self) -> tuple[type["Sample"], tuple[Any, ...]]:  # functions often cannot be pickled: parts can
        return Sample, self._parts()

    def __repr__(self) -> str:
        return f"Sample({self.name!r})"

    def _checked(self, values: Any, what: str) -> Bool[np.ndarray, "H W"]:
        """A mask of any accepted type as booleans that cannot be written to."""
        values = arrays.array(values)
        self._fits(values, what)
        mask = np.array(arrays.mask(values, f"{self.name}: the {what}"))  # (H, W), a copy
        mask.setflags(write=False)
        return mask

    def _fits(self, values: np.ndarray, what: str) -> None:
        if values.shape != self.size[::-1]:
            raise PictureError(f"{self.name}: the {what} is {values.shape}, its picture {self.size[::-1]} (H, W).")
