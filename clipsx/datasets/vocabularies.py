"""Vocabularies: the classes of a data set and the words that ask for them, as text reads them."""

from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from clipsx import paths
from clipsx.datasets.lines import BACKGROUND as GROUNDS
from clipsx.datasets.lines import IGNORED, classes, listed
from clipsx.messages import nearest

BACKGROUND = "background:"


@dataclass(frozen=True)
class Vocabulary:
    """Classes in the order of a data set's ids; each has one query or more, the first of them the name shown."""

    queries: tuple[tuple[str, ...], ...]
    background: tuple[str, ...] = ()  # queries for what is no class

    def __post_init__(self) -> None:
        for words in (*self.queries, self.background):
            listed(words)

    @property
    def names(self) -> tuple[str, ...]:
        """The name of each class."""
        return tuple(words[0] for words in self.queries)

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
        return cls(tuple(found.values()), background)


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
