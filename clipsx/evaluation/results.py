"""Results where they lie: a task's table, the rows of its pictures, and what each class and each picture is worth."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from clipsx import save
from clipsx.clip import Clip
from clipsx.datasets import Sample, fingerprint_of
from clipsx.datasets.protocol import digest
from clipsx.evaluation import published, recognise, segment
from clipsx.evaluation.parts import Parts
from clipsx.evaluation.protocols import OURS, PROTOCOLS, Protocol, named, protocol
from clipsx.evaluation.tasks import evaluate
from clipsx.metrics import average_precision
from clipsx.statistics import difference, draws, interval

VALUES = {"hits": "IoU (%)", "scores": "AP (%)", "iou": "IoU from points (%)", "msc": "mSC (%)"}  # by a column of rows


@dataclass(frozen=True, eq=False)
class Result:
    """A run of `clipsx evaluate` in its folder: its table, by what protocol, the rows of its pictures."""

    folder: Path
    table: pd.DataFrame

    @property
    def name(self) -> str:
        """Its folder's; of one of several models of a call that of the call before it."""
        return f"{self.folder.parent.name}-{self.folder.name}" if "run" in self.table else self.folder.name

    @property
    def protocol(self) -> Protocol:
        """The protocol of its numbers. Errors: ValueError for one that is not known here."""
        name = named(self.table["protocol"].iloc[0])
        if name is None:
            raise ValueError("its protocol is none that is known here")
        return protocol(name, PROTOCOLS[name.removesuffix(OURS)].task)

    def rows(self, part: str = ".") -> pd.DataFrame:
        """A row for each picture, label and reading; part: "tuning" for other images. Errors: those of `Parts`."""
        return next(iter(Parts.of(self.folder / part).tables().values()))


def find(folder: str | Path) -> list[Result]:
    """All results under a folder, of a call of several models each; tables of another kind or of an older version are
    named and left out.
    """
    found = []
    for file in sorted(Path(folder).absolute().rglob("table.csv")):
        whole = pd.read_csv(file)
        runs = whole.groupby("run", sort=False) if "run" in whole else [("", whole)]
        each = [Result(file.parent / str(name), table.reset_index(drop=True)) for name, table in runs]
        try:
            for result in each:
                published.beside(result.table)
                _ = result.protocol, result.rows()
        except (ValueError, KeyError) as error:
            print(f"Left out: {file} ({error})")
            continue
        found += each
    return found


def write(table: pd.DataFrame, folder: str | Path) -> list[Path]:
    """Write a task's table, and beside it what others published (`published.beside`), where there is any."""
    others = published.beside(table)
    return [save.table(some, folder, name) for some, name in ((table, "table"), (others, "published")) if len(some)]


def run(
    out: str | Path,
    name: str,
    clip: Clip,
    task: str,
    tuning: Sequence[Sample],
    test: Sequence[Sample],
    asked: Sequence[str] = (),
    **how: Any,
) -> Result:
    """`tasks.evaluate` in a folder of its own under `out`: the same call finds there what it made, or goes on."""
    data = [fingerprint_of(samples) for samples in (tuning, test)]
    key = digest(clip.describe(), clip.heads.weights, task, list(map(str, asked)), *data, repr(sorted(how.items())))
    folder = Path(out, f"{name}-{key[:8]}")
    table = evaluate(clip, task, tuning, test, asked, folder=folder, **how)
    write(table, folder)
    return Result(folder, table)


def value_of(rows: pd.DataFrame) -> str:
    """What `pairs` and `classes` call worth, in words, for the rows of a task."""
    return next(title for column, title in VALUES.items() if column in rows)


def pairs(rows: pd.DataFrame) -> pd.DataFrame:
    """What every (image, label) pair is worth by every reading, in %: columns reading, image, label, value.

    Maps by mSC, or by the IoU of the mask from points; segmentation by the IoU of each class there; recognition by the
    average precision of an image's own labels among all (label "").
    """
    if "scores" not in rows:
        known = rows[rows["true"] > 0] if "hits" in rows else rows
        worth = segment.iou(known) if "hits" in rows else known["iou" if "iou" in rows else "msc"]
        return known[["reading", "image", "label"]].assign(value=worth)
    found = []
    for reading, own in rows.groupby("reading", sort=False):
        scores, present = recognise.as_arrays(own)
        worth = 100 * average_precision(scores.T, present.T)
        found.append(own[["image"]].assign(reading=reading, label="", value=worth))
    return pd.concat(found, ignore_index=True)


def classes(rows: pd.DataFrame, resamples: int = 200) -> pd.DataFrame:
    """What every class is worth by every reading, in %, as the task's mean takes them: reading, label, value.

    With its 95 % interval (`value_low`, `value_high`) over images drawn anew, their draws centred on the value: an
    image that is drawn twice ranks beside itself, which lifts every average precision.
    """
    found, least = [], -100 if value_of(rows).startswith("mSC") else 0
    for reading, own in rows.groupby("reading", sort=False):
        labels, count, worth = _weighed(own)
        value, ends = worth(np.ones((1, count)))[0], np.full((2, len(labels)), np.nan)  # (K,), (2, K)
        for k, drawn in enumerate(draws(worth, count, resamples * (count > 1)).T):
            if (known := drawn[np.isfinite(drawn)]).size:
                ends[:, k] = np.clip(interval(known - known.mean() + value[k]), least, 100)
        table = {"reading": reading, "label": labels, "value": value, "value_low": ends[0], "value_high": ends[1]}
        found.append(pd.DataFrame(table))
    return pd.concat(found, ignore_index=True).dropna(subset="value", ignore_index=True)


def _weighed(own: pd.DataFrame) -> tuple[list[str], int, Callable[[np.ndarray], np.ndarray]]:
    """Of one reading's rows: classes, number of images, and what classes are worth by weights of images.

    The last takes (R, I) to (R, K), in %, NaN for a class that no weighed image has.
    """
    if "scores" in own:
        scores, present = recognise.as_arrays(own)
        names = own["classes"].iloc[0].split("\n")
        return names, len(scores), lambda w: 100 * average_precision(scores, present, w)
    if "hits" in own:
        wide = own.pivot_table(segment.PARTS, "image", "label", aggfunc="sum", fill_value=0, sort=False)
        hits, said, true = (wide[part].to_numpy(float) for part in segment.PARTS)  # (I, K) each
        above, below, labels = 100 * hits, said + true - hits, wide["hits"].columns
    else:
        wide = pairs(own).pivot_table("value", "image", "label", sort=False)
        above, below, labels = wide.fillna(0).to_numpy(), wide.notna().to_numpy(float), wide.columns
        true = below

    def ratio(weights: np.ndarray) -> np.ndarray:
        there, total = weights @ true > 0, np.maximum(weights @ below, 1)
        return np.where(there, weights @ above / total, np.nan)

    return labels.tolist(), len(wide), ratio


def images(rows: pd.DataFrame, reading: str) -> pd.Series:
    """What every image is worth by a reading, the worst first."""
    own = pairs(rows).query("reading == @reading")
    return own.groupby("image", sort=False)["value"].mean().dropna().sort_values(kind="stable")


def against(rows: pd.DataFrame, base: str = "clip") -> pd.DataFrame:
    """How every reading differs from `base` on the same pairs, means over images, then classes: as `verdicts` shows.

    Errors: ValueError for a base that was not measured.
    """
    if base not in set(rows["reading"]):
        raise ValueError(f"{base!r} was not measured: there is nothing to compare with.")
    wide = pairs(rows).set_index(["image", "label", "reading"])["value"].unstack("reading")  # noqa: PD010
    where: Any = [wide.index.get_level_values(name).to_numpy() for name in ("image", "label")]
    about = {"measure": f"{value_of(rows).removesuffix(' (%)')} of each image and class (%)", "against": base}
    return pd.DataFrame(
        [{"reading": name, **difference((wide[name] - wide[base]).to_numpy(), *where), **about}
         for name in rows["reading"].unique() if name != base]
    )  # fmt: skip


def ends(samples: Sequence[Sample], worth: pd.Series, count: int = 2) -> list[Sample]:
    """The worst and the best of the samples by the worth of their names, worst first; none that is not among them."""
    place = {samples[n].name: n for n in range(len(samples))}
    known = [name for name in worth.index if name in place]
    few = dict.fromkeys([*known[:count], *known[-count:]])
    return [samples[place[name]] for name in few]
