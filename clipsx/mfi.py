"""Mutual feature information: how alike classes are in text, in pictures and in maps, and whose company explains it."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Num, Shaped
from scipy.stats import rankdata
from torch import Tensor
from torch.nn import functional as F

from clipsx.clip import Clip
from clipsx.datasets.sample import Sample
from clipsx.evaluation.explain import deep, named, provenance, queries, side, similarities
from clipsx.maps import minmax, upsample
from clipsx.messages import nearest
from clipsx.metrics import interval

REGIONS = ("mask", "map")
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
    values = matrix.detach().cpu().numpy() if isinstance(matrix, Tensor) else np.asarray(matrix)
    if values.ndim != 2 or values.shape[0] != values.shape[1]:
        raise ValueError(f"The matrix is {values.shape}: one of class × class is needed.")
    if len(values) < 2:
        raise ValueError("One class has nothing off its diagonal: give at least two different labels.")
    return values[~np.eye(len(values), dtype=bool)].astype(np.float64)


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
    _named_once(labels, len(matrix))
    off_diagonal(matrix)
    values = matrix.detach().cpu().numpy() if isinstance(matrix, Tensor) else np.asarray(matrix)
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


def class_means(
    features: Float[Tensor, "n D"], present: Bool[np.ndarray, "n N"]
) -> tuple[Float[Tensor, "M D"], list[int]]:
    """The unit mean of the images that show each class, for the M classes with an image, and which those are."""
    if len(features) != len(present):
        raise ValueError(f"{len(features)} images have features, {len(present)} have labels.")
    kept = np.flatnonzero(present.any(axis=0)).tolist()
    if not kept:
        raise ValueError("No label has a positive image.")
    unit = F.normalize(features, dim=1)
    return F.normalize(torch.stack([unit[torch.from_numpy(present[:, n])].mean(dim=0) for n in kept]), dim=1), kept


def presence(samples: Sequence[Sample], labels: Sequence[str]) -> Bool[np.ndarray, "n N"]:
    """Which labels each image shows, (images, labels)."""
    return np.array([[label in sample.labels for label in labels] for sample in samples], dtype=bool)


def co_occurrence(present: Bool[np.ndarray, "n N"]) -> Float[np.ndarray, "N N"]:
    """P(b | a): the share of images of class a (row) that show b; a row of NaN for a class that is nowhere."""
    count = present.astype(np.float64)
    with np.errstate(invalid="ignore"):
        return (count.T @ count) / count.sum(axis=0)[:, None]


def coactivation(
    clip: Clip,
    samples: Sequence[Sample],
    labels: Sequence[str] | None = None,
    method: str = "clip",
    surgery: str = "none",
    threshold: float = 0.6,
    templates: str | Sequence[str] = "clip-surgery",
    size: int | None = None,
    region: str = "mask",
    on_progress: Callable[[int, int], None] | None = None,
) -> pd.DataFrame:
    """What label b's map does inside object a: a row per image, object a and other label b.

    region "mask": object a is its mask. "map", for data with labels alone: object a, in an image that has the label,
    is where its own map reaches `threshold`, the model's own idea of it; `others` is then not known.

    `score`: mean of b's min-max map inside a's mask, 0 … 1; `fires`: share of a's pixels at or above `threshold`, in %;
    `companion`: whether b is in the image as well; `others`: for b present, the share of its map's sum that falls on
    other objects, in %. Ignored pixels count nowhere.
    Errors: ValueError for fewer than two labels, no mask at all, and what `Clip` refuses. Source: Unmix-CLIP, unrelated
    objects lighting up for one class; the measure is ours, over exact masks.
    """
    if region not in REGIONS:
        raise ValueError(f"Unknown region {region!r}{nearest(region, REGIONS)}.")
    asked = queries(samples, labels)
    text = clip.encode_labels(asked, templates)  # (N, D)
    parts = []
    for number, sample in enumerate(samples):
        masks = {a: mask for a, mask in sample.masks.items() if a in asked} if region == "mask" else {}
        there = list(masks) if region == "mask" else [a for a in sample.labels if a in asked]
        if there:
            images = clip.prepare(sample.image, size=size)  # (1, 3, H, W)
            dense = clip.encode_dense(images, method=method, **deep(clip, method))
            sim = similarities(dense, text, surgery, 2.0)  # (1, h, w, N)
            maps = upsample(minmax(sim), sample.image.size[::-1])[0].float().cpu().numpy()  # (H, W, N)
            whole = maps[~sample.ignore].sum(axis=0)  # (N,)
            own = masks or {a: maps[..., asked.index(a)] >= threshold for a in there}
            inside = {a: mask & ~sample.ignore for a, mask in own.items()}
            for a, mask in ((a, mask) for a, mask in inside.items() if mask.any()):
                on = maps[mask]  # (pixels, N)
                rows = pd.DataFrame(
                    {"b": asked, "score": on.mean(axis=0), "fires": 100 * (on >= threshold).mean(axis=0)}
                )
                elsewhere = [
                    100 * maps[..., n][mask & ~masks[b]].sum() / whole[n] if b in masks and whole[n] else np.nan
                    for n, b in enumerate(asked)
                ]
                rows = rows.assign(image=named(sample, number), a=a, others=elsewhere, image_size=side(images))
                parts.append(rows[rows["b"] != a].assign(companion=lambda t, s=inside: t["b"].isin(list(s))))
        if on_progress:
            on_progress(number + 1, len(samples))
    if not parts:
        raise ValueError("No image has a mask of any of the labels: there is nothing to measure.")
    protocol = f"min-max per map; object a by its {region}; fires at {threshold}"
    about: dict[str, Any] = {"method": method, "surgery": surgery, "protocol": protocol}
    return pd.concat(parts, ignore_index=True).assign(**provenance(clip, samples, templates), **about)


def as_matrix(table: pd.DataFrame, labels: Sequence[str], value: str = "score") -> pd.DataFrame:
    """Means of `coactivation` over images: a row per object a, a column per label b; NaN where never measured."""
    wide = table.pivot_table(value, "a", "b", aggfunc="mean")
    return wide.reindex(index=list(labels), columns=list(labels))


def company(
    co: Float[np.ndarray, "N N"],
    measured: Num[np.ndarray, "N N"],
    mates: Bool[np.ndarray, "N N"],
    permutations: int = 2000,
    seed: int = 0,
) -> dict[str, float]:
    """Whether classes that keep company are more alike: one row of a table over models.

    co: P(b | a); measured: similarity or co-activation; mates: which pairs are companions. All are symmetrised.
    `auc`: how often a companion pair is above another pair (0.5: no effect); `rank`: Spearman correlation over pairs;
    `p`: two-sided Mantel permutation p-value (classes permuted together in rows and columns, +1 correction);
    `rank_low`, `rank_high`: 95 % bootstrap over classes, pairs of a class with itself left out.
    Pairs that are NaN in either are left out. Errors: ValueError for fewer than four classes or unlike shapes.
    """
    if not co.shape == measured.shape == mates.shape or len(co) < 4:
        raise ValueError(f"co-occurrence {co.shape}, measure {measured.shape}: at least four classes, and the same.")
    one, two = ((m + m.T) / 2 for m in (np.asarray(co, float), np.asarray(measured, float)))
    rng, upper = np.random.default_rng(seed), np.triu_indices(len(co), 1)

    def rank(order: Shaped[np.ndarray, " K"], other: Shaped[np.ndarray, " K"]) -> float:
        """Spearman over the pairs of chosen classes; `other` chooses them in the measure."""
        x, y = one[np.ix_(order, order)][upper], two[np.ix_(other, other)][upper]
        kept = np.isfinite(x) & np.isfinite(y) & (order[upper[0]] != order[upper[1]])
        ranks = rankdata(x[kept]), rankdata(y[kept])
        varied = kept.sum() > 2 and all(np.ptp(r) > 0 for r in ranks)
        return float(np.corrcoef(*ranks)[0, 1]) if varied else float("nan")

    own = np.arange(len(co))
    found = rank(own, own)
    shuffled = np.array([rank(own, rng.permutation(len(co))) for _ in range(permutations)])
    drawn = (np.sort(rng.integers(0, len(co), len(co))) for _ in range(permutations // 4))
    low, high = interval(np.array([rank(classes, classes) for classes in drawn]))
    p = (1 + (np.abs(shuffled) >= abs(found) - 1e-12).sum()) / (1 + permutations) if found == found else float("nan")
    value, together = two[upper], (mates | mates.T)[upper]
    a, b = value[together & np.isfinite(value)], value[~together & np.isfinite(value)]
    wins = (a[:, None] > b).mean() + 0.5 * (a[:, None] == b).mean() if len(a) and len(b) else np.nan
    means = {"companions": a.mean() if len(a) else np.nan, "rest": b.mean() if len(b) else np.nan}
    found_row = {"auc": wins, **means, "rank": found, "rank_low": low, "rank_high": high, "p": p}
    return {name: float(v) for name, v in found_row.items()} | {"classes": len(co), "pairs": int(together.sum())}


def often_together(co: Float[np.ndarray, "N N"], factor: float = 2.0) -> Bool[np.ndarray, "N N"]:
    """Companions in the data: pairs whose P(b | a), either way round, is at least `factor` × the mean of all pairs."""
    known = np.where(np.eye(len(co), dtype=bool), np.nan, co)
    high = np.nan_to_num(known) >= factor * np.nanmean(known)
    return (high | high.T) & ~np.eye(len(co), dtype=bool)


def _named_once(labels: Sequence[str], count: int) -> None:
    twice = sorted({label for label in labels if list(labels).count(label) > 1})
    if twice or len(labels) != count:
        raise ValueError(f"{len(labels)} labels for {count} classes{', twice: ' + ', '.join(twice) if twice else ''}.")
