"""Words for error messages."""

import difflib
import operator
from collections.abc import Iterable
from importlib.util import find_spec
from typing import Any


def nearest(name: str, known: Iterable[str], show: int = 8) -> str:
    """The end of a sentence about an unknown name: the nearest known ones, else the first few."""
    names = [str(k) for k in known]
    folded = {n.lower(): n for n in names}
    close = [folded[c] for c in difflib.get_close_matches(str(name).lower(), folded, n=3, cutoff=0.5)]
    more = f" and {len(names) - show} more" if len(names) > show else ""
    every = f"Known: {', '.join(names[:show])}{more}" if names else "None is known"
    return f"; did you mean {' or '.join(map(repr, close))}? {every}" if close else f". {every}"


def require_known(what: str, value: str, known: Iterable[str]) -> None:
    """Raise a ValueError that names what is not known, and the nearest that is."""
    if value not in known:
        raise ValueError(f"Unknown {what} {value!r}{nearest(value, known)}.")


def brief(error: BaseException, length: int = 300) -> str:
    """An error's words on one line, cut where they go on for long."""
    words = " ".join(str(error).split())
    return words if len(words) <= length else words[: length - 1] + "…"


def one_of(value: str, known: Iterable[str], what: str) -> str:
    """A value that must be one of a few. Errors: ValueError for another, with the nearest; what: begins its words."""
    if value not in (few := list(known)):
        raise ValueError(f"{what} cannot be {value!r}{nearest(value, few)}.")
    return value


def require(name: str, value: Any, low: float, high: float = float("inf"), whole: bool = False) -> None:
    """Raise a ValueError unless an option is a number (a whole one) in low…high; NaN and infinity never are."""
    try:
        number = float(operator.index(value) if whole else value) if hasattr(value, "__float__") else float("nan")
    except (TypeError, ValueError, RuntimeError, OverflowError):
        number = float("nan")
    if not low <= number <= high or number == float("inf"):
        kind = "a whole number" if whole else "a finite number"
        bounds = f"of at least {low:g}" if high == float("inf") else f"in {low:g}…{high:g}"
        raise ValueError(f"{name} must be {kind} {bounds}, not {value}.")


def require_package(package: str, extra: str, who: str) -> None:
    """Raise an ImportError, naming the extra that brings it, unless a package is installed. who: what needs it."""
    if find_spec(package) is None:
        raise ImportError(f"{who} needs the package {package}, which is not installed: pip install 'clipsx[{extra}]'.")
