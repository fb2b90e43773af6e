"""What a segmenter is, and what it may rely on."""

from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Int
from PIL import Image

from clipsx import arrays

Points = Any  # (P, 2), whole numbers: (x, y) pixels
Signs = Any  # (P,), 1: on the object, 0: beside it


@runtime_checkable
class Segmenter(Protocol):
    """A mask (H, W) from points on a picture; without a point on the object, an empty one.

    name: what tables print of it, all that decides its masks.
    """

    @property
    def name(self) -> str: ...

    def __call__(self, image: Image.Image, points: Points, labels: Signs) -> Bool[np.ndarray, "H W"]: ...


def placed(image: Image.Image, points: Points, labels: Signs) -> tuple[Int[np.ndarray, "P 2"], Bool[np.ndarray, " P"]]:
    """Points as (x, y) pixels and which of them lie on the object, each place once.

    Errors: ValueError for other shapes and values, a point off the picture, and a place that is both on and beside.
    """
    xy, signs = arrays.array(points).reshape(-1, 2), arrays.array(labels).reshape(-1)
    if len(xy) != len(signs) or not np.isin(signs, (0, 1)).all():
        raise ValueError(f"{len(xy)} points need as many labels, each 1 (on the object) or 0, not {signs.tolist()}.")
    if not (xy == np.floor(xy)).all():
        raise ValueError("Points must be whole pixels (x, y).")
    found: dict[tuple[int, int], bool] = {}
    for (x, y), sign in zip(xy.astype(int).tolist(), signs.astype(bool).tolist(), strict=True):
        if not (0 <= x < image.width and 0 <= y < image.height):
            raise ValueError(f"The point ({x}, {y}) lies off the picture of {image.width} × {image.height} pixels.")
        if found.setdefault((x, y), sign) != sign:
            raise ValueError(f"The point ({x}, {y}) is both on the object and beside it: remove one of the two.")
    return np.array(list(found), dtype=int).reshape(-1, 2), np.array(list(found.values()), dtype=bool)
