"""Pictures from anywhere to what a model reads: defensive decoding, resizing, normalising."""

import io
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from clipsx.messages import brief
from clipsx.quiet import quiet

MAX_PIXELS = 64_000_000
"""Larger pictures are refused: no map here is finer than the patch grid, and decoding them can exhaust the memory."""
MAX_READ = 4096 * 4096
"""Pixels that a model reads of a picture at most: attention over them grows with the square of their number."""
FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP", "PPM", "JPEG2000", "AVIF")
"""What is opened. PIL knows more, and some of it starts other programs (Ghostscript) or is no photograph."""

SHOWN = 800
"""A side of the largest picture that a figure shows, and that maps are read at, in pixels."""

Picture = Image.Image | np.ndarray | bytes | str | os.PathLike
RESAMPLE = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
CLEAR = ("RGBA", "LA", "PA", "La", "RGBa")  # modes with transparency
TURNS = dict(enumerate(
    (Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.ROTATE_180, Image.Transpose.FLIP_TOP_BOTTOM,
     Image.Transpose.TRANSPOSE, Image.Transpose.ROTATE_270, Image.Transpose.TRANSVERSE, Image.Transpose.ROTATE_90),
    start=2,
))  # fmt: skip
"""What EXIF's orientation says to do with the pixels as they were taken."""
TOLD = ("exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp")  # where an orientation can stand


class PictureError(ValueError):
    """A picture, or a mask of it, that cannot be read, or not in one way: what an evaluation goes round."""


def fitting(size: tuple[int, int]) -> tuple[int, int]:
    """The (W, H), or (H, W), at which a picture of that size is shown: no side longer than `SHOWN` pixels."""
    scale = min(1.0, SHOWN / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def decode(picture: Picture) -> Image.Image:
    """A picture as PIL RGB: turned as EXIF says, transparency over white, 16 bits scaled to 8; a file's first frame.

    picture: a PIL image, a path, the bytes of a file (`FORMATS`), or an array (H, W), (H, W, 1), (H, W, 3) or
    (H, W, 4) of bool (0…1), floats in 0…1 or integers: 8 bits where none is over 255, else 16. The given object is not
    changed. EXIF that is broken says nothing.
    Errors: FileNotFoundError; TypeError for another kind of object; PictureError (a ValueError) for bytes that are no
    picture, are cut short, or hold more than `MAX_PIXELS`.
    """
    if isinstance(picture, Image.Image):
        return _rgb(picture, "the image")
    if isinstance(picture, np.ndarray):
        return _rgb(_from_array(picture), "the array")
    with opened(picture) as image:
        name = "the given bytes" if isinstance(picture, bytes | bytearray | memoryview) else str(picture)
        return _rgb(image, name)


@contextmanager
def opened(picture: bytes | str | os.PathLike) -> Iterator[Image.Image]:
    """A file of a picture, or its bytes, opened but not decoded. Errors: as `decode`."""
    name = "the given bytes"
    if isinstance(picture, bytes | bytearray | memoryview):
        file = io.BytesIO(bytes(picture))
    elif isinstance(picture, str | os.PathLike):
        path = Path(picture).expanduser()
        if not path.is_file():
            others = "is no file that can be read through, but a pipe or device" if path.exists() else "does not exist"
            kind = "is a folder, not a picture" if path.is_dir() else others
            raise FileNotFoundError(f"{path} {kind}.")
        name, file = str(path), path.open("rb")
    else:
        kind = type(picture).__name__
        raise TypeError(f"A picture must be a PIL image, a path, bytes or a numpy array, not {kind}.")
    with file, quiet():  # PIL's own warnings of size and metadata; the size is checked here
        try:
            image = Image.open(file, formats=FORMATS)
        except UnidentifiedImageError:
            empty = "" if file.seek(0, os.SEEK_END) else "empty, and so "
            raise PictureError(
                f"{name} is {empty}not a picture that can be read (PNG, JPEG, WebP, TIFF, GIF, BMP …)."
            ) from None
        except Image.DecompressionBombError:
            raise PictureError(_too_large(name, "far too many")) from None
        except Exception as error:  # its readers raise whatever broken bytes lead to
            raise PictureError(_damaged(name, error)) from None
        with image:
            yield image


def _too_large(name: str, count: str) -> str:
    return f"{name} has {count} pixels; at most {MAX_PIXELS:,} are read. Make it smaller first."


def _damaged(name: str, error: Exception) -> str:
    return f"{name} is cut short or damaged ({brief(error)})."


def orientation(image: Image.Image) -> int:
    """EXIF's orientation, 1 … 8; 1 where it says nothing that is understood."""
    try:
        stated = int(image.getexif().get(0x0112, 1))
    except Exception:  # its readers raise whatever broken bytes lead to
        return 1
    return stated if stated in TURNS else 1


def loaded(image: Image.Image, name: str) -> Image.Image:
    """A picture with its pixels, turned as EXIF says, in its own mode. Errors: PictureError."""
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise PictureError(_too_large(name, f"{width:,} × {height:,}"))
    if width * height == 0:
        raise PictureError(f"{name} has no pixels ({width} × {height}).")
    try:
        image.load()
    except MemoryError:
        raise
    except Exception as error:  # decoders raise whatever broken bytes lead to
        raise PictureError(_damaged(name, error)) from None
    turn = orientation(image)
    if turn not in TURNS:
        return image
    turned = image.transpose(TURNS[turn])
    for key in TOLD:  # else whoever decodes it again would turn it again
        turned.info.pop(key, None)
    return turned


def _rgb(image: Image.Image, name: str) -> Image.Image:
    image = loaded(image, name)
    try:
        if image.mode.startswith("I"):
            return _from_array(np.asarray(image)).convert("RGB")
        if image.mode == "F":
            values = np.asarray(image)  # (H, W), 0…1, or 0…255 as PIL makes it of grey pixels
            return _from_array(values / 255 if 1 < values.max() <= 255 else values).convert("RGB")
        if image.mode in CLEAR or "transparency" in image.info:
            clear = image.convert("RGBA")
            white = Image.new("RGBA", clear.size, "white")
            return Image.alpha_composite(white, clear).convert("RGB")
        if image.mode != "RGB":
            return image.convert("RGB")
        # Of a file, its pixels without the file; `convert` would copy them, half as long again as decoding takes.
        return image if type(image) is Image.Image else image._new(image.im)
    except (OSError, SyntaxError, EOFError, IndexError) as error:
        raise PictureError(_damaged(name, error)) from None
    except ValueError as error:
        raise PictureError(f"{name}: {error}") from None


def _from_array(values: np.ndarray) -> Image.Image:
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[:, :, 0]
    if 0 in values.shape or not (values.ndim == 2 or (values.ndim == 3 and values.shape[2] in (3, 4))):
        raise ValueError(f"An array must have shape (H, W), (H, W, 3) or (H, W, 4), not {values.shape}.")
    if values.shape[0] * values.shape[1] > MAX_PIXELS:
        raise ValueError(_too_large("The array", f"{values.shape[1]:,} × {values.shape[0]:,}"))
    if values.dtype == bool:
        return Image.fromarray(values.astype(np.uint8) * 255)
    if values.dtype.kind == "f":
        if not np.isfinite(values).all() or values.min() < 0 or values.max() > 1:
            raise ValueError("Floating-point pixels must be finite and lie in 0…1 (divide those of 0…255 by 255).")
        return Image.fromarray((values * 255).round().astype(np.uint8))
    if values.dtype.kind not in "iu" or values.min() < 0 or values.max() > 65535:
        raise ValueError(f"Pixels of type {values.dtype} must lie in 0…65535 (16 bits).")
    scale = 1 if values.max() <= 255 else 257  # 8 bits in a wider type, as sums and tensors leave them, or 16
    return Image.fromarray((values / scale).round().astype(np.uint8))


def require_room(size: tuple[int, int]) -> None:
    """Raise a ValueError for a size (H, W) at which no model's memory would be enough (`MAX_READ`)."""
    height, width = size
    if height * width > MAX_READ:
        needs = f"{12 * height * width / 1e9:,.1f} GB of memory for the pixels alone, and attention over them far more"
        raise ValueError(f"A size of {height:,} × {width:,} would take {needs}: give at most {MAX_READ:,} pixels.")


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
    across = width * image.height >= height * image.width  # whether the width decides
    wide = width if across else height * image.width // image.height
    high = width * image.height // image.width if across else height
    if wide * high > MAX_PIXELS:
        raise ValueError(f'A picture of {image.width} × {image.height} is too long to crop; use fit="squash".')
    left, top = round((wide - width) / 2), round((high - height) / 2)
    return image.resize((wide, high), resample).crop((left, top, left + width, top + height))


def to_tensor(image: Image.Image, mean: Sequence[float], std: Sequence[float]) -> Float[Tensor, "1 3 H W"]:
    """RGB pixels as float32, minus the mean and over the standard deviation of each channel (both of values in 0…1)."""
    pixels = torch.from_numpy(np.array(image, dtype=np.uint8)).permute(2, 0, 1)[None]  # (1, 3, H, W)
    middle, spread = (torch.tensor(values, dtype=torch.float32).view(1, 3, 1, 1) for values in (mean, std))
    return (pixels.float() / 255 - middle) / spread
