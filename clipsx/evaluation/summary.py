"""What the rows of `explain` say: means with intervals, curves against the threshold, splits by class and size."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from clipsx.evaluation.explain import INSIDE, OUTSIDE
from clipsx.evaluation.protocols import require_one
from clipsx.metrics import SIZES, THRESHOLDS, iou_curve
from clipsx.statistics import METHOD, bootstrap, difference, draws, estimate

FIXED = 0.6  # the threshold reported beside the chosen one
ROW = ["reading"]  # what tells the rows of a summary apart, beside model and weights
MEASURES = {
    "msc": "mSC (%)",
    "opposite": "opposite pairs (%)",
    "miou": "mIoU (%)",
    "others": "against other objects (%)",
    "absent": "against absent labels (%)",
    "auc": "rank mSC, AUC (%)",
    "pointing": "pointing game (%)",
}  # of a summary: columns of `explain` (or made of them), and titles
ABOUT = (
    "model", "weights", "projectors", "positions", "data", "image_size", "templates", "labels", "reading", "method",
    "authority", "surgery", "tau", "depth", "segmenter", "protocol",
)  # fmt: skip


def iou_at(table: pd.DataFrame) -> np.ndarray:
    """IoU of every row of `explain` at every threshold, (rows, K), in %."""
    return iou_curve(table[INSIDE].to_numpy(), table[OUTSIDE].to_numpy(), table["area"].to_numpy() / 100)


def curve(table: pd.DataFrame, by: Sequence[str] = ROW, resamples: int = 0) -> pd.DataFrame:
    """mIoU against the threshold: mean over images, then over classes, for every group of rows.

    With resamples, at every fifth threshold, and with its 95 % image-bootstrap interval (`miou_low`, `miou_high`).
    """
    if resamples:
        return _banded(table, by, resamples)
    wide = table[[*by, "label"]].join(pd.DataFrame(iou_at(table), index=table.index, columns=THRESHOLDS))
    classes = wide.groupby([*by, "label"], sort=False, dropna=False).mean()
    mean = classes.groupby(list(by), sort=False, dropna=False).mean().reset_index()
    return mean.melt(list(by), var_name="threshold", value_name="miou").astype({"threshold": float})


def _banded(table: pd.DataFrame, by: Sequence[str], resamples: int) -> pd.DataFrame:
    found = []
    for key, rows in table.groupby(list(by), sort=False, dropna=False):
        images, labels, ious = rows["image"].to_numpy(), rows["label"].to_numpy(), iou_at(rows)  # (rows, K)
        for k in range(0, len(THRESHOLDS), 5):
            row = dict(zip(by, key, strict=True)) | {"threshold": float(THRESHOLDS[k])}
            found.append(row | estimate("miou", ious[:, k], images, labels, resamples))
    return pd.DataFrame(found)


def exceeded(table: pd.DataFrame, resamples: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Mean shares (0…1) of object and of background pixels at or above every threshold, over rows of `explain`.

    Both (1 + resamples, K): the means, then those of images drawn anew; fewer than two images cannot be drawn.
    """
    place, images = pd.factorize(table["image"])

    def shares(columns: list[str]) -> np.ndarray:  # (1 + R, K)
        each = table[columns].to_numpy()  # (rows, K)
        known, each = np.isfinite(each).astype(float), np.nan_to_num(each)

        def mean(weights: np.ndarray) -> np.ndarray:  # (R, I) → (R, K)
            rows = weights[:, place].astype(float)
            return rows @ each / np.maximum(rows @ known, 1)

        drawn = draws(mean, len(images), resamples * (len(images) > 1))
        return np.concatenate([mean(np.ones((1, len(images)))), drawn.reshape(-1, len(columns))])

    return shares(INSIDE), shares(OUTSIDE)


def split_by(table: pd.DataFrame, column: str, value: str = "msc", half: bool = False) -> pd.DataFrame:
    """The mean of a measure: a row per reading, a column per class, size (in order), … of `column`.

    half: instead of it half the width of its 95 % image-bootstrap interval.
    """
    wide = table.pivot_table(value, "reading", column, sort=False)
    for (reading, at), rows in table.groupby(["reading", column]) if half else ():
        ends = estimate(value, rows[value].to_numpy(float), rows["image"].to_numpy(), resamples=200)
        wide.loc[reading, at] = (ends[f"{value}_high"] - ends[f"{value}_low"]) / 2
    return wide.reindex(columns=[size for size in SIZES if size in wide]) if column == "size" else wide


def summarise(
    table: pd.DataFrame, tuning: pd.DataFrame | None = None, by: Sequence[str] = ROW, resamples: int = 1000
) -> pd.DataFrame:
    """A row per group of `explain`'s rows: mSC, share of opposite pairs, mIoU, with 95 % image-bootstrap intervals.

    tuning: rows of other images, on which each group's threshold is chosen (the best mIoU); without it, or for a group
    that is not in it, the threshold is `FIXED`. All in %; `left_out` counts pairs without a background, which
    have no mSC. All are means over images, then classes, but the opposite share, which is over pairs.
    """
    found, tuned = [], {} if tuning is None else best(tuning, by)
    for key, rows in table.groupby(list(by), sort=False, dropna=False):
        words = tuple(map(str, key))
        chosen, threshold = words in tuned, tuned.get(words, FIXED)
        ious, at, fixed = iou_at(rows), *(int(np.argmin(abs(THRESHOLDS - t))) for t in (threshold, FIXED))
        images, labels, score = rows["image"].to_numpy(), rows["label"].to_numpy(), rows["msc"].to_numpy()
        opposite = np.where(np.isfinite(score), 100.0 * (score < 0), np.nan)
        row: dict[str, Any] = dict(zip(by, key, strict=True))
        measured = {"msc": (score, labels), "opposite": (opposite, None), "miou": (ious[:, at], labels)}
        own = [name for name in MEASURES if name in rows and name not in measured]
        measured |= {name: (rows[name].to_numpy(float), labels) for name in own}
        for name, (values, groups) in measured.items():
            row |= estimate(name, values, images, groups, resamples)
        row |= {"threshold": threshold, "threshold_chosen": chosen}
        row |= {f"miou_at_{FIXED}": bootstrap(ious[:, fixed], images, labels, 1)[0]}
        row |= {"pairs": len(rows), "images": len(set(images)), "left_out": int((~np.isfinite(score)).sum())}
        how = "chosen on other images" if chosen else "fixed"
        row["protocol"] = f"min-max per map; mean over images, then classes; threshold {how}; {METHOD}"
        found.append(row | constants(rows, by))
    return pd.DataFrame(found)


def against(
    table: pd.DataFrame, tuning: pd.DataFrame | None = None, base: str = "clip", resamples: int = 1000
) -> pd.DataFrame:
    """How every reading's maps differ from those of `base` on the same objects: a row per reading and measure.

    Every one of `MEASURES` (but the share of opposite pairs) of each (image, label) pair, the reading's minus the
    base's, in points of %, with what `statistics.difference` says of it and the reading's own mean, its `value`.
    Thresholds as in `summarise`.
    Errors: ValueError for a base that was not measured.
    """
    if base not in set(table["reading"]):
        raise ValueError(f"{base!r} was not measured: there is nothing to compare with.")
    tuned = {} if tuning is None else best(tuning, ROW)
    place = {r: int(np.argmin(abs(THRESHOLDS - tuned.get((r,), FIXED)))) for r in table["reading"].unique()}
    iou = iou_at(table)[np.arange(len(table)), table["reading"].map(place)]
    values = [name for name in MEASURES if name == "miou" or name in table]
    wide = table.assign(miou=iou).set_index(["image", "label", "reading"])[values].unstack("reading")  # noqa: PD010 (no aggregation)
    images, labels = (wide.index.get_level_values(name).to_numpy() for name in ("image", "label"))
    found = []
    for reading in (r for r in place if r != base):
        for value in values:
            gaps = (wide[value, reading] - wide[value, base]).to_numpy(float)
            row = difference(gaps, images, labels, resamples)
            row |= {"reading": reading, "against": base, "measure": value}
            row["value"] = bootstrap(wide[value, reading].to_numpy(float), images, labels, 1)[0]
            found.append(row | constants(table[table["reading"] == reading], ROW))
    return pd.DataFrame(found, columns=None if found else ["reading", "against", "measure"])  # the base alone


def references(table: pd.DataFrame, resamples: int = 1000) -> pd.DataFrame:
    """What maps are held against, as rows of a summary: one that is lit everywhere, and the best that the grid allows.

    The first has the object's share of the area as its IoU and its pointing game; the second's IoU is `oracle`.
    """
    pairs = table.drop_duplicates(["image", "label"])
    images, labels = pairs["image"].to_numpy(), pairs["label"].to_numpy()
    values = {"lit everywhere": ("area", ["miou", "pointing"]), "best on the patch grid": ("oracle", ["miou"])}
    found = []
    for name, (column, measures) in values.items():
        row: dict[str, Any] = {"reading": name, "method": name}
        for measure in measures:
            row |= estimate(measure, pairs[column].to_numpy(float), images, labels, resamples)
        row |= {"msc": 0.0, "others": 0.0, "absent": 0.0, "auc": 50.0} if column == "area" else {}
        about = constants(pairs, ["reading", "method", "authority", "surgery", "tau", "depth"])
        found.append(row | {"pairs": len(pairs), "images": len(set(images))} | about)
    return pd.DataFrame(found)


def best(tuning: pd.DataFrame, by: Sequence[str]) -> dict[tuple[str, ...], float]:
    """The threshold of the best mIoU for every group, by its key in words (NaN is not equal to itself)."""
    curves = curve(tuning, by)
    rows = curves.loc[curves.groupby(list(by), sort=False, dropna=False)["miou"].idxmax()]
    keys = (tuple(map(str, key)) for key in rows[list(by)].itertuples(index=False))
    return dict(zip(keys, rows["threshold"].astype(float), strict=True))


def constants(table: pd.DataFrame, by: Sequence[str] = ()) -> dict[str, Any]:
    """Provenance columns with one value in the whole table, save those in `by`: what a table of means keeps."""
    one = [name for name in ABOUT if name in table and name not in by and len(table[name].unique()) == 1]
    return {name: table[name].iloc[0] for name in one if table[name].notna().all()}


def joined(*summaries: pd.DataFrame | None) -> pd.DataFrame:
    """Summaries of several models or settings as one table; those that are not there (None) are left out.

    Errors: ValueError for rows of different protocols, whose numbers do not compare.
    """
    there = [table for table in summaries if table is not None]
    require_one(*there)
    return pd.concat(there, ignore_index=True)
