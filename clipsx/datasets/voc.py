"""PASCAL VOC 2012 segmentation, or any folder in its layout."""

from collections.abc import Iterable, Sequence
from functools import partial
from os import PathLike
from pathlib import Path

from clipsx.datasets import places
from clipsx.datasets.folder import SUFFIXES, pictures
from clipsx.datasets.indexed import masked
from clipsx.datasets.layouts import LAYOUTS, require_folder, require_here, told
from clipsx.datasets.lines import BACKGROUND, classes, foreground, lines, listed, spelled
from clipsx.datasets.protocol import Listed, lacking
from clipsx.datasets.sample import Sample
from clipsx.datasets.vocabularies import VOCABULARIES, Given, Vocabulary
from clipsx.images import decode
from clipsx.messages import nearest

IGNORE = 255
PICTURES, MASKS = "JPEGImages", "SegmentationClass"


class VOC(Listed):
    """Photographs with class masks in VOC's layout, each opened when asked; their sizes differ.

    root: the folder with JPEGImages, SegmentationClass and ImageSets/Segmentation, or a parent of it (VOCdevkit, with
    VOC2012 or another year); split: a list in ImageSets/Segmentation, else in another folder of ImageSets, of names or
    paths, of which a flag −1 (the class is not there) leaves out the picture; without any list, all pictures; labels:
    names of mask values 1, 2, …; by default the lines of `labels.txt` in the folder, else VOC's twenty. A background
    that stands first is value 0; a name of several values unites their masks. Mask value 0 is background, 255 counts
    nowhere. vocabulary: other words for these classes, in their order (`Vocabulary.of`).
    Errors: FileNotFoundError for what is missing; ValueError for an unknown split (with the nearest), for trainaug
    without all its masks (`require_here`), and when a part is opened for a mask that is not indexed, does not fit its
    picture, or holds a value without a name.
    """

    sketched = False

    def __init__(
        self, root: str | PathLike[str], split: str = "val", labels: Sequence[str] | None = None,
        vocabulary: Given | None = None,
    ) -> None:  # fmt: skip
        require_folder(root)
        base = Path(root).expanduser()
        years = [f for folder in (base, base / "VOCdevkit") for f in sorted(folder.glob("VOC2*"), reverse=True)]
        usual = [base, base / "VOC2012", base / "VOCdevkit" / "VOC2012"]
        found = [f for f in (*usual, *years) if (f / PICTURES).is_dir()]
        if not found:
            raise FileNotFoundError(told("voc2012", base / LAYOUTS["voc2012"].at[0], [PICTURES]))
        folder, own = found[0], found[0] / "labels.txt"
        self._pictures, self._masks = _by_name(folder / PICTURES), _by_name(folder / MASKS)
        every = [f for f in sorted((folder / "ImageSets").glob("*/*.txt")) if not f.name.startswith(".")]
        lists = {f.stem: f for f in sorted(every, key=lambda file: file.parent.name == "Segmentation")}
        if lists and split not in lists:
            raise ValueError(f"{folder.name} has no split {split!r}{nearest(split, lists)}.")
        said = (self._named(line) for _, line in lines(lists[split])) if lists else self._pictures
        recipe, wording = {"dataset": "voc2012", "root": str(folder.absolute()), "split": split}, "voc-20"
        if labels is not None:
            given, wording = listed(labels), "given words"
            values, recipe = foreground(given), recipe | {"labels": list(given)}
        elif own.is_file():
            values, wording = _values(own), own.name
        else:
            values = VOCABULARIES[wording]
        own_words = Vocabulary.single(dict.fromkeys(values), wording)
        words = own_words.reworded(vocabulary, folder.name)
        recipe |= {"vocabulary": words.plain()} if vocabulary is not None else {}
        less, whole = lacking(masks=self._masks, lists=lists), [own] if wording == own.name else []
        names, title = [name for name in said if name is not None], f"{folder.absolute().name} {split}"
        if not names:
            raise ValueError(f"{title}: {lists.get(split, folder / PICTURES)} holds no picture.")
        if not self._masks.keys() >= set(names):
            require_here("voc21", split)
        super().__init__(folder, names, words, recipe, less, whole, title)
        own = [[v for v, name in enumerate(values, start=1) if name == label] for label in own_words.names]
        self._places = places.table(own, [0], [IGNORE])

    def _named(self, line: str) -> str | None:
        """The picture that a line of a list means: a name, or a path, perhaps with a flag or a mask behind it."""
        parts = line.rsplit(maxsplit=1)
        flag = int(parts[1]) if len(parts) == 2 and parts[1] in ("-1", "0", "1") else None
        whole, bare, first = _stem(line), _stem(parts[0]), _stem(line.split()[0])
        if flag is None or whole in self._pictures:
            return first if whole not in self._pictures and first in self._pictures else whole
        return None if flag == -1 else bare

    def sources(self) -> Iterable[Path]:
        return (file for name in self.names for file in self._files(name))

    def __getitem__(self, index: int) -> Sample:  # type: ignore[override]
        name = self.names[index]
        picture, file = self._files(name)
        if not self._masks:
            return Sample(partial(decode, picture), name=name)
        return masked(name, picture, file, partial(places.read, file, picture), self._places, self.labels)

    def _files(self, name: str) -> tuple[Path, Path]:
        """The picture and its mask, as they would be called where they are missing."""
        picture, mask = self.root / PICTURES / f"{name}.jpg", self.root / MASKS / f"{name}.png"
        return self._pictures.get(name, picture), self._masks.get(name, mask)


def _by_name(folder: Path) -> dict[str, Path]:
    """The pictures of a folder by their names, as lists call them; a JPEG before others of its name."""
    files = sorted(pictures(folder), key=lambda file: file.suffix.lower() in (".jpg", ".jpeg"))
    names = {_stem(file.relative_to(folder).as_posix()): file for file in files}
    return dict(sorted(names.items()))


def _stem(path: str) -> str:
    """A picture's name from a line of a list: no folder before its own, no ending."""
    name = spelled(path.replace("\\", "/")).rpartition(f"{PICTURES}/")[2]
    ending = next((suffix for suffix in SUFFIXES if name.lower().endswith(suffix)), "")
    return name[: len(name) - len(ending)].removeprefix("./")


def _values(file: Path) -> tuple[str, ...]:
    """The names of mask values 1, 2, … in a list of classes. Errors: ValueError, also for a value 0 with a name."""
    found = [line for _, line in classes(file) if not line.startswith("background:")]
    first = next((line for _, line in lines(file) if not line.startswith(("#", "background:"))), "")
    if first.startswith("0") and found[0] != first and found[0].lower() not in BACKGROUND:
        raise ValueError(f"{file} calls value 0 {found[0]!r}, but 0 is the background: number the classes from 1.")
    return foreground(found)
