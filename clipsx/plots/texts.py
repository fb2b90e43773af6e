"""Words in figures: a user's own, whatever they hold, as they stand and in a font that has them."""

import logging
import textwrap
import unicodedata
from contextlib import suppress
from functools import cache

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.category import StrCategoryLocator
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font
from matplotlib.ft2font import FaceFlags
from matplotlib.text import Text
from matplotlib.ticker import FixedLocator

from clipsx.methods import PAIRS
from clipsx.plots import styles
from clipsx.reading import IN_WORDS, Reading

BOX = "□"  # for what no font here has
LETTER = 0.55  # of the font's size: how wide a letter is, about
_log = logging.getLogger(__name__)
_told: set[str] = set()


def plain(*drawn: Axes | Figure) -> None:
    """Take the words of axes or figures as they stand: "$" begins no formula, and every character is drawn.

    Characters that their font lacks come from another font of this system; for those that none has stands a box, and
    the log says so once. Numbers at ticks, which matplotlib writes, are left alone.
    """
    for artist in drawn:
        for ax in artist.axes if isinstance(artist, Figure) else [artist]:
            _tick_labels(ax)
        for text in artist.findobj(Text):
            if isinstance(text, Text) and text.get_text() and r"\mathdefault" not in text.get_text():
                text.set_parse_math(False)
                words, families = _drawable(text.get_text(), tuple(text.get_fontfamily()))
                text.set_text(words)
                text.set_fontfamily(families)


def _tick_labels(ax: Axes) -> None:
    """Ticks write their words anew from a list at every drawing: the list is what has to be drawable."""
    for axis in (ax.xaxis, ax.yaxis):
        if isinstance(axis.get_major_locator(), FixedLocator | StrCategoryLocator):
            words = [label.get_text() for label in axis.get_ticklabels()]
            found = [_drawable(word, tuple(FontProperties().get_family()))[0] for word in words]
            if found != words:
                axis.set_ticks(axis.get_ticklocs(), found)


def _drawable(words: str, families: tuple[str, ...]) -> tuple[str, list[str]]:
    """Words with a box for what no font has, and the families that draw them."""
    own, found, lacking = _characters(findfont(FontProperties(family=list(families)))), list(families), set()
    drawn = []
    for character in words.replace("\r\n", "\n").expandtabs(4):
        if character == "\n" or ord(character) in own:
            drawn.append(character)
        elif unicodedata.category(character) == "Cf" or unicodedata.name(character, "").startswith("VARIATION"):
            continue  # joins or varies its neighbours: nothing to see
        elif family := _family_with(character):
            drawn.append(character)
            found += [] if family in found else [family]
        else:
            drawn.append(BOX)
            lacking.add(character)
    if lacking - _told:
        _told.update(lacking)
        some = ", ".join(sorted(map(ascii, lacking))[:8]).replace("'", "")
        _log.warning("No font here has %s: boxes stand for it. A font such as Noto Sans would show it.", some)
    return "".join(drawn), found


@cache
def _characters(path: str) -> frozenset[int]:
    """The characters that a font file draws; none for a font of pictures, which matplotlib cannot draw."""
    try:
        font = get_font(path)
        return frozenset(font.get_charmap()) if FaceFlags.SCALABLE in font.face_flags else frozenset()
    except (OSError, RuntimeError):
        return frozenset()


@cache
def _family_with(character: str) -> str | None:
    """A family of this system that has a character, upright sans-serif ones first."""
    usual = [f for f in fontManager.ttflist if not ("Last Resort" in f.name or "Color" in f.name or f.name[:2] == "cm")]
    usual.sort(key=lambda f: ("Sans" not in f.name, f.style != "normal", f.weight != 400, f.name))
    return next((f.name for f in usual if ord(character) in _characters(f.fname)), None)


def in_words(column: object, value: object) -> str:
    """What figures call a value of a table's column: readings and methods by their titles, surgery in words."""
    if column in ("surgery", "form"):
        return IN_WORDS.get(str(value), str(value))
    if column == "present":
        return "label in the picture" if value else "absent label"
    if column == "kind" and value in PAIRS:
        return f"{PAIRS[str(value)]} attention"
    if column == "part":
        return str(value).replace("ffn", "FFN")
    if column in ("reading", "method"):
        with suppress(ValueError):
            return Reading.parse(str(value)).title
    return str(value)


def worded(table: pd.DataFrame, digits: int = 1) -> pd.DataFrame:
    """A table to be shown: readings, methods and surgery as figures call them, numbers rounded."""
    named = [name for name in ("reading", "method", "surgery") if name in table]
    return table.assign(**{name: [in_words(name, value) for value in table[name]] for name in named}).round(digits)


def narrow(words: str) -> str:
    """In print, a sum in two lines, for the side of an axes."""
    return words if styles.current().width is None else words.replace(" + ", "\n+ ")


def broken(words: str, letters: float) -> str:
    """Words in lines of at most so many letters; a word stays whole where it is only a little longer."""
    most = max(4, int(letters))
    lines = [part for line in words.split("\n") for part in textwrap.wrap(line, most, break_long_words=False)]
    return "\n".join(line if len(line) <= 1.3 * most else textwrap.fill(line, most) for line in lines)


def short(words: object, most: int = 40) -> str:
    """Words on one line, cut where they go on for more than `most` characters."""
    line = " ".join(str(words).split())
    return line if len(line) <= most else line[: most - 1] + "…"
