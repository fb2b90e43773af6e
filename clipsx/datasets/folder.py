"""A folder of one's own pictures, with or without labels and masks."""

from collections.abc import Sequence
from functools import cache, partial
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool

from clipsx.datasets import masks as pictured
from clipsx.datasets.lines import classes, listed, spelled
from clipsx.datasets.protocol import digest, digests, lacking
from clipsx.datasets.sample import Sample
from clipsx.datasets.vocabularies import VOCABULARIES
from clipsx.images import PictureError, decode

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif")
MASKS = "masks"
ASKED = "voc-20"  # of pictures that name no labels


def pictures(folder: Path) -> list[Path]:
    """The pictures under a folder, in the order of their paths, without hidden files and what systems leave behind."""
    found = (f for f in sorted(folder.rglob("*")) if f.suffix.lower() in SUFFIXES and not f.is_dir())
    return [f for f in found if not any(p.startswith((".", "__MACOSX")) for p in f.relative_to(folder).parts)]


class Folder(Sequence[Sample]):
    """The pictures under a folder, in the order of their paths, each opened when asked.

    For a picture `boats/one.jpg`, the optional `boats/one.txt` holds its labels, one a line, and `masks/boats/one/` one
    picture for each label, named after it (`boat.png`), white where the object is, mid-grey (64 … 191) where pixels
    count nowhere; cut-outs and other masks are read as `masks.regions` says. root: the folder; labels: given instead to
    every picture without a text file or masks. Hidden files are not looked at.
    Where none names a label, the classes of `ASKED` are what the pictures are asked for.
    Errors: FileNotFoundError when there is no such folder, ValueError when no picture is in it; when a part is opened,
    those of `images.decode`, and ValueError for a mask of another size than its picture.
    """

    def __init__(self, root: str | PathLike[str], labels: Sequence[str] = ()) -> None:
        self.root = Path(root).expanduser()
        if not self.root.is_dir():
            raise FileNotFoundError(f"{self.root} is not a folder.")
        files = (f.relative_to(self.root) for f in pictures(self.root))
        self.files = tuple(f for f in files if f.parts[0] != MASKS)
        if not self.files:
            raise ValueError(f"{self.root} holds no pictures ({', '.join(SUFFIXES)}).")
        self.given = listed(labels)
        named = (label for file in self.files for label in self._labels(file))
        self.named = tuple(dict.fromkeys([*self.given, *sorted(named)]))
        self.labels = self.named or VOCABULARIES[ASKED]

    def _masks(self, file: Path) -> list[tuple[str, Path]]:
        """The label and the file of every mask; two files of one label are one mask."""
        folder = self.root / MASKS / file.with_suffix("")
        return [(spelled(f.stem.strip()), f) for f in pictures(folder) if f.parent == folder]

    def _text(self, file: Path) -> Path:
        return (self.root / file).with_suffix(".txt")

    def _labels(self, file: Path) -> tuple[str, ...]:
        text = self._text(file)
        said = [line for _, line in classes(text, underscores=True)] if text.is_file() else []
        own = tuple(dict.fromkeys([*said, *(label for label, _ in self._masks(file))]))
        return own or self.given

    def _regions(self, file: Path) -> tuple[dict[str, Bool[np.ndarray, "H W"]], Bool[np.ndarray, "H W"] | None]:
        """The masks that are not empty, and the pixels that count nowhere."""
        masks, unsure = {}, []
        for label, path in self._masks(file):
            mask, grey = pictured.regions(pictured.read(path, self.root / file), str(path))  # (H, W) each
            if unsure and grey.shape != unsure[0].shape:
                raise PictureError(f"{path} is {grey.shape}, another mask of its picture {unsure[0].shape} (H, W).")
            masks[label] = masks.get(label, False) | mask
            unsure.append(grey)
        ignore = np.any(unsure, axis=0) if unsure else None
        return {label: mask for label, mask in masks.items() if mask.any()}, ignore

    def describe(self) -> dict[str, str]:
        """What a table prints about its data."""
        parts = {"labels": self.named, "masks": any(self._masks(file) for file in self.files)}
        return {"data": f"folder {self.root.absolute().name} n={len(self)}{lacking(parts)}"}

    def fingerprint(self) -> str:
        """A hex digest of the pictures, texts and masks, their paths under the folder, and the given labels."""
        files: list[Path] = []
        for file in self.files:
            text = self._text(file)
            files += [self.root / file, *([text] if text.is_file() else ()), *(mask for _, mask in self._masks(file))]
        return digest("folder", self.given, digests(self.root, files))

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
