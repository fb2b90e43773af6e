"""The CLIP Surgery paper's picture sheets, from any model and data: cells computed here, drawn by `plots.sheet`."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from clipsx.analyses.attention import relation
from clipsx.clip import Clip
from clipsx.datasets.sample import Sample
from clipsx.evaluation.explain import deep, queries, similarities
from clipsx.maps import minmax, similarity, upsample
from clipsx.methods import METHODS
from clipsx.plots.cells import Cell

CHOICES = (("clip", "none"), ("maskclip", "none"), ("clip-surgery", "none"), ("clip-surgery", "code"))


def several(samples: Sequence[Sample], count: int = 4) -> list[Sample]:
    """The first samples with a mask, those with two labels or more before the others."""
    found = [samples[i] for i in range(min(len(samples), 10 * count))]
    found = [sample for sample in found if sample.masks]
    return sorted(found, key=lambda sample: len(sample.masks) < 2)[:count]


def _pixels(sim: Float[Tensor, "1 h w N"], sample: Sample) -> list[Float[np.ndarray, "H W"]]:
    maps = upsample(minmax(sim), sample.image.size[::-1])[0].float().cpu()  # (H, W, N)
    return [maps[..., n].numpy() for n in range(maps.shape[-1])]


def methods(
    clip: Clip, samples: Sequence[Sample], labels: Sequence[str], choices: Sequence[tuple[str, str]] = CHOICES
) -> list[list[Cell]]:
    """A row per sample and present label: the photo with the true region, then the map of each (method, surgery).

    labels: what every image is asked for. Source: CLIP Surgery, raw and repaired maps side by side.
    """
    asked = queries(samples, labels)
    text = clip.encode_labels(asked)  # (N, D)
    rows = []
    for sample in samples:
        images = clip.prepare(sample.image)
        for label in [label for label in sample.masks if label in asked][:2]:
            row = [Cell(sample.image, None, sample.masks[label], label)]
            for method, surgery in [choice for choice in choices if choice[0] in clip.methods]:
                sim = similarities(clip.encode_dense(images, method=method, **deep(clip, method)), text, surgery, 2.0)
                map = _pixels(sim[..., [asked.index(label)]], sample)[0]
                title = METHODS[method].title + ("" if surgery == "none" else "\n+ feature surgery")
                row.append(Cell(sample.image, map, sample.masks[label], title))
            rows.append(row)
    return rows


@torch.no_grad()
def anchors(clip: Clip, samples: Sequence[Sample], block: int = -1) -> list[list[Cell]]:
    """A row per kind of picture, a column per sample: photo with the true region, q-k attention, v-v attention.

    The anchor, the patch most like the first label's text, is ringed in white.
    Source: CLIP Surgery, figure of attention relations.
    """
    columns = []
    for sample in samples:
        images, label = clip.prepare(sample.image), next(iter(sample.masks))
        sim = similarity(clip.encode_dense(images, method="clip"), clip.encode_labels([label]))[0, :, :, 0]  # (h, w)
        h, w = sim.shape
        patch = divmod(int(sim.argmax()), w)
        column = [Cell(sample.image, None, sample.masks[label], label)]
        for kind in ("qk", "vv"):
            row = relation(clip, images, block, kind)[0, 1 + patch[0] * w + patch[1], 1:]  # (h·w,)
            map = _pixels(row.reshape(1, h, w, 1), sample)[0]
            column.append(
                Cell(sample.image, map, sample.masks[label], f"{kind[0]}-{kind[1]} attention", (patch, (h, w)))
            )
        columns.append(column)
    return [list(row) for row in zip(*columns, strict=True)]


def empty_label(clip: Clip, samples: Sequence[Sample], labels: Sequence[str], count: int = 4) -> list[list[Cell]]:
    """A row per photo: the photo, raw maps of `count` labels (present ones first), the empty label's raw map.

    Source: CLIP Surgery, figure of redundant features.
    """
    rows = []
    for sample in samples:
        asked = [*sample.labels, *(label for label in labels if label not in sample.labels)][:count]
        sim = similarity(clip.encode_dense(clip.prepare(sample.image), method="clip"), clip.encode_labels([*asked, ""]))
        titles = [f"{label}{'' if label in sample.labels else ' (absent)'}" for label in asked] + ["(empty label)"]
        cells = [Cell(sample.image, m, None, t) for m, t in zip(_pixels(sim, sample), titles, strict=True)]
        rows.append([Cell(sample.image, None, None, "photo"), *cells])
    return rows
