"""Masks as one picture of numbers: at every pixel the place of its class; a class's own mask is made when asked for."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int, UInt8

from clipsx.datasets import masks
from clipsx.images import PictureError

UNNAMED = -2  # of a value that no class has
TOP = 65536  # values of 16 bits


class Places(Mapping[str, Bool[np.ndarray, "H W"]]):
    """The masks of the names that are there, from `index` (H, W): a place in `names`, their number for the background.

    −1 counts nowhere. What is held is `index` alone, however many names there are.
    """

    def __init__(self, names: Sequence[str], index: Int[np.ndarray, "H W"]) -> None:
        self.names, self.index = tuple(names), index.view()
        self.index.setflags(write=False)
        counts = np.bincount(index.ravel() + 1, minlength=len(names) + 2)  # of −1, the names, the background
        self._there = [name for name, count in zip(self.names, counts[1:-1], strict=True) if count]

    def __getitem__(self, name: str) -> Bool[np.ndarray, "H W"]:
        if name not in self._there:
            raise KeyError(name)
        mask = self.index == self.names.index(name)
        mask.setflags(write=False)
        return mask

    def __iter__(self) -> Iterator[str]:
        return iter(self._there)

    def __len__(self) -> int:
        return len(self._there)

    @property
    def ignore(self) -> Bool[np.ndarray, "H W"]:
        """The pixels that count nowhere."""
        return self.index < 0

    def among(self, labels: Sequence[str]) -> Int[np.ndarray, "H W"]:
        """`Sample.index_map` of these masks."""
        asked = [labels.index(name) if name in labels else -1 for name in self.names]
        return np.array([*asked, len(labels), -1])[self.index]  # −1 takes the last


def table(values: Sequence[Sequence[int]], ground: Sequence[int], ignored: Sequence[int]) -> Int[np.ndarray, " values"]:
    """The place of every value that a mask may hold: `values` has those of each class."""
    found = np.full(TOP, UNNAMED, np.int16)
    for place, own in enumerate(values):
        found[list(own)] = place
    found[list(ground)], found[list(ignored)] = len(values), -1
    return found


def read(file: Path, picture: Path, coded: bool = False) -> Int[np.ndarray, "H W"]:
    """The values of an indexed mask, of 8 or 16 bits; coded: of one whose value is red + 256 · green.

    Errors: those of `masks.read`; PictureError for a mask of another kind.
    """
    mask = masks.read(file, picture)
    if coded and mask.mode == "RGB":
        return decoded(np.asarray(mask))
    if coded or not (mask.mode in ("P", "L", "1") or mask.mode.startswith("I")):
        kind = "value = red + 256 · green (mode RGB)" if coded else "an indexed mask (mode P)"
        raise PictureError(f"{file} is a picture of mode {mask.mode}; {kind} is needed.")
    return np.asarray(mask).astype(np.int32)


def decoded(pixels: UInt8[np.ndarray, "H W 3"]) -> Int[np.ndarray, "H W"]:
    """Red + 256 · green, as integers: bytes would run over."""
    wide = pixels.astype(np.int32)
    return wide[..., 0] + 256 * wide[..., 1]


def placed(
    values: Int[np.ndarray, "H W"], places: Int[np.ndarray, " values"], names: Sequence[str], file: Path
) -> Places:
    """A mask's values as places. Errors: ValueError, naming the file, for a value without a name."""
    known = places[values.clip(0, TOP - 1)]  # (H, W)
    if (known == UNNAMED).any() or values.min() < 0 or values.max() >= TOP:
        value = values[(known == UNNAMED) | (values < 0) | (values >= TOP)].max()
        raise ValueError(f"{file} holds the value {value}, but only {len(names)} labels have names.")
    return Places(names, known)
