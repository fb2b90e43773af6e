"""PASCAL VOC 2012 segmentation, or any folder in its layout."""

import warnings
from collections.abc import Sequence
from functools import cache, partial
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool
from PIL import Image

from clipsx.datasets.protocol import digest, digests
from clipsx.datasets.sample import Sample
from clipsx.datasets.vocabularies import VOCABULARIES
from clipsx.images import decode
from clipsx.messages import nearest
from clipsx.text import check_labels

IGNORE = 255


class VOC(Sequence[Sample]):
    """Photographs with class masks in VOC's layout, each opened when asked; their sizes differ.

    root: the folder with JPEGImages, SegmentationClass and ImageSets/Segmentation, or a parent of it (VOCdevkit);
    split: a list in ImageSets/Segmentation; labels: names of mask values 1, 2, …; by default the lines of
    `labels.txt` in the folder, else VOC's twenty. Mask value 0 is background, 255 counts nowhere.
    Errors: FileNotFoundError for what is missing; ValueError for an unknown split (with the nearest), and when a part
    is opened for a mask that is not indexed, does not fit its picture, or holds a value without a name.
    """

    def __init__(self, root: str | PathLike[str], split: str = "val", labels: Sequence[str] | None = None) -> None:
        base = Path(root).expanduser()
        found = [f for f in (base, base / "VOC2012", base / "VOCdevkit" / "VOC2012") if (f / "JPEGImages").is_dir()]
        if not found:
            raise FileNotFoundError(
                f"{base} has no JPEGImages folder, and no VOC2012 or VOCdevkit/VOC2012 that has one."
            )
        self.root, self.split = found[0], split
        lists = {f.stem: f for f in sorted((self.root / "ImageSets" / "Segmentation").glob("*.txt"))}
        if split not in lists:
            raise ValueError(f"{self.root.name} has no split {split!r}{nearest(split, lists)}.")
        self.names = tuple(lists[split].read_text(encoding="utf-8").split())
        self._given, own = labels, self.root / "labels.txt"
        if labels is None and own.is_file():
            labels = [line.strip() for line in own.read_text(encoding="utf-8").splitlines() if line.strip()]
        self.labels = VOCABULARIES["voc-20"] if labels is None else tuple(check_labels(labels))

    def describe(self) -> dict[str, str]:
        """What a table prints about its data."""
        return {"data": f"{self.root.name} {self.split} n={len(self)}"}

    def fingerprint(self) -> str:
        """A hex digest of the pictures and masks, their paths under the folder, and the labels."""
        files = (file for name in self.names for file in self._files(name))
        return digest("voc", self.labels, digests(self.root, files))

    def recipe(self) -> dict[str, Any]:
        """What `datasets.open` makes it again from."""
        labels = {} if self._given is None else {"labels": list(self._given)}
        return {"dataset": "voc2012", "root": str(self.root.absolute()), "split": self.split} | labels

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Sample:  # type: ignore[override]
        name = self.names[index]
        regions = cache(partial(self._regions, name))
        labels, masks, ignore = lambda: tuple(regions()[0]), lambda: regions()[0], lambda: regions()[1]
        image, size = partial(decode, self._files(name)[0]), lambda: ignore().shape[::-1]
        return Sample(image, labels, masks, ignore=ignore, name=name, size=size)

    def _files(self, name: str) -> tuple[Path, Path]:
        """The picture and its mask."""
        return self.root / "JPEGImages" / f"{name}.jpg", self.root / "SegmentationClass" / f"{name}.png"

    def _regions(self, name: str) -> tuple[dict[str, Bool[np.ndarray, "H W"]], Bool[np.ndarray, "H W"]]:
        """The masks of the values that are there, in their order, and the pixels that count nowhere."""
        file = self._files(name)[1]
        if not file.is_file():
            raise FileNotFoundError(f"{file} is missing: {name} is in the list {self.split!r} but has no mask.")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PIL warns of stray metadata; the pixels are checked below
            with Image.open(file) as mask:
                if mask.mode not in ("P", "L"):
                    raise ValueError(f"{file} is a picture of mode {mask.mode}; an indexed mask (mode P) is needed.")
                index_map = np.asarray(mask)  # (H, W)
        values = [int(v) for v in np.unique(index_map) if v not in (0, IGNORE)]
        if values and values[-1] > len(self.labels):
            raise ValueError(f"{file} holds the value {values[-1]}, but only {len(self.labels)} labels have names.")
        return {self.labels[v - 1]: index_map == v for v in values}, index_map == IGNORE
