"""Text files and lists of labels as people have them: encodings, one spelling of a name, numbered lists, background."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

from clipsx.text import check_labels

BACKGROUND = {"background", "__background__", "_background_", "bg", "void", "unlabeled", "unlabelled"}
IGNORED = {"__ignore__", "_ignore_"}  # as labelme writes before the background
NUMBERED = re.compile(r"(\d+)\s*[\s:.,;)=]\s*(?=\S)")


def spelled(name: str) -> str:
    """A name in the one of its spellings that is compared here: letters and accents as one (NFC)."""
    return unicodedata.normalize("NFC", name)


def listed(labels: Iterable[str]) -> tuple[str, ...]:
    """Labels that were given, in one spelling; also none. Errors: those of `check_labels`, as for one text alone."""
    given = labels if isinstance(labels, str) else list(labels)
    return () if given == [] else tuple(map(spelled, check_labels(given)))


def lines(file: Path) -> list[tuple[int, str]]:
    """The lines of a text file that are not empty, without blanks around them, and their numbers from 1.

    Errors: FileNotFoundError; ValueError, naming the file, for what is not UTF-8 (with a mark at its start or without).
    """
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        text = ""
    if not text or "\0" in text:
        start = file.read_bytes()[:100]
        if not start:
            return []
        kind = "UTF-16" if b"\0" in start else "Latin-1 or another of its kind"
        raise ValueError(f"{file} is not UTF-8 but looks like {kind}: save it as UTF-8, in an editor or with iconv.")
    return [(n, line.strip()) for n, line in enumerate(spelled(text).splitlines(), start=1) if line.strip()]


def classes(file: Path, underscores: bool = False) -> list[tuple[int, str]]:
    """The lines of a list of classes: # comments and the numbers of a numbered list left out, `_` read as a blank.

    underscores: they stay, where labels are also names of files.
    A list is numbered where its first line is, from 0 or 1. Errors: those of `lines`; ValueError, naming the line,
    where a list is numbered only in part, or with gaps.
    """
    found = [(n, line) for n, line in lines(file) if not line.startswith("#")]
    named = [(n, line) for n, line in found if not line.startswith("background:")]
    numbers = [NUMBERED.match(line) for _, line in named]
    first = int(numbers[0][1]) if named and numbers[0] else None
    if first in (0, 1):
        for place, ((n, line), number) in enumerate(zip(named, numbers, strict=True), start=first):
            if number is None or int(number[1]) != place:
                raise ValueError(f"{file}, line {n}: {line!r} is not numbered {place}, as the lines before it are.")
            if not any(letter.isalpha() for letter in line):
                raise ValueError(f"{file}, line {n}: {line!r} holds no name.")
        cut = {n: line[number.end() :] for (n, line), number in zip(named, numbers, strict=True) if number}
        found = [(n, cut.get(n, line)) for n, line in found]
    kept = BACKGROUND | IGNORED
    return [(n, line if underscores or line.lower() in kept else worded(line)) for n, line in found]


def worded(name: str) -> str:
    """A name as text reads it: `traffic_light` is two words."""
    return " ".join(name.replace("_", " ").split())


def foreground(names: Sequence[str]) -> tuple[str, ...]:
    """A list of mask values' names without the background that may stand first, as value 0."""
    kept = list(names)
    for words in (IGNORED, BACKGROUND):
        if kept and kept[0].lower() in words:
            kept.pop(0)
    return tuple(kept)
