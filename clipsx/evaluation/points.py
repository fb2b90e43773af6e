"""Points chosen from maps, and the masks they yield, against the masks that a plain threshold gives."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool

from clipsx.clip import Clip
from clipsx.evaluation.asked import Asked, Words, queries
from clipsx.evaluation.explain import DEFAULT, measured
from clipsx.evaluation.stream import Look, Measure
from clipsx.evaluation.summary import FIXED, ROW, best, constants, iou_at
from clipsx.metrics import THRESHOLDS, iou
from clipsx.reading import Reading, readings
from clipsx.segmenters.interface import Segmenter
from clipsx.segmenters.named import WALKER, load
from clipsx.segmenters.prompt import THRESHOLD, Segmented, segmented
from clipsx.statistics import METHOD, estimate

MEASURES = {
    "accuracy": "points on the object (%)",
    "chance": "the object's area (%)",
    "lead": "points on the object − its area",
    "outside": "negatives off the object (%)",
    "miou_points": "mIoU from points (%)",
    "miou_plain": "mIoU of a threshold (%)",
    "gain": "mIoU gained over a threshold (%)",
}  # of a summary: columns of `measure` (or made of them), and titles


def measure(
    clip: Clip,
    labels: Sequence[str],
    asked: str | Sequence[str | Reading] = DEFAULT,
    segmenter: str | Path | Segmenter = WALKER,
    threshold: float = THRESHOLD,
    templates: str | Sequence[str] = "clip-surgery",
    words: Words | None = None,
) -> Measure:
    """A row per image, label that is present with a mask, and reading: where its points lie, and the mask they yield.

    Every image is asked for all labels (`queries`). Columns: those of `explain.measure`, from which comes the IoU of
    plain thresholding; `positives`, `negatives`, how many points; `accuracy`, the share of positives on the object, its
    `chance`, the object's area, and `outside`, the share of negatives off it (%, NaN without a point); `iou`, the
    segmenter's mask against the object (%), 0 where there is no point: then `why` says why. What is ignored counts
    nowhere. threshold: of the points (`maps.points_from_map`); words: as in `explain.measure`.
    Errors: ValueError for fewer than two labels, a threshold outside 0…1, and a reading that the tower cannot serve.
    Source: CLIP Surgery, points for SAM; the comparison with a plain threshold is ours.
    """
    names, shown, maker = queries(labels), readings(asked), load(segmenter)
    asking = Asked.by(clip, names, words, templates)
    columns = {reading: reading.columns(clip.tower) | {"labels": len(names)} for reading in shown}

    def rows(look: Look) -> Iterator[dict[str, Any]]:
        sample = look.sample
        present = [label for label in sample.labels if label in names and label in sample.masks]
        for reading in shown if present else ():
            sim = asking.best(look.similarities(reading, asking.text))  # (1, h, w, N)
            sim = sim[..., [names.index(label) for label in present]]  # (1, h, w, n)
            for row in measured(look, sim, present):
                map = sim[0, :, :, [present.index(row["label"])]]  # (h, w, 1)
                found = segmented(sample.image, map, maker, threshold)
                yield row | scored(found, sample.masks[row["label"]], sample.ignore) | columns[reading]

    rule = f"points: cells of the halved map at or above {threshold:g}, as many of the lowest beside the object"
    about = {"templates": str(templates), "segmenter": maker.name, "protocol": rule}
    empty = "No image has a mask of any of the labels: there is nothing to evaluate."
    return Measure("points", rows, shown, about=about, asks={"labels": names, "words": asking.words}, empty=empty)


def scored(found: Segmented, mask: Bool[np.ndarray, "H W"], ignore: Bool[np.ndarray, "H W"]) -> dict[str, Any]:
    """What `measure` says of one label's points and mask."""
    x, y = found.points.T  # (P,) each
    inside, counts, on = mask[y, x], ~ignore[y, x], found.labels == 1
    positives, negatives = inside[on & counts], inside[~on & counts]
    share = [100 * float(hits.mean()) if hits.size else float("nan") for hits in (positives, ~negatives)]
    row = {"positives": len(positives), "negatives": len(negatives), "accuracy": share[0], "outside": share[1]}
    row |= {"chance": float(100 * mask[~ignore].mean()), "why": found.why}
    return row | {"iou": iou(found.mask.astype(float), mask, 0.5, ignore)}


def summarise(table: pd.DataFrame, tuning: pd.DataFrame | None = None, resamples: int = 1000) -> pd.DataFrame:
    """A row per reading of `measure`'s rows: every one of `MEASURES` with its 95 % image-bootstrap interval, in %.

    tuning: rows of other images (those of `explain.measure` will do), on which the threshold of plain thresholding is
    chosen (the best mIoU); without it, or for a reading that is not in it, it is `FIXED`. All are means over images,
    then classes; `lead` and `gain` are those of paired differences. `empty` counts pairs without a point, whose IoU is
    0 and whose shares are left out.
    """
    found, chosen = [], {} if tuning is None else best(tuning, ROW)
    for reading, rows in table.groupby("reading", sort=False):
        key = (str(reading),)
        threshold, how = chosen.get(key, FIXED), "chosen on other images" if key in chosen else "fixed"
        plain = iou_at(rows)[:, int(np.argmin(abs(THRESHOLDS - threshold)))]  # (rows,)
        values = rows.assign(miou_points=rows["iou"], miou_plain=plain, gain=rows["iou"] - plain)
        values["lead"] = rows["accuracy"] - rows["chance"]
        row: dict[str, Any] = {"reading": reading}
        images, labels = rows["image"].to_numpy(), rows["label"].to_numpy()
        for name in MEASURES:
            row |= estimate(name, values[name].to_numpy(float), images, labels, resamples)
        row |= {"threshold": threshold, "threshold_chosen": key in chosen, "empty": int((rows["why"] != "").sum())}
        row |= {"pairs": len(rows), "images": rows["image"].nunique()} | constants(rows, ROW)
        row["protocol"] = (
            f"{rows['protocol'].iloc[0]}; plain threshold {how}; means over images, then classes; {METHOD}"
        )
        found.append(row)
    return pd.DataFrame(found)
