"""The one disk cache: what can be computed again, found by what it was made from, whole or not at all."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clipsx import paths
from clipsx.weights import file_digest

FORMAT = 3  # of what is kept: another version's is made again
KINDS = ("chance", "features", "labels", "train", "unmix")  # what is kept here; other folders are somebody else's
BUDGET = 20e9  # bytes that may be kept, unless $CLIPSX_CACHE_BUDGET says otherwise


@dataclass(frozen=True)
class Entry:
    """A file of the cache and its note beside it (JSON): format, size, checksum and what its maker says about it."""

    file: Path

    @property
    def note(self) -> Path:
        """Where the note stands; it is written last."""
        return self.file.with_name(self.file.name + ".json")

    def read(self) -> dict[str, Any] | None:
        """What the maker said about the file; None where it is not there, damaged, or another version's."""
        try:
            note = json.loads(self.note.read_text(encoding="utf-8"))
            sound = note["format"] == FORMAT and note["bytes"] == self.file.stat().st_size
            if not sound or note["sha256"] != file_digest(self.file):
                return None
            os.utime(self.note)  # used now: what was not used for longest goes first
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return note["about"]

    @contextmanager
    def write(self, about: Mapping[str, Any]) -> Iterator[Path]:
        """A place to write to; at the end it becomes the entry, and `about` (filled by then) its note.

        Errors: OSError in words where the disk is full.
        """
        self.note.unlink(missing_ok=True)
        with paths.whole(self.file) as part:
            yield part
            note = {"format": FORMAT, "bytes": part.stat().st_size, "sha256": file_digest(part), "about": about}
        paths.write_whole(self.note, json.dumps(note).encode())


def entry(kind: str, key: str, suffix: str, folder: Path | None = None) -> Entry:
    """The entry of a kind ("labels", "features", …) by all that decides its content, in the cache or in a folder."""
    name = hashlib.sha256(key.encode()).hexdigest()
    return Entry((folder or paths.cache() / kind) / name[:2] / f"{name}{suffix}")


def budget() -> float:
    """Bytes that may be kept. Errors: ValueError for a $CLIPSX_CACHE_BUDGET that is no number of bytes."""
    stated = os.environ.get("CLIPSX_CACHE_BUDGET")
    try:
        found = BUDGET if stated is None else float(stated)
    except ValueError:
        found = -1.0
    if not found >= 0:
        raise ValueError(f"CLIPSX_CACHE_BUDGET is {stated!r}: give a number of bytes, such as 20e9.")
    return found


def kept() -> dict[str, tuple[int, int]]:
    """Files and bytes in the cache by kind."""
    found = {}
    for folder in (paths.cache() / kind for kind in KINDS if (paths.cache() / kind).is_dir()):
        sizes = [stat.st_size for file in folder.rglob("*") if file.is_file() and (stat := _stat(file))]
        found[folder.name] = (len(sizes), sum(sizes))
    return found


def clear(kind: str = "") -> None:
    """Delete what is kept, of one kind or all. Errors: ValueError for a kind that is not there."""
    known = kept()
    if kind and kind not in known:
        raise ValueError(f"The cache holds no {kind!r}, only: {', '.join(known) or 'nothing'}.")
    for name in [kind] if kind else known:
        shutil.rmtree(paths.cache() / name)


def trim() -> None:
    """Delete the entries that were not used for longest, until the rest fits the budget."""
    every = {note: note.with_suffix("") for kind in KINDS for note in (paths.cache() / kind).glob("??/*.json")}
    used = {note: stat.st_mtime for note, file in every.items() if file.is_file() and (stat := _stat(note))}
    excess = sum(size for _, size in kept().values()) - budget()
    for note in sorted(used, key=used.__getitem__):
        if excess <= 0:
            return
        for file in (note, every[note]):  # its note first: no half entry is read
            excess -= stat.st_size if (stat := _stat(file)) else 0
            file.unlink(missing_ok=True)


def _stat(file: Path) -> os.stat_result | None:
    try:
        return file.stat()
    except OSError:
        return None  # another process took it away
