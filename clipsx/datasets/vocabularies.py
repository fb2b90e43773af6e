"""Vocabularies: the classes of a data set and the words that ask for them, as text reads them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

from clipsx import paths
from clipsx.datasets.lines import BACKGROUND as GROUNDS
from clipsx.datasets.lines import IGNORED, classes, foreground, listed
from clipsx.messages import nearest

BACKGROUND = "background:"


@dataclass(frozen=True)
class Vocabulary:
    """Classes in the order of a data set's ids; each has one query or more, the first of them the name shown.

    name: what tables say of the wording; two vocabularies of the same words are equal, whatever they are called.
    """

    queries: tuple[tuple[str, ...], ...]
    background: tuple[str, ...] = ()  # queries for what is no class
    name: str = field(default="given words", compare=False)

    def __post_init__(self) -> None:
        for words in (*self.queries, self.background):
            listed(words)
        if twice := {name for name in self.names if self.names.count(name) > 1}:
            raise ValueError(f"The class {min(twice)!r} is there twice.")

    @property
    def names(self) -> tuple[str, ...]:
        """The name of each class."""
        return tuple(words[0] for words in self.queries)

    @classmethod
    def single(cls, names: Iterable[str], name: str = "given words") -> "Vocabulary":
        """Every class asked for by its name alone."""
        return cls(tuple((word,) for word in names), name=name)

    @classmethod
    def read(cls, path: str | PathLike[str]) -> "Vocabulary":
        """A text file in UTF-8: a class a line, its queries parted by ", "; empty lines and lines with # say nothing.

        A line that begins with `background:` holds queries for what is no class, and so does a first class that is
        called so. Lines may be numbered from 0 or 1, and `_` is read as a blank (`lines.classes`).
        Errors: FileNotFoundError; ValueError, naming file and line, for a class that is there twice, a query without
        words, and a file without classes.
        """
        found: dict[str, tuple[str, ...]] = {}
        background: tuple[str, ...] = ()
        for number, text in classes(Path(path).expanduser()):
            words = tuple(word.strip() for word in text.removeprefix(BACKGROUND).split(","))
            if not all(words):
                raise ValueError(f"{path}, line {number}: {text!r} holds a query without words.")
            if text.startswith(BACKGROUND):
                background += words
            elif not found and words[0].lower() in IGNORED | GROUNDS:
                background += () if words[0].lower() in IGNORED else ("background", *words[1:])
            elif words[0] in found:
                raise ValueError(f"{path}, line {number}: the class {words[0]!r} is there twice.")
            else:
                found[words[0]] = words
        if not found:
            raise ValueError(f"{path} holds no class: give one a line.")
        return cls(tuple(found.values()), background, Path(path).name.removesuffix(".txt"))

    @classmethod
    def of(cls, given: "Given") -> "Vocabulary":
        """The vocabulary of a name in `BUILT_IN`, a text file, names of classes, or what `plain` gave.

        A background that stands first in a list of names is no class. Errors: those of `read`; ValueError for a name
        that is neither built in nor a file (with the nearest).
        """
        if isinstance(given, Vocabulary):
            return given
        if isinstance(given, Mapping):
            return cls(tuple(map(tuple, given["queries"])), tuple(given["background"]), given["name"])
        if not isinstance(given, str | PathLike):
            names = listed(given)
            kept = foreground(names)
            return cls(tuple((name,) for name in kept), ("background",) if kept != names else ())
        if str(given) in BUILT_IN:
            return BUILT_IN[str(given)]
        if not Path(given).expanduser().is_file():
            raise ValueError(f"{str(given)!r} is no vocabulary and no file{nearest(str(given), BUILT_IN)}.")
        return cls.read(given)

    def reworded(self, given: "Given | None", data: str) -> "Vocabulary":
        """Other words for the same classes, itself where none are given. Errors: ValueError for another number of them.

        data: what has these classes, for the error.
        """
        found = self if given is None else Vocabulary.of(given)
        if len(found.queries) != len(self.queries):
            count = f"names {len(found.queries)} classes, but {data} has {len(self.queries)}"
            raise ValueError(f"The vocabulary {found.name!r} {count}: give one a line, in the order of {self.name!r}.")
        return found

    def plain(self) -> str | dict[str, Any]:
        """Its name where it is built in, else its words: plain values, as in JSON, for `of`."""
        words = {"name": self.name, "queries": list(map(list, self.queries)), "background": list(self.background)}
        return self.name if BUILT_IN.get(self.name) == self else words


Given = Vocabulary | str | PathLike[str] | Sequence[str] | Mapping[str, Any]

_files = sorted((paths.data() / "vocabularies").glob("*.txt"), key=lambda file: (file.stem != "sketchbook", file.stem))
BUILT_IN: dict[str, Vocabulary] = {file.stem: Vocabulary.read(file) for file in _files}
VOCABULARIES: dict[str, tuple[str, ...]] = {name: words.names for name, words in BUILT_IN.items()}
"""The names of the classes of well-known data sets, for analyses that need labels but no pictures."""


def vocabulary(name: str) -> tuple[str, ...]:
    """The labels of a set by its name in `VOCABULARIES`, or those of a text with commas or lines, each once.

    Errors: ValueError for an unknown name (with the nearest), and for fewer than two different labels.
    """
    if name in VOCABULARIES:
        return VOCABULARIES[name]
    labels = tuple(dict.fromkeys(word.strip() for word in name.replace("\n", ",").split(",") if word.strip()))
    if len(labels) < 2:
        raise ValueError(f"{name!r} is no label set{nearest(name, VOCABULARIES)}. Or type labels with commas between.")
    return labels
