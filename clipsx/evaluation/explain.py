"""CLIP Surgery's explainability protocol: how well the map of every label that is there finds its object."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch

from clipsx.clip import Clip
from clipsx.datasets import Sample, labels_of
from clipsx.evaluation.asked import Asked, Words, queries
from clipsx.evaluation.beside import beside, regions
from clipsx.evaluation.stream import Look, Measure, stream
from clipsx.maps import is_constant
from clipsx.metrics import THRESHOLDS, exceedance, msc, pointing, size_of
from clipsx.reading import Reading, crossed, readings

INSIDE, OUTSIDE = ([f"{side}@{t:.2f}" for t in THRESHOLDS] for side in ("in", "out"))
DEFAULT = crossed(("clip", "maskclip", "clip-surgery"))


def measure(
    clip: Clip,
    labels: Sequence[str] | Mapping[str, Sequence[str]],
    asked: str | Sequence[str | Reading] = DEFAULT,
    templates: str | Sequence[str] = "clip-surgery",
    words: Words | None = None,
) -> Measure:
    """A row per image, label that is present with a mask, and reading.

    Every image is asked for all labels (`queries`); the maps of those that are present are stretched to 0…1 over the
    patches, upsampled to the picture's size and compared with the mask. `labels` may be several sets by name, for
    feature surgery to compare: then the column `label_set` says which (plain maps do not depend on it, and are measured
    for the first set alone), and only labels of the first set are measured. words: what asks for a label, if not its
    name: at every place the best of several counts. Columns: those of the reading, `msc` (%,
    NaN for a mask of all the picture), `pointing` (%, see `metrics`) and its chance `area` (% of the picture; in words
    `size`), `others`, `absent`, `auc` and `oracle` (%, see `beside`), `constant` (the map says nothing), and the shares
    of object and background pixels at or above every threshold (`in@…`, `out@…`, 0…1), from which come IoU and the
    distributions of scores. Images without a mask give no row.
    Errors: ValueError for fewer than two labels, and for a reading that the tower cannot serve.
    Source: CLIP Surgery, explainability protocol (mSC, mIoU of the labels present).
    """
    sets = {name: queries(some) for name, some in (labels if isinstance(labels, Mapping) else {"": labels}).items()}
    asking = {name: Asked.by(clip, some, words, templates) for name, some in sets.items()}
    first = next(iter(sets))
    shown = readings(asked)
    settings = [
        (r, r.columns(clip.tower), name) for r in shown for name in sets if r.surgery != "none" or name == first
    ]

    def rows(look: Look) -> Iterator[dict[str, Any]]:
        shown, seen = look.sample.labels, ~look.sample.ignore
        present = [
            label for label in shown if label in sets[first] and (look.sample.masks.get(label, ~seen) & seen).any()
        ]
        where = None
        for reading, columns, name in settings if present else ():
            places = [sets[name].index(label) for label in present]
            absent = np.array([label in sets[first] and label not in shown for label in sets[name]])
            sim = asking[name].best(look.similarities(reading, asking[name].text))  # (1, h, w, N)
            where = where or regions(look, present, (sim.shape[1], sim.shape[2]))
            own = columns | {"labels": len(sets[name])} | ({"label_set": name} if name else {})
            each = zip(measured(look, sim[..., places], present), beside(sim, where, places, absent), strict=True)
            yield from (found | more | own for found, more in each)

    empty = "No image has a mask of any of the labels: there is nothing to evaluate."
    asks = {"labels": sets, "words": [some.words for some in asking.values()]}
    return Measure("explain", rows, shown, about={"templates": str(templates)}, asks=asks, empty=empty)


def halves(
    clip: Clip,
    tuning: Sequence[Sample],
    test: Sequence[Sample],
    asked: str | Sequence[str | Reading] = DEFAULT,
    more: Sequence[Measure] = (),
) -> list[pd.DataFrame]:
    """Rows of the half to report on, of that to choose thresholds on, and of `more` measures of the first."""
    maps = measure(clip, labels_of(test), asked)
    rows, *others = stream(clip, test, [maps, *more], words="measuring")
    return [rows, *stream(clip, tuning, [maps], words="choosing thresholds"), *others]


def measured(look: Look, sim: torch.Tensor, present: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The numbers of every present label's map; sim (1, h, w, n)."""
    maps, constant = look.at_pixels(sim), is_constant(sim)[0].tolist()  # (H, W, n)
    for n, label in enumerate(present):
        mask, seen = look.sample.masks[label], ~look.sample.ignore  # (H, W)
        if (mask & seen).any():
            area = float(100 * mask[seen].mean())
            inside, outside = exceedance(maps[..., n], mask, look.sample.ignore)  # (K,) both
            found = {"image": look.name, "label": label, "msc": msc(maps[..., n], mask, look.sample.ignore)}
            found |= {"pointing": pointing(maps[..., n], mask, look.sample.ignore)}
            found |= {"area": area, "size": size_of(area), "constant": constant[n]}
            yield found | dict(zip(INSIDE, inside, strict=True)) | dict(zip(OUTSIDE, outside, strict=True))
