"""What a data set says about itself, one that lies on disk and a part; and the same asked of a plain sequence."""

import hashlib
import json
import os
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from clipsx.datasets.sample import Sample
from clipsx.datasets.vocabularies import Vocabulary
from clipsx.images import PictureError
from clipsx.weights import file_digest


@runtime_checkable
class Dataset(Protocol):
    """A sequence of samples that can say what it is.

    labels: all that its samples are asked for. describe: {"data": one line that tables print}. fingerprint: a hex
    digest of its content, wherever it lies. recipe: plain values, as in JSON, from which `datasets.open` makes it
    again in any process; None where there are none.
    """

    labels: tuple[str, ...]

    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> Sample: ...
    def describe(self) -> dict[str, str]: ...
    def fingerprint(self) -> str: ...
    def recipe(self) -> dict[str, Any] | None: ...


class Listed(Sequence[Sample]):
    """Pictures by their names in an order, each opened when asked (`__getitem__`, of its own kind).

    recipe: what `datasets.open` makes it again from; said: how it was read, for tables; title: what they call it, by
    default as the recipe does. whole: files whose every byte decides its content.
    """

    sketched = True
    """Whether a fingerprint looks at the files of pictures quickly, in place of all their bytes (`digest_of`)."""
    labelled = "masks"
    """What says which labels are there: of some data sets masks and annotations differ."""

    def __init__(
        self, root: Path, names: Sequence[str], vocabulary: Vocabulary, recipe: Mapping[str, Any],
        said: Sequence[str] = (), whole: Iterable[Path] = (), title: str = "",
    ) -> None:  # fmt: skip
        self.root, self.names, self.vocabulary = root, tuple(names), vocabulary
        self.labels = vocabulary.names
        self._recipe, self._said, self._whole = dict(recipe), list(said), list(whole)
        self._title = title or f"{recipe['dataset']} {recipe.get('split', '')}".strip()

    @abstractmethod
    def sources(self) -> Iterable[Path]:
        """The files that its samples are read from, each beside or under root."""

    def describe(self) -> dict[str, str]:
        """What a table prints about its data."""
        return {"data": ", ".join([f"{self._title} n={len(self)}", f"words: {self.vocabulary.name}", *self._said])}

    def fingerprint(self) -> str:
        """A hex digest of files (`sketched`) and their paths under root, of the words, and of how they are read."""
        how = {key: value for key, value in self._recipe.items() if key not in ("root", "annotations", "vocabulary")}
        words = self.vocabulary.queries, self.vocabulary.background
        files = digests(self.root, self.sources(), not self.sketched)
        return digest(how, words, self.names, [*map(digest_of, self._whole)], files)

    def recipe(self) -> dict[str, Any]:
        """What `datasets.open` makes it again from."""
        return self._recipe

    def __len__(self) -> int:
        return len(self.names)


class Subset(Sequence[Sample]):
    """The samples at `indices`, read when asked for; `part` says in words which ones (a table prints it)."""

    def __init__(self, samples: Sequence[Sample], indices: Sequence[int], part: str) -> None:
        self.samples, self.indices, self.part = samples, tuple(map(int, indices)), part
        self.labels, self.vocabulary = labels_of(samples), getattr(samples, "vocabulary", None)
        self.labelled = getattr(samples, "labelled", "")

    def describe(self) -> dict[str, str]:
        """What a table prints about its data."""
        return {"data": f"{described(self.samples)['data']}, {self.part}: {len(self)}"}

    def fingerprint(self) -> str:
        """A hex digest of the whole's content, and which of it this is."""
        return digest("subset", fingerprint_of(self.samples), self.indices)

    def recipe(self) -> dict[str, Any] | None:
        """What `datasets.open` makes it again from; None for a part of a plain sequence."""
        whole = recipe_of(self.samples)
        return whole and {"dataset": "subset", "of": whole, "indices": list(self.indices), "part": self.part}

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Sample:  # type: ignore[override]
        return self.samples[self.indices[index]]


def labels_of(samples: Sequence[Sample]) -> tuple[str, ...]:
    """The labels of a data set; none for a plain sequence."""
    return tuple(getattr(samples, "labels", ()))


def has(samples: Sequence[Sample], part: str) -> bool:
    """Whether any sample has "labels" or "masks"; where none has, a line says what is left out.

    Errors: ValueError for another part.
    """
    if part not in ("labels", "masks"):
        raise ValueError(f"part must be 'labels' or 'masks', not {part!r}.")
    found = any(getattr(samples[n], part) for n in range(len(samples)))
    if not found:
        print(f"Left out: it needs {part}, and no picture of {described(samples)['data']} has any.")
    return found


def described(samples: Sequence[Sample]) -> dict[str, str]:
    """What a table prints about its data; of a plain sequence the number of samples."""
    describe = getattr(samples, "describe", None)
    return describe() if describe else {"data": f"{len(samples)} given samples"}


def recipe_of(samples: Sequence[Sample]) -> dict[str, Any] | None:
    """What `datasets.open` makes a data set again from; None for a plain sequence."""
    recipe = getattr(samples, "recipe", None)
    return recipe() if recipe else None


def fingerprint_of(samples: Sequence[Sample]) -> str:
    """A hex digest of the content; of a plain sequence, of all names, labels, pixels and masks, opened one by one."""
    fingerprint = getattr(samples, "fingerprint", None)
    if fingerprint:
        return fingerprint()
    parts = []
    for sample in (samples[i].closed() for i in range(len(samples))):
        try:
            pixels = sample.image.tobytes()
        except (OSError, PictureError):  # an evaluation goes round it
            parts.append([sample.name, sample.labels])
            continue
        words = [sample.name, sample.labels, sample.size, list(sample.masks)]
        regions = (np.packbits(mask).tobytes() for mask in (*sample.masks.values(), sample.ignore))
        parts.append([words, *(hashlib.sha256(part).hexdigest() for part in (pixels, *regions))])
    return digest(*parts)


def code_of(samples: Sequence[Sample]) -> str:
    """The line of Python that opens a data set as `samples`; for a plain sequence, a comment that says so."""
    recipe = recipe_of(samples)
    return "# samples: the sequence that was given" if recipe is None else f"samples = {_call(recipe)}"


def _call(recipe: dict[str, Any]) -> str:
    if recipe["dataset"] == "subset":
        return f"clipsx.datasets.Subset({_call(recipe['of'])}, {recipe['indices']}, {recipe['part']!r})"
    options = (f"{name}={value!r}" for name, value in recipe.items() if name != "dataset")
    return f"clipsx.datasets.load({', '.join([repr(recipe['dataset']), *options])})"


def digest(*values: Any) -> str:
    """The hex digest of plain values, as in JSON."""
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()


def digests(root: Path, files: Iterable[Path], whole: bool = True) -> list[tuple[str, str]]:
    """The path under `root` and the digest (`digest_of`) of every file."""
    return [(Path(os.path.relpath(file, root)).as_posix(), digest_of(file, whole)) for file in files]


def digest_of(file: Path, whole: bool = True) -> str:
    """The digest of a file's bytes; "" for what is no file, or cannot be read.

    Not whole: of its size, its first and its last 4 KiB, as to read every byte of COCO's would take as long as a run on
    a small model. A file that changes in its middle alone is not noticed then; pictures are compressed, so that a
    change reaches their ends or their size. What is small, or of one's own, is hashed whole.
    """
    try:
        if not file.is_file():  # a pipe would be waited for
            return ""
        if whole:
            return file_digest(file)
        size = file.stat().st_size
        with file.open("rb") as stream:
            first = stream.read(4096)
            stream.seek(max(4096, size - 4096))
            return hashlib.sha256(b"%d %b%b" % (size, first, stream.read(4096))).hexdigest()
    except OSError:
        return ""


def lacking(**parts: Any) -> list[str]:
    """In words, which parts of a data set are empty; nothing where none is."""
    missing = [name for name, part in parts.items() if not part]
    return [f"without {' or '.join(missing)}"] if missing else []
