"""The figure of `clipsx explain`: a photo, and every label's map over it, by one or several readings."""

from collections.abc import Mapping, Sequence

from jaxtyping import Float
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from clipsx.maps import is_constant, upsample
from clipsx.plots.axes import overlay
from clipsx.reading import Reading

WIDE = 5  # pictures side by side
SIDE = 2.6  # inches of a picture
PIXELS = 800  # of the photo's longer side in the figure


def explained(
    photo: Image.Image, maps: Mapping[Reading, Float[Tensor, "1 h w N"]], labels: Sequence[str], opacity: float = 0.6
) -> Figure:
    """The photo, then the map of each label over it, the readings below each other; maps as `explain.explain` makes."""
    photo = photo.copy()
    photo.thumbnail((PIXELS, PIXELS))
    wide, lines = min(WIDE, 1 + len(labels)), -(-(1 + len(labels)) // WIDE)
    size = (SIDE * wide, SIDE * lines * len(maps) * max(0.5, photo.height / photo.width))
    figure = Figure(layout="constrained", figsize=size)  # of its own: many pictures in a row leave none open
    axes = figure.subplots(lines * len(maps), wide, squeeze=False)
    for ax in axes.flat:
        ax.axis("off")
    for number, (reading, map) in enumerate(maps.items()):
        first, *places = axes[number * lines : (number + 1) * lines].flat
        first.imshow(photo)
        first.set_title(reading.title, fontsize=9, parse_math=False)
        flat = is_constant(map)[0].tolist()
        for n, label in enumerate(labels):
            pixels = upsample(map[..., [n]], (photo.height, photo.width))[0, :, :, 0].float().cpu().numpy()  # (H, W)
            overlay(photo, pixels, places[n], opacity, title=f"{label}: constant map" if flat[n] else label)
    return figure
