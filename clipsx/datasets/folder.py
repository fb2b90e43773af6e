"""A folder of one's own pictures, with or without labels and masks."""

from collections.abc import Sequence
from functools import cache, partial
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool

from clipsx.datasets.protocol import digest, digests
from clipsx.datasets.sample import Sample
from clipsx.images import decode
from clipsx.text import check_labels

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif")
MASKS = "masks"


class Folder(Sequence[Sample]):
    """The pictures under a folder, in the order of their paths, each opened when asked.

    For a picture `boats/one.jpg`, the optional `boats/one.txt` holds its labels, one a line, and `masks/boats/one/` one
    picture for each label, named after it (`boat.png`), white where the object is, mid-grey (64 … 191) where pixels
    count nowhere. root: the folder; labels: given instead to every picture without a text file or masks.
    Errors: FileNotFoundError when there is no such folder, ValueError when no picture is in it; when a part is opened,
    those of `images.decode`, and ValueError for a mask of another size than its picture.
    """

    def __init__(self, root: str | PathLike[str], labels: Sequence[str] = ()) -> None:
        self.root = Path(root).expanduser()
        if not self.root.is_dir():
            raise FileNotFoundError(f"{self.root} is not a folder.")
        files = (f.relative_to(self.root) for f in sorted(self.root.rglob("*")) if f.suffix.lower() in SUFFIXES)
        self.files = tuple(f for f in files if f.parts[0] != MASKS)
        if not self.files:
            raise ValueError(f"{self.root} holds no pictures ({', '.join(SUFFIXES)}).")
        self.given = tuple(check_labels(labels)) if labels else ()
        named = (label for file in self.files for label in self._labels(file))
        self.labels = tuple(dict.fromkeys([*self.given, *sorted(named)]))

    def _masks(self, file: Path) -> dict[str, Path]:
        folder = self.root / MASKS / file.with_suffix("")
        return {f.stem: f for f in sorted(folder.glob("*")) if f.suffix.lower() in SUFFIXES}

    def _text(self, file: Path) -> Path:
        return (self.root / file).with_suffix(".txt")

    def _labels(self, file: Path) -> tuple[str, ...]:
        text = self._text(file)
        lines = text.read_text(encoding="utf-8").splitlines() if text.is_file() else []
        own = tuple(dict.fromkeys([*(line.strip() for line in lines if line.strip()), *self._masks(file)]))
        return own or self.given

    def _regions(self, file: Path) -> tuple[dict[str, Bool[np.ndarray, "H W"]], Bool[np.ndarray, "H W"] | None]:
        """The masks that are not empty, and the pixels that count nowhere."""
        masks, unsure = {}, []
        for label, path in self._masks(file).items():
            grey = np.asarray(decode(path).convert("L"))  # (H, W)
            if unsure and grey.shape != unsure[0].shape:
                raise ValueError(f"{path} is {grey.shape}, another mask of its picture {unsure[0].shape} (H, W).")
            masks[label] = grey >= 192
            unsure.append((grey >= 64) & (grey < 192))
        ignore = np.any(unsure, axis=0) if unsure else None
        return {label: mask for label, mask in masks.items() if mask.any()}, ignore

    def describe(self) -> dict[str, str]:
        """What a table prints about its data."""
        return {"data": f"folder {self.root.name} n={len(self)}"}

    def fingerprint(self) -> str:
        """A hex digest of the pictures, texts and masks, their paths under the folder, and the given labels."""
        files = (f for file in self.files for f in (self.root / file, self._text(file), *self._masks(file).values()))
        return digest("folder", self.given, digests(self.root, (f for f in files if f.is_file())))

    def recipe(self) -> dict[str, Any]:
        """What `datasets.open` makes it again from."""
        return {"dataset": "folder", "root": str(self.root.absolute()), "labels": list(self.given)}

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Sample:  # type: ignore[override]
        file = self.files[index]
        image, labels = partial(decode, self.root / file), partial(self._labels, file)
        regions = cache(partial(self._regions, file))
        return Sample(image, labels, lambda: regions()[0], ignore=lambda: regions()[1], name=file.as_posix())
