"""Redundant features: what all maps share, what the empty label lights, and what feature surgery leaves of it."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import torch

from clipsx.clip import Clip
from clipsx.datasets.sample import Sample
from clipsx.evaluation.explain import constants, deep, named, provenance, queries, side
from clipsx.maps import feature_surgery, minmax, similarity, upsample
from clipsx.metrics import energy_outside, iou, msc

MEASURES = {"energy": "energy outside all objects (%)", "msc": "mSC (%)", "iou": "IoU (%)"}  # of `sweep`
Progress = Callable[[int, int], None]


def explained_by_mean(maps: torch.Tensor) -> float:
    """Share of variance over the patches that the mean over labels carries, 0…100; NaN for maps without variance.

    maps (h·w, N), each label's own mean over the patches taken away first: 100 means that all labels light the same
    places. After feature surgery in the released code's form the mean over labels is 0 by construction.
    """
    centred = maps.double() - maps.double().mean(dim=0)
    total = float((centred**2).mean())
    return 100 * float((centred.mean(dim=1) ** 2).mean()) / total if total > 0 else float("nan")


@torch.no_grad()
def redundancy(
    clip: Clip,
    samples: Sequence[Sample],
    methods: Sequence[str] = ("clip",),
    labels: Sequence[str] | None = None,
    templates: str | Sequence[str] = "clip-surgery",
    size: int | None = None,
    on_progress: Progress | None = None,
) -> pd.DataFrame:
    """How alike the empty label's raw map is to every label's, and how much of the maps all labels share.

    A row per image, method and label: `correlation` with the empty label's map over the patches (−1…1; NaN for a
    constant map), whether the label is `present`, and per image `shared`, the share of variance that the mean over all
    labels explains (%). Raw cosines only. Source: CLIP Surgery, figure of redundant features; the shares are ours.
    """
    asked = queries(samples, labels)
    text = clip.encode_labels([*asked, ""], templates)  # (N + 1, D)
    rows = []
    for number, sample in enumerate(samples):
        images = clip.prepare(sample.image, size=size)
        for method in methods:
            maps = (
                similarity(clip.encode_dense(images, method=method, **deep(clip, method)), text)[0]
                .flatten(0, 1)
                .float()
            )  # (h·w, N + 1)
            with np.errstate(invalid="ignore", divide="ignore"):
                correlation = np.corrcoef(maps.T.cpu().numpy())[-1, :-1]  # (N,)
            shared = explained_by_mean(maps[:, :-1])
            for label, value in zip(asked, correlation, strict=True):
                row = {"image": named(sample, number), "method": method, "label": label}
                row |= {"present": label in sample.labels, "correlation": value, "shared": shared}
                rows.append(row | {"image_size": side(images)})
        if on_progress:
            on_progress(number + 1, len(samples))
    return pd.DataFrame(rows).assign(**provenance(clip, samples, templates), labels=len(asked))


@torch.no_grad()
def sweep(
    clip: Clip,
    samples: Sequence[Sample],
    method: str = "clip-surgery",
    counts: Sequence[int] = (2, 4, 8, 16),
    taus: Sequence[float] = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0),
    forms: Sequence[str] = ("none", "code", "paper"),
    threshold: float = 0.6,
    labels: Sequence[str] | None = None,
    templates: str | Sequence[str] = "clip-surgery",
    size: int | None = None,
    seed: int = 0,
    on_progress: Progress | None = None,
) -> pd.DataFrame:
    """Feature surgery against the number of labels (at τ = 2), and against τ (with all labels), by form.

    Every image is asked for its present labels and, up to the number, others drawn by `seed`; the maps of present
    labels are measured: `energy`, the share of a map's energy outside all objects (%), `msc` and `iou` at `threshold`.
    A row per image, label, form, number of labels and τ; `varied` says which of the two the row belongs to.
    Errors: ValueError for fewer than two labels, no mask at all, and what `Clip` refuses.
    """
    asked = queries(samples, labels)
    text = clip.encode_labels(asked, templates)  # (N, D)
    settings = [("labels", n, 2.0) for n in sorted({*(c for c in counts if c < len(asked)), len(asked)})]
    settings += [("tau", len(asked), tau) for tau in taus]
    rows = []
    for number, sample in enumerate(samples):
        present = [asked.index(label) for label in sample.masks if label in asked and sample.masks[label].any()]
        others = np.random.default_rng([seed, number]).permutation([n for n in range(len(asked)) if n not in present])
        images = clip.prepare(sample.image, size=size)  # (1, 3, H, W)
        dense = clip.encode_dense(images, method=method, **deep(clip, method))
        objects = np.any([*sample.masks.values(), np.zeros(sample.image.size[::-1], bool)], axis=0)  # (H, W)
        for varied, count, tau in settings if present else ():
            chosen = [*present, *others.tolist()][: max(count, len(present))]
            for form in forms if len(chosen) > 1 else ():
                plain = form == "none"
                sim = similarity(dense, text[chosen]) if plain else feature_surgery(dense, text[chosen], tau, form)
                maps = upsample(minmax(sim[..., : len(present)]), sample.image.size[::-1])[0].float().cpu().numpy()
                for n, place in enumerate(present):
                    mask, map = sample.masks[asked[place]], maps[..., n]
                    row = {"image": named(sample, number), "label": asked[place], "varied": varied, "form": form}
                    row |= {"labels": count, "tau": tau, "energy": energy_outside(map, objects, sample.ignore)}
                    row |= {"msc": msc(map, mask, sample.ignore), "iou": iou(map, mask, threshold, sample.ignore)}
                    rows.append(row | {"image_size": side(images)})
        if on_progress:
            on_progress(number + 1, len(samples))
    if not rows:
        raise ValueError("No image has a mask of any of the labels: there is nothing to measure.")
    about = {"method": method, "protocol": f"min-max per map; IoU at {threshold}"}
    return pd.DataFrame(rows).assign(**provenance(clip, samples, templates), **about)


def by_label(table: pd.DataFrame) -> pd.DataFrame:
    """Means of `redundancy` by method, label and whether it is in the picture."""
    keys = ["method", "label", "present"]
    return table.groupby(keys)[["correlation", "shared"]].mean().reset_index().assign(**constants(table, keys))


def averaged(table: pd.DataFrame) -> pd.DataFrame:
    """Means of `sweep` over images and labels, by form, number of labels and τ."""
    keys = ["varied", "form", "labels", "tau"]
    return table.groupby(keys)[list(MEASURES)].mean().reset_index().assign(**constants(table, keys))
