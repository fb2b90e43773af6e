"""Words for error messages."""

import difflib
from collections.abc import Iterable


def nearest(name: str, known: Iterable[str], show: int = 8) -> str:
    """The end of a sentence about an unknown name: the nearest known ones, else the first few."""
    names = [str(k) for k in known]
    folded = {n.lower(): n for n in names}
    close = [folded[c] for c in difflib.get_close_matches(str(name).lower(), folded, n=3, cutoff=0.5)]
    if close:
        return "; did you mean " + " or ".join(map(repr, close)) + "? " + _among(names, show)
    return ". " + _among(names, show)


def _among(names: list[str], show: int) -> str:
    if not names:
        return "None is known"
    return "Known: " + ", ".join(names[:show]) + (f" and {len(names) - show} more" if len(names) > show else "")


def brief(error: BaseException, length: int = 300) -> str:
    """An error's words on one line, cut where they go on for long."""
    words = " ".join(str(error).split())
    return words if len(words) <= length else words[: length - 1] + "…"
