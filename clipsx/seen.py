"""What one walk of a tower saw of images: features by reading, and maps of labels by any reading."""

from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor

from clipsx import towers
from clipsx.features import DenseFeatures
from clipsx.gradients import gradcam, legrad
from clipsx.quiet import plain
from clipsx.reading import Reading


@dataclass(frozen=True, eq=False)
class Seen:
    """What one walk of a tower saw of B images.

    cls (B, d); features: by reading without surgery, at the depth that it came to; blocks: those of the original path,
    where they were asked for; last: as in `towers.Walk`; tower: None where class features alone were seen; grid: (h, w)
    of the patches.
    """

    cls: Float[Tensor, "B d"]
    features: dict[Reading, DenseFeatures]
    blocks: tuple[towers.Block, ...] = ()
    last: Float[Tensor, "B L C"] | None = None
    tower: Any = None
    grid: tuple[int, int] = (0, 0)

    def of(self, image: int) -> "Seen":
        """What was seen of one image, which keeps its place: B = 1."""
        one = slice(image, image + 1)
        features = {r: DenseFeatures(f.cls[one], f.patches[one]) for r, f in self.features.items()}
        blocks, last = tuple(block.of(image) for block in self.blocks), None if self.last is None else self.last[one]
        return Seen(self.cls[one], features, blocks, last, self.tower, self.grid)

    def maps(
        self, reading: Reading, text: Float[Tensor, "N D"], redundant: Float[Tensor, "1 D"] | None = None
    ) -> Float[Tensor, "B h w N"]:
        """Maps of labels by a reading that was asked for: of its features, or of gradients where it needs the texts.

        redundant: see `maps.feature_surgery`. Nothing of the model is written to, gradients included.
        """
        if not reading.needs_texts:
            return reading.similarities(self.features[reading.features], text, redundant)
        row, _ = reading.plan(self.tower)
        with plain(text.device.type):
            if row.texts == "activations":
                assert self.last is not None
                return gradcam(self.tower, self.last, self.grid, text)
            return legrad(self.tower, self.blocks[-(row.blocks or len(self.blocks)) :], self.grid, text)
