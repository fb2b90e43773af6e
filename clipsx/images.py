"""Pictures from anywhere to what a model reads: defensive decoding, resizing, normalising."""

import io
import os
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

MAX_PIXELS = 64_000_000
"""Larger pictures are refused: no map here is finer than the patch grid, and decoding them can exhaust the memory."""

SHOWN = 800
"""A side of the largest picture that a figure shows, and that maps are read at, in pixels."""

Picture = Image.Image | np.ndarray | bytes | str | os.PathLike
RESAMPLE = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}


def fitting(size: tuple[int, int]) -> tuple[int, int]:
    """The (W, H), or (H, W), at which a picture of that size is shown: no side longer than `SHOWN` pixels."""
    scale = min(1.0, SHOWN / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def decode(picture: Picture) -> Image.Image:
    """A picture as PIL RGB: turned as EXIF says, transparency over white, 16 bits scaled to 8; a file's first frame.

    picture: a PIL image, a path, the bytes of a file, or an array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) of uint8,
    uint16, bool (0…1) or floats in 0…1. The given object is not changed.
    Errors: FileNotFoundError; TypeError for another kind of object; ValueError for bytes that are no picture, are cut
    short, or hold more than `MAX_PIXELS`.
    """
    if isinstance(picture, Image.Image):
        return _rgb(picture, "the image")
    if isinstance(picture, np.ndarray):
        return _rgb(_from_array(picture), "the array")
    if isinstance(picture, bytes | bytearray | memoryview):
        return _open(io.BytesIO(bytes(picture)), "the given bytes")
    if isinstance(picture, str | os.PathLike):
        path = Path(picture).expanduser()
        if not path.is_file():
            kind = "is a folder, not a picture" if path.is_dir() else "does not exist"
            raise FileNotFoundError(f"{path} {kind}.")
        with path.open("rb") as file:
            return _open(file, str(path))
    raise TypeError(f"A picture must be a PIL image, a path, bytes or a numpy array, not {type(picture).__name__}.")


def _open(file: io.BufferedIOBase, name: str) -> Image.Image:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PIL's own size and metadata warnings; the size is checked below
        try:
            with Image.open(file) as image:  # type: ignore[arg-type]
                return _rgb(image, name)
        except UnidentifiedImageError:
            raise ValueError(f"{name} is not a picture that can be read (PNG, JPEG, WebP, TIFF, GIF, BMP …).") from None
        except Image.DecompressionBombError:
            raise ValueError(_too_large(name, "far too many")) from None
        except (OSError, SyntaxError) as error:
            raise ValueError(_damaged(name, error)) from None


def _too_large(name: str, count: str) -> str:
    return f"{name} has {count} pixels; at most {MAX_PIXELS:,} are read. Make it smaller first."


def _damaged(name: str, error: Exception) -> str:
    return f"{name} is cut short or damaged ({error})."


def _rgb(image: Image.Image, name: str) -> Image.Image:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise ValueError(_too_large(name, f"{width:,} × {height:,}"))
    if width * height == 0:
        raise ValueError(f"{name} has no pixels ({width} × {height}).")
    try:
        image.load()
        image = ImageOps.exif_transpose(image)
        if image.mode.startswith("I") or image.mode == "F":
            return _from_array(np.asarray(image)).convert("RGB")
        if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
            clear = image.convert("RGBA")
            white = Image.new("RGBA", clear.size, "white")
            return Image.alpha_composite(white, clear).convert("RGB")
        return image.convert("RGB")
    except (OSError, SyntaxError, EOFError, IndexError) as error:
        raise ValueError(_damaged(name, error)) from None


def _from_array(values: np.ndarray) -> Image.Image:
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[:, :, 0]
    if 0 in values.shape or not (values.ndim == 2 or (values.ndim == 3 and values.shape[2] in (3, 4))):
        raise ValueError(f"An array must have shape (H, W), (H, W, 3) or (H, W, 4), not {values.shape}.")
    if values.shape[0] * values.shape[1] > MAX_PIXELS:
        raise ValueError(_too_large("The array", f"{values.shape[1]:,} × {values.shape[0]:,}"))
    if values.dtype == np.uint8:
        return Image.fromarray(values)
    if values.dtype.kind == "f":
        if not np.isfinite(values).all() or values.min() < 0 or values.max() > 1:
            raise ValueError("Floating-point pixels must be finite and lie in 0…1.")
        return Image.fromarray((values * 255).round().astype(np.uint8))
    if values.dtype == bool:
        return Image.fromarray(values.astype(np.uint8) * 255)
    if values.dtype.kind in "iu" and values.min() >= 0 and values.max() <= 65535:
        return Image.fromarray((values / 257).round().astype(np.uint8))
    raise ValueError(f"Pixels of type {values.dtype} must lie in 0…65535 (16 bits).")


def resize(image: Image.Image, size: tuple[int, int], fit: str, interpolation: str = "bicubic") -> Image.Image:
    """A picture at (H, W): "squash" ignores the proportions, "crop" scales the shorter side and keeps the middle.

    Errors: ValueError for an unknown fit, and where "crop" would need an intermediate picture over `MAX_PIXELS`.
    """
    height, width = size
    resample = RESAMPLE[interpolation]
    if fit == "squash":
        return image.resize((width, height), resample)
    if fit != "crop":
        raise ValueError(f'Unknown fit {fit!r}: "squash" (as the papers do) or "crop".')
    scale = max(width / image.width, height / image.height)
    wide, high = max(width, int(image.width * scale)), max(height, int(image.height * scale))
    if wide * high > MAX_PIXELS:
        raise ValueError(f'A picture of {image.width} × {image.height} is too long to crop; use fit="squash".')
    left, top = round((wide - width) / 2), round((high - height) / 2)
    return image.resize((wide, high), resample).crop((left, top, left + width, top + height))


def to_tensor(image: Image.Image, mean: Sequence[float], std: Sequence[float]) -> Float[Tensor, "1 3 H W"]:
    """RGB pixels as float32, minus the mean and over the standard deviation of each channel (both of values in 0…1)."""
    pixels = torch.from_numpy(np.array(image, dtype=np.uint8)).permute(2, 0, 1)[None]  # (1, 3, H, W)
    middle, spread = (torch.tensor(values, dtype=torch.float32).view(1, 3, 1, 1) for values in (mean, std))
    return (pixels.float() / 255 - middle) / spread
