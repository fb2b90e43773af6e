"""The laboratory's scenes: one of them through many models, its photo, raw and repaired maps, and which is typical."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from clipsx import plots
from clipsx.datasets import Sample
from clipsx.maps import upsample
from clipsx.metrics import msc
from clipsx.plots import styles
from clipsx.plots.cells import NARROW
from clipsx.plots.sheets import tile
from clipsx.sketchbook.laboratory.measures import CHOICES, SHOWN, world
from clipsx.sketchbook.laboratory.plots import about
from clipsx.sketchbook.laboratory.runs import Results, finished, scenes
from clipsx.sketchbook.world import Sketchbook


def first_seeds(found: Results) -> list[str]:
    """The runs to show where each cell is shown once: its first seed, trained to the end."""
    return finished(found.runs).drop_duplicates("cell")["run"].tolist()


def scene(number: int, size: int = 192) -> Sample:
    """One of the scenes that every cell is shown on, drawn at any size."""
    return world(SHOWN, number + 1, size)[number]


def _drawn(maps: Mapping[str, Tensor], sample: Sample, number: int, label: str) -> list[np.ndarray]:
    """A label's maps of a shipped scene (of a run's `scenes`), one per choice, as large as the picture: (H, W) each."""
    place, pixels = Sketchbook.NOUNS.index(label), (sample.image.height, sample.image.width)
    chosen = [maps[f"{r.method} {r.surgery}"][number][None, ..., [place]] for r in CHOICES]  # (1, h, w, 1)
    return [upsample(sim, pixels)[0, ..., 0].numpy() for sim in chosen]


def contrasts(runs: Sequence[str]) -> dict[tuple[int, str], np.ndarray]:
    """mSC of every shipped scene and object, in %: (runs, `CHOICES`)."""
    maps, found = [scenes(run) for run in runs], {}
    for number in range(len(next(iter(maps[0].values())))):
        sample = scene(number)
        for label, mask in sample.masks.items():
            drawn = [_drawn(run, sample, number, label) for run in maps]
            found[number, label] = np.array([[msc(map, mask) for map in each] for each in drawn])
    return found


def typical(runs: Sequence[str]) -> tuple[int, str]:
    """The shipped scene and object whose `contrasts`, over all of the runs, lie nearest the mean of all objects."""
    found = contrasts(runs)
    mean = np.mean(list(found.values()), axis=0)  # (runs, CHOICES)
    return min(found, key=lambda key: float(np.square(found[key] - mean).sum()))


def side_by_side(
    runs: Sequence[str], number: int = 0, label: str | None = None, side: float = 1.35, abreast: int = 1
) -> Any:
    """One scene through models, `abreast` of them in a row: the photo with the true region, then raw and repaired maps.

    label: one of the nouns, the scene's first by default. From the shipped maps: no weights are needed.
    """
    sample = scene(number)
    label = label or next(iter(sample.masks))
    cells = []
    for run in runs:
        cells.append(plots.Cell(sample.image, None, sample.masks.get(label), f"{label}\n{run.removeprefix('lab-')}"))
        for map, reading in zip(_drawn(scenes(run), sample, number, label), CHOICES, strict=True):
            cells.append(tile(sample, map, label, reading.title))
    each = 1 + len(CHOICES)
    wide = each * max(1, styles.current().fits(abreast * each, NARROW) // each)  # in print what has no room goes below
    return plots.sheet([cells[n : n + wide] for n in range(0, len(cells), wide)], side)


def one_scene(found: Results) -> tuple[Any, dict[str, str]]:
    """The most typical object of the shipped scenes through each cell's first seed, and what that figure prints."""
    runs = first_seeds(found)
    number, label = typical(runs)
    own = {
        "models": f"{len(runs)} runs in data/laboratory/runs, the first seed of each cell",
        "data": f"sketchbook, both dials 0, scene {number} of seed {SHOWN}",
        "labels": f"{len(Sketchbook.NOUNS)} nouns",
    }
    return side_by_side(runs, number, label, abreast=2), about(found) | own
