"""What a data set says about itself; and the same asked of a plain sequence of samples, which says less."""

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from clipsx.datasets.sample import Sample
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


def digests(root: Path, files: Iterable[Path]) -> list[tuple[str, str]]:
    """The path under `root` and the digest (`digest_of`) of every file."""
    return [(file.relative_to(root).as_posix(), digest_of(file)) for file in files]


def digest_of(file: Path) -> str:
    """The digest of a file's bytes; "" for what is no file, or cannot be read."""
    try:
        return file_digest(file) if file.is_file() else ""  # a pipe would be waited for
    except OSError:
        return ""


def sketches(root: Path, files: Iterable[Path]) -> list[tuple[str, int, str]]:
    """Path under `root`, size, and a digest of the first and the last 4 KiB of every file: quick for large data sets.

    A file that changes in its middle alone, at its size, is not noticed. Pictures are compressed, so that a change
    reaches their ends or their size; to read every byte of COCO's would take as long as a run on a small model. Where
    content is small, or of one's own, it is hashed whole (`digests`). −1 and "" for what is no file.
    """
    found = []
    for file in files:
        size, ends = -1, b""
        if file.is_file():
            size = file.stat().st_size
            with file.open("rb") as stream:
                ends = stream.read(4096)
                stream.seek(max(4096, size - 4096))
                ends += stream.read(4096)
        found.append(
            (Path(os.path.relpath(file, root)).as_posix(), size, hashlib.sha256(ends).hexdigest() if ends else "")
        )
    return found


def lacking(**parts: Any) -> list[str]:
    """In words, which parts of a data set are empty; nothing where none is."""
    missing = [name for name, part in parts.items() if not part]
    return [f"without {' or '.join(missing)}"] if missing else []
