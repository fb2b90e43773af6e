"""What a caller has at hand as numpy arrays: tensors, lists, frames; masks, targets, scores checked by value."""

from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Shaped

MASKS = "bool, integers 0 and 1, uint8 0 and 255, floats 0 … 1"


def array(values: Any) -> np.ndarray:
    """A tensor (of any device and type, with a gradient or not), frame, picture, list or array as an array.

    Errors: ValueError for rows of unlike lengths.
    """
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
        values = values.float() if values.dtype == torch.bfloat16 else values  # numpy has no bfloat16
    try:
        return np.asarray(values)
    except ValueError:
        raise ValueError("A list of rows of unlike lengths is no table.") from None


def mask(values: Any, what: str = "the mask") -> Bool[np.ndarray, "*shape"]:
    """A region as booleans: bool, integers 0 and 1, uint8 0 and 255, floats 0 … 1 (from 0.5 on).

    Errors: ValueError for other values, saying that `what` holds them.
    """
    found = array(values)
    kind, scales = found.dtype.kind, ((0, 1), (0, 255)) if found.dtype == np.uint8 else ((0, 1),)
    if kind == "f" and ((found >= 0) & (found <= 1)).all():
        return found >= 0.5
    if kind != "b" and not (kind in "iu" and any(np.isin(found, scale).all() for scale in scales)):
        raise ValueError(f"{what} holds {found.dtype} values that are not one of {MASKS}.")
    return found.astype(bool)


def binary(values: Any, what: str = "targets") -> Bool[np.ndarray, "n N"]:
    """Yes or no per image and label, (images, labels), from booleans or numbers that are all 0 or 1.

    Errors: ValueError that names the first other value (±1, −1 or NaN for unknown, a share) and says how to convert.
    """
    found = _table(values, what)
    if found.dtype == bool:
        return found
    numbers = _numbers(found, what)
    other = np.argwhere(~np.isin(numbers, (0, 1)))
    if len(other):
        row, column = other[0]
        raise ValueError(
            f"{what} hold {numbers[row, column]:g} (image {row}, label {column}), but must be 0 or 1: of ±1 give "
            f"{what} > 0, of shares {what} >= 0.5, and leave images out whose labels are not known (-1, NaN)."
        )
    return numbers.astype(bool)


def known(targets: Any) -> tuple[Bool[np.ndarray, "n N"], Bool[np.ndarray, "n N"]]:
    """Targets as `binary` takes them, and which of them count: all but the masked ones of a numpy masked array."""
    counts = ~np.ma.getmaskarray(targets if isinstance(targets, np.ma.MaskedArray) else array(targets))
    return binary(targets) & counts, counts


def numeric(values: Any, what: str = "scores") -> Float[np.ndarray, "n N"]:
    """A score per image and label, (images, labels), as floats, in which whatever can be ranked keeps its order.

    Errors: ValueError for what is no number, and for NaN or infinite values.
    """
    numbers = _numbers(_table(values, what), what)
    if not np.isfinite(numbers).all():
        raise ValueError(f"{what} hold NaN or infinite values: nothing can be ranked by them")
    return numbers


def alike(one: Any, other: Any, words: tuple[str, str]) -> None:
    """Raise a ValueError unless two tables have one shape, and frames the same rows and columns in the same order."""
    shapes = tuple(array(table).shape for table in (one, other))
    if shapes[0] != shapes[1]:
        raise ValueError(f"{words[0]} are {shapes[0]}, {words[1]} {shapes[1]}: both must be (images, labels)")
    if isinstance(one, pd.DataFrame) and isinstance(other, pd.DataFrame):
        for axis, a, b in (("columns", one.columns, other.columns), ("rows", one.index, other.index)):
            if not a.equals(b):  # arrays would be compared by their places
                raise ValueError(f"The {axis} of {words[0]} and {words[1]} are not the same, or not in one order.")


def _table(values: Any, what: str) -> Shaped[np.ndarray, "n N"]:
    found = array(values)
    if found.ndim != 2:
        raise ValueError(f"{what} are {found.shape}: they must be (images, labels)")
    return found


def _numbers(values: np.ndarray, what: str) -> np.ndarray:
    try:
        if values.dtype.kind not in "biufO":
            raise TypeError
        return values.astype(np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{what} must be numbers, not {values.dtype} such as {values.flat[0]!r}.") from None
