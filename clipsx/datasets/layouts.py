"""The official layouts of data sets: a row each in `data/datasets.toml`; what is found under a root, or missing."""

import os
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

from clipsx import paths
from clipsx.datasets.lines import lines
from clipsx.datasets.vocabularies import Given, Vocabulary
from clipsx.messages import nearest

ENVIRONMENT = "CLIPSX_DATA"
PARTS = ("pictures", "masks", "lists", "annotations")


@dataclass(frozen=True)
class Layout:
    """A row of the table; `data/datasets.toml` says what its columns mean."""

    kind: str
    title: str
    get: str
    at: list[str]
    split: str
    vocabulary: str
    parts: dict[str, list[str]]  # the places of those of `PARTS` that it has
    splits: dict[str, str] = field(default_factory=dict)
    ids: str = "*"
    values: str = ""
    ground: str = ""
    ignored: str = ""
    mat: str = ""
    coded: bool = False
    elsewhere: dict[str, str] = field(default_factory=dict)


def _rows() -> dict[str, Layout]:
    rows: dict[str, dict[str, Any]] = {}
    text = (paths.data() / "datasets.toml").read_text(encoding="utf-8")
    for name, row in tomllib.loads(text).items():
        rows[name] = rows.get(row.pop("like", ""), {}) | row
    parts = {name: {part: row.pop(part, []) for part in PARTS} for name, row in rows.items()}
    return {name: Layout(**row, parts={p: at for p, at in parts[name].items() if at}) for name, row in rows.items()}


LAYOUTS = _rows()


def numbers(spans: str) -> list[int]:
    """The numbers that a text of numbers and spans says: "0-2 5" is 0, 1, 2 and 5."""
    ends = [span.partition("-")[::2] for span in spans.split()]
    return [n for first, last in ends for n in range(int(first), int(last or first) + 1)]


class Place:
    """Where a data set of the table lies, checked first: its folder, its split, the paths of its parts.

    name: of the row; root: the folder, or one that holds it; split: by default the row's.
    Errors: FileNotFoundError for what is missing under root; ValueError for an unknown split (with the nearest), and
    for one whose masks are another row's.
    """

    def __init__(self, name: str, root: str | PathLike[str], split: str | None = None) -> None:
        self.name, self.layout = name, LAYOUTS[name]
        self.split = split or self.layout.split
        require_here(name, self.split)
        require_folder(root)
        self.root = located(name, root)
        lists = [(self.root / place).parent for place in self.layout.parts.get("lists", ())]
        splits = self.layout.splits or {file.stem: file.stem for at in lists for file in sorted(at.glob("*.txt"))}
        if self.split not in splits and self.split != self.layout.split:
            raise ValueError(f"{name} in {self.root} has no split {self.split!r}{nearest(self.split, splits)}.")
        self._word = splits.get(self.split, self.split)
        self._at = there(self.layout, self.root, [self._word])
        if missing := absent(self.layout, self._at, self._word):
            raise FileNotFoundError(told(name, self.root, missing))
        self.recipe = {"dataset": name, "root": str(self.root.absolute()), "split": self.split}

    def path(self, part: str, id: str = "") -> Path:
        """Where a part of the layout lies: of a picture, by its name, or of the split."""
        return self.root / self._at[part].format(split=self._word, id=id)

    def wording(self, given: Given | None) -> Vocabulary:
        """The vocabulary that was given, or the row's own. Errors: ValueError for another number of classes."""
        return Vocabulary.of(self.layout.vocabulary).reworded(given, self.name)

    def listed(self) -> tuple[str, ...]:
        """The pictures of the split: those of its list (names or paths), else all with a picture or a mask, sorted.

        Errors: ValueError where there is none.
        """
        before, _, after = _parted(self._at["pictures"], self._word)
        if "lists" in self.layout.parts:
            file = self.path("lists")
            paths = (line.split()[0].replace("\\", "/").removeprefix("/") for _, line in lines(file))
            found = [path.removeprefix(before).removesuffix(after) for path in paths]
        else:
            file = (self.root / before).parent
            found = sorted({id for part in ("pictures", "masks") for id in self._ids(part)})
        if not found:
            raise ValueError(f"{self.name}, split {self.split!r}: {file} holds no picture.")
        return tuple(found)

    def _ids(self, part: str) -> Iterator[str]:
        """What stands for {id} in the files of a part."""
        before, _, after = _parted(self._at[part], self._word)
        for file in self.root.glob(before + self.layout.ids + after):
            if not file.name.startswith("."):
                yield file.relative_to(self.root).as_posix()[len(before) :].removesuffix(after)


def require_folder(root: str | PathLike[str]) -> None:
    """Errors: FileNotFoundError for a root that is not there."""
    if not Path(root).expanduser().is_dir():
        raise FileNotFoundError(
            f"{root} is not a folder: the root is where a data set lies, or a folder that holds it."
        )


def require_here(name: str, split: str) -> None:
    """Errors: ValueError for a split whose masks another row reads, naming it."""
    if other := LAYOUTS[name].elsewhere.get(split):
        place = LAYOUTS[other].parts["masks"][0].partition("/")[0]
        raise ValueError(
            f"{name} has no masks of the split {split!r}: they lie in {place}. Take the data set {other!r}."
        )


def _parted(place: str, word: str) -> tuple[str, str, str]:
    """A place of a split: what stands before {id}, a mark where it has one, and what stands after."""
    return place.format(split=word, id="\0").partition("\0")


def _needed(place: str, word: str) -> str:
    """What must be there of a place: the folder of its pictures, else the file of the split."""
    before, id, _ = _parted(place, word)
    return before.rpartition("/")[0] if id else before


def there(layout: Layout, base: Path, words: Sequence[str]) -> dict[str, str]:
    """By part of a layout, the first of its places that a folder has for any of the splits; "" where it has none.

    words: of splits, as they stand in paths; "*" for any.
    """
    lies = lambda place: any(any(base.glob(_needed(place, word))) for word in words)  # noqa: E731
    return {part: next(filter(lies, places), "") for part, places in layout.parts.items()}


def absent(layout: Layout, found: Mapping[str, str], word: str) -> list[str]:
    """The parts that are not among those found (`there`), as messages name them."""
    return [" or ".join(_needed(p, word) for p in layout.parts[part]) for part, place in found.items() if not place]


def located(name: str, root: str | PathLike[str]) -> Path:
    """The folder of a data set: root itself, or where it usually lies under it. Errors: FileNotFoundError, in words."""
    layout, base = LAYOUTS[name], Path(root).expanduser()
    words = [layout.splits.get(layout.split, "*"), *layout.splits.values()]  # what is told is of the usual split
    each = {folder: there(layout, folder, words) for folder in (base, *(base / at for at in layout.at))}
    lacks = {folder: absent(layout, found, words[0]) for folder, found in each.items()}
    best = min(lacks, key=lambda folder: len(lacks[folder]))
    if lacks[best]:
        nothing = not any(each[best].values())
        raise FileNotFoundError(told(name, base / layout.at[0] if nothing else best, lacks[best]))
    return best


def told(name: str, base: Path, missing: Sequence[str]) -> str:
    """One message: what is missing, where to get it, how large it is, where it belongs."""
    return f"{name}: {base} has no {' and no '.join(missing)}. Get {LAYOUTS[name].get}, and put it there."


def status(root: str | PathLike[str] | None = None) -> dict[str, tuple[str, str]]:
    """Title, and where it is found under root (default: $CLIPSX_DATA) or what is missing, for all of the table."""
    base = root or os.environ.get(ENVIRONMENT) or "."
    found = {}
    for name, layout in LAYOUTS.items():
        try:
            found[name] = (layout.title, f"found in {located(name, base)}")
        except FileNotFoundError as error:
            found[name] = (layout.title, str(error).partition(": ")[2])
    return found
