"""The one loop over a data set: pictures in batches, one walk of the tower a batch, rows of measures as they come."""

import signal
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
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

from clipsx import datasets
from clipsx.clip import Clip
from clipsx.datasets import Sample
from clipsx.evaluation.parts import Parts, made, names_of
from clipsx.features import DenseFeatures
from clipsx.images import Picture, PictureError
from clipsx.maps import minmax, upsample
from clipsx.messages import brief
from clipsx.reading import Reading
from clipsx.seen import Seen

BATCH = 16  # pictures at a time
PART = 64  # pictures whose rows are written together
NAMED = 3  # of the pictures that cannot be read
UNREADABLE = (PictureError, OSError)  # what a run goes round: a picture, or a mask, that is damaged or missing
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
        return self.seen.maps(reading, text)

    def at_pixels(self, sim: Float[Tensor, "1 h w N"]) -> Float[np.ndarray, "H W N"]:
        """Similarities stretched to 0…1 over the patches, at the picture's own size."""
        return upsample(minmax(sim), self.pixels)[0].float().cpu().numpy()


@dataclass(frozen=True, eq=False)
class Unread:
    """A picture that cannot be read: its place in the data set, what tables would call it, and why."""

    number: int
    name: str
    error: Exception


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
    Pictures that cannot be read, or whose masks cannot, are left out: a warning names the first few, `data` says how
    many.
    Errors: ValueError for no picture (or none that can be read), for a measure that gave no row, and for a folder of
    another run, saying what differs; those of `Clip`.
    """
    if not len(samples):
        raise ValueError("There is no image to evaluate on.")
    keep = None if folder is None else Parts(Path(folder), made(clip, samples, measures, size), names_of(measures))
    starts = range(0, len(samples), PART)
    kept = {} if keep is None else {start: keep.read(start) for start in starts}
    parts = {start: tables for start, tables in kept.items() if tables is not None}  # a table per measure each
    missing = {s: range(s, min(s + PART, len(samples))) for s in starts if s not in parts}
    numbers = [number for part in missing.values() for number in part]
    unread = {start: [] if keep is None else keep.unread(start) for start in parts}  # a line for each picture
    seen = _seen(clip, samples, measures, size, batch, workers, numbers)
    bar = tqdm(seen, words, total=len(numbers), unit="picture", leave=False, disable=words is None, delay=1)
    with _ended(), closing(seen), closing(bar):
        looked = iter(bar)
        for start, part in missing.items():
            rows: list[list[pd.DataFrame]] = [[] for _ in measures]
            unread[start] = []
            for look in islice(looked, len(part)):
                try:
                    found = _read(measures, look)
                except UNREADABLE as error:
                    unread[start].append(told(look.name, error))
                    continue
                for tables, table in zip(rows, found, strict=True):
                    tables.append(table)
            parts[start] = [_joined(tables) for tables in rows]
            if keep is not None:
                keep.write(start, parts[start], unread[start])
    about = clip.describe() | datasets.described(samples)
    about["data"] += left_out([line for start in starts for line in unread[start]], len(samples))
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
    unread: list[str] | None = None,
) -> Generator[Look, None, None]:
    """Pictures in order, seen by all that the measures ask for; arguments as in `stream`, `numbers`: which pictures.

    unread: takes a line for each picture that cannot be read. Errors: without it, those of `images.decode` for such.
    """
    numbers = list(range(len(samples)) if numbers is None else numbers)
    with closing(_seen(clip, samples, measures, size, batch, workers, numbers)) as seen:
        for look in seen:
            if isinstance(look, Look):
                yield look
            elif unread is None or not isinstance(look.error, UNREADABLE):
                raise look.error
            else:
                unread.append(told(look.name, look.error))


def _seen(
    clip: Clip,
    samples: Sequence[Sample],
    measures: Sequence[Measure],
    size: Size,
    batch: int,
    workers: int,
    numbers: Sequence[int],
) -> Generator[Look | Unread, None, None]:
    """`looks`, with the pictures that cannot be read in their places."""
    readings = tuple(dict.fromkeys(reading for measure in measures for reading in measure.readings))
    blocks = any(measure.blocks for measure in measures)
    opened = partial(_opened, clip.opener(size), samples, workers > 0)
    # One at a time in the loader, so that a batch is made of pictures of one size.
    how: Any = {"num_workers": workers, "collate_fn": opened, "worker_init_fn": _undisturbed}
    loader: Any = iter(DataLoader(numbers, None, **how))  # type: ignore[arg-type]
    try:
        for shape, alike in groupby(loader, key=lambda one: None if isinstance(one, Unread) else one[2].shape[2:]):
            if shape is None:
                yield from alike
                continue
            height, width = shape
            while group := list(islice(alike, batch)):  # neighbours of one shape
                seen = clip.look(torch.from_numpy(np.concatenate([images for _, _, images in group])), readings, blocks)
                for n, (number, sample, _) in enumerate(group):
                    yield Look(number, sample.name or f"#{number}", sample, f"{height}×{width}", seen.of(n))
    finally:
        if workers:  # at once: an error's traceback, which a notebook keeps, would keep them too
            loader._shutdown_workers()


@contextmanager
def _ended() -> Iterator[None]:
    """Clear words where a process that opens pictures ended: torch says it wherever this process happens to be."""
    try:
        yield
    except RuntimeError as error:
        if str(error).startswith("DataLoader worker (pid"):
            raise RuntimeError(f"A process that opens pictures ended ({error}): run it again, or workers=0.") from None
        raise


def _opened(
    pixels: Callable[[Picture], Tensor], samples: Sequence[Sample], whole: bool, number: int
) -> tuple[int, Sample, Float[np.ndarray, "1 3 H W"]] | Unread:
    """Number, sample and what the model reads; whole: the sample leaves its process, so that it is opened first."""
    sample = samples[number].closed()  # a list of samples does not keep what is opened here
    try:
        images = pixels(sample.image).numpy()  # not a tensor: its memory would end with the process it came from
        return number, sample.opened() if whole else sample, images
    except (OSError, TypeError, ValueError) as error:  # raised here, another process would tell its traceback as well
        return Unread(number, sample.name or f"#{number}", error)


def told(name: str, error: Exception) -> str:
    """A line of a picture that cannot be read."""
    return f"{name} ({brief(error, 120)})"


def left_out(unread: Sequence[str], count: int) -> str:
    """What `data` says of pictures that could not be read, with a warning. Errors: ValueError where none could be."""
    if not unread:
        return ""
    first = "; ".join(unread[:NAMED]) + (f"; and {len(unread) - NAMED} more" if len(unread) > NAMED else "")
    if len(unread) == count:
        raise ValueError(f"None of the {count} pictures can be read: {first}.")
    words = f"{len(unread)} of {count} pictures cannot be read and {'is' if len(unread) == 1 else 'are'} left out"
    warnings.warn(f"{words}: {first}.", stacklevel=3)
    return f", {len(unread)} of {count} left out (cannot be read)"


def _read(measures: Iterable[Measure], look: Look | Unread) -> list[pd.DataFrame]:
    """A table of one picture's rows per measure. Errors: `UNREADABLE`, for a picture or a mask that cannot be read."""
    if isinstance(look, Unread):
        raise look.error
    tables = []
    for measure in measures:
        rows = measure.rows(look)
        table = rows if isinstance(rows, pd.DataFrame) else pd.DataFrame(list(rows))
        tables.append(table.assign(image_size=look.image_size))
    return tables


def _undisturbed(worker: int) -> None:
    """Ctrl-C reaches every process of a terminal: the one that reads ends the others, in order."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _joined(tables: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """One table of those that are not empty, which know no columns."""
    known = [table for table in tables if len(table)]
    return pd.concat(known, ignore_index=True) if known else pd.DataFrame()
