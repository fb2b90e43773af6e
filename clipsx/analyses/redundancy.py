"""Redundant features: what all maps share, what the empty label lights, and what feature surgery leaves of it."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from clipsx.clip import Clip
from clipsx.evaluation.asked import queries
from clipsx.evaluation.stream import Look, Measure
from clipsx.evaluation.summary import constants
from clipsx.metrics import coverage, energy_outside, iou, msc
from clipsx.reading import SURGERIES, TAU, Reading, readings

MEASURES = {"energy": "energy outside all objects (%)", "msc": "mSC (%)", "iou": "IoU (%)"}  # of `sweep`
SHARED = ("correlation", "shared", "correlation_ground", "shared_ground")  # of `measure`
TAUS = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0)


def explained_by_mean(maps: Float[Tensor, "P N"]) -> float:
    """Share of variance over the patches that the mean over labels carries, 0…100; NaN for maps without variance.

    Each label's own mean over the patches is taken away first: 100 means that all labels light the same places. After
    feature surgery in the released code's form the mean over labels is 0 by construction.
    """
    centred = maps.double() - maps.double().mean(dim=0)
    total = float((centred**2).mean())
    return 100 * float((centred.mean(dim=1) ** 2).mean()) / total if total > 0 else float("nan")


def measure(
    clip: Clip,
    labels: Sequence[str],
    asked: str | Sequence[str | Reading] = "clip",
    templates: str | Sequence[str] = "clip-surgery",
) -> Measure:
    """How alike the empty label's map is to every label's, and how much of the maps all labels share.

    A row per image, reading and label: `correlation` with the empty label's map over the patches (−1…1; NaN for a
    constant map), whether the label is `present`, and per image `shared`, the share of variance that the mean over all
    labels explains (%). Cosines, before feature surgery.
    Source: CLIP Surgery, figure of redundant features; the shares are ours.
    """
    names, shown = queries(labels), tuple(reading.features for reading in readings(asked))
    text = clip.encode_labels([*names, ""], templates)  # (N + 1, D)
    columns = {reading: reading.columns(clip.tower) for reading in shown}

    def rows(look: Look) -> Iterator[dict[str, Any]]:
        for reading in shown:
            maps = look.similarities(reading, text)[0].flatten(0, 1).float().cpu()  # (h·w, N + 1)
            ground = _ground(look, look.dense(reading).grid)  # (h·w,)
            (alike, shared), (behind, left) = _common(maps), _common(maps[ground])
            for n, label in enumerate(names):
                row = {"image": look.name, "label": label, "present": label in look.sample.labels}
                row |= {"correlation": alike[n], "shared": shared}
                yield row | {"correlation_ground": behind[n], "shared_ground": left} | columns[reading]

    about = {"templates": str(templates), "labels": len(names)}
    return Measure("redundancy", rows, shown, about=about, asks={"names": names})


def _common(maps: Float[Tensor, "P M"]) -> tuple[Float[np.ndarray, " N"], float]:
    """Correlation of the last map, the empty label's, with the N = M − 1 others, and what share those have in common.

    NaN for fewer than two patches.
    """
    if len(maps) < 2:
        return np.full(maps.shape[1] - 1, np.nan), float("nan")
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.corrcoef(maps.T.numpy())[-1, :-1], explained_by_mean(maps[:, :-1])


def _ground(look: Look, grid: tuple[int, int]) -> Bool[Tensor, " P"]:
    """Which patches no object touches; none where the picture has no mask."""
    objects = [coverage(mask, grid) for mask in look.sample.masks.values()] or [np.ones(grid)]
    return torch.from_numpy(np.max(objects, axis=0).ravel() == 0)


def sweep(
    clip: Clip,
    labels: Sequence[str],
    asked: str | Reading = "clip-surgery",
    counts: Sequence[int] = (2, 4, 8, 16),
    taus: Sequence[float] = TAUS,
    threshold: float = 0.6,
    templates: str | Sequence[str] = "clip-surgery",
    seed: int = 0,
) -> Measure:
    """Feature surgery against the number of labels (at τ = 2), and against τ (with all labels), by form.

    Every image is asked for its present labels and, up to the number, others drawn by `seed`; the maps of present
    labels are measured: `energy`, the share of a map's energy outside all objects (%), `msc` and `iou` at `threshold`.
    A row per image, label, form, number of labels and τ; `varied` says which of the two the row belongs to.
    Errors: ValueError for fewer than two labels, and where no picture has a mask of any of them.
    """
    names, reading = queries(labels), Reading.parse(asked).features
    text = clip.encode_labels(names, templates)  # (N, D)
    settings = [("labels", n, TAU) for n in sorted({*(c for c in counts if c < len(names)), len(names)})]
    settings += [("tau", len(names), tau) for tau in taus]

    def rows(look: Look) -> Iterator[dict[str, Any]]:
        masks, ignore = look.sample.masks, look.sample.ignore
        present = [names.index(label) for label in masks if label in names and masks[label].any()]
        absent = [n for n in range(len(names)) if n not in present]
        others = np.random.default_rng([seed, look.number]).permutation(absent).tolist()
        objects = np.any([*masks.values(), np.zeros(look.pixels, bool)], axis=0)  # (H, W)
        for varied, count, tau in settings if present else ():
            chosen = [*present, *others][: max(count, len(present))]
            for form in SURGERIES if len(chosen) > 1 else ():
                repaired = Reading(reading.method, reading.depth, form, tau)
                maps = look.at_pixels(look.similarities(repaired, text[chosen])[..., : len(present)])  # (H, W, n)
                for n, place in enumerate(present):
                    mask, map = masks[names[place]], maps[..., n]
                    row = {"image": look.name, "label": names[place], "varied": varied, "form": form, "labels": count}
                    row |= {"tau": tau, "energy": energy_outside(map, objects, ignore)}
                    yield row | {"msc": msc(map, mask, ignore), "iou": iou(map, mask, threshold, ignore)}

    about = {"templates": str(templates), "method": reading.method, "protocol": f"min-max per map; IoU at {threshold}"}
    asks = {"names": names, "counts": counts, "taus": taus, "seed": seed}
    empty = "No image has a mask of any of the labels: there is nothing to measure."
    return Measure("feature-surgery", rows, (reading,), about=about, asks=asks, empty=empty)


def by_label(table: pd.DataFrame) -> pd.DataFrame:
    """Means of `measure` by reading, label and whether it is in the picture."""
    keys = ["reading", "label", "present"]
    return table.groupby(keys)[[*SHARED]].mean().reset_index().assign(**constants(table, keys))


def averaged(table: pd.DataFrame) -> pd.DataFrame:
    """Means of `sweep` over images and labels, by form, number of labels and τ."""
    keys = ["varied", "form", "labels", "tau"]
    return table.groupby(keys)[list(MEASURES)].mean().reset_index().assign(**constants(table, keys))
