"""How wide figures are and how large their words: for the screen, a column or the text's width of a paper."""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from threading import RLock
from typing import Any

import matplotlib.pyplot as plt
from matplotlib import rc_context
from matplotlib.artist import Artist
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from clipsx.messages import nearest

VARIABLE = "CLIPSX_STYLE"  # of the environment: the style where none is stated
LEAST = 7.0  # points: smaller words cannot be read in print


# One figure at a time, in whatever thread: fonts, and matplotlib's settings, are shared by all of a process.
DRAWING = RLock()
# TrueType fonts: what Type 3 fonts write can be neither searched nor edited, and many publishers refuse it.
FONTS: Any = {"pdf.fonttype": 42, "ps.fonttype": 42, "svg.hashsalt": "clipsx"}


@dataclass(frozen=True)
class Style:
    """width: of every figure, in inches; None: each as wide as it is drawn. In print all words have `LEAST` points."""

    name: str
    width: float | None = None

    @property
    def thin(self) -> float:
        """How thick outlines and marks over pictures are, beside a screen's."""
        return 1.0 if self.width is None else 0.6

    def fits(self, columns: int, least: float = 1.0) -> int:
        """How many of so many places side by side fit, each at least so wide (inches)."""
        return columns if self.width is None else max(1, min(columns, int(self.width / least)))

    def points(self, screen: float) -> float:
        """The size of words that have `screen` points on a screen."""
        return screen if self.width is None else LEAST

    def dress(self, *drawn: Artist) -> None:
        """In print, give every word its size."""
        for artist in drawn if self.width is not None else ():
            for axis in artist.findobj(Axis):
                axis.set_tick_params(labelsize=LEAST)  # ticks are made anew at every drawing
            for text in artist.findobj(Text):
                text.set_fontsize(LEAST)


STYLES = {style.name: style for style in (Style("screen"), Style("column", 3.3), Style("text", 6.9))}
_stated: ContextVar[str | None] = ContextVar("style", default=None)
_alone: ContextVar[bool] = ContextVar("alone", default=False)


def named(name: str) -> Style:
    """A style by its name. Errors: ValueError for an unknown one, with the nearest."""
    if name not in STYLES:
        raise ValueError(f"Unknown style {name!r}{nearest(name, STYLES)}: figures are drawn for {', '.join(STYLES)}.")
    return STYLES[name]


def current() -> Style:
    """The style that figures are drawn in: the one in use, that of the environment ($CLIPSX_STYLE), or "screen"."""
    return named(_stated.get() or os.environ.get(VARIABLE) or "screen")


@contextmanager
def using(name: str) -> Iterator[Style]:
    """Draw and save in a style; afterwards in the one before. Errors: those of `named`."""
    style, token = named(name), _stated.set(name)
    try:
        yield style
    finally:
        _stated.reset(token)


@contextmanager
def alone() -> Iterator[None]:
    """No figure that is made inside is pyplot's: a notebook draws, shows and closes those after every message it gets.

    It does so in its main thread: a figure that another thread draws meanwhile may come out a hundred times as wide.
    """
    token = _alone.set(True)
    try:
        with DRAWING:
            yield
    finally:
        _alone.reset(token)


def blank(**options: Any) -> Figure:
    """An empty figure: pyplot's, so that a notebook shows it, but within `alone`; options: of `plt.figure`."""
    return FigureCanvasAgg(Figure(**options)).figure if _alone.get() else plt.figure(**options)


def fonts() -> AbstractContextManager[None]:
    """Files written inside hold fonts that can be searched and edited; matplotlib's settings are left as found."""
    return rc_context(FONTS)
