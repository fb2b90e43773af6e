"""Mutual feature information: matrices of classes, and how alike they are."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Num
from torch import Tensor
from torch.nn import functional as F

from clipsx.text import check_labels

Matrix = Num[np.ndarray, "N N"] | Float[Tensor, "N N"]


def similarity_matrix(text: Float[Tensor, "N D"], other: Float[Tensor, "M D"] | None = None) -> Float[Tensor, "N M"]:
    """Cosines between class features, rows re-normalised; with `other`, image–text or any two sets.

    Returns (N, N) or (N, M), −1 … 1. Errors: ValueError for features of different width, or that are not finite or
    zero, with their place. Source: Unmix-CLIP, class similarity matrices.
    """
    rows = [text] if other is None else [text, other]
    if len({part.shape[1] for part in rows}) > 1:
        raise ValueError(f"The features are {rows[0].shape[1]} and {rows[1].shape[1]} wide: both must be of one model.")
    for part in rows:
        bad = ~torch.isfinite(part).all(dim=1) | (part == 0).all(dim=1)  # (N,)
        if bad.any():
            raise ValueError(f"The feature of class {int(bad.nonzero()[0])} holds NaN or infinity, or is zero.")
    first, last = F.normalize(rows[0], dim=1), F.normalize(rows[-1], dim=1)
    return first @ last.T


def off_diagonal(matrix: Matrix) -> Float[np.ndarray, " P"]:
    """The N (N − 1) entries off the diagonal, row by row. Errors: ValueError if not square, or of one class."""
    values = _square(matrix)
    return values[~np.eye(len(values), dtype=bool)].astype(np.float64)


def _square(matrix: Matrix) -> Num[np.ndarray, "N N"]:
    values = matrix.detach().cpu().numpy() if isinstance(matrix, Tensor) else np.asarray(matrix)
    if values.ndim != 2 or values.shape[0] != values.shape[1]:
        raise ValueError(f"The matrix is {values.shape}: one of class × class is needed.")
    if len(values) < 2:
        raise ValueError("One class has nothing off its diagonal: give at least two different labels.")
    return values


def mean_off_diagonal(matrix: Matrix) -> float:
    """Mean of the entries off the diagonal: the papers' one number for how alike classes are."""
    return float(off_diagonal(matrix).mean())


def summarise(matrix: Matrix) -> dict[str, float]:
    """Mean, standard deviation (ddof 0), least and most off the diagonal, and the number of classes."""
    values = off_diagonal(matrix)
    found = {"mean": values.mean(), "std": values.std(), "min": values.min(), "max": values.max()}
    return {"classes": len(matrix)} | {name: float(value) for name, value in found.items()}


def pairs(matrix: Matrix, labels: Sequence[str], count: int = 10) -> pd.DataFrame:
    """The `count` most alike pairs of classes: a, b, similarity (mean of both directions)."""
    named_once(labels, len(matrix))
    values = _square(matrix)
    a, b = np.triu_indices(len(values), 1)
    both = (values[a, b].astype(np.float64) + values[b, a]) / 2
    first = np.argsort(-both, kind="stable")[:count]
    names = np.array(list(labels), dtype=object)
    return pd.DataFrame({"a": names[a[first]], "b": names[b[first]], "similarity": both[first]})


def difference(before: Matrix, after: Matrix) -> dict[str, float]:
    """Mean off the diagonal before and after, their difference, and the difference in % of what it was.

    Unmix-CLIP's "24.9 %" does not say which of the two it is: both are given.
    """
    if len(before) != len(after):
        raise ValueError(f"{len(before)} classes before, {len(after)} after: compare the same labels.")
    old, new = mean_off_diagonal(before), mean_off_diagonal(after)
    relative = 100 * (new - old) / abs(old) if old else float("nan")
    return {"before": old, "after": new, "absolute": new - old, "relative": relative}


def named_once(labels: Sequence[str], count: int) -> None:
    """Raise a ValueError unless there are `count` labels, each once; a TypeError for a bare text."""
    twice = sorted({label for label in check_labels(labels) if list(labels).count(label) > 1})
    if twice or len(labels) != count:
        raise ValueError(f"{len(labels)} labels for {count} classes{', twice: ' + ', '.join(twice) if twice else ''}.")
