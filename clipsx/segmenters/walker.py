"""The segmenter that needs no download: a random walk from every pixel, slowed down by the picture's edges."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool
from PIL import Image

from clipsx.maps import upsample
from clipsx.segmenters.interface import Points, Signs, placed


@dataclass(frozen=True)
class RandomWalker:
    """Pixels from which a random walk reaches a point on the object before one beside it, more often than not.

    beta: how much an edge of the picture slows the walk down; side: pictures of longer sides are read at that many
    pixels. With points on the object alone every walk ends on one: the mask is the whole picture.
    Source: Grady (2006), as `skimage.segmentation.random_walker` has it, solved exactly; 400 is ours, chosen on
    scenes of the sketchbook that no table reports on.
    """

    beta: float = 400.0
    side: int = 256

    @property
    def name(self) -> str:
        """What tables print."""
        return f"random walker (beta {self.beta:g}, at most {self.side} px)"

    def __call__(self, image: Image.Image, points: Points, labels: Signs) -> Bool[np.ndarray, "H W"]:
        """The mask of the object that the points lie on. Errors: those of `placed`."""
        xy, on = placed(image, points, labels)
        if on.all() or not on.any():
            return np.full(image.size[::-1], bool(len(on) and on.all()))
        scale = min(1.0, self.side / max(image.size))
        small = image.resize([max(1, round(n * scale)) for n in image.size], Image.Resampling.BOX)
        columns, rows = ((xy + 0.5) * np.array(small.size) / np.array(image.size)).astype(int).T  # (P,) each
        seeds = np.zeros((small.height, small.width), dtype=int)  # (h, w), 1: object, 2: beside, 0: not known
        seeds[rows[~on], columns[~on]] = 2
        seeds[rows[on], columns[on]] = 1  # where a reduced picture joins two places, the object's counts
        share = torch.from_numpy(self._share(np.asarray(small) / 255, seeds))  # (h, w)
        return upsample(share[None, :, :, None], (image.height, image.width))[0, :, :, 0].numpy() > 0.5

    def _share(self, pixels: np.ndarray, seeds: np.ndarray) -> np.ndarray:
        """How many of the walks from every pixel end on the object, (h, w) in 0…1."""
        if seeds.all() or not (seeds == 2).any():
            return (seeds != 2).astype(float)
        from skimage.segmentation import random_walker

        flat = not np.ptp(pixels, axis=(0, 1)).any()  # no edge: scikit-image would divide by 0
        beta, shown = (0.0, np.indices(pixels.shape)[0] + 0.0) if flat else (self.beta, pixels)
        return random_walker(shown, seeds, beta, mode="bf", channel_axis=-1, return_full_prob=True)[0]
