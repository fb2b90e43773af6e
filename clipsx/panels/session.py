"""The part of a panel that knows no widget: a picture is encoded once, maps are made on demand."""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from threading import Lock
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from clipsx.analyses.attention import has_attention, relation
from clipsx.clip import Clip
from clipsx.datasets import Sample
from clipsx.features import DenseFeatures
from clipsx.maps import feature_surgery, is_constant, minmax, similarity, upsample
from clipsx.metrics import exceedance, iou_curve, msc
from clipsx.panels.state import State, takes_depth

THRESHOLDS = np.round(np.linspace(0, 1, 101), 2)
Numbers = tuple[float, Float[np.ndarray, "101"]] | None


@dataclass(frozen=True, eq=False)
class Picture:
    """A sample, a key by which what was computed of it is found again, and the code that opens one's own picture."""

    sample: Sample
    code: str = ""
    key: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", sha256(self.sample.image.tobytes() + repr(self.size).encode()).hexdigest())

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) in pixels."""
        return self.sample.image.size[1], self.sample.image.size[0]


@dataclass(frozen=True)
class Maps:
    """Maps of one picture: one per label, stretched to 0 … 1, on the patch grid; `constant` tells which say nothing."""

    values: Float[np.ndarray, "N h w"]
    constant: Bool[np.ndarray, " N"]

    def pixels(self, size: tuple[int, int]) -> Float[np.ndarray, "N H W"]:
        """The maps at an image's (H, W)."""
        grid = torch.from_numpy(self.values).permute(1, 2, 0)[None]  # (1, h, w, N)
        return upsample(grid, size)[0].permute(2, 0, 1).numpy()


class Kept:
    """The last `size` results by key; the oldest goes first. Safe to share between threads."""

    def __init__(self, size: int) -> None:
        self._items: OrderedDict[Hashable, Any] = OrderedDict()
        self._size, self._lock = size, Lock()

    def __contains__(self, key: Hashable) -> bool:
        return key in self._items

    def get(self, key: Hashable, make: Callable[[], Any]) -> Any:
        with self._lock:
            if key in self._items:
                self._items.move_to_end(key)
                return self._items[key]
        value = make()
        with self._lock:
            self._items[key] = value
            while len(self._items) > self._size:
                self._items.popitem(last=False)
        return value


class Session:
    """One model and what it has computed: one encoding per (picture, method, depth), one feature per label.

    The split is segment-anything's: `steps` names the dear part that is still to be done, `maps` is cheap after it.
    """

    def __init__(self, clip: Clip, keep: int = 24) -> None:
        self.clip, self.about = clip, clip.describe()  # a digest of the weights, taken once
        self._dense, self._numbers, self._text = Kept(keep), Kept(keep), Kept(4096)
        self._relations = Kept(max(1, keep // 4))  # P × P each: 39 MB for 56 × 56 patches

    def steps(self, picture: Picture, labels: Sequence[str], state: State) -> list[tuple[str, Callable[[], object]]]:
        """What a view of this state still needs, as (words, call); empty when all of it is kept."""
        size, todo = state.size, []
        for name in dict.fromkeys(("clip", state.method)):
            call, key = (
                partial(self.dense, picture, name, state.depth, size),
                self._key(picture, name, state.depth, size),
            )
            todo.append((f"encoding the picture ({name})", call, self._dense, key))
        for label in dict.fromkeys([*labels, ""] if len(labels) == 1 and state.surgery != "off" else labels):
            todo.append((f"encoding the label {label!r}", partial(self.text, [label]), self._text, label))
        call = partial(self.relation, picture, state.attention, state.block, size)
        todo.append(("reading the attention", call, self._relations, (picture.key, state.attention, state.block, size)))
        return [(words, call) for words, call, kept, key in todo if key not in kept]

    def dense(self, picture: Picture, method: str, depth: int, size: int | None) -> DenseFeatures:
        """The picture's features by a method, encoded the first time only."""

        def encode() -> DenseFeatures:
            images = self.clip.prepare(picture.sample.image, size=size)  # (1, 3, H, W)
            options = {"depth": depth} if takes_depth(self.clip, method) else {}
            return self.clip.encode_dense(images, method=method, **options)

        return self._dense.get(self._key(picture, method, depth, size), encode)

    def _key(self, picture: Picture, method: str, depth: int, size: int | None) -> tuple[Hashable, ...]:
        return picture.key, method, depth if takes_depth(self.clip, method) else 0, size

    def text(self, labels: Sequence[str]) -> Float[Tensor, "N D"]:
        """The labels' features, each encoded the first time only."""
        encode = self.clip.encode_labels
        return torch.cat([self._text.get(label, partial(encode, [label])) for label in labels])  # (N, D)

    def relation(self, picture: Picture, kind: str, block: int, size: int | None) -> Float[np.ndarray, "P P"]:
        """Attention of every patch to every patch, P = h · w; the class token's column dropped, rows summing to 1.

        Zeros for a tower without transformer blocks.
        """

        def read() -> np.ndarray:
            images = self.clip.prepare(picture.sample.image, size=size)  # (1, 3, H, W)
            if not has_attention(self.clip):
                cells = int(np.prod(self.clip.tower.grid(*images.shape[2:])))
                return np.zeros((cells, cells), dtype=np.float32)
            rows = relation(self.clip, images, block=block, kind=kind)[0, 1:, 1:].float()  # (P, P)
            return (rows / rows.sum(-1, keepdim=True)).cpu().numpy()

        return self._relations.get((picture.key, kind, block, size), read)

    def maps(self, picture: Picture, labels: Sequence[str], state: State) -> Maps:
        """Maps of all labels. One label alone under feature surgery is compared with the empty label."""
        dense, text = self.dense(picture, state.method, state.depth, state.size), self.text(labels)
        if state.surgery == "off":
            sim = similarity(dense, text)  # (1, h, w, N)
        else:
            redundant = self.text([""]) if len(labels) == 1 else None
            sim = feature_surgery(dense, text, tau=state.tau, form=state.surgery, redundant=redundant)  # (1, h, w, N)
        values = minmax(sim)[0].permute(2, 0, 1)  # (N, h, w)
        return Maps(values.float().cpu().contiguous().numpy(), is_constant(sim)[0].cpu().numpy())

    def numbers(self, picture: Picture, labels: Sequence[str], state: State) -> list[Numbers]:
        """Per label the map's mSC and its IoU at every one of `THRESHOLDS`; None where the true region is not known."""
        changing = (state.surgery, state.tau) if state.surgery != "off" else ()
        key = (self._key(picture, state.method, state.depth, state.size), tuple(labels), *changing)
        return self._numbers.get(key, lambda: measured(self.maps(picture, labels, state), picture, labels))

    def scores(self, picture: Picture, labels: Sequence[str], size: int | None) -> list[float]:
        """The model's own softmax over these labels, from the class token; 0 … 1 each."""
        logits = self.clip.logit_scale * self.dense(picture, "clip", 0, size).cls @ self.text(labels).T  # (1, N)
        return logits[0].float().softmax(-1).tolist()


def measured(maps: Maps, picture: Picture, labels: Sequence[str]) -> list[Numbers]:
    """Per label its map's mSC and IoU at all `THRESHOLDS`, in percent; None where the true region is not known."""
    masks, ignore = picture.sample.masks, picture.sample.ignore
    known = [i for i, label in enumerate(labels) if label in masks]
    result: list[Numbers] = [None] * len(labels)
    pixels = Maps(maps.values[known], maps.constant[known]).pixels(picture.size) if known else ()  # (n, H, W)
    for i, map in zip(known, pixels, strict=True):
        mask = masks[labels[i]]
        inside, outside = exceedance(map, mask, ignore, THRESHOLDS)  # (101,) both
        result[i] = (msc(map, mask, ignore), iou_curve(inside, outside, float(mask[~ignore].mean())))
    return result
