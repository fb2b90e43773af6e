"""Picture sheets from any model and data, those of the CLIP Surgery paper and the figure of `clipsx explain`.

Cells are computed here and drawn by `plots.sheet`.
"""

from collections.abc import Mapping, Sequence
from math import isnan
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from clipsx.analyses import deletion
from clipsx.analyses.attention import RAW, require_attention
from clipsx.clip import Clip
from clipsx.datasets import Sample
from clipsx.datasets.lines import listed
from clipsx.evaluation import segment
from clipsx.evaluation.asked import queries
from clipsx.evaluation.protocols import Protocol
from clipsx.evaluation.stream import Measure, looks
from clipsx.maps import is_constant, minmax, similarity, upsample
from clipsx.methods import PAIRS
from clipsx.metrics import coverage, iou, msc
from clipsx.plots.axes import palette
from clipsx.plots.cells import Cell, closed, sheet
from clipsx.plots.reduced import reduced
from clipsx.reading import Reading, readings, served
from clipsx.seen import Seen
from clipsx.segmenters.interface import Segmenter
from clipsx.segmenters.named import WALKER, load
from clipsx.segmenters.prompt import THRESHOLD, segmented

CHOICES = "clip, maskclip, clip-surgery, clip-surgery+code"
WIDE = 5  # in `explained`: pictures side by side


def several(samples: Sequence[Sample], count: int = 3) -> list[Sample]:
    """The first samples with a mask, those with two labels or more before the others; the first, where none has one."""
    first = [samples[i] for i in range(min(len(samples), 10 * count))]
    found = [sample for sample in first if sample.masks]
    return sorted(found or first, key=lambda sample: len(sample.masks) < 2)[:count]


def _pixels(maps: Float[Tensor, "1 h w N"], image: Image.Image) -> list[Float[np.ndarray, "H W"]]:
    """Maps, 0…1, at the size of a picture."""
    return [*upsample(maps, (image.height, image.width))[0].float().cpu().permute(2, 0, 1).numpy()]  # (N, H, W)


def tile(sample: Sample, map: Float[np.ndarray, "H W"], label: str, title: str, **more: Any) -> Cell:
    """A label's map, 0…1, over the picture, its true region outlined; the map's mSC stands below its title."""
    mask = sample.masks.get(label)
    score = float("nan") if mask is None else msc(map, mask, sample.ignore)
    return Cell(sample.image, map, mask, title if isnan(score) else f"{title}\nmSC {round(score)} %", **more)


def _labels(sample: Sample, names: Sequence[str], seen: Seen, text: Float[Tensor, "N D"]) -> list[str]:
    """The labels with a mask that are asked for; without any, the one that the class feature finds most likely."""
    known = [label for label in sample.masks if label in names]
    return known or [names[int((seen.cls @ text.T)[0].argmax())]]


def methods(
    clip: Clip,
    samples: Sequence[Sample],
    labels: Sequence[str],
    asked: str | Sequence[str | Reading] = CHOICES,
    each: int = 1,
    size: int | None = None,
) -> list[list[Cell]]:
    """A row per sample and present label: the photo with the true region, then each reading's map and its mSC.

    Of a sample without masks the label is shown that the class feature finds most likely.
    labels: what every image is asked for; each: labels of a sample at most; size: as of `Clip.prepare`; readings
    of methods that the tower cannot serve are left out.
    Source: CLIP Surgery, raw and repaired maps side by side.
    """
    names = queries(labels)
    text, rows = clip.encode_labels(names), []  # (N, D)
    shown = readings(served(asked, clip.tower))
    for sample in samples:
        seen, sample = clip.look(clip.prepare(sample.image, size=size), shown), reduced(sample)
        for label in _labels(sample, names, seen, text)[:each]:
            row = [Cell(sample.image, None, sample.masks.get(label), f"{label}\n{clip.name}")]
            for reading in shown:
                sim = seen.maps(reading, text)[..., [names.index(label)]]  # (1, h, w, 1)
                row.append(tile(sample, _pixels(minmax(sim), sample.image)[0], label, reading.title))
            rows.append(row)
    return rows


def class_maps(
    clip: Clip,
    samples: Sequence[Sample],
    labels: Sequence[str],
    asked: str | Sequence[str | Reading] = CHOICES,
    rules: Protocol = segment.OWN,
) -> list[list[Cell]]:
    """A row per sample: the true classes, then the class that each reading gives every pixel, by a colour a class.

    What is no class (or is not seen) stays grey, pixels of no true class are pale; the outline is that of all true
    regions, and in each stands the class that most of it was given. rules: of `segment.measure`.
    Source: CLIP Surgery, figure of open-vocabulary segmentation.
    """
    names, rows = queries(labels), []
    said, needs, _ = segment.predictor(clip, names, asked, rules.background, rules.templates, None, rules)
    colours = np.array(palette(len(names), "husl"))  # (N, 3)
    size = clip.patch_size if rules.windows else rules.size
    for look in looks(clip, [reduced(sample) for sample in samples], [Measure("", lambda _: (), needs)], size=size):
        image, truth = look.sample.image, look.sample.index_map(names)  # (H, W)
        photo, row = np.asarray(image.convert("L"))[..., None] / 255, []  # (H, W, 1)
        true = (truth >= 0) & (truth < len(names))  # (H, W)
        regions = [truth == n for n in np.unique(truth[true])]
        middles = [np.median(np.argwhere(region), axis=0)[::-1] for region in regions]  # (x, y)
        found = {Reading.parse(columns["reading"]).title: places for columns, places, _ in said(look)}
        for title, places in {", ".join(look.sample.masks): truth, **found}.items():
            known = (places >= 0) & (places < len(names))  # (H, W)
            strong = (known * np.where(true | ~true.any(), 0.65, 0.3))[..., None]  # (H, W, 1)
            blend = (1 - strong) * photo + strong * colours[places.clip(0, len(names) - 1)]  # (H, W, 3)
            image = Image.fromarray((255 * blend).round().astype(np.uint8))
            seen = {names[n]: colours[n] for n in np.unique(places[known])}
            there = [(middle, places[region & known]) for middle, region in zip(middles, regions, strict=True)]
            words = [(*middle, names[np.bincount(given).argmax()]) for middle, given in there if given.size]
            row.append(Cell(image, None, true, title, colours=seen, words=words))
        rows.append(row)
    return rows


def prompted(
    clip: Clip,
    samples: Sequence[Sample],
    labels: Sequence[str],
    asked: str | Sequence[str | Reading] = "clip, clip-surgery+code",
    segmenter: str | Segmenter = WALKER,
    threshold: float = THRESHOLD,
    size: int | None = None,
) -> list[list[Cell]]:
    """A row per sample: the photo with its first label's true region, then by each reading map and points, and mask.

    Of a sample without masks the label is shown that the class feature finds most likely.
    Source: CLIP Surgery, figure of points and the masks they yield.
    """
    names, maker, rows = queries(labels), load(segmenter), []
    text, shown = clip.encode_labels(names), readings(asked)  # (N, D)
    for sample in samples:
        seen, sample = clip.look(clip.prepare(sample.image, size=size), shown), reduced(sample)
        label = _labels(sample, names, seen, text)[0]
        mask, place = sample.masks.get(label), names.index(label)
        row = [Cell(sample.image, None, mask, label)]
        for reading in shown:
            sim = seen.maps(reading, text)[0, :, :, [place]]  # (h, w, 1)
            found = segmented(sample.image, sim, maker, threshold)
            title = "no point" if found.why else "its mask"
            if mask is not None:
                title += f", IoU {iou(found.mask.astype(float), mask, 0.5, sample.ignore):.0f} %"
            row.append(tile(sample, found.map, label, reading.title, points=(found.points, found.labels)))
            row.append(Cell(sample.image, found.mask.astype(float), mask, title, opacity=0.5))
        rows.append(row)
    return rows


def deleted(
    clip: Clip,
    samples: Sequence[Sample],
    labels: Sequence[str],
    asked: str | Sequence[str | Reading] = "clip, clip-surgery",
    fill: str = "mean",
) -> list[list[Cell]]:
    """A row per sample: the photo with its first label's true region, then without it, and without places as large.

    Those are the brightest of each reading's map. Each picture says the label's score (`deletion.score`); samples
    without a label of which something can be deleted are left out.
    """
    names, shown, rows = queries(labels), readings(asked), []
    text = clip.encode_labels(names)  # (N, D)
    for sample in samples:
        images = clip.prepare(sample.image)
        scene = deletion.Scene.of(sample, names, (images.shape[2], images.shape[3]))
        label = next((label for label in scene.masks if not scene.why(label)), None)
        if label is None:
            continue
        seen, place = clip.look(images, shown), names.index(label)
        maps = {r.title: seen.maps(r, text)[..., [place]] for r in shown}
        found = deletion.regions(scene, label, maps, np.random.default_rng(0))
        blank = deletion.FILLS[fill](scene.pixels, scene.ground)
        gone = {name: scene.without(region, blank) for name, region in found.items() if region is not None}
        del gone[deletion.RANDOM]
        scores = deletion.score(deletion.encoded(clip, [scene.pixels, *gone.values()]), text, place)
        titles = [label, *(n if n == deletion.OBJECT else f"{n}: brightest" for n in gone)]
        sample, row = reduced(sample), []
        for title, pixels, score in zip(titles, (scene.pixels, *gone.values()), scores, strict=True):
            image = Image.fromarray(pixels).resize(sample.size, Image.Resampling.NEAREST)
            outline = sample.masks[label] if not row else None
            row.append(Cell(image, None, outline, f"{title}{' gone' if row else ''}\nscore {score:.1f}"))
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
        sample = reduced(sample)
        h, w = sim.shape
        patch = divmod(int(sim.argmax()), w)
        column = [Cell(sample.image, None, sample.masks[label], label)]
        for pair in pairs:
            row = seen.blocks[block].relation(pair)[0, prefix + patch[0] * w + patch[1], prefix:]  # (h·w,)
            map = _pixels(minmax(row.reshape(1, h, w, 1)), sample.image)[0]
            inside = row.reshape(h, w).numpy(force=True) * coverage(sample.masks[label], (h, w)) / float(row.sum())
            title = f"{PAIRS[pair]} attention\n{100 * inside.sum():.0f} % inside"
            column.append(Cell(sample.image, map, sample.masks[label], title, (patch, (h, w))))
        columns.append(column)
    return [list(row) for row in zip(*columns, strict=True)]


def empty_label(clip: Clip, samples: Sequence[Sample], labels: Sequence[str], count: int = 4) -> list[list[Cell]]:
    """A row per photo: the photo, raw maps of `count` labels (present ones first), the empty label's raw map.

    Source: CLIP Surgery, figure of redundant features.
    """
    rows = []
    for sample in samples:
        asked = [*sample.labels, *(label for label in listed(labels) if label not in sample.labels)][:count]
        sim = similarity(clip.encode_dense(clip.prepare(sample.image), method="clip"), clip.encode_labels([*asked, ""]))
        titles = [f"{label}{'' if label in sample.labels else ' (absent)'}" for label in asked] + ["(empty label)"]
        sample = reduced(sample)
        maps = _pixels(minmax(sim), sample.image)
        cells = [tile(sample, *found) for found in zip(maps, [*asked, ""], titles, strict=True)]
        rows.append([Cell(sample.image, None, None, "photo"), *cells])
    return rows


def explained(
    photo: Image.Image, maps: Mapping[Reading, Float[Tensor, "1 h w N"]], labels: Sequence[str], opacity: float = 0.6
) -> Figure:
    """The photo, then the map of each label over it, the readings below each other; maps as `explain.explain` makes."""
    photo, rows = reduced(Sample(photo)).image, []
    for reading, map in maps.items():
        cells, flat = [Cell(photo, title=reading.title)], is_constant(map)[0].tolist()
        for label, pixels, constant in zip(labels, _pixels(map, photo), flat, strict=True):
            cells.append(Cell(photo, pixels, None, f"{label}: constant map" if constant else label, opacity=opacity))
        rows += [cells[n : n + WIDE] for n in range(0, len(cells), WIDE)]
    return closed(sheet(rows, side=2.4))  # there may be many pictures
