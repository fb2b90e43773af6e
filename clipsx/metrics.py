"""Scores of maps and rankings, on plain arrays. Everything a table prints is in percent.

Pixels marked as ignored count nowhere. A map is a prediction by `map >= threshold`. Masks may be of every type that
`arrays.mask` takes, targets of every type that `arrays.binary` takes; maps and scores are arrays, tensors or lists.
"""

from typing import Any

import numpy as np
from jaxtyping import Float

from clipsx import arrays

THRESHOLDS = np.round(np.linspace(0, 1, 51), 2)
SIZES = {"small": 5.0, "medium": 20.0, "large": 100.0}  # an object's upper bound, in percent of the picture's area

Map = Any  # (H, W), numbers
Mask = Any  # (H, W), yes or no
Table = Any  # (images, labels)


def _sides(map: Map, mask: Mask, ignore: Mask | None) -> tuple[np.ndarray, np.ndarray]:
    """The map's values on the object and beside it, as floats."""
    values, inside = arrays.array(map), arrays.mask(mask)
    seen = np.ones(values.shape, bool) if ignore is None else ~arrays.mask(ignore, "the mask `ignore`")
    for name, other in (("mask", inside), ("mask `ignore`", seen)):
        if values.shape != other.shape:
            words = "upsample the map to the image's (H, W)"
            raise ValueError(f"the map is {values.shape} but the {name} is {other.shape}: {words}")
    values = values if values.dtype.kind == "f" else values.astype(float)
    return values[inside & seen], values[~inside & seen]


def msc(map: Map, mask: Mask, ignore: Mask | None = None) -> float:
    """Mean score on the object minus mean score on the background, −100 … 100; below 0 the map prefers the background.

    map: 0 … 1; mask: the object; ignore: pixels left out. NaN where there is no object or no background.
    Source: CLIP Surgery, mSC for one image and class.
    """
    inside, outside = _sides(map, mask, ignore)
    if not inside.size or not outside.size:
        return float("nan")
    return float(100 * (inside.mean(dtype=np.float64) - outside.mean(dtype=np.float64)))


def iou(map: Map, mask: Mask, threshold: float, ignore: Mask | None = None) -> float:
    """Intersection over union of the object and `map >= threshold`, 0 … 100; NaN when there is no object."""
    inside, outside = _sides(map, mask, ignore)
    if not inside.size:
        return float("nan")
    least = inside.dtype.type(threshold)
    return 100 * np.count_nonzero(inside >= least) / (inside.size + np.count_nonzero(outside >= least))


def exceedance(
    map: Map, mask: Mask, ignore: Mask | None = None, thresholds: Float[np.ndarray, " K"] = THRESHOLDS
) -> tuple[Float[np.ndarray, " K"], Float[np.ndarray, " K"]]:
    """Share of object pixels and of background pixels at or above every threshold, 0 … 1, in one pass over the map.

    The two hold a map's score distributions, its ROC and, with the object's area, its IoU at every threshold
    (`iou_curve`). A side without pixels is NaN. `thresholds` ascend.
    """

    def above(values: np.ndarray) -> np.ndarray:
        reached = np.searchsorted(thresholds.astype(values.dtype), values, side="right")  # how many each reaches
        counts = np.bincount(reached, minlength=len(thresholds) + 1)[1:]  # (K,)
        return counts[::-1].cumsum()[::-1] / values.size if values.size else np.full(len(thresholds), np.nan)

    inside, outside = _sides(map, mask, ignore)
    return above(inside), above(outside)


def iou_curve(
    inside: Float[np.ndarray, "*P K"], outside: Float[np.ndarray, "*P K"], area: Float[np.ndarray, "*P"] | float
) -> Float[np.ndarray, "*P K"]:
    """IoU at every threshold, 0 … 100, from `exceedance` and the object's share of the area (0 … 1)."""
    area = np.asarray(area)[..., None]
    false = np.where(area < 1, outside * (1 - area), 0)
    with np.errstate(invalid="ignore"):  # no object: 0 / 0, which is NaN as it should be
        return 100 * inside * area / (area + false)


def pointing(map: Map, mask: Mask, ignore: Mask | None = None) -> float:
    """The pointing game: how much of the map's highest place lies on the object, 0 … 100; NaN without an object.

    A map of one highest pixel gives 0 or 100, one that is the same everywhere the object's share of the area, which is
    chance. Source: Zhang et al., Top-down Neural Attention by Excitation Backprop (without its tolerance).
    """
    inside, outside = _sides(map, mask, ignore)
    if not inside.size:
        return float("nan")
    top = max(side.max() for side in (inside, outside) if side.size)
    hits, misses = (np.count_nonzero(side == top) for side in (inside, outside))
    return 100 * hits / (hits + misses)


def rank_score(
    values: Float[np.ndarray, " P"], inside: Float[np.ndarray, " P"], outside: Float[np.ndarray, " P"]
) -> float:
    """How often a place on the object ranks above one beside it, 0 … 100 (the area under the ROC curve); 50 is chance.

    inside, outside: how much of each place is the object's, and how much is not. Equal values count half; NaN where
    there is no object or nothing beside it.
    """
    _, place = np.unique(values, return_inverse=True)
    own, rest = np.bincount(place, inside), np.bincount(place, outside)
    pairs = own.sum() * rest.sum()
    return float(100 * (own @ (rest.cumsum() - rest / 2)) / pairs) if pairs > 0 else float("nan")


def coverage(mask: Any, grid: tuple[int, int]) -> Float[np.ndarray, "h w"]:
    """How much of every patch a mask covers, 0…1, exactly: pixels on an edge count for both sides by their parts.

    mask: (H, W), of any type that `arrays.mask` takes.
    """
    region, parts = arrays.mask(mask), []
    for pixels, patches in zip(region.shape, grid, strict=True):
        edges, pixel = np.linspace(0, pixels, patches + 1)[:, None], np.arange(pixels)[None]
        ends = np.clip(edges - pixel, 0, 1)  # (patches + 1, pixels), how much of each pixel lies before each edge
        parts.append(np.diff(ends, axis=0) * patches / pixels)  # (patches, pixels), rows sum to 1
    return parts[0] @ region @ parts[1].T  # (h, w)


def energy_outside(map: Map, objects: Mask, ignore: Mask | None = None) -> float:
    """Share of a map's energy (sum of squares) outside all objects, 0 … 100; NaN for a map of zeros or no outside."""
    inside, outside = (side.astype(np.float64) for side in _sides(map, objects, ignore))
    total = (inside**2).sum() + (outside**2).sum()
    return float(100 * (outside**2).sum() / total) if total > 0 and outside.size else float("nan")


def size_of(area: float) -> str:
    """An object's size in words (`SIZES`), from its percent of the picture."""
    return next(name for name, bound in SIZES.items() if area <= bound)


def average_precision(scores: Table, targets: Table, weights: Any = None) -> Float[np.ndarray, "*R N"]:
    """Average precision per class, 0 … 1, as scikit-learn defines it; NaN for a class without a positive image.

    scores, targets: (images, labels). Images of one score share one threshold. weights: how often each image counts,
    (n,), or R draws of that at once, which scikit-learn can only be asked one by one. Of targets that are a masked
    array, a masked one is not known: its image is left out of its class.
    Errors: ValueError for unlike shapes, targets that are not 0 or 1, and scores that are not finite.
    """
    arrays.alike(scores, targets, ("scores", "targets"))
    scores, (targets, known) = arrays.numeric(scores), arrays.known(targets)
    weights = np.ones(len(scores)) if weights is None else arrays.array(weights)
    if weights.shape[-1:] != scores.shape[:1] or not (weights >= 0).all():
        raise ValueError(f"weights must be at least 0, one for each of {len(scores)} images, not {weights.shape}.")
    result = np.full((*weights.shape[:-1], scores.shape[1]), np.nan)
    for c in np.flatnonzero(targets.any(axis=0)):
        order = np.argsort(-scores[:, c], kind="stable")
        falling, weight = -scores[order, c], weights[..., order] * known[order, c]  # (n,), (*R, n)
        positive = weight * targets[order, c]
        last = np.searchsorted(falling, falling, side="right") - 1  # place of the last image of each tie
        reached, seen = positive.cumsum(axis=-1)[..., last], weight.cumsum(axis=-1)[..., last]
        with np.errstate(invalid="ignore"):  # a draw without a positive image: 0 / 0, NaN
            precision = np.divide(reached, seen, out=np.zeros_like(reached, dtype=float), where=seen > 0)
            result[..., c] = (positive * precision).sum(axis=-1) / positive.sum(axis=-1)
    return result


def mean_average_precision(scores: Table, targets: Table, weights: Any = None) -> Any:
    """Mean of `average_precision` over the classes that have a positive image, 0 … 100; NaN when there is none.

    A number, or one for each of R draws. Absent classes would count as 0 in scikit-learn and torchmetrics; here they
    are masked. Errors: those of `average_precision`.
    """
    each = average_precision(scores, targets, weights)  # (*R, N)
    there = np.isfinite(each)
    with np.errstate(invalid="ignore"):
        found = 100 * np.where(there, each, 0).sum(axis=-1) / there.sum(axis=-1)
    return float(found) if weights is None else found


def f1_scores(predicted: Table, targets: Table, absent: str = "masked") -> dict[str, float]:
    """CF1 (of the means of precision and of recall over classes), CF1_per_class (the mean of each class's F1) and OF1
    (over all pairs), 0 … 100.

    absent: classes without a positive image are "masked", or count "as 0"; a class that is never predicted has
    precision 0. NaN without a class that is there. Targets that are masked count nowhere (`average_precision`).
    Errors: ValueError for unlike shapes, and for predictions or targets that are not 0 or 1.
    Source: the multi-label protocol of Unmix-CLIP (CF1); released code of DualCoOp and ASL (CF1_per_class).
    """
    arrays.alike(predicted, targets, ("predictions", "targets"))
    targets, known = arrays.known(targets)
    predicted = arrays.binary(predicted, "predictions") & known
    if not targets.any():
        return dict.fromkeys(("CF1", "CF1_per_class", "OF1"), float("nan"))
    there = targets.any(axis=0) | (absent != "masked")
    predicted, targets = predicted[:, there], targets[:, there]
    hits, said, true = (m.sum(axis=0) for m in (predicted & targets, predicted, targets))  # (N,) each
    precision, recall = (hits / np.maximum(said, 1)).mean(), (hits / np.maximum(true, 1)).mean()
    both = precision + recall
    return {
        "CF1": float(200 * precision * recall / both) if both else 0.0,
        "CF1_per_class": float(200 * (hits / np.maximum(said + true, 1)).mean()),
        "OF1": float(200 * hits.sum() / (said.sum() + true.sum())),
    }
