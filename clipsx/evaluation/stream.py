"""The one loop over a data set: pictures in batches, one walk of the tower a batch, rows of measures as they come."""

import hashlib
import json
import signal
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from clipsx import datasets, paths
from clipsx.clip import Clip, Seen
from clipsx.datasets import Sample
from clipsx.features import DenseFeatures
from clipsx.images import Picture
from clipsx.maps import minmax, upsample
from clipsx.reading import Reading
from clipsx.weights import digest

BATCH = 16  # pictures at a time
PART = 64  # pictures whose rows are written together
Size = int | tuple[int, int] | None
Rows = Iterable[Mapping[str, Any]] | pd.DataFrame


@dataclass(frozen=True, eq=False)
class Look:
    """One picture, and what one walk of the tower saw of it (B = 1): what a measure makes rows from.

    number: its place in the data set; name: what tables call it; image_size: "H×W" that the model read.
    """

    number: int
    name: str
    sample: Sample
    image_size: str
    seen: Seen

    @property
    def pixels(self) -> tuple[int, int]:
        """The picture's own (H, W)."""
        return self.sample.size[1], self.sample.size[0]

    def dense(self, reading: Reading) -> DenseFeatures:
        """Its features by a reading that was asked for."""
        return self.seen.features[reading.features]

    def similarities(self, reading: Reading, text: Float[Tensor, "N D"]) -> Float[Tensor, "1 h w N"]:
        """Its maps by a reading, on the patch grid."""
        return reading.similarities(self.dense(reading), text)

    def at_pixels(self, sim: Float[Tensor, "1 h w N"]) -> Float[np.ndarray, "H W N"]:
        """Similarities stretched to 0…1 over the patches, at the picture's own size."""
        return upsample(minmax(sim), self.pixels)[0].float().cpu().numpy()


@dataclass(frozen=True, eq=False)
class Measure:
    """A small function from one look to rows, and what it needs to be seen.

    name: of its table and its files; rows: the function; readings, blocks: what the walk must give it; about: columns
    with one value in every row; asks: what else decides its numbers (labels, templates …), for the name of what is
    kept; empty: the error where no picture gave a row, none where that is no error.
    """

    name: str
    rows: Callable[[Look], Rows]
    readings: tuple[Reading, ...] = ()
    blocks: bool = False
    about: Mapping[str, Any] = field(default_factory=dict)
    asks: Mapping[str, Any] = field(default_factory=dict)
    empty: str = ""


def stream(
    clip: Clip,
    samples: Sequence[Sample],
    measures: Sequence[Measure],
    *,
    size: Size = None,
    batch: int = BATCH,
    workers: int = 0,
    folder: str | Path | None = None,
    words: str | None = None,
) -> list[pd.DataFrame]:
    """A table per measure, rows in the order of the pictures, each picture opened and walked once.

    size: what the model reads, as in `Clip.prepare`; batch: pictures at a time; workers: processes that open pictures
    (0: this one); folder: where the rows of every `PART` pictures are kept as they come, and found again by a run that
    was stopped; words: of a line of progress. Every row has `image` and `image_size`, and at its end what made it.
    Errors: ValueError for no picture, for a measure that gave no row, and for a folder of another run, saying what
    differs; those of `Clip`.
    """
    if not len(samples):
        raise ValueError("There is no image to evaluate on.")
    keep = None if folder is None else _Parts(Path(folder), _made(clip, samples, measures, size), measures)
    starts = range(0, len(samples), PART)
    kept = {} if keep is None else {start: keep.read(start) for start in starts}
    parts = {start: tables for start, tables in kept.items() if tables is not None}  # a table per measure each
    missing = {s: range(s, min(s + PART, len(samples))) for s in starts if s not in parts}
    numbers = [number for part in missing.values() for number in part]
    seen = looks(clip, samples, measures, size=size, batch=batch, workers=workers, numbers=numbers)
    bar = tqdm(seen, words, total=len(numbers), unit="picture", leave=False, disable=words is None, delay=1)
    with _told(), closing(seen), closing(bar):
        looked = iter(bar)
        for start, part in missing.items():
            rows = [[_rows(measure, look) for measure in measures] for look in islice(looked, len(part))]
            parts[start] = [_joined(tables) for tables in zip(*rows, strict=True)]
            if keep is not None:
                keep.write(start, parts[start])
    about = clip.describe() | datasets.described(samples)
    found = []
    for measure, tables in zip(measures, zip(*(parts[start] for start in starts), strict=True), strict=True):
        table = _joined(tables)
        if measure.empty and not len(table):
            raise ValueError(measure.empty)
        found.append(table.assign(**about, **measure.about))
    return found


def looks(
    clip: Clip,
    samples: Sequence[Sample],
    measures: Sequence[Measure],
    *,
    size: Size = None,
    batch: int = BATCH,
    workers: int = 0,
    numbers: Sequence[int] | None = None,
) -> Generator[Look, None, None]:
    """Pictures in order, seen by all that the measures ask for; arguments as in `stream`, `numbers`: which pictures."""
    readings = tuple(dict.fromkeys(reading for measure in measures for reading in measure.readings))
    blocks = any(measure.blocks for measure in measures)
    numbers = list(range(len(samples)) if numbers is None else numbers)
    opened = partial(_opened, clip.opener(size), samples, workers > 0)
    # One at a time in the loader, so that a batch is made of pictures of one size.
    how: Any = {"num_workers": workers, "collate_fn": opened, "worker_init_fn": _undisturbed}
    loader: Any = iter(DataLoader(numbers, None, **how))  # type: ignore[arg-type]
    try:
        for (height, width), alike in groupby(loader, key=lambda one: one[2].shape[2:]):
            while group := list(islice(alike, batch)):  # neighbours of one shape
                seen = clip.look(torch.from_numpy(np.concatenate([images for _, _, images in group])), readings, blocks)
                for n, (number, sample, _) in enumerate(group):
                    yield Look(number, sample.name or f"#{number}", sample, f"{height}×{width}", seen.of(n))
    finally:
        if workers:  # at once: an error's traceback, which a notebook keeps, would keep them too
            loader._shutdown_workers()


@contextmanager
def _told() -> Iterator[None]:
    """Clear words where a process that opens pictures ended: torch says it wherever this process happens to be."""
    try:
        yield
    except RuntimeError as error:
        if str(error).startswith("DataLoader worker (pid"):
            raise RuntimeError(f"A process that opens pictures ended ({error}): run it again, or workers=0.") from None
        raise


def _opened(
    pixels: Callable[[Picture], Tensor], samples: Sequence[Sample], whole: bool, number: int
) -> tuple[int, Sample, Float[np.ndarray, "1 3 H W"]]:
    """Number, sample and what the model reads; whole: the sample leaves its process, so that it is opened first."""
    sample = samples[number].closed()  # a list of samples does not keep what is opened here
    images = pixels(sample.image).numpy()  # not a tensor: its memory would end with the process it came from
    return number, sample.opened() if whole else sample, images


def _rows(measure: Measure, look: Look) -> pd.DataFrame:
    rows = measure.rows(look)
    table = rows if isinstance(rows, pd.DataFrame) else pd.DataFrame(list(rows))
    return table.assign(image_size=look.image_size)


def _undisturbed(worker: int) -> None:
    """Ctrl-C reaches every process of a terminal: the one that reads ends the others, in order."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _joined(tables: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """One table of those that are not empty, which know no columns."""
    known = [table for table in tables if len(table)]
    return pd.concat(known, ignore_index=True) if known else pd.DataFrame()


def _names(measures: Sequence[Measure]) -> list[str]:
    """The names of measures, each once: a second one of a name is numbered."""
    names = [measure.name for measure in measures]
    counts = [names[: place + 1].count(name) for place, name in enumerate(names)]
    return [name if n == 1 else f"{name}-{n}" for name, n in zip(names, counts, strict=True)]


def made_by(clip: Clip) -> str:
    """A name for what makes features of pictures: weights, layout (activations have no weights), heads, preprocess."""
    layout = hashlib.sha256(f"{clip.model}|{clip.opener().args}".encode()).hexdigest()
    return f"{digest(clip.model)}{clip.heads.weights}, layout sha256:{layout}"


def _made(clip: Clip, samples: Sequence[Sample], measures: Sequence[Measure], size: Size) -> dict[str, Any]:
    """What decides every number of a run, by name."""
    made: dict[str, Any] = {"clipsx": version("clipsx"), "model": made_by(clip), "size": repr(size)}
    made |= {"data": datasets.fingerprint_of(samples), "pictures": len(samples)}
    for name, measure in zip(_names(measures), measures, strict=True):
        asked = {"readings": [str(r) for r in measure.readings], **measure.about, **measure.asks}
        made[f"measure {name}"] = hashlib.sha256(repr(sorted(asked.items())).encode()).hexdigest()
    return made


class _Parts:
    """Rows on disk, a Parquet file per measure and `PART` pictures, whole or not at all, and what made them.

    Errors: ValueError for a folder that holds another run's, naming what differs.
    """

    def __init__(self, folder: Path, made: dict[str, Any], measures: Sequence[Measure]) -> None:
        self.folder, self.names = folder / "rows", _names(measures)
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

    def write(self, start: int, tables: Sequence[pd.DataFrame]) -> None:
        for name, table in zip(self.names, tables, strict=True):
            with paths.whole(self._file(name, start)) as part:
                table.to_parquet(part, index=False)
