"""Rows of a run, a part of the pictures at a time: on disk, so that a run that was stopped goes on where it was."""

import hashlib
import json
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet

from clipsx import datasets, paths
from clipsx.clip import Clip
from clipsx.datasets import Sample
from clipsx.evaluation.looks import Measure, Size
from clipsx.weights import digest

PARTS_NAMED = 5  # of those that are missing
NAMED = 3  # of the pictures that are left out
BARE = "(nothing in it to measure)"  # behind the name of one that can be read
Tables = Sequence[pd.DataFrame]


class Parts:
    """Rows of a run in parts of the pictures: a Parquet file per measure and part, whole or not at all.

    folder: where `rows/` lies; None: they are held in memory. key: what decides every number, by name, with `pictures`
    and `part`, how many there are and how many of them a part has; measures: by name, `about` (columns with one value
    in every row) and `empty` (the error where there is no row). Every file knows its run and its place.
    Errors: ValueError for a folder that holds another run's, naming what differs.
    """

    def __init__(self, folder: Path | None, key: Mapping[str, Any], measures: Mapping[str, Mapping[str, Any]]) -> None:
        self.folder, self.key, self.measures = folder and folder / "rows", key, measures
        self.held: dict[int, tuple[Tables, Sequence[str]]] = {}
        self.starts = range(0, key["pictures"], key["part"])
        self.run = hashlib.sha256(json.dumps(key).encode()).hexdigest()
        if self.folder is None:
            return
        known = _known(self.folder)
        if known is None:
            made = json.dumps({"key": key, "measures": measures}, indent=1, ensure_ascii=False)
            paths.write_whole(self.folder / "made.json", (made + "\n").encode())
        elif known["key"] != key:
            other = sorted(n for n in known["key"].keys() | key.keys() if known["key"].get(n) != key.get(n))
            differ = ", ".join("the version of clipsx" if name == "clipsx" else name for name in other)
            raise ValueError(
                f"{self.folder} holds the rows of another run (not the same: {differ}): take another folder, "
                "or delete it."
            )

    @staticmethod
    def of(folder: Path) -> "Parts":
        """Those of a run that was made in `folder`, by this process or others. Errors: ValueError where none was."""
        known = _known(folder / "rows")
        if known is None:
            raise ValueError(f"{folder} holds no run: {folder / 'rows' / 'made.json'} is not there.")
        return Parts(folder, known["key"], known["measures"])

    def lacking(self, starts: Iterable[int]) -> list[int]:
        """Which parts, by the number of their first picture, are not there, or cut short: they are to be made.

        Errors: ValueError for one of another run, or of another place.
        """
        return [start for start in starts if not (self._whole(start) if self.folder else start in self.held)]

    def _file(self, name: str, start: int, suffix: str = "parquet") -> Path:
        return Path(self.folder or "", f"{name}-{start:08d}.{suffix}")

    def _whole(self, start: int) -> bool:
        for file in (self._file(name, start) for name in self.measures):
            try:
                said = (pyarrow.parquet.read_schema(file).metadata or {}).get(b"PANDAS_ATTRS", b"{}")
            except (OSError, ValueError):
                return False
            if json.loads(said) != self._place(start):
                raise ValueError(f"{file} is of another run, or another part of this one: delete it, it is made again.")
        return True

    def _place(self, start: int) -> dict[str, Any]:
        return {"run": self.run, "start": start}

    def write(self, start: int, tables: Tables, unread: Sequence[str]) -> None:
        """Keep a part: a table per measure, and a line for each picture that is left out."""
        if self.folder is None:
            self.held[start] = tables, unread
            return
        self._file("unread", start, "txt").unlink(missing_ok=True)  # of a run that was stopped in between
        if unread:  # first: a part is there once its tables are
            text = "\n".join(" ".join(line.split()) for line in unread)
            paths.write_whole(self._file("unread", start, "txt"), text.encode("utf-8", "backslashreplace"))
        for name, table in zip(self.measures, tables, strict=True):
            table = table.copy(deep=False)  # attrs are its own
            table.attrs.update(self._place(start))
            with paths.whole(self._file(name, start)) as part:
                table.to_parquet(part, index=False)

    def read(self, name: str, start: int, reading: str | None = None) -> pd.DataFrame:
        """The rows of a measure in a part, or those of one reading."""
        if self.folder:
            table = pd.read_parquet(self._file(name, start))
            table.attrs.clear()
        else:
            table = self.held[start][0][list(self.measures).index(name)]
        return table if reading is None or table.empty else table[table["reading"] == reading]

    def _lines(self, bare: bool) -> list[str]:
        """Those of pictures that are left out as they cannot be read, or as they are `BARE`."""
        files = [self._file("unread", start, "txt") for start in self.starts] if self.folder else []
        held = [line for start in self.starts for line in self.held.get(start, ((), ()))[1]]
        kept = [line for file in files if file.is_file() for line in file.read_text(encoding="utf-8").splitlines()]
        return [line for line in held + kept if line.endswith(BARE) == bare]

    def complete(self) -> dict[str, str]:
        """`data` of a run whose parts are all there, with how many pictures could not be read (and a warning).

        Errors: ValueError for parts that are missing (which), or of another run; for no picture that can be read.
        """
        lacking = self.lacking(self.starts)
        if lacking:
            ends = [f"{s}…{min(s + self.key['part'], self.key['pictures']) - 1}" for s in lacking[:PARTS_NAMED]]
            more = f" and {len(lacking) - PARTS_NAMED} more" if len(lacking) > PARTS_NAMED else ""
            raise ValueError(
                f"{self.folder}: {len(lacking)} of {len(self.starts)} parts are missing (pictures {', '.join(ends)}"
                f"{more}): run the shards that make them again, or the same call without --shard."
            )
        if self.folder:
            own = {self._file(name, start).name for name in self.measures for start in self.starts}
            other = sorted({file.name for file in self.folder.glob("*.parquet")} - own)
            if other:
                raise ValueError(f"{self.folder / other[0]} is of no part of this run: delete it.")
        left = left_out(self._lines(bare=False), self.key["pictures"])
        return {"data": next((m["about"]["data"] for m in self.measures.values()), "") + left}

    def tables(self) -> dict[str, pd.DataFrame]:
        """All rows by measure, in the order of the pictures, with what made them at their ends.

        Errors: those of `complete`; ValueError for a measure without a row.
        """
        data, found = self.complete(), {}
        for name, measure in self.measures.items():
            table = joined(self.read(name, start) for start in self.starts)
            if measure["empty"] and not len(table):
                raise ValueError(f"{measure['empty']} The data: {data['data']}.")
            found[name] = table.assign(**measure["about"] | data)
        return found

    def by_reading(self) -> dict[str, Callable[[], pd.DataFrame]]:
        """What reads the rows of each reading of its one measure: those of all need not fit in memory.

        Their `data` says too how many pictures have nothing to measure (and a warning). Errors: as `tables`.
        """
        (name, measure), *_ = self.measures.items()
        about = measure["about"] | self.complete()
        parts = (self.read(name, start) for start in self.starts)
        known = dict.fromkeys(reading for part in parts if len(part) for reading in part["reading"].unique())
        if not known:
            raise ValueError(f"{measure['empty']} The data: {about['data']}.")
        about["data"] += left_out(self._lines(bare=True), self.key["pictures"], "cannot be measured")

        def rows(reading: str) -> pd.DataFrame:
            found = joined(self.read(name, start, reading) for start in self.starts)
            once = {column: pd.Categorical([value]).repeat(len(found)) for column, value in about.items()}
            return found.assign(**once)  # a byte a row: a text in each would be most of the memory

        return {reading: partial(rows, reading) for reading in known}


def left_out(unread: Sequence[str], count: int, why: str = "cannot be read") -> str:
    """What `data` says of pictures that are left out, a line each, with a warning. Errors: ValueError where all are."""
    if not unread:
        return ""
    first = "; ".join(unread[:NAMED]) + (f"; and {len(unread) - NAMED} more" if len(unread) > NAMED else "")
    if len(unread) == count:
        raise ValueError(f"None of the {count} pictures can be read: {first}.")
    words = f"{len(unread)} of {count} pictures {why} and {'is' if len(unread) == 1 else 'are'} left out"
    warnings.warn(f"{words}: {first}.", stacklevel=3)
    return f", {len(unread)} of {count} left out ({why})"


def _known(folder: Path) -> dict[str, Any] | None:
    file = folder / "made.json"
    try:
        known = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError:
        known = None
    if not isinstance(known, dict):
        raise ValueError(f"{file} cannot be read: delete {folder}, or take another folder.")
    return {"key": known, "measures": {}} | known  # of an earlier version: all of it differs


def joined(tables: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """One table of those that are not empty, which know no columns."""
    known = [table for table in tables if len(table)]
    return pd.concat(known, ignore_index=True) if known else pd.DataFrame()


def framed(rows: Sequence[Any]) -> pd.DataFrame:
    """One table of rows, as `looks.read` gives them: made at once, a table for each picture would take long."""
    return joined(rows) if rows and isinstance(rows[0], pd.DataFrame) else pd.DataFrame(rows)


def made_by(clip: Clip) -> str:
    """A name for what makes features of pictures: weights, heads and how these were trained, layout (activations have
    no weights), preprocess, and how positions are interpolated.
    """
    layout = hashlib.sha256(f"{clip.model}|{clip.opener().args}".encode()).hexdigest()
    heads = ", ".join([clip.heads.weights, *clip.heads.about.values()])
    return f"{digest(clip.model)}{heads}, layout sha256:{layout}, positions {clip.positions}"


def names_of(measures: Sequence[Measure]) -> list[str]:
    """The names of measures, each once: a second one of a name is numbered."""
    names = [measure.name for measure in measures]
    counts = [names[: place + 1].count(name) for place, name in enumerate(names)]
    return [name if n == 1 else f"{name}-{n}" for name, n in zip(names, counts, strict=True)]


def made(clip: Clip, samples: Sequence[Sample], measures: Sequence[Measure], size: Size, part: int) -> dict[str, Any]:
    """What decides every number of a run, by name."""
    found: dict[str, Any] = {"clipsx": version("clipsx"), "model": made_by(clip), "size": repr(size), "part": part}
    found |= {"data": datasets.fingerprint_of(samples), "pictures": len(samples)}
    for name, measure in zip(names_of(measures), measures, strict=True):
        asked = {"readings": [str(r) for r in measure.readings], **measure.about, **measure.asks}
        found[f"measure {name}"] = hashlib.sha256(repr(sorted(asked.items())).encode()).hexdigest()
    return found
