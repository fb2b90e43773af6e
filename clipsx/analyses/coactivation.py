"""What a label's map does inside another label's object: mutual feature information where it shows."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from clipsx.clip import Clip
from clipsx.datasets.lines import listed
from clipsx.evaluation.asked import queries
from clipsx.evaluation.stream import Look, Measure
from clipsx.messages import require_known
from clipsx.reading import Reading

REGIONS = ("mask", "map")


def measure(
    clip: Clip,
    labels: Sequence[str],
    asked: str | Reading = "clip",
    threshold: float = 0.6,
    templates: str | Sequence[str] = "clip-surgery",
    region: str = "mask",
) -> Measure:
    """What label b's map does inside object a: a row per image, object a and other label b.

    region "mask": object a is its mask. "map", for data with labels alone: object a, in an image that has the label,
    is where its own map reaches `threshold`, the model's own idea of it; `others` is then not known.

    `score`: mean of b's min-max map inside a's mask, 0 … 1; `fires`: share of a's pixels at or above `threshold`, in %;
    `companion`: whether b is in the image as well; `others`: for b present, the share of its map's sum that falls on
    other objects, in %. Ignored pixels count nowhere.
    Errors: ValueError for fewer than two labels, an unknown region, and where no picture has a mask of any of them.
    Source: Unmix-CLIP, unrelated objects lighting up for one class; the measure is ours, over exact masks.
    """
    require_known("region", region, REGIONS)
    names, reading = queries(labels), Reading.parse(asked)
    text = clip.encode_labels(names, templates)  # (N, D)

    def rows(look: Look) -> pd.DataFrame:
        sample, parts = look.sample, []
        masks = {a: mask for a, mask in sample.masks.items() if a in names} if region == "mask" else {}
        there = masks or [a for a in sample.labels if a in names and region == "map"]
        if not there:
            return pd.DataFrame()
        maps = look.at_pixels(look.similarities(reading, text))  # (H, W, N)
        whole = maps[~sample.ignore].sum(axis=0, dtype=float)  # (N,)
        own = masks or {a: maps[..., names.index(a)] >= threshold for a in there}
        inside = {a: mask & ~sample.ignore for a, mask in own.items()}
        for a, mask in ((a, mask) for a, mask in inside.items() if mask.any()):
            on = maps[mask]  # (pixels, N)
            elsewhere = [
                100 * maps[..., n][mask & ~masks[b]].sum(dtype=float) / whole[n] if b in masks and whole[n] else np.nan
                for n, b in enumerate(names)
            ]
            found = {"image": look.name, "number": look.number, "a": a, "b": names}
            found |= {"score": on.mean(axis=0, dtype=float), "fires": 100 * (on >= threshold).mean(axis=0)}
            found |= {"others": elsewhere}
            table = pd.DataFrame(found).assign(companion=[b in inside for b in names])
            parts.append(table[table["b"] != a])
        return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()

    about = {"templates": str(templates)} | reading.columns(clip.tower)
    about |= {"protocol": f"min-max per map; object a by its {region}; fires at {threshold}"}
    empty = "No image has a mask of any of the labels: there is nothing to measure."
    return Measure("coactivation", rows, (reading,), about=about, asks={"names": names}, empty=empty)


def as_matrix(table: pd.DataFrame, labels: Sequence[str], value: str = "score") -> pd.DataFrame:
    """Means of `measure` over images: a row per object a, a column per label b; NaN where never measured."""
    wide = table.pivot_table(value, "a", "b", aggfunc="mean")
    names = list(listed(labels))
    return wide.reindex(index=names, columns=names)
