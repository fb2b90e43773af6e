"""Free photographs that installed packages bring along, with labels and masks of our own."""

import tomllib
from collections.abc import Iterable, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw

from clipsx import paths
from clipsx.datasets.places import Places
from clipsx.datasets.protocol import Listed, digest_of
from clipsx.datasets.sample import Sample
from clipsx.datasets.vocabularies import VOCABULARIES, Vocabulary
from clipsx.images import decode

IGNORE = "ignore"  # what counts nowhere; "background" cuts a gap


def outlined(outlines: Sequence[Sequence[str]], size: tuple[int, int]) -> tuple[list[str], UInt8[np.ndarray, "H W"]]:
    """The names that are outlined, and at every pixel the place of its own among them, their number where none is.

    outlines: (name, "x,y x,y …"), corners in pixels, the nearest thing first: it hides what is behind. Drawn with
    PIL's `polygon`, whose edge belongs to it. size: (W, H).
    """
    names = list(dict.fromkeys(name for name, _ in outlines))
    canvas = Image.new("L", size, len(names))
    for name, corners in reversed(outlines):
        xy = [(int(x), int(y)) for x, _, y in (corner.partition(",") for corner in corners.split())]
        ImageDraw.Draw(canvas).polygon(xy, fill=names.index(name))
    return names, np.asarray(canvas)


class Photographs(Listed):
    """Ten photographs in scikit-image, scikit-learn and matplotlib as they are installed: nothing is downloaded.

    A cat, a cup of coffee, an astronaut, a motorcycle and others, grey ones among them, of several sizes, each opened
    when asked, with every visible pixel of its labels; some labels are in no picture. `data/photographs` holds the
    outlines, and says whose the pictures are. A picture that is missing, or another one than its outlines were drawn
    on, is left out, with a word: `left_out` has the names.
    Errors: FileNotFoundError when no picture is left.
    """

    sketched = False

    def __init__(self) -> None:
        self._files = {file.stem: file for file in sorted((paths.data() / "photographs").glob("*.toml"))}
        self.about = {name: tomllib.loads(file.read_text(encoding="utf-8")) for name, file in self._files.items()}
        drawn = {name: digest_of(picture(about)) == about["sha256"] for name, about in self.about.items()}
        names = [name for name in drawn if drawn[name]]
        self.left_out = tuple(name for name in drawn if not drawn[name])
        packages = sorted({self.about[name]["package"] for name in self.left_out})
        words = f"missing in {', '.join(packages)}, or others than their outlines were drawn on"
        if not names:
            raise FileNotFoundError(f"All {len(drawn)} photographs are {words}. Install these packages anew, by pip.")
        if self.left_out:
            print(f"Left out of the photographs: {', '.join(self.left_out)}; they are {words}.")
        asked = Vocabulary.single(VOCABULARIES["photographs"], "names of photographs")
        less = [f"without {', '.join(self.left_out)}"] * bool(self.left_out)
        super().__init__(paths.data(), names, asked, {"dataset": "photographs"}, less)

    def sources(self) -> Iterable[Path]:
        return (self._files[name] for name in self.names)

    def __getitem__(self, index: int) -> Sample:  # type: ignore[override]
        name = self.names[index]
        about = self.about[name]
        there = {label for label, _ in about["outlines"]}
        labels = [label for label in self.labels if label in there]
        masks, size = partial(_masks, about, labels), tuple(about["size"])
        return Sample(partial(decode, picture(about)), labels, masks, about["captions"], None, name, size)


def picture(about: dict[str, Any]) -> Path:
    """Where a photograph is; where its package would be, for one that is not installed."""
    found = find_spec(about["package"])
    folder = Path(found.origin).parent if found and found.origin else Path(about["package"])
    return folder / about["file"]


def _masks(about: dict[str, Any], labels: Sequence[str]) -> Places:
    """The visible pixels of labels; what is ignored counts nowhere, all else is background."""
    names, drawn = outlined(about["outlines"], tuple(about["size"]))
    of = {IGNORE: -1} | {label: place for place, label in enumerate(labels)}
    return Places(labels, np.array([of.get(name, len(labels)) for name in (*names, "")])[drawn])
