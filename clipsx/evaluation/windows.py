"""Maps over the pixels of a picture, read whole or in overlapping windows that are averaged where they meet.

Windows, bilinear stretching and the mean over windows are all linear, and go down and across one after the other: a
label's map is `down · tokens · acrossᵀ`. So no map of all labels is ever made: rows of pixels come a few at a time.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from clipsx.clip import Clip
from clipsx.reading import Reading

LONGEST = 2048  # pixels of a picture's longer side at most
AT_ONCE = 2**22  # similarities of pixels in memory
BATCH = 16  # windows in one walk


@dataclass(frozen=True)
class Windows:
    """How a picture is brought to a size and cut into windows.

    short: pixels of its shorter side; crop: side of a window, None: the whole picture; stride: pixels between windows;
    pad: a window that patches do not divide gets a rim of the mean colour (ClearCLIP), else it loses a strip,
    and its map is stretched over it (SCLIP); antialias: our bicubic rule, else cv2's bilinear one without antialiasing.
    Source: SCLIP, released code (mmsegmentation's windows: the last one is pulled back to the border).
    """

    short: int
    crop: int | None = None
    stride: int = 112
    pad: bool = False
    antialias: bool = False

    def __post_init__(self) -> None:
        if min(self.short, self.crop or 1, self.stride) < 1 or (self.crop and self.stride > self.crop):
            raise ValueError(f"Windows of {self.crop} every {self.stride} pixels would leave parts of a picture out.")

    def __str__(self) -> str:
        parts = "whole" if self.crop is None else f"windows of {self.crop} every {self.stride}"
        rule = "bicubic with antialiasing (ours)" if self.antialias else "bilinear without antialiasing (as published)"
        return f"short side {self.short}, {parts}{', padded' if self.pad else ''}, {rule}"

    def size(self, width: int, height: int) -> tuple[int, int]:
        """The (W, H) that a picture is brought to."""
        scale = min(LONGEST / max(width, height), self.short / min(width, height))
        return max(1, int(width * scale + 0.5)), max(1, int(height * scale + 0.5))

    def side(self, length: int) -> int:
        """Pixels of a window along a picture's side: a smaller picture is taken whole."""
        return min(self.crop or length, length)

    def starts(self, length: int) -> list[int]:
        """Where the windows along a picture's side begin."""
        last = length - self.side(length)
        return [min(n * self.stride, last) for n in range((last + self.stride - 1) // self.stride + 1)]


@dataclass(frozen=True, eq=False)
class Stitched:
    """Similarities of N labels over the H × W pixels of a picture, from all tokens of its windows."""

    tokens: Float[Tensor, "y x N"]
    down: Float[Tensor, "H y"]
    across: Float[Tensor, "W x"]

    def rows(self, at_once: int = AT_ONCE) -> Iterator[Float[Tensor, "r W N"]]:
        """The map, a few rows of pixels at a time, in order."""
        labels = self.tokens.shape[-1]
        for down in self.down.split(max(1, at_once // (len(self.across) * labels))):
            lines = (down @ self.tokens.flatten(1)).unflatten(1, (-1, labels))  # (r, x, N)
            yield self.across @ lines  # (r, W, N)


def whole(sim: Float[Tensor, "1 h w N"], size: tuple[int, int]) -> Stitched:
    """The map of a picture that was read whole, at (H, W) pixels: bilinear, as `maps.upsample`."""
    down, across = (_stretch(cells, pixels).to(sim) for cells, pixels in zip(sim.shape[1:3], size, strict=True))
    return Stitched(sim[0], down, across)


def stitched(
    clip: Clip, image: Image.Image, windows: Windows, asked: Sequence[Reading], text: Float[Tensor, "N D"]
) -> dict[Reading, Stitched]:
    """Maps by every reading from one walk over a picture's windows, at its own pixels. Errors: `Clip.look`'s."""
    pixels = clip.normalise(resized(image, windows.size(*image.size), windows.antialias))  # (1, 3, H', W')
    spreads, counts, spans = [], [], []
    for length, final, step in zip(pixels.shape[2:], image.size[::-1], clip.patch_size, strict=True):
        spread, cells, before = _axis(windows, length, final, step)
        spreads.append(spread.to(pixels.device))
        counts.append((len(windows.starts(length)), cells))
        rim = (before, cells * step - windows.side(length) - before)  # below 0: a strip is cut
        spans.append([(slice(start, start + windows.side(length)), rim) for start in windows.starts(length)])
    parts = [F.pad(pixels[:, :, y, x], (*side, *top)) for y, top in spans[0] for x, side in spans[1]]
    seen = [clip.look(torch.cat(parts[n : n + BATCH]), asked) for n in range(0, len(parts), BATCH)]
    (tall, h), (wide, w) = counts
    found = {}
    for reading in asked:
        sim = torch.cat([part.maps(reading, text) for part in seen])  # (tall · wide, h, w, N)
        grid = sim.unflatten(0, (tall, wide)).transpose(1, 2)  # (tall, h, wide, w, N)
        found[reading] = Stitched(grid.reshape(tall * h, wide * w, -1), *(spread.to(sim) for spread in spreads))
    return found


def resized(image: Image.Image, size: tuple[int, int], antialias: bool) -> Image.Image:
    """An RGB picture at (W, H): bicubic with antialiasing, or bilinear without, each pixel of 8 bits."""
    if antialias:
        return image.resize(size, Image.Resampling.BICUBIC)
    pixels = torch.from_numpy(np.array(image, np.uint8)).permute(2, 0, 1)[None].float()  # (1, 3, H, W)
    found = F.interpolate(pixels, size=size[::-1], mode="bilinear", align_corners=False)
    return Image.fromarray(found[0].round().permute(1, 2, 0).to(torch.uint8).numpy())


def _axis(windows: Windows, length: int, final: int, step: int) -> tuple[Float[Tensor, "pixels y"], int, int]:
    """From the tokens of all windows along one side to pixels; tokens of a window; pixels of rim before it."""
    side = windows.side(length)
    pad = windows.pad or side < step
    cells = -(-side // step) if pad else side // step
    before = (cells * step - side) // 2 if pad else 0
    own = _stretch(cells, cells * step if pad else side)[before : before + side]  # (side, cells)
    starts = windows.starts(length)
    spread = torch.zeros(length, len(starts), cells)
    for n, start in enumerate(starts):
        spread[start : start + side, n] = own
    spread = spread.flatten(1)
    return _stretch(length, final) @ (spread / spread.sum(dim=1, keepdim=True)), cells, before


def _stretch(cells: int, pixels: int) -> Float[Tensor, "pixels cells"]:
    """Bilinear stretching of one side, as a matrix; cell centres stay where they are."""
    return F.interpolate(torch.eye(cells)[None], size=pixels, mode="linear", align_corners=False)[0].T
