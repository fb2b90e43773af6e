"""NUS-WIDE: pictures with the labels of 81 concepts, from its files of zeros and ones."""

from collections.abc import Iterable
from functools import partial
from os import PathLike
from pathlib import Path

import numpy as np

from clipsx.datasets.layouts import Place
from clipsx.datasets.listed import Listed
from clipsx.datasets.sample import Sample
from clipsx.datasets.vocabularies import Given, Vocabulary
from clipsx.images import decode


class Concepts(Listed):
    """The official lists of NUS-WIDE (test: 107,859 pictures, many of them without a label), each opened when asked.

    Errors: those of `Place`; FileNotFoundError for a concept without its file, ValueError for one of another length
    than the list of pictures; when a picture is opened, FileNotFoundError where it is missing.
    """

    def __init__(
        self, name: str, root: str | PathLike[str], split: str | None = None, vocabulary: Given | None = None
    ) -> None:
        self.place = place = Place(name, root, split)
        names, words = place.listed(), place.wording(vocabulary)
        folder, word = place.path("annotations"), place.layout.splits[place.split]
        files = [folder / f"Labels_{concept}_{word}.txt" for concept in Vocabulary.of(place.layout.vocabulary).names]
        self._present = np.stack([_flags(file, len(names)) for file in files], axis=1)  # (n, 81)
        empty = int((~self._present.any(axis=1)).sum())
        said = [f"{empty} without a label"] if empty else []
        super().__init__(place.root, names, words, place.recipe, said, files)

    def files(self) -> Iterable[Path]:
        return (self.place.path("pictures", name) for name in self.names)

    def __getitem__(self, index: int) -> Sample:  # type: ignore[override]
        name = self.names[index]
        labels = [self.labels[place] for place in np.flatnonzero(self._present[index])]
        return Sample(partial(decode, self.place.path("pictures", name)), labels, name=name)


def _flags(file: Path, count: int) -> np.ndarray:
    """A line for each picture, 0 or 1, (n,)."""
    flags = file.read_bytes().split()
    if len(flags) != count or set(flags) - {b"0", b"1"}:
        raise ValueError(
            f"{file} must hold a 0 or 1 for each of the {count} pictures of its list, but has {len(flags)}."
        )
    return np.array(flags) == b"1"
