"""Segmenters by name."""

from pathlib import Path

from clipsx.messages import nearest
from clipsx.segmenters import sam
from clipsx.segmenters.interface import Segmenter
from clipsx.segmenters.walker import RandomWalker

WALKER = "random-walker"
NAMES = (WALKER, "facebook/sam-vit-base", "facebook/sam2.1-hiera-tiny")
"""What a menu offers: the one that needs no download, and the smallest SAM and SAM 2 of the Hugging Face hub."""


def load(name: str | Path | Segmenter = WALKER, device: str | None = None) -> Segmenter:
    """A segmenter: "random-walker", or a SAM or SAM 2 by its hub name ("owner/name") or local folder.

    One that is given as an object is given back. device: of SAM; CUDA, else the CPU.
    Errors: ValueError for an unknown name (with the nearest); those of `sam.load`.
    """
    if not isinstance(name, str | Path):
        return name
    if str(name) == WALKER:
        return RandomWalker()
    if not Path(name).expanduser().exists() and str(name).strip("/").count("/") != 1:
        raise ValueError(f"Unknown segmenter {str(name)!r}{nearest(str(name), NAMES)}; or give a local folder.")
    return sam.load(name, device)
