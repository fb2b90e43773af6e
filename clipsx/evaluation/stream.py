"""The one loop over a data set: parts of its pictures, one walk of the tower a batch, rows of measures as they come."""

import importlib
import sys
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from tqdm.auto import tqdm

from clipsx import datasets
from clipsx.clip import Clip
from clipsx.datasets import Sample
from clipsx.evaluation.looks import (
    BATCH,
    UNREADABLE,
    Look,
    Measure,
    Rows,
    Size,
    ended,
    fitted,
    loading,
    looks,
    read,
    told,
)
from clipsx.evaluation.looks import seen as _seen
from clipsx.evaluation.parts import BARE, Parts, framed, left_out, made, names_of
from clipsx.messages import require_known

__all__ = ["BATCH", "PART", "Look", "Measure", "Rows", "Size", "keep", "left_out", "looks", "stream"]

PART = 64  # pictures whose rows are made and kept together, on their own
Part = tuple[int, list[pd.DataFrame], list[str]]  # its first picture, a table per measure, pictures that are left out
ENGINES = ("own", "ray")


def stream(
    clip: Clip,
    samples: Sequence[Sample],
    measures: Sequence[Measure],
    *,
    shard: tuple[int, int] = (1, 1),
    **options: Any,
) -> list[pd.DataFrame]:
    """A table per measure, rows in the order of the pictures, each picture opened and walked once.

    Every row has `image` and `image_size`, and at its end what made it. Pictures that cannot be read, or whose masks
    cannot, are left out: a warning names the first few, `data` says how many. shard, options: those of `keep`; of one
    shard of several there is no table.
    Errors: those of `keep`; ValueError where no picture can be read, and for a measure that gave no row.
    """
    parts = keep(clip, samples, measures, shard=shard, **options)
    return list(parts.tables().values()) if shard[1] == 1 else []


def keep(
    clip: Clip,
    samples: Sequence[Sample],
    measures: Sequence[Measure],
    *,
    size: Size = None,
    batch: int | str = BATCH,
    workers: int = 0,
    folder: str | Path | None = None,
    words: str | None = None,
    shard: tuple[int, int] = (1, 1),
    between: Callable[[], Any] = lambda: None,
    engine: str = "own",
) -> Parts:
    """Make the parts of a run that are not there yet.

    size: what the model reads, as in `Clip.prepare`; batch: pictures at a time, or "auto"; workers: processes that open
    pictures (0: this one), or make whole parts (`_apart`); folder: where the rows of every `PART` pictures are kept as
    they come, and found again by a run that was stopped; words: of a line of progress. shard: (i, n) makes every n-th
    part from the i-th on. between: called before every part; where it raises, what was made is kept. engine: "own", or
    "ray" (`evaluation.ray`), of which workers are the actors.
    Errors: ValueError for no picture, for a folder of another run, saying what differs, and a shard that is out of
    range or without a folder; those of `Clip`.
    """
    if not len(samples):
        raise ValueError("There is no image to evaluate on.")
    require_known("engine", engine, ENGINES)
    of_engine: Callable[..., Any] = make if engine == "own" else importlib.import_module("clipsx.evaluation.ray").make
    if not 1 <= shard[0] <= shard[1] or (shard[1] > 1 and folder is None):
        raise ValueError(f"A shard is i/n with i in 1…n, and has a folder for its rows, unlike {shard[0]}/{shard[1]}.")
    about = clip.describe() | datasets.described(samples)
    each = zip(names_of(measures), measures, strict=True)
    told_of = {name: {"about": about | dict(measure.about), "empty": measure.empty} for name, measure in each}
    key = {"pictures": len(samples), "part": PART} if folder is None else made(clip, samples, measures, size, PART)
    parts = Parts(None if folder is None else Path(folder), key, told_of)
    lacking = parts.lacking(parts.starts[shard[0] - 1 :: shard[1]])
    how = {"size": size, "batch": batch, "workers": workers, "words": words, "part": PART}
    between()
    with ended(), closing(of_engine(clip, samples, measures, lacking, **how)) as found:
        for part in found:
            parts.write(*part)
            between()
    return parts


def make(
    clip: Clip,
    samples: Sequence[Sample],
    measures: Sequence[Measure],
    starts: Iterable[int],
    *,
    part: int,
    size: Size = None,
    batch: int | str = BATCH,
    workers: int = 0,
    words: str | None = None,
) -> Generator[Part, None, None]:
    """Parts as they come: first picture, a table per measure, a line for each picture that is left out.

    starts: the first picture of every part that is asked for; part: how many a part has; else as in `stream`.
    """
    ranges = {start: range(start, min(start + part, len(samples))) for start in starts}
    numbers = [number for own in ranges.values() for number in own]
    bar = tqdm(desc=words, total=len(numbers), unit=" pictures", leave=False, disable=words is None, delay=1)
    if _apart(clip.device, workers, len(ranges)):
        batch = fitted(clip, measures, size, batch)
        one = partial(_one, partial(make, clip, samples, measures, part=part, size=size, batch=batch))
        with closing(bar), loading(list(ranges), one, workers, multiprocessing_context="fork") as made:
            for found in made:
                if isinstance(found, Exception):
                    raise found
                yield found
                bar.update(len(ranges[found[0]]))
        return
    with closing(bar), closing(_seen(clip, samples, measures, size, batch, workers, numbers, part)) as seen:
        for start, own in ranges.items():
            rows: list[list[Any]] = [[] for _ in measures]
            unread = []
            for look in islice(seen, len(own)):
                bar.update()
                try:
                    found = read(measures, look)
                except UNREADABLE as error:
                    unread.append(told(look.name, error))
                    continue
                if len(measures) == 1 and measures[0].empty and not found[0]:
                    unread.append(f"{look.name} {BARE}")
                for known, more in zip(rows, found, strict=True):
                    known += more
            yield start, [framed(known) for known in rows], unread


def _apart(device: torch.device, workers: int, parts: int) -> bool:
    """Whether every process makes whole parts, the model's work too, with one thread: on a CPU that is as many.

    Opening pictures is a quarter of the work there or less, so that processes that open them hardly help.
    """
    threads = torch.get_num_threads()
    return sys.platform == "linux" and device.type == "cpu" and max(2, threads) <= workers <= parts


def _one(make: Callable[[list[int]], Any], start: int) -> Part | Exception:
    """A part as another process makes it; what is raised there would be told with its traceback."""
    try:
        return next(make([start]))
    except Exception as error:
        return error
