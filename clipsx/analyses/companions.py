"""Which classes keep company in the data, and whether that explains how alike a model finds them."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Num, Shaped
from scipy.stats import rankdata
from sklearn.metrics import roc_auc_score

from clipsx.datasets import Sample
from clipsx.statistics import interval
from clipsx.text import check_labels


def presence(samples: Sequence[Sample], labels: Sequence[str]) -> Bool[np.ndarray, "n N"]:
    """Which labels each image shows, (images, labels)."""
    asked = check_labels(labels)
    return np.array([[label in sample.labels for label in asked] for sample in samples], dtype=bool)


def co_occurrence(present: Bool[np.ndarray, "n N"]) -> Float[np.ndarray, "N N"]:
    """P(b | a): the share of images of class a (row) that show b; a row of NaN for a class that is nowhere."""
    count = present.astype(np.float64)
    with np.errstate(invalid="ignore"):
        return (count.T @ count) / count.sum(axis=0)[:, None]


def follow(
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
    together, known = (mates | mates.T)[upper], np.isfinite(two[upper])
    value, mate = two[upper][known], together[known]
    a, b = value[mate], value[~mate]
    wins = roc_auc_score(mate, value) if len(a) and len(b) else np.nan
    means = {"companions": a.mean() if len(a) else np.nan, "rest": b.mean() if len(b) else np.nan}
    found_row = {"auc": wins, **means, "rank": found, "rank_low": low, "rank_high": high, "p": p}
    return {name: float(v) for name, v in found_row.items()} | {"classes": len(co), "pairs": int(together.sum())}


def often_together(co: Float[np.ndarray, "N N"], factor: float = 2.0) -> Bool[np.ndarray, "N N"]:
    """Companions in the data: pairs whose P(b | a), either way round, is at least `factor` × the mean of all pairs."""
    known = np.where(np.eye(len(co), dtype=bool), np.nan, co)
    high = np.nan_to_num(known) >= factor * np.nanmean(known)
    return (high | high.T) & ~np.eye(len(co), dtype=bool)
