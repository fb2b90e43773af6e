"""Picture sheets from any model and data, those of the CLIP Surgery paper and the figure of `clipsx explain`.

Cells are computed here and drawn by `plots.sheet`.
"""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from clipsx.analyses.attention import RAW, require_attention
from clipsx.clip import Clip
from clipsx.datasets import Sample
from clipsx.evaluation.explain import queries
from clipsx.maps import is_constant, minmax, similarity, upsample
from clipsx.methods import PAIRS, rows_of
from clipsx.plots.cells import Cell, sheet
from clipsx.reading import Reading, readings
from clipsx.text import check_labels

CHOICES = "clip, maskclip, clip-surgery, clip-surgery+code"
WIDE, PIXELS = 5, 800  # in `explained`: pictures side by side, the photo's longer side


def several(samples: Sequence[Sample], count: int = 4) -> list[Sample]:
    """The first samples with a mask, those with two labels or more before the others."""
    found = [samples[i] for i in range(min(len(samples), 10 * count))]
    found = [sample for sample in found if sample.masks]
    return sorted(found, key=lambda sample: len(sample.masks) < 2)[:count]


def _pixels(maps: Float[Tensor, "1 h w N"], image: Image.Image) -> list[Float[np.ndarray, "H W"]]:
    """Maps, 0…1, at the size of a picture."""
    return [*upsample(maps, (image.height, image.width))[0].float().cpu().permute(2, 0, 1).numpy()]  # (N, H, W)


def methods(
    clip: Clip, samples: Sequence[Sample], labels: Sequence[str], asked: str | Sequence[str | Reading] = CHOICES
) -> list[list[Cell]]:
    """A row per sample and present label: the photo with the true region, then the map of each reading.

    labels: what every image is asked for; readings of methods that the tower cannot serve are left out.
    Source: CLIP Surgery, raw and repaired maps side by side.
    """
    names = queries(labels)
    text, rows = clip.encode_labels(names), []  # (N, D)
    shown = [r for r in readings(asked) if not all(clip.tower.refuses(row) for row in rows_of(r.method))]
    for sample in samples:
        seen = clip.encode_readings(clip.prepare(sample.image), shown)
        for label in [label for label in sample.masks if label in names][:2]:
            row = [Cell(sample.image, None, sample.masks[label], label)]
            for reading in shown:
                sim = reading.similarities(seen[str(reading)], text)[..., [names.index(label)]]  # (1, h, w, 1)
                title = reading.title.replace(" +", "\n+")
                row.append(Cell(sample.image, _pixels(minmax(sim), sample.image)[0], sample.masks[label], title))
            rows.append(row)
    return rows


def anchors(
    clip: Clip, samples: Sequence[Sample], block: int = -1, pairs: Sequence[str] = ("qk", "vv")
) -> list[list[Cell]]:
    """A row per kind of picture, a column per sample: photo with the true region, then attention by each pair.

    The anchor, the patch most like the first label's text, is ringed in white.
    Errors: ValueError for a tower without blocks and for an unknown pair.
    Source: CLIP Surgery, figure of attention relations.
    """
    require_attention(clip, pairs)
    columns = []
    for sample in samples:
        label, prefix = next(iter(sample.masks)), clip.tower.prefix
        seen = clip.look(clip.prepare(sample.image), [RAW], keep=True)
        sim = similarity(seen.features[RAW], clip.encode_labels([label]))[0, :, :, 0]  # (h, w)
        h, w = sim.shape
        patch = divmod(int(sim.argmax()), w)
        column = [Cell(sample.image, None, sample.masks[label], label)]
        for pair in pairs:
            row = seen.blocks[block].relation(pair)[0, prefix + patch[0] * w + patch[1], prefix:]  # (h·w,)
            map = _pixels(minmax(row.reshape(1, h, w, 1)), sample.image)[0]
            column.append(Cell(sample.image, map, sample.masks[label], f"{PAIRS[pair]} attention", (patch, (h, w))))
        columns.append(column)
    return [list(row) for row in zip(*columns, strict=True)]


def empty_label(clip: Clip, samples: Sequence[Sample], labels: Sequence[str], count: int = 4) -> list[list[Cell]]:
    """A row per photo: the photo, raw maps of `count` labels (present ones first), the empty label's raw map.

    Source: CLIP Surgery, figure of redundant features.
    """
    rows = []
    for sample in samples:
        asked = [*sample.labels, *(label for label in check_labels(labels) if label not in sample.labels)][:count]
        sim = similarity(clip.encode_dense(clip.prepare(sample.image), method="clip"), clip.encode_labels([*asked, ""]))
        titles = [f"{label}{'' if label in sample.labels else ' (absent)'}" for label in asked] + ["(empty label)"]
        maps = _pixels(minmax(sim), sample.image)
        cells = [Cell(sample.image, m, None, t) for m, t in zip(maps, titles, strict=True)]
        rows.append([Cell(sample.image, None, None, "photo"), *cells])
    return rows


def explained(
    photo: Image.Image, maps: Mapping[Reading, Float[Tensor, "1 h w N"]], labels: Sequence[str], opacity: float = 0.6
) -> Figure:
    """The photo, then the map of each label over it, the readings below each other; maps as `explain.explain` makes."""
    photo, rows = photo.copy(), []
    photo.thumbnail((PIXELS, PIXELS))
    for reading, map in maps.items():
        cells, flat = [Cell(photo, title=reading.title)], is_constant(map)[0].tolist()
        for label, pixels, constant in zip(labels, _pixels(map, photo), flat, strict=True):
            cells.append(Cell(photo, pixels, None, f"{label}: constant map" if constant else label, opacity=opacity))
        rows += [cells[n : n + WIDE] for n in range(0, len(cells), WIDE)]
    figure = sheet(rows, side=2.4)
    plt.close(figure)  # not among those that pyplot keeps open: there may be many pictures
    return figure
