"""From a text to points and a mask: maps of its parts, points on them, a segmenter."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int
from PIL import Image
from torch import Tensor

from clipsx.clip import Clip
from clipsx.images import Picture, decode
from clipsx.maps import minmax, points_from_maps, upsample
from clipsx.reading import Reading
from clipsx.segmenters.interface import Points, Segmenter, Signs, placed
from clipsx.segmenters.named import WALKER, load

THRESHOLD = 0.8  # of a map halved and stretched to 0…1, above which its cells are points (CLIP Surgery)


@dataclass(frozen=True, eq=False)
class Segmented:
    """A map, the points chosen from it, and the mask they yield; `why` says why there is none ("" where there is).

    map: the texts' maps, each 0…1, at every pixel the highest; points: (x, y) pixels; labels: 1 on the object, 0
    beside it.
    """

    map: Float[np.ndarray, "H W"]
    points: Int[np.ndarray, "P 2"]
    labels: Int[np.ndarray, " P"]
    mask: Bool[np.ndarray, "H W"]
    why: str = ""


def split(text: str) -> tuple[str, ...]:
    """The texts that a "+" joins, each once. Errors: ValueError where one is blank."""
    found = tuple(part.strip() for part in text.split("+"))
    if not all(found):
        raise ValueError(f"The text {text!r} holds a blank one: write 'cat', or 'cat+dog' for both.")
    return tuple(dict.fromkeys(found))


def segmented(
    image: Image.Image,
    sim: Float[Tensor, "h w n"],
    segmenter: Segmenter,
    threshold: float = THRESHOLD,
    by_hand: tuple[Points, Signs] | None = None,
) -> Segmented:
    """Points of maps (`maps.points_from_maps`), or those set by hand, and the segmenter's mask of them.

    Maps that say nothing give no point, and an empty mask, as do points of which none lies on the object: `why` says
    which. Errors: those of `points_from_maps` and of the segmenter.
    """
    size = (image.height, image.width)
    points, labels = by_hand or points_from_maps(sim, size, threshold)
    xy, on = placed(image, points, labels)
    why = "" if on.any() else "No point lies on the object."
    if not len(xy) and by_hand is None:
        h, w = sim.shape[:2]
        small = max(1, h // 2) * max(1, w // 2) < 2
        why = (
            f"There is no point: {f'a grid of {h} × {w} is too small' if small else 'the map is the same everywhere'}."
        )
    map = upsample(minmax(sim[None]), size)[0].amax(-1).float().cpu().numpy()  # (H, W)
    mask = np.zeros(size, bool) if why else segmenter(image, xy, on.astype(int))
    return Segmented(map, xy, on.astype(int), mask, why)


def segment(
    clip: Clip,
    image: Picture,
    text: str,
    reading: str | Reading = "clip-surgery+code",
    segmenter: str | Path | Segmenter = WALKER,
    *,
    among: Sequence[str] = (),
    threshold: float = THRESHOLD,
    templates: str | Sequence[str] = "clip-surgery",
    size: int | None = None,
    by_hand: tuple[Points, Signs] | None = None,
) -> Segmented:
    """What a text, or several joined by "+", name on a picture: map, points, mask.

    among: other labels that feature surgery compares the text with; without any, one text alone is compared with the
    empty label. segmenter: as `segmenters.load` takes it. size: the side in pixels that the model reads. by_hand:
    points instead of the map's.
    Errors: those of `split`, `segmented`, `segmenters.load`, and whatever `Reading` and `Clip` refuse.
    """
    texts, photo, one = split(text), decode(image), Reading.parse(reading)
    names = list(dict.fromkeys([*texts, *among]))
    alone = clip.encode_labels([""], templates) if len(names) == 1 else None
    features = clip.encode_labels(names, templates)  # (N, D)
    sim = clip.maps(clip.prepare(photo, size=size), one, features, alone)[str(one)]  # (1, h, w, N)
    return segmented(photo, sim[0, :, :, : len(texts)], load(segmenter), threshold, by_hand)
