"""How sure a number is: one bootstrap over images, paired differences, bands of random starts."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, Num, Shaped

AT_ONCE, ROOM = 100, 2**18  # draws, and weights of images, in memory at a time
METHOD = "95 % image bootstrap"


def draws(
    statistic: Callable[[Num[np.ndarray, "R I"]], Float[np.ndarray, "R *K"]],
    images: int,
    resamples: int = 1000,
    seed: int = 0,
) -> Float[np.ndarray, "resamples *K"]:
    """A statistic of weighted images when whole images are drawn with replacement; all NaN with fewer than two images.

    statistic: from how often each of the images counts, R draws at once, to R values, or to K values of each. The same
    number of images with the same seed gives paired draws: subtract them for the interval of a difference.
    """
    rng, at_once = np.random.default_rng(seed), max(1, min(AT_ONCE, ROOM // max(images, 1)))
    found = []
    for start in range(0, resamples if images > 1 else 0, at_once):
        size = min(at_once, resamples - start)
        found.append(statistic(rng.multinomial(images, np.full(images, 1 / images), size=size)))
    return np.concatenate(found) if found else np.full(resamples, np.nan)


def bootstrap(
    values: Num[np.ndarray, " P"],
    images: Shaped[np.ndarray, " P"],
    groups: Shaped[np.ndarray, " P"] | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> tuple[float, Float[np.ndarray, " R"]]:
    """A mean over samples, then over groups (classes), and its `draws`; NaN without values.

    values: one per (image, class) pair, NaN pairs left out; images, groups: which image and which class each belongs to
    (groups None: a plain mean over pairs); resamples, seed: number and seed of the draws.
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

    def mean(weights: np.ndarray) -> np.ndarray:  # (R, I) → (R,)
        total, number = weights @ sums, weights @ counts  # (R, C)
        with np.errstate(invalid="ignore"):  # a draw without any pair is 0 / 0, NaN
            return (total / np.maximum(number, 1)).sum(axis=-1) / (number > 0).sum(axis=-1)

    return float(mean(np.ones((1, len(names))))[0]), draws(mean, len(names), resamples, seed)


def interval(drawn: Float[np.ndarray, " R"], level: float = 0.95) -> tuple[float, float]:
    """The percentile interval of draws; NaN, NaN when they are NaN."""
    drawn = drawn[np.isfinite(drawn)]
    if not drawn.size:
        return float("nan"), float("nan")
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def estimate(
    name: str,
    values: Num[np.ndarray, " P"],
    images: Shaped[np.ndarray, " P"],
    groups: Shaped[np.ndarray, " P"] | None = None,
    resamples: int = 1000,
) -> dict[str, float]:
    """`bootstrap` as a table has it: the mean (column `name`) and its 95 % interval (`name_low`, `name_high`)."""
    mean, drawn = bootstrap(values, images, groups, resamples)
    return dict(zip((name, f"{name}_low", f"{name}_high"), (mean, *interval(drawn)), strict=True))


def verdict(low: float, high: float) -> str:
    """What an interval of a difference says: "higher", "lower", or "not apart" where it holds 0 or is not known."""
    return "higher" if low > 0 else "lower" if high < 0 else "not apart"


def difference(
    gaps: Num[np.ndarray, " P"],
    images: Shaped[np.ndarray, " P"],
    groups: Shaped[np.ndarray, " P"] | None = None,
    resamples: int = 1000,
) -> dict[str, Any]:
    """The mean of paired differences with its 95 % image-bootstrap interval: verdict, difference, low, high, pairs.

    gaps: one thing's value minus the other's on the same (image, class) pair, NaN where either has none; images,
    groups: as in `bootstrap`.
    """
    mean, drawn = bootstrap(gaps, images, groups, resamples)
    low, high = interval(drawn)
    pairs = int(np.isfinite(gaps).sum())
    return {"verdict": verdict(low, high), "difference": mean, "low": low, "high": high, "pairs": pairs}


def band(values: Iterable[float]) -> dict[str, float]:
    """What chance does: mean, standard deviation (`sd`), range (`low`, `high`) over `n` random starts or seeds.

    Values that are not finite are left out; with fewer than two, sd is NaN: one start is no band.
    """
    known = np.array([value for value in values if np.isfinite(value)], float)
    if not known.size:
        return {"mean": np.nan, "sd": np.nan, "low": np.nan, "high": np.nan, "n": 0}
    sd = float(known.std(ddof=1)) if known.size > 1 else float("nan")
    return {
        "mean": float(known.mean()),
        "sd": sd,
        "low": float(known.min()),
        "high": float(known.max()),
        "n": known.size,
    }


def student(freedom: Any) -> Any:
    """Half the width of a 95 % interval in standard errors: Student's t by degrees of freedom; NaN below one."""
    from scipy.stats import t

    return t.ppf(0.975, freedom)


def spread(sd: Any, n: Any) -> Any:
    """Half the width of the 95 % interval in which one more start lies: Student's t · sd · √(1 + 1/n); columns too."""
    return student(np.maximum(n, 2) - 1) * sd * np.sqrt(1 + 1 / np.maximum(n, 1))


def apart(gap: float, half: float) -> dict[str, Any]:
    """A difference with half its interval's width: verdict, difference, low, high."""
    return {"verdict": verdict(gap - half, gap + half), "difference": gap, "low": gap - half, "high": gap + half}


def beyond(value: float, low: float, high: float, chance: Mapping[str, Any]) -> dict[str, Any]:
    """A value with its image interval against a `band`: verdict, difference from its mean, low, high.

    The interval is that of the value minus one more random start: both spreads as of independent normal errors.
    """
    half = float(np.hypot(spread(chance["sd"], chance["n"]), (high - low) / 2))
    return apart(value - chance["mean"], half)
