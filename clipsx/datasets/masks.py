"""Masks in files, as people save them: black and white, 0 and 1, palettes, cut-outs; turned with the picture."""

from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int, Num
from PIL import Image

from clipsx.images import CLEAR, TURNS, PictureError, loaded, opened, orientation

VOID = (224, 224, 192)  # VOC's colour of what counts nowhere
HOW = "Save it as PNG, white where the object is, black elsewhere."
Regions = tuple[Bool[np.ndarray, "H W"], Bool[np.ndarray, "H W"]]


def read(file: Path, picture: Path) -> Image.Image:
    """A mask in its own mode, as its picture is seen: turned with it where it lies as the picture was taken.

    Errors: those of `images.opened`; PictureError where the mask fits both ways, so that it cannot be known.
    """
    with opened(file) as image:
        own, mask = orientation(image), loaded(image, str(file))
    try:
        with opened(picture) as image:
            turn, size, kind = orientation(image), image.size, image.format
    except (OSError, PictureError):
        return mask  # whoever asks for the picture is told
    if turn == 1 or own != 1:
        return mask
    sideways = turn >= 5
    seen = size[::-1] if sideways and kind != "TIFF" else size  # PIL tells a TIFF's size as it is seen
    taken = seen[::-1] if sideways else seen
    if mask.size == seen == taken:
        raise PictureError(
            f"{file} is {mask.width} × {mask.height}, and so is {picture.name} as it was taken and as EXIF turns it "
            f"(orientation {turn}): which of the two it fits cannot be known. Save the picture turned, without EXIF."
        )
    return mask.transpose(TURNS[turn]) if mask.size == taken else mask


def regions(image: Image.Image, name: str) -> Regions:
    """The object and the pixels that count nowhere, (H, W) each.

    White (192 … 255) is the object, mid-grey (64 … 191) counts nowhere; values of 0 and 1 alone, of 8 or 16 bits, are
    no and yes. Of a cut-out the object is what can be seen; of a palette, or of colours, the one that is not black.
    Errors: PictureError, saying how to save it, for what can be read in two ways.
    """
    wide = image.mode.startswith("I") or image.mode == "F"
    if not wide and (image.mode in CLEAR or "transparency" in image.info):
        pixels = np.asarray(image.convert("RGBA")).astype(int)  # (H, W, 4)
        if pixels[..., 3].min() < pixels[..., 3].max():
            return _cut_out(pixels, name)
        if not pixels[..., 3].any():
            raise PictureError(f"{name} is transparent everywhere. {HOW}")
        image = image if image.mode == "P" else image.convert("RGBA").convert("RGB")
    if wide:
        return _levels(np.asarray(image), name)
    colours = np.asarray(image.convert("RGB")).astype(int)  # (H, W, 3)
    if image.mode == "P":
        places = np.asarray(image)  # (H, W)
        used, kinds = np.unique(places), np.unique(colours.reshape(-1, 3), axis=0)
        greys = len(used) == len(kinds) > 2 and (np.ptp(kinds, axis=-1) == 0).all()
        ramp = (colours == places[..., None]).all()
        if not (ramp or greys) and not colours[places == 0].any():
            return _kinds(places, (places == 255) & (colours == VOID).all(axis=-1), name)
    if (np.ptp(colours, axis=-1) > 40).any():  # more than the shades of a JPEG
        kinds = (colours * (1, 256, 65536)).sum(axis=-1) * (colours.max(axis=-1) >= 32)
        return _kinds(kinds, (colours == VOID).all(axis=-1), name)
    return _levels(np.asarray(image.convert("L")), name)


def _cut_out(pixels: Int[np.ndarray, "H W 4"], name: str) -> Regions:
    shown = 2 * pixels[..., 3] >= pixels[..., 3].max()
    greys = np.unique(pixels[shown][:, :3], axis=0) if (np.ptp(pixels[shown][:, :3], axis=-1) == 0).all() else []
    if 1 < len(greys) <= 3 and greys[-1][0] >= 192:  # a mask on clear ground, no photograph
        if greys[0][0] < 64:
            raise PictureError(f"{name} is black and white on clear ground: what is the object? {HOW}")
        white = pixels[..., 0] >= 192
        return shown & white, shown & ~white
    return shown, np.zeros_like(shown)


def _kinds(kinds: Num[np.ndarray, "H W"], void: Bool[np.ndarray, "H W"], name: str) -> Regions:
    """Of places in a palette, or colours, the one that is not 0 and not void."""
    count = len(np.unique(kinds[(kinds != 0) & ~void]))
    if count > 1:
        raise PictureError(f"{name} holds {count} colours beside black: which is the object? {HOW}")
    return (kinds != 0) & ~void, void


def _levels(values: Num[np.ndarray, "H W"], name: str) -> Regions:
    top = float(values.max())
    if not (values >= 0).all() or not top <= 65535:
        raise PictureError(f"{name} holds values outside 0 … 65535. {HOW}")
    values = values.astype(float) * (255 if top <= 1 else 1 if top <= 255 else 1 / 257)  # now 0 … 255
    few = set(np.unique(values).tolist())
    if {1, 255} <= few <= {0, 1, 255}:
        raise PictureError(f"{name} holds both 1 and 255: which is the object? {HOW}")
    if 0 < values.max() < 64:
        raise PictureError(f"{name} is all but black (values up to {top:g}), but neither 0 and 1 alone. {HOW}")
    return values >= 192, (values >= 64) & (values < 192)
