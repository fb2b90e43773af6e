"""Zero-shot segmentation by the best label at every position: what is where, by label alone."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Num

from clipsx.clip import Clip
from clipsx.datasets.lines import listed
from clipsx.evaluation.explain import queries
from clipsx.evaluation.stream import Look, Measure
from clipsx.evaluation.summary import constants
from clipsx.maps import upsample
from clipsx.reading import Reading, readings
from clipsx.statistics import METHOD, draws, interval

BACKGROUND = "background"
PARTS = ["hits", "said", "true"]  # pixels: intersection, predicted, true


def measure(
    clip: Clip,
    labels: Sequence[str],
    asked: str | Sequence[str | Reading] = "clip",
    grounds: Sequence[str] = (),
    templates: str | Sequence[str] = "clip-surgery",
) -> Measure:
    """A row per image, reading and class that is there or was said: pixels that are `hits`, `said` and `true`.

    grounds: labels of backgrounds. Without them the labels compete on the objects' pixels alone; with them all pixels
    count, and whatever ground wins is "background", a class like the others. Similarities are upsampled before the
    argmax. Errors: ValueError for fewer than two labels, and where no picture has a mask of any of them.
    Source: Unmix-CLIP, zero-shot segmentation (without grounds: the protocol "without background" of VOC-20).
    """
    names, shown = queries(labels), readings(asked)
    classes = [*names, BACKGROUND] if grounds else list(names)
    text = clip.encode_labels([*names, *listed(grounds)], templates)  # (N + G, D)
    columns = {reading: reading.columns(clip.tower) for reading in shown}

    def rows(look: Look) -> Iterator[dict[str, Any]]:
        truth = look.sample.index_map(names)  # (H, W): the label's place, N for background, −1: does not count
        seen = (truth >= 0) & (truth < len(classes))
        for reading in shown if seen.any() else ():
            sim = upsample(look.similarities(reading, text), look.pixels)[0]  # (H, W, N + G)
            best = sim.argmax(dim=-1).clamp(max=len(names)).cpu().numpy()  # (H, W)
            kinds = (truth[seen & (best == truth)], best[seen], truth[seen])
            counts = np.stack([np.bincount(kind, minlength=len(classes)) for kind in kinds])  # (3, K)
            for k in np.flatnonzero(counts.any(axis=0)):
                row = {"image": look.name, "label": classes[k]} | dict(zip(PARTS, counts[:, k].tolist(), strict=True))
                yield row | columns[reading]

    over = f"all pixels, background = {len(grounds)} grounds" if grounds else "pixels of objects only"
    about = {"templates": str(templates), "labels": len(names)}
    about |= {"protocol": f"argmax over {len(names)} labels at every position; {over}"}
    empty = "No image has a mask of any of the labels: there is nothing to segment."
    return Measure("segmentation", rows, shown, about=about, asks={"names": names, "grounds": grounds}, empty=empty)


def summarise(table: pd.DataFrame, resamples: int = 300, by: Sequence[str] = ("reading",)) -> pd.DataFrame:
    """A row per group of `measure`'s rows: mIoU with its 95 % image-bootstrap interval, in %.

    Intersections and unions are summed over images, then IoU is averaged over the classes that are there.
    """
    found = []
    for key, rows in table.groupby(list(by), sort=False, dropna=False):
        wide = rows.pivot_table(PARTS, "image", "label", aggfunc="sum", fill_value=0, sort=False)
        counts = np.stack([wide[part].to_numpy(float) for part in PARTS], axis=1)  # (n, 3, K)
        drawn = draws(lambda w, c=counts: _miou(np.einsum("ri,ipk->rpk", w, c)), len(counts), resamples)
        low, high = interval(drawn)
        row = dict(zip(by, key, strict=True)) | {"mIoU": float(_miou(counts.sum(axis=0)[None])[0])}
        row |= {"mIoU_low": low, "mIoU_high": high, "images": len(counts)} | constants(rows, by)
        found.append(row | {"protocol": f"{rows['protocol'].iloc[0]}; {METHOD}"})
    return pd.DataFrame(found)


def _miou(counts: Num[np.ndarray, "R 3 K"]) -> Num[np.ndarray, " R"]:
    """The mean over classes that are there, in %; NaN where none is."""
    hits, said, true = counts[:, 0], counts[:, 1], counts[:, 2]  # (R, K) each
    with np.errstate(invalid="ignore", divide="ignore"):
        each = np.where(true > 0, hits / (said + true - hits), 0)
        return 100 * each.sum(axis=-1) / (true > 0).sum(axis=-1)
