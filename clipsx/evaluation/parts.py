"""Rows of a run on disk, so that a run that was stopped goes on where it was."""

import hashlib
import json
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from clipsx import datasets, paths
from clipsx.clip import Clip
from clipsx.datasets import Sample
from clipsx.weights import digest

if TYPE_CHECKING:
    from clipsx.evaluation.stream import Measure


class Parts:
    """Rows on disk, a Parquet file per measure and part of the pictures, whole or not at all, and what made them.

    Errors: ValueError for a folder that holds another run's, naming what differs.
    """

    def __init__(self, folder: Path, made: dict[str, Any], names: Sequence[str]) -> None:
        self.folder, self.names = folder / "rows", names
        file = self.folder / "made.json"
        try:
            known = json.loads(file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            known = None
        except ValueError:
            raise ValueError(f"{file} cannot be read: delete {self.folder}, or take another folder.") from None
        if known not in (None, made):
            other = sorted(name for name in known.keys() | made.keys() if known.get(name) != made.get(name))
            raise ValueError(
                f"{self.folder} holds the rows of another run (not the same: {', '.join(other)}): take another folder, "
                "or delete it."
            )
        paths.write_whole(file, (json.dumps(made, indent=1) + "\n").encode())

    def _file(self, name: str, start: int) -> Path:
        return self.folder / f"{name}-{start:08d}.parquet"

    def read(self, start: int) -> list[pd.DataFrame] | None:
        """The tables of the part from this picture on; None where one is not there, or cut short: it is made again."""
        try:
            return [pd.read_parquet(self._file(name, start)) for name in self.names]
        except (OSError, ValueError):
            return None

    def _unread(self, start: int) -> Path:
        return self.folder / f"unread-{start:08d}.txt"

    def unread(self, start: int) -> list[str]:
        """What was said of the pictures of a part that could not be read."""
        file = self._unread(start)
        return file.read_text(encoding="utf-8").splitlines() if file.is_file() else []

    def write(self, start: int, tables: Sequence[pd.DataFrame], unread: Sequence[str]) -> None:
        self._unread(start).unlink(missing_ok=True)  # of a run that was stopped in between
        if unread:  # first: a part is there once its tables are
            text = "\n".join(" ".join(line.split()) for line in unread)
            paths.write_whole(self._unread(start), text.encode("utf-8", "backslashreplace"))
        for name, table in zip(self.names, tables, strict=True):
            with paths.whole(self._file(name, start)) as part:
                table.to_parquet(part, index=False)


def made_by(clip: Clip) -> str:
    """A name for what makes features of pictures: weights, layout (activations have no weights), heads, preprocess,
    and how positions are interpolated.
    """
    layout = hashlib.sha256(f"{clip.model}|{clip.opener().args}".encode()).hexdigest()
    return f"{digest(clip.model)}{clip.heads.weights}, layout sha256:{layout}, positions {clip.positions}"


def names_of(measures: Sequence["Measure"]) -> list[str]:
    """The names of measures, each once: a second one of a name is numbered."""
    names = [measure.name for measure in measures]
    counts = [names[: place + 1].count(name) for place, name in enumerate(names)]
    return [name if n == 1 else f"{name}-{n}" for name, n in zip(names, counts, strict=True)]


def made(
    clip: Clip, samples: Sequence[Sample], measures: Sequence["Measure"], size: int | tuple[int, int] | None
) -> dict[str, Any]:
    """What decides every number of a run, by name."""
    found: dict[str, Any] = {"clipsx": version("clipsx"), "model": made_by(clip), "size": repr(size)}
    found |= {"data": datasets.fingerprint_of(samples), "pictures": len(samples)}
    for name, measure in zip(names_of(measures), measures, strict=True):
        asked = {"readings": [str(r) for r in measure.readings], **measure.about, **measure.asks}
        found[f"measure {name}"] = hashlib.sha256(repr(sorted(asked.items())).encode()).hexdigest()
    return found
