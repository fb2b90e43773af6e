"""The parts of a panel that the browser draws. What they show is in their traits; how, in the .js files."""

import html
import io
from collections.abc import Callable
from importlib.resources import files
from typing import Any, cast

import anywidget
import contourpy
import ipywidgets as W
import numpy as np
import traitlets as t
from jaxtyping import Bool
from matplotlib import colormaps
from matplotlib.figure import Figure
from PIL import Image

from clipsx.datasets import Sample
from clipsx.plots import COLOURS, styles

THUMB = 112  # pixels, twice what the page shows
UPLOAD_LIMIT = 8_000_000  # bytes; Jupyter's websocket closes on messages of 10 MiB


def _own(name: str) -> str:
    return files("clipsx.panels").joinpath(name).read_text(encoding="utf-8")


_STYLE = _own("panel.css")
_STILL = _own("still.html")


class Gallery(anywidget.AnyWidget):
    """Thumbnails, paged, and a picture of one's own.

    Messages from the browser: {"kind": "picture", "name"} with the file's bytes, {"kind": "refused", "words"}.
    """

    _esm, _css = _own("gallery.js"), _STYLE
    thumbs = t.List(t.Dict()).tag(sync=True)  # {"key": place or path, "name", "bytes"}
    chosen = t.Any(0).tag(sync=True)
    page = t.Int(0).tag(sync=True)
    pages = t.Int(1).tag(sync=True)
    limit = t.Int(UPLOAD_LIMIT).tag(sync=True)


class Chips(anywidget.AnyWidget):
    """Labels to add, edit, remove, and to choose the one shown from."""

    _esm, _css = _own("chips.js"), _STYLE
    labels = t.List(t.Unicode()).tag(sync=True)
    shown = t.Int(0).tag(sync=True)
    scores = t.List(t.Float()).tag(sync=True)
    known = t.List(t.Unicode()).tag(sync=True)


class Pictures(anywidget.AnyWidget):
    """The photo and maps over it. Blending, threshold, hover and the choice of label never leave the browser."""

    _esm, _css = _own("paint.js") + _own("canvas.js"), _STYLE
    picture = t.Dict().tag(sync=True)  # bytes, size (W, H), outlines {label: SVG path}
    scene = t.Dict().tag(sync=True)  # title, under, words, grid (h, w), labels, panes (see `pane`)
    attention = t.Dict().tag(sync=True)  # title, under, words, map (h, w) float32, anchor (row, column)
    shown = t.Int(0).tag(sync=True)
    patch = t.Any(None, allow_none=True).tag(sync=True)  # (row, column)
    threshold = t.Float(0.6).tag(sync=True)
    opacity = t.Float(0.6).tag(sync=True)
    colours = t.Bytes().tag(sync=True)  # 256 × RGB


class Words(anywidget.AnyWidget):
    """A sentence over a picture. Hovering never leaves the browser; a click or a key chooses a word or a patch."""

    _esm, _css = _own("paint.js") + _own("words.js"), _STYLE
    picture = t.Dict().tag(sync=True)  # bytes, size (W, H), name
    scene = t.Dict().tag(sync=True)  # grid (h, w), maps (W, h, w) float32, words (`SentenceView.entries`), cut, about
    word = t.Int(-1).tag(sync=True)  # the place of the one shown, −1 for the strongest
    patch = t.Any(None, allow_none=True).tag(sync=True)  # (row, column)
    opacity = t.Float(0.6).tag(sync=True)
    colours = t.Bytes().tag(sync=True)  # 256 × RGB
    marks = t.List().tag(sync=True)  # colour and number of the strongest words


class Cells(anywidget.AnyWidget):
    """A class × class matrix of which one cell, (row, column), is chosen by a click or the arrow keys."""

    _esm, _css = _own("cells.js"), _STYLE
    labels = t.List(t.Unicode()).tag(sync=True)
    name = t.Unicode().tag(sync=True)  # what the values measure
    values = t.Bytes().tag(sync=True)  # (N, N) float32, NaN where not measured
    chosen = t.List(t.Int(), [0, 1]).tag(sync=True)
    colours = t.Bytes().tag(sync=True)  # 256 × RGB


class Points(anywidget.AnyWidget):
    """A photo with points to set, move, turn and remove, and the mask that they yield.

    The browser sets its points to null for those that the map gives.
    """

    _esm, _css = _own("paint.js") + _own("points.js"), _STYLE
    picture = t.Dict().tag(sync=True)  # bytes, size (W, H), truth (SVG path)
    mask = t.Unicode().tag(sync=True)  # SVG path
    points = t.List(t.List(t.Int()), allow_none=True).tag(sync=True)  # x, y, 1 (on the object) or 0


class Code(anywidget.AnyWidget):
    """A button that shows `code` and copies it.

    Every panel has one, so it guards the keys of them all, and names what their stock controls leave without a name.
    """

    _esm, _css = _own("keys.js") + _own("names.js") + _own("code.js"), _STYLE
    code = t.Unicode().tag(sync=True)
    alt = t.Unicode().tag(sync=True)  # what the panel's figures show, in words


def colours() -> bytes:
    """The colours of maps as the browser reads them, 256 × RGB."""
    return (colormaps[COLOURS](np.arange(256))[:, :3] * 255).round().astype(np.uint8).tobytes()


def jpeg(image: Image.Image, side: int) -> bytes:
    """An image as the bytes of a JPEG, no side longer than `side` pixels (a PNG takes twenty times as long)."""
    if max(image.size) > side:
        image = image.copy()
        image.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=95, subsampling=0)
    return buffer.getvalue()


def thumb(key: int | str, sample: Sample) -> dict[str, Any]:
    """An entry of a gallery's `thumbs`."""
    return {"key": key, "name": sample.name or f"sample {key}", "bytes": jpeg(sample.image, THUMB)}


def outline(mask: Bool[np.ndarray, "H W"]) -> str:
    """The border of a region as an SVG path in pixel coordinates (x right, y down, pixel (0, 0) spans 0 … 1)."""
    padded = np.pad(mask, 1).astype(np.float32)  # (H + 2, W + 2): regions at the picture's edge are closed
    lines = cast(list[np.ndarray], contourpy.contour_generator(z=padded).lines(0.5))
    return "".join("M" + "L".join(f"{x - 0.5:g} {y - 0.5:g}" for x, y in line) + "Z" for line in lines)


def still(picture: str, words: str) -> str:
    """A picture (PNG, base64) as HTML that JupyterLab shows where the widget output before it has lost its kernel."""
    return _STILL.format(picture=picture, words=html.escape(words))


def line(words: str, role: str = "alert") -> str:
    """Words as a line that a screen reader says: "alert" for errors, "status" for news; no words, no line."""
    return f'<div role="{role}" class="clipsx-{role}">{html.escape(words)}</div>' if words else ""


def spoken(words: str) -> str:
    """Words under a picture, read out when they change."""
    return f'<div aria-live="polite" class="clipsx-words">{html.escape(words)}</div>'


def image() -> W.Image:
    """Where a panel shows a figure, as wide as there is room."""
    return W.Image(format="png", layout=W.Layout(max_width="100%"))


def png_of(draw: Callable[[], Figure]) -> bytes:
    """The figure that `draw` makes, as PNG."""
    buffer = io.BytesIO()
    with styles.alone():
        draw().savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()
