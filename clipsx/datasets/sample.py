"""One picture with what is known about it: the same type for every data set."""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool
from PIL import Image


@dataclass(frozen=True, eq=False)
class Sample:
    """A picture, the labels present in it, and where they are.

    `masks` holds the visible pixels of each label, united over its objects, at the image's own size; `ignore` marks
    pixels that count nowhere. A data set without masks leaves `masks` empty.
    """

    image: Image.Image  # RGB
    labels: tuple[str, ...]
    masks: dict[str, Bool[np.ndarray, "H W"]] = field(default_factory=dict)
    captions: tuple[str, ...] = ()
    ignore: Bool[np.ndarray, "H W"] | None = None  # None becomes all False
    name: str = ""

    def __post_init__(self) -> None:
        if self.ignore is None:
            object.__setattr__(self, "ignore", np.zeros(self.image.size[::-1], dtype=bool))
        for label, mask in [*self.masks.items(), ("ignore", self.ignore)]:
            if mask.shape != self.image.size[::-1]:
                raise ValueError(
                    f"{self.name}: the mask of {label!r} is {mask.shape}, the image is {self.image.size[::-1]} (H, W)"
                )

    @property
    def size(self):
        return self.image.size

    def opened(self):
        return self

    def index_map(self, labels):
        truth = np.full(self.image.size[::-1], len(labels))
        for label, mask in self.masks.items():
            truth[mask] = labels.index(label) if label in labels else -1
        truth[self.ignore] = -1
        return truth
