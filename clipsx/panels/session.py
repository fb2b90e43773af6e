"""The part of a panel that knows no widget: a picture is encoded once, maps are made on demand."""

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from clipsx.analyses.attention import RAW
from clipsx.clip import Clip
from clipsx.datasets import Sample
from clipsx.features import DenseFeatures
from clipsx.images import fitting
from clipsx.maps import is_constant, minmax, upsample
from clipsx.metrics import exceedance, iou_curve, msc
from clipsx.panels.pictures import Kept, Picture
from clipsx.panels.state import RELATIONS, State
from clipsx.reading import Reading
from clipsx.seen import Seen

THRESHOLDS = np.round(np.linspace(0, 1, 101), 2)


class Numbers(NamedTuple):
    """Every label's mSC, and its IoU at all `THRESHOLDS`, in percent; NaN where the true region is not known."""

    msc: Float[np.ndarray, " N"]
    iou: Float[np.ndarray, "N 101"]


@dataclass(frozen=True)
class Maps:
    """Maps of one picture: one per label, stretched to 0 … 1, on the patch grid; `constant` tells which say nothing."""

    values: Float[np.ndarray, "N h w"]
    constant: Bool[np.ndarray, " N"]


def at_pixels(maps: Float[np.ndarray, "N h w"], size: tuple[int, int]) -> Float[np.ndarray, "N H W"]:
    """Maps at an image's (H, W)."""
    grid = torch.from_numpy(maps).permute(1, 2, 0)[None]  # (1, h, w, N)
    return upsample(grid, size)[0].permute(2, 0, 1).numpy()


class Session:
    """One model and what it has computed: features once per picture and reading, relations of the one block shown.

    The split is segment-anything's: `steps` names the dear part that is still to be done, `maps` is cheap after it.
    """

    def __init__(self, clip: Clip) -> None:
        self.clip, self.about = clip, clip.describe()  # a digest of the weights, taken once
        self._kept, self._text = Kept(24), Kept(4096)
        self._blocks_kept = Kept(1)  # of one picture, for readings that need the texts
        self._pixels = Kept(1)  # of the picture on screen, as the model reads it
        self._relations = Kept(1)  # of one block, by pair, P × P each: 39 MB for 56 × 56 patches

    def steps(self, picture: Picture, labels: Sequence[str], state: State) -> list[tuple[str, Callable[[], object]]]:
        """What a view of this state still needs, as (words, call); empty when all of it is kept."""
        reading, todo = Reading.parse(state.reading), []
        missing = [r for r in (RAW, reading) if self._key(picture, r, state.size) not in self._store(r)]
        related = not self.clip.tower.transformer
        related = related or self._block(picture, state.block, state.size) in self._relations
        if missing or not related:
            words = "encoding the picture" if missing else "reading the attention"
            todo.append((words, partial(self._see, picture, missing, None if related else state.block, state.size)))
        asked = [*labels, ""] if len(labels) == 1 and reading.surgery != "none" else labels
        missing = [label for label in dict.fromkeys(asked) if label not in self._text]
        return todo + [(f"encoding the label {label!r}", partial(self.text, [label])) for label in missing]

    def _see(self, picture: Picture, readings: Sequence[Reading], block: int | None, size: int | None) -> None:
        """One walk of the tower for several readings and the relations of a block: of its blocks none is kept."""
        seen = self._walk(picture, readings, size, block is not None)
        for reading in readings:
            self._store(reading).made(self._key(picture, reading, size), partial(_of, seen, reading))
        if block is not None:
            self._relations.made(self._block(picture, block, size), partial(self._related, seen, block))

    def _walk(self, picture: Picture, readings: Sequence[Reading], size: int | None, keep: bool = False) -> Seen:
        pixels = self._pixels.made((picture.key, size), lambda: self.clip.prepare(picture.sample.image, size=size))
        return self.clip.look(pixels, readings, keep)

    def _key(self, picture: Picture, reading: Reading, size: int | None) -> Hashable:
        return picture.key, size, reading.plan(self.clip.tower)

    def _block(self, picture: Picture, block: int, size: int | None) -> Hashable:
        return picture.key, size, block % self.clip.tower.blocks

    def _store(self, reading: Reading) -> Kept:
        return self._blocks_kept if reading.needs_texts else self._kept

    def _seen(self, picture: Picture, reading: Reading, size: int | None) -> DenseFeatures | Seen:
        """What was seen of the picture by a reading, the first time only by a walk."""
        walk = partial(self._walk, picture, [reading], size)
        return self._store(reading).made(self._key(picture, reading, size), lambda: _of(walk(), reading))

    def dense(self, picture: Picture, reading: Reading, size: int | None = None) -> DenseFeatures:
        """The picture's features by a reading that has some, encoded the first time only."""
        return cast(DenseFeatures, self._seen(picture, reading, size))

    def text(self, labels: Sequence[str]) -> Float[Tensor, "N D"]:
        """The labels' features, each encoded the first time only."""
        encode = self.clip.encode_labels
        return torch.cat([self._text.made(label, partial(encode, [label])) for label in labels])  # (N, D)

    def relation(self, picture: Picture, pair: str, block: int, size: int | None = None) -> Float[np.ndarray, "P P"]:
        """Attention of every patch to every patch, P = h · w, by one of `RELATIONS`; zeros for a tower without blocks.

        The columns of the tokens before the patches are dropped, and the rows sum to 1.
        """
        if not self.clip.tower.transformer:
            return np.zeros((math.prod(self.dense(picture, RAW, size).grid),) * 2, np.float32)
        key = self._block(picture, block, size)
        return self._relations.made(key, lambda: self._related(self._walk(picture, (), size, True), block))[pair]

    def _related(self, seen: Seen, block: int) -> dict[str, Float[np.ndarray, "P P"]]:
        found, start = {}, self.clip.tower.prefix
        for pair in RELATIONS:
            rows = seen.blocks[block].relation(pair)[0, start:, start:]  # (P, P)
            found[pair] = (rows / rows.sum(-1, keepdim=True)).cpu().numpy()
        return found

    def similarities(
        self,
        picture: Picture,
        text: Float[Tensor, "N D"],
        reading: Reading,
        size: int | None = None,
        redundant: Float[Tensor, "1 D"] | None = None,
    ) -> Float[Tensor, "1 h w N"]:
        """Maps of texts as they stand, by any reading (see `Clip.maps`)."""
        seen = self._seen(picture, reading, size)
        return seen.maps(reading, text) if isinstance(seen, Seen) else reading.similarities(seen, text, redundant)

    def maps(self, picture: Picture, labels: Sequence[str], reading: Reading, size: int | None = None) -> Maps:
        """Maps of all labels. One label alone under feature surgery is compared with the empty label."""
        redundant = self.text([""]) if len(labels) == 1 and reading.surgery != "none" else None
        sim = self.similarities(picture, self.text(labels), reading, size, redundant)
        values = minmax(sim)[0].permute(2, 0, 1)  # (N, h, w)
        return Maps(values.float().cpu().contiguous().numpy(), is_constant(sim)[0].cpu().numpy())

    def scores(self, picture: Picture, labels: Sequence[str], size: int | None = None) -> list[float]:
        """The model's own softmax over these labels, from the class token; 0 … 1 each."""
        logits = self.clip.logit_scale * self.dense(picture, RAW, size).cls @ self.text(labels).T  # (1, N)
        return logits[0].float().softmax(-1).tolist()


@dataclass(frozen=True, eq=False)
class PictureView:
    """A picture under a state that has a reading: what the views of one picture share."""

    session: Session
    samples: Sequence[Sample]
    picture: Picture
    state: Any

    @property
    def reading(self) -> Reading:
        """What makes the maps that the state asks for."""
        return Reading.parse(self.state.reading)

    def about(self, protocol: str, grid: Sequence[int] = (), **more: str) -> dict[str, Any]:
        """What made it: model, data, picture, the size at which the patches of a grid were read, reading, protocol."""
        tower = self.session.clip.tower
        size = "×".join(str(n * side) for n, side in zip(grid, tower.patch_size, strict=False))
        found = {"image": self.picture.sample.name} | ({"image_size": size} if size else {}) | more
        found |= self.reading.columns(tower) | {"protocol": protocol}
        return self.session.about | self.picture.data(self.samples) | found


def _of(seen: Seen, reading: Reading) -> DenseFeatures | Seen:
    """What is kept for a reading: its features; where it needs the texts, all that was seen, the blocks too."""
    return seen if reading.needs_texts else seen.features[reading.features]


def measured(maps: Maps, picture: Picture, labels: Sequence[str]) -> Numbers:
    """What maps score against the picture's true regions."""
    masks, ignore = picture.shown.masks, picture.shown.ignore
    found = Numbers(np.full(len(labels), np.nan), np.full((len(labels), len(THRESHOLDS)), np.nan))
    known = [i for i, label in enumerate(labels) if label in masks]
    pixels = at_pixels(maps.values[known], picture.size) if known else ()  # (n, H, W)
    for i, map in zip(known, pixels, strict=True):
        mask = masks[labels[i]]
        inside, outside = exceedance(map, mask, ignore, THRESHOLDS)  # (101,) both
        found.msc[i], found.iou[i] = msc(map, mask, ignore), iou_curve(inside, outside, float(mask[~ignore].mean()))
    return found


def label_map(
    clip: Clip, sample: Sample, asked: str, text: Float[Tensor, "N D"], place: int, size: tuple[int, int] | None = None
) -> Float[np.ndarray, "H W"]:
    """One label's map by a reading, among the labels of `text`, stretched to 0 … 1 at the (H, W) that is shown."""
    reading = Reading.parse(asked)
    sim = clip.maps(clip.prepare(sample.image, size=size), reading, text)[str(reading)][..., [place]]  # (1, h, w, 1)
    return upsample(minmax(sim), fitting((sample.size[1], sample.size[0])))[0, ..., 0].float().cpu().numpy()
