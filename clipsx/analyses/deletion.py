"""Evidence by deletion: what a label's score loses when a region of the picture is replaced, whose region matters."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, UInt8
from PIL import Image, ImageFilter
from torch import Tensor

from clipsx.clip import Clip
from clipsx.datasets import Sample
from clipsx.evaluation.asked import queries
from clipsx.evaluation.stream import BATCH, Look, Measure
from clipsx.evaluation.summary import constants
from clipsx.images import resize
from clipsx.maps import is_constant, upsample
from clipsx.messages import require_known
from clipsx.reading import Reading, readings
from clipsx.statistics import METHOD, difference, estimate

MEASURES = {"drop": "drop without the region (points)", "insertion": "gain by the region alone (points)"}
ASKED = "clip, clip-surgery, clip-surgery+code"
OBJECT, RANDOM, REVERSED = "the object", "a random place", "CLIP, reversed"  # regions; the others are readings
BLUR = 0.1  # standard deviation of the blurred fill, of the picture's longer side
Pixels = UInt8[np.ndarray, "H W 3"]
Region = Bool[np.ndarray, "H W"]


def score(cls: Float[Tensor, "B D"], text: Float[Tensor, "N D"], label: int) -> Float[np.ndarray, " B"]:
    """100 × (a label's cosine with the class feature − the mean of the other labels'), in points."""
    cosines = (cls @ text.to(cls).T).double().cpu().numpy()  # (B, N)
    return 100 * (cosines[:, label] - np.delete(cosines, label, axis=1).mean(axis=1))


def brightest(map: Float[np.ndarray, "H W"], count: int, seen: Region) -> Region:
    """The `count` pixels where a map is highest, among those that count; of equals, the first in reading order.

    Errors: ValueError for a region larger than the picture.
    """
    if count > seen.sum():
        raise ValueError(f"A region of {count} pixels is larger than the picture, which has {seen.sum()} that count.")
    places = np.argsort(np.where(seen, -map, np.inf), axis=None, kind="stable")[:count]
    found = np.zeros(map.size, bool)
    found[places] = True
    return found.reshape(map.shape)


def moved(region: Region, rng: np.random.Generator) -> Region:
    """The same shape at a random place; what leaves the picture comes in at the other side."""
    return np.roll(region, [int(rng.integers(side)) for side in region.shape], axis=(0, 1))


def _mean(pixels: Pixels, ground: Region) -> Pixels:
    return np.broadcast_to(pixels[ground].mean(axis=0).round().astype(np.uint8), pixels.shape)


def _blur(pixels: Pixels, ground: Region) -> Pixels:
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(BLUR * max(pixels.shape[:2]))))


FILLS: dict[str, Callable[[Pixels, Region], Pixels]] = {"mean": _mean, "blur": _blur}
"""What a region is replaced by: the mean colour outside all objects, or the picture blurred."""


@dataclass(frozen=True, eq=False)
class Scene:
    """One picture at the size that the model reads: pixels, what counts, the labels' masks, pixels outside all objects.

    Masks are those of the labels that are asked for, without what is ignored.
    """

    pixels: Pixels
    seen: Region
    masks: dict[str, Region]
    ground: Region

    @staticmethod
    def of(sample: Sample, labels: Sequence[str], size: tuple[int, int]) -> "Scene":
        wide = (size[1], size[0])

        def sized(mask: np.ndarray) -> np.ndarray:  # the nearest pixel: a mask has no values between
            return np.asarray(Image.fromarray(mask).resize(wide, Image.Resampling.NEAREST))

        seen, masks = sized(~sample.ignore), {label: sized(mask) for label, mask in sample.masks.items()}
        ground = seen & ~np.any([*masks.values(), np.zeros(size, bool)], axis=0)
        pixels = np.asarray(resize(sample.image, size, "squash"))
        asked = {label: masks[label] & seen for label in sample.labels if label in labels and label in masks}
        return Scene(pixels, seen, asked, ground)

    def without(self, region: Region, fill: Pixels) -> Pixels:
        """The picture with a region replaced."""
        return np.where(region[..., None], fill, self.pixels)

    def why(self, label: str) -> str:
        """Why nothing can be deleted of a label, in words; nothing where it can."""
        area = self.masks[label].sum()
        if not area:
            return "the object covers nothing that the model reads"
        if area == self.seen.sum():
            return "the object covers the whole picture"
        return "" if self.ground.any() else "objects leave no ground to replace them by"


def regions(
    scene: Scene, label: str, maps: dict[str, Float[Tensor, "1 h w 1"]], rng: np.random.Generator
) -> dict[str, Region | None]:
    """Regions of the object's area by name: the object, a random place, every map's brightest; None: a constant map."""
    object, size = scene.masks[label], scene.seen.shape
    found: dict[str, Region | None] = {OBJECT: object, RANDOM: moved(object, rng)}
    for name, sim in maps.items():
        map = upsample(sim, size)[0, ..., 0].float().cpu().numpy()  # (H, W)
        found[name] = None if bool(is_constant(sim).all()) else brightest(map, int(object.sum()), scene.seen)
    return found


def encoded(clip: Clip, pictures: Sequence[Pixels]) -> Float[Tensor, "B D"]:
    """Class features of pictures that have the size at which they are read."""
    each = [clip.pixels(Image.fromarray(picture), picture.shape[:2]) for picture in pictures]
    return torch.cat([clip.encode_image(torch.cat(each[n : n + BATCH])) for n in range(0, len(each), BATCH)])


def measure(
    clip: Clip,
    labels: Sequence[str],
    asked: str | Sequence[str | Reading] = ASKED,
    fills: Sequence[str] = tuple(FILLS),
    templates: str | Sequence[str] = "clip-surgery",
    seed: int = 0,
) -> Measure:
    """What a label's `score` loses without a region: a row per image, label with a mask, region and fill.

    Regions have the object's area: the object, a random place (the same shape moved), the brightest place of every
    reading's map and, where raw maps are asked for, of the raw map reversed: a repair that costs nothing. A fill
    replaces them (`FILLS`). Columns, in points of the score: `before` and `after`, `drop` their difference; `alone`,
    of the region on a picture that is all fill, and `insertion`, what that gains over the fill; `area` (%).
    `why` says why a row has no numbers: an object that covers all or nothing of the picture, no ground beside objects,
    a constant map. Source: deletion and insertion of RISE (Petsiuk et al. 2018), at one area.
    Errors: ValueError for fewer than two labels, an unknown fill, and a reading that the tower cannot serve.
    """
    names, shown = queries(labels), readings(asked)
    for fill in fills:
        require_known("fill", fill, FILLS)
    text, raw = clip.encode_labels(names, templates), Reading("clip")  # (N, D)
    columns = {str(reading): reading.columns(clip.tower) for reading in shown}

    def rows(look: Look) -> Iterator[dict[str, Any]]:
        height, width = map(int, look.image_size.split("×"))
        scene = Scene.of(look.sample, names, (height, width))
        sims = {str(reading): look.similarities(reading, text) for reading in shown}  # (1, h, w, N)
        sims |= {REVERSED: -sims[str(raw)]} if raw in shown else {}
        for label, object in scene.masks.items():
            place, area = names.index(label), float(100 * object.sum() / max(scene.seen.sum(), 1))
            about = {"image": look.name, "label": label, "area": area}
            if why := scene.why(label):
                yield from (about | {"region": OBJECT, "fill": fill, "why": why} for fill in fills)
                continue
            rng, maps = np.random.default_rng([seed, look.number, place]), {n: m[..., [place]] for n, m in sims.items()}
            found = regions(scene, label, maps, rng)
            known = {name: region for name, region in found.items() if region is not None}
            for fill in fills:
                blank = FILLS[fill](scene.pixels, scene.ground)
                gone = [scene.without(region, blank) for region in known.values()]
                kept = [scene.without(~region, blank) for region in known.values()]
                before, empty, *rest = score(encoded(clip, [scene.pixels, blank, *gone, *kept]), text, place).tolist()
                for name in found:
                    row = about | {"region": name, "fill": fill, "before": before} | columns.get(name, {})
                    if name not in known:
                        yield row | {"why": "a constant map has no brightest place"}
                        continue
                    after, alone = (rest[list(known).index(name) + n] for n in (0, len(known)))
                    row |= {"after": after, "alone": alone, "why": ""}
                    yield row | {"drop": before - after, "insertion": alone - empty}

    protocol = "100 × (cosine − mean of the other labels' cosines) of the class feature; regions of the object's area"
    about = {"templates": str(templates), "labels": len(names), "protocol": protocol}
    empty = "No image has a mask of any of the labels: there is nothing to delete."
    asks = {"names": names, "fills": tuple(fills), "seed": seed}
    return Measure("deletion", rows, shown, about=about, asks=asks, empty=empty)


def summarise(table: pd.DataFrame, resamples: int = 1000) -> pd.DataFrame:
    """A row per fill and region of `measure`'s rows: `MEASURES` with their 95 % image-bootstrap intervals, in points.

    Means over pairs of an image and a label: `pairs` of them, `left_out` those without a number (of the object, where
    nothing could be deleted; of a map, where it is constant).
    """
    found = []
    for (fill, region), rows in table.groupby(["fill", "region"], sort=False):
        row: dict[str, Any] = {"region": region, "fill": fill}
        for name in MEASURES:
            row |= estimate(name, rows[name].to_numpy(float), rows["image"].to_numpy(), None, resamples)
        left_out = int((rows["why"] != "").sum())
        row |= {"pairs": len(rows) - left_out, "left_out": left_out} | constants(rows)
        found.append(row | {"protocol": f"{rows['protocol'].iloc[0]}; means over pairs; {METHOD}"})
    return pd.DataFrame(found).drop(columns=["reading"], errors="ignore")


def against(table: pd.DataFrame, base: str = RANDOM, value: str = "drop", fill: str = "mean") -> pd.DataFrame:
    """Every region's value minus that of `base` on the same objects: a row per region, paired, with its verdict.

    The columns are those of `summary.against`, the region in the place of the reading.
    Errors: ValueError for a base, or a fill, that was not measured.
    """
    rows = table[table["fill"] == fill]
    if base not in set(rows["region"]):
        raise ValueError(f"{base!r} with fill {fill!r} was not measured: there is nothing to compare with.")
    wide = rows.pivot_table(value, ["image", "label"], "region", sort=False, dropna=False)
    found = []
    for region in wide.columns.drop(base):
        row = difference((wide[region] - wide[base]).to_numpy(), wide.index.get_level_values("image").to_numpy())
        row |= {"reading": region, "against": base, "measure": value, "value": wide[region].mean(), "fill": fill}
        found.append(row | constants(rows, ["reading"]))
    return pd.DataFrame(found)


def sentence(table: pd.DataFrame, reading: str = "clip-surgery", fill: str = "mean") -> str:
    """Whether the model uses the object, whether its raw map points at what matters, and whether a reading finds it.

    By paired drops of `measure`'s rows, against a random place of the same area; said only where an interval says so.
    """
    means = summarise(table).query("fill == @fill").set_index("region")
    if not {OBJECT, RANDOM, "clip", reading} <= set(means.index) or not means["pairs"][OBJECT]:
        why = ", ".join(sorted({why for why in table["why"] if why}))
        return f"Nothing could be deleted{': ' + why if why else ''}."
    gaps = against(table, RANDOM, fill=fill).set_index("reading")["verdict"]
    better = against(table, "clip", fill=fill).set_index("reading")["verdict"][reading]
    raw = {"higher": "at something that matters", "lower": "where even less matters than at a random place"}
    title, moved = Reading.parse(reading).title, gaps[reading] == "higher" and better == "higher"
    said = [
        f"the model {'uses the object' if gaps[OBJECT] == 'higher' else 'cannot be shown to use the object'}",
        f"its raw map points {raw.get(gaps['clip'], 'where nothing matters more than at a random place')}",
        f"{title} {'finds it' if moved and gaps[OBJECT] == 'higher' else 'is not shown to find more than the raw map'}",
    ]
    names = {OBJECT: OBJECT, "clip": "the brightest of the raw map", reading: f"that of {title}", RANDOM: RANDOM}
    spans = (
        f"{name} {row['drop']:.1f} [{row['drop_low']:.1f}, {row['drop_high']:.1f}]"
        for name, row in ((words, means.loc[region]) for region, words in names.items())
    )
    left = means["left_out"][OBJECT]
    count = f"{means['pairs'][OBJECT]} pairs" + (f", {left} left out" if left else "")
    return f"{means['model'].iloc[0]}: {'; '.join(said)}. Without it the score falls by: {', '.join(spans)} ({count})."
