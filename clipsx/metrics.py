"""Scores of maps and rankings, on plain arrays. Everything a table prints is in percent.

Pixels marked as ignored count nowhere. A map is a prediction by `map >= threshold`.
"""

import numpy as np
from jaxtyping import Bool, Float, Num, Shaped

THRESHOLDS = np.round(np.linspace(0, 1, 51), 2)
SIZES = {"small": 5.0, "medium": 20.0, "large": 100.0}  # an object's upper bound, in percent of the picture's area

Map = Float[np.ndarray, "H W"]
Mask = Bool[np.ndarray, "H W"]


def _sides(map: Map, mask: Mask, ignore: Mask | None) -> tuple[np.ndarray, np.ndarray]:
    if map.shape != mask.shape:
        raise ValueError(f"the map is {map.shape} but the mask is {mask.shape}: upsample the map to the image's (H, W)")
    if ignore is None:
        return map[mask], map[~mask]
    return map[mask & ~ignore], map[~mask & ~ignore]


def msc(map: Map, mask: Mask, ignore: Mask | None = None) -> float:
    """Mean score on the object minus mean score on the background, −100 … 100; below 0 the map prefers the background.

    Args:
        map: (H, W), 0 … 1.
        mask: (H, W), the object.
        ignore: (H, W), pixels left out.

    Returns:
        Percent; NaN where there is no object or no background. CLIP Surgery's mSC for one image and class.
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
    hit = np.count_nonzero(inside >= map.dtype.type(threshold))
    return 100 * hit / (inside.size + np.count_nonzero(outside >= map.dtype.type(threshold)))


def exceedance(
    map: Map, mask: Mask, ignore: Mask | None = None, thresholds: Float[np.ndarray, " K"] = THRESHOLDS
) -> tuple[Float[np.ndarray, " K"], Float[np.ndarray, " K"]]:
    """Share of object pixels and of background pixels at or above every threshold, 0 … 1, in one pass over the map.

    The two hold a map's score distributions, its ROC and, with the object's area, its IoU at every threshold
    (`iou_curve`). A side without pixels is NaN. `thresholds` ascend.
    """

    def above(values: np.ndarray) -> np.ndarray:
        reached = np.searchsorted(thresholds.astype(map.dtype), values, side="right")  # thresholds each value reaches
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


def energy_outside(map: Map, objects: Mask, ignore: Mask | None = None) -> float:
    """Share of a map's energy (sum of squares) outside all objects, 0 … 100; NaN for a map of zeros or no outside."""
    inside, outside = (side.astype(np.float64) for side in _sides(map, objects, ignore))
    total = (inside**2).sum() + (outside**2).sum()
    return float(100 * (outside**2).sum() / total) if total > 0 and outside.size else float("nan")


def size_of(area: float) -> str:
    """An object's size in words (`SIZES`), from its percent of the picture."""
    return next(name for name, bound in SIZES.items() if area <= bound)


def average_precision(scores: Float[np.ndarray, "B N"], targets: Shaped[np.ndarray, "B N"]) -> Float[np.ndarray, " N"]:
    """scikit-learn's average precision per class, 0 … 1; NaN for a class without a positive image.

    Images of one score share one threshold.
    """
    if scores.shape != targets.shape:
        raise ValueError(f"scores are {scores.shape}, targets {targets.shape}: both must be (images, labels)")
    if not np.isfinite(scores).all():
        raise ValueError("scores hold NaN or infinite values: nothing can be ranked by them")
    targets = targets.astype(bool)
    result = np.full(scores.shape[1], np.nan)
    for c in np.flatnonzero(targets.any(axis=0)):
        order = np.argsort(-scores[:, c], kind="stable")
        falling, positive = -scores[order, c], targets[order, c]
        last = np.searchsorted(falling, falling, side="right")  # rank of the last image of each tie, 1-based
        result[c] = (np.cumsum(positive)[last - 1] / last)[positive].mean()
    return result


def mean_average_precision(scores: Float[np.ndarray, "B N"], targets: Shaped[np.ndarray, "B N"]) -> float:
    """Mean of `average_precision` over the classes that have a positive image, 0 … 100; NaN when there is none.

    Absent classes would count as 0 in scikit-learn and torchmetrics; here they are masked.
    """
    present = average_precision(scores, targets)
    present = present[np.isfinite(present)]
    return float(100 * present.mean()) if present.size else float("nan")


def f1_scores(predicted: Bool[np.ndarray, "B N"], targets: Shaped[np.ndarray, "B N"]) -> dict[str, float]:
    """CF1 (of the means of precision and of recall over classes) and OF1 (over all pairs), 0 … 100.

    Classes without a positive image are masked; a class that is never predicted has precision 0. NaN without a class.
    Source: the multi-label protocol of DualCoOp and Unmix-CLIP.
    """
    if predicted.shape != targets.shape:
        raise ValueError(f"predictions are {predicted.shape}, targets {targets.shape}: both must be (images, labels)")
    there = targets.astype(bool).any(axis=0)
    if not there.any():
        return {"CF1": float("nan"), "OF1": float("nan")}
    predicted, targets = predicted[:, there], targets[:, there].astype(bool)
    hits, said, true = ((m).sum(axis=0) for m in (predicted & targets, predicted, targets))  # (N,) each
    precision, recall = (hits / np.maximum(said, 1)).mean(), (hits / true).mean()
    both = precision + recall
    return {
        "CF1": float(200 * precision * recall / both) if both else 0.0,
        "OF1": float(200 * hits.sum() / (said.sum() + true.sum())),
    }


def bootstrap(
    values: Num[np.ndarray, " P"],
    images: Shaped[np.ndarray, " P"],
    groups: Shaped[np.ndarray, " P"] | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> tuple[float, Float[np.ndarray, " R"]]:
    """A mean over samples, then over groups (classes), and its draws when whole images are drawn with replacement.

    Args:
        values: one per (image, class) pair; NaN pairs are left out.
        images: which image each belongs to. The same images with the same seed give paired draws: subtract them for
            the interval of a difference.
        groups: which class each belongs to; None for a plain mean over pairs.
        resamples, seed: number and seed of the draws.

    Returns:
        the mean (NaN without values) and `resamples` draws of it (all NaN with fewer than two images).
    """
    names, image = np.unique(images, return_inverse=True)  # before NaNs go, so that pairing does not depend on them
    kept = np.isfinite(values)
    if not kept.any():
        return float("nan"), np.full(resamples, np.nan)
    group = np.zeros(len(values), dtype=int) if groups is None else np.unique(groups, return_inverse=True)[1]
    shape = (len(names), int(group.max()) + 1)
    sums, counts = np.zeros(shape), np.zeros(shape)  # (I, C)
    np.add.at(sums, (image[kept], group[kept]), values[kept])
    np.add.at(counts, (image[kept], group[kept]), 1)

    def mean(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
        present = counts > 0
        with np.errstate(invalid="ignore"):  # a draw without any pair is 0 / 0, NaN
            return np.asarray((sums / np.maximum(counts, 1)).sum(axis=-1) / present.sum(axis=-1))

    point = float(mean(sums.sum(axis=0), counts.sum(axis=0)))
    if len(names) < 2:
        return point, np.full(resamples, np.nan)
    rng = np.random.default_rng(seed)
    draws = np.empty(resamples)
    for start in range(0, resamples, 100):  # 100 draws at a time: memory stays at 100 × images
        stop = min(start + 100, resamples)
        weights = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=stop - start)  # (r, I)
        draws[start:stop] = mean(weights @ sums, weights @ counts)
    return point, draws


def interval(draws: Float[np.ndarray, " R"], level: float = 0.95) -> tuple[float, float]:
    """The percentile interval of bootstrap draws; NaN, NaN when they are NaN."""
    draws = draws[np.isfinite(draws)]
    if not draws.size:
        return float("nan"), float("nan")
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
