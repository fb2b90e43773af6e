"""A folder of one's own pictures, with or without labels and masks."""

from collections.abc import Iterable, Sequence
from functools import cache, partial
from os import PathLike
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from clipsx.datasets import masks as pictured
from clipsx.datasets.lines import classes, listed, spelled
from clipsx.datasets.protocol import Listed, lacking
from clipsx.datasets.sample import Sample
from clipsx.datasets.vocabularies import BUILT_IN, Vocabulary
from clipsx.images import PictureError, decode

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif")
MASKS = "masks"
ASKED = "voc-20"  # of pictures that name no labels


def pictures(folder: Path) -> list[Path]:
    """The pictures under a folder, in the order of their paths, without hidden files and what systems leave behind."""
    found = (f for f in sorted(folder.rglob("*")) if f.suffix.lower() in SUFFIXES and not f.is_dir())
    return [f for f in found if not any(p.startswith((".", "__MACOSX")) for p in f.relative_to(folder).parts)]


class Folder(Listed):
    """The pictures under a folder, in the order of their paths, each opened when asked.

    For a picture `boats/one.jpg`, the optional `boats/one.txt` holds its labels, one a line, and `masks/boats/one/` one
    picture for each label, named after it (`boat.png`), white where the object is, mid-grey (64 … 191) where pixels
    count nowhere; cut-outs and other masks are read as `masks.regions` says. root: the folder; labels: given instead to
    every picture without a text file or masks. Hidden files are not looked at.
    Where none names a label, the classes of `ASKED` are what the pictures are asked for.
    Errors: FileNotFoundError when there is no such folder, ValueError when no picture is in it; when a part is opened,
    those of `images.decode`, and ValueError for a mask of another size than its picture.
    """

    sketched, labelled = False, "text files and the names of masks"

    def __init__(self, root: str | PathLike[str], labels: Sequence[str] = ()) -> None:
        self.root = folder = Path(root).expanduser()
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder} is not a folder.")
        files = (f.relative_to(folder) for f in pictures(folder))
        self.files = tuple(f for f in files if f.parts[0] != MASKS)
        if not self.files:
            raise ValueError(f"{folder} holds no pictures ({', '.join(SUFFIXES)}).")
        self.given = listed(labels)
        found = sorted({label for file in self.files for label in self._labels(file)} - {*self.given})
        named = dict.fromkeys([*self.given, *found])
        wording = " and ".join(["given words"] * bool(self.given) + ["its own"] * bool(found))
        words = Vocabulary.single(named, wording) if named else BUILT_IN[ASKED]
        recipe = {"dataset": "folder", "root": str(folder.absolute()), "labels": list(self.given)}
        names, title = [file.as_posix() for file in self.files], f"folder {folder.absolute().name}"
        less = lacking(labels=named, masks=any(map(self._masks, self.files)))
        super().__init__(folder, names, words, recipe, less, title=title)

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

    def sources(self) -> Iterable[Path]:
        for file in self.files:
            yield self.root / file
            yield from (text for text in [self._text(file)] if text.is_file())
            yield from (mask for _, mask in self._masks(file))

    def __getitem__(self, index: int) -> Sample:  # type: ignore[override]
        file = self.files[index]
        image, labels = partial(decode, self.root / file), partial(self._labels, file)
        regions = cache(partial(self._regions, file))
        return Sample(image, labels, lambda: regions()[0], ignore=lambda: regions()[1], name=file.as_posix())
