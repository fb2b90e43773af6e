"""From a data set to looks: pictures opened, here or in other processes, in batches, one walk of the tower a batch."""

import signal
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby, islice
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import DataLoader

from clipsx.clip import Clip
from clipsx.datasets import Sample
from clipsx.ending import UP
from clipsx.evaluation.cost import fitting
from clipsx.features import DenseFeatures
from clipsx.images import Picture, PictureError
from clipsx.maps import minmax, upsample
from clipsx.messages import brief
from clipsx.reading import Reading
from clipsx.seen import Seen

BATCH = 16  # pictures at a time
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
    with closing(seen(clip, samples, measures, size, batch, workers, numbers, len(samples))) as found:
        for look in found:
            if isinstance(look, Look):
                yield look
            elif unread is None or not isinstance(look.error, UNREADABLE):
                raise look.error
            else:
                unread.append(told(look.name, look.error))


def seen(
    clip: Clip,
    samples: Sequence[Sample],
    measures: Sequence[Measure],
    size: Size,
    batch: int | str,
    workers: int,
    numbers: Sequence[int],
    part: int,
) -> Generator[Look | Unread, None, None]:
    """`looks`, with the pictures that cannot be read in their places.

    No batch reaches from one part of the data set (`part` pictures) into the next: the numbers of a part are the same
    to the digit whatever else is made beside it.
    """
    needs = _needs(measures)
    at_once = fitted(clip, measures, size, batch) if numbers else 1
    opened = partial(_opened, clip.opener(size), samples, workers > 0)
    # One at a time in the loader, so that a batch is made of pictures of one part and one size.
    with loading(numbers, opened, workers) as loaded:
        for (_, shape), alike in groupby(loaded, key=partial(_alike, part)):
            if shape is None:
                yield from alike
                continue
            height, width = shape
            while group := list(islice(alike, at_once)):  # neighbours
                found = clip.look(torch.from_numpy(np.concatenate([one[2] for one in group])), *needs)
                for n, (number, sample, _) in enumerate(group):
                    yield Look(number, sample.name or f"#{number}", sample, f"{height}×{width}", found.of(n))


@contextmanager
def loading(items: Sequence[int], each: Callable[[int], Any], workers: int, **how: Any) -> Iterator[Iterator[Any]]:
    """What `each` makes of items, in their order: here, or in other processes, which end when this is left."""
    how |= {"num_workers": workers, "collate_fn": each, "worker_init_fn": _undisturbed}
    loader: Any = iter(DataLoader(items, None, **how))  # type: ignore[arg-type]
    try:
        yield _given(loader)
    finally:
        if workers:  # at once: an error's traceback, which a notebook keeps, would keep them too
            loader._shutdown_workers()
            for process in loader._workers:  # which hear nothing else
                process.kill()


def _given(loader: Any) -> Iterator[Any]:
    """What it gives, while its processes live: torch's word of one that ended may be lost in a library's callback."""
    for one in loader:
        yield one
        for process in getattr(loader, "_workers", ()):
            if process.exitcode:  # what it was writing would be waited for without end
                raise RuntimeError(f"DataLoader worker (pid {process.pid}) ended")


def _needs(measures: Iterable[Measure]) -> tuple[tuple[Reading, ...], bool]:
    """What a walk has to give them: readings, and whether blocks."""
    readings = dict.fromkeys(reading for measure in measures for reading in measure.readings)
    return tuple(readings), any(measure.blocks for measure in measures)


def fitted(clip: Clip, measures: Iterable[Measure], size: Size, batch: int | str) -> int:
    """Pictures at a time; "auto": as many as fit and pay."""
    return batch if isinstance(batch, int) else fitting(clip, *_needs(measures), size)


def _alike(part: int, one: Any) -> tuple[int, Any]:
    """What the pictures of a batch share: part and size, None for one that cannot be read."""
    return (one.number // part, None) if isinstance(one, Unread) else (one[0] // part, one[2].shape[2:])


@contextmanager
def ended() -> Iterator[None]:
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


def read(measures: Iterable[Measure], look: Look | Unread) -> list[list[Any]]:
    """One picture's rows per measure: one by one, or a table of them, with the size that the model read.

    Errors: `UNREADABLE`, for a picture or a mask that cannot be read.
    """
    if isinstance(look, Unread):
        raise look.error
    size, found = {"image_size": look.image_size}, []
    for rows in (measure.rows(look) for measure in measures):
        if isinstance(rows, pd.DataFrame):
            found.append([rows if "image_size" in rows else rows.assign(**size)])
        else:
            found.append([row if "image_size" in row else {**row, **size} for row in rows])
    return found


def told(name: str, error: Exception) -> str:
    """A line of a picture that cannot be read."""
    return f"{name} ({brief(error, 120).rstrip('.')})"


def _undisturbed(worker: int) -> None:
    """Ctrl-C and what ends a job reach every process of it: the one that reads ends the others, in order."""
    for number in (signal.SIGINT, *UP):
        signal.signal(number, signal.SIG_IGN)
