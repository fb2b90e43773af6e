"""Models beside each other on the same images: paired differences, and the pictures that changed most."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from clipsx import mfi, paths
from clipsx.clip import Clip
from clipsx.evaluation import recognise, results, segment, summary
from clipsx.evaluation.parts import joined
from clipsx.evaluation.protocols import MMSEG, PER_IMAGE, Protocol, protocol
from clipsx.evaluation.tasks import both, merged, told
from clipsx.metrics import mean_average_precision
from clipsx.statistics import band, bootstrap, difference, draws, interval, verdict

RUN = "model-"  # and a number: a model's own folder; the first is what the others are held against
MATRIX = "similarities.csv"
MOST = 20  # pictures that changed most
ALIKE = ("task", "dataset", "data", "rules")  # of all models of one comparison
Row = dict[str, Any]
Frames = Sequence[pd.DataFrame]


def runs(out: str | Path) -> list[Path]:
    """The folders of the models of one call, in its order; none where it was one model alone."""
    found = (folder for folder in Path(out).glob(f"{RUN}*") if folder.name.removeprefix(RUN).isdecimal())
    return sorted(found, key=lambda folder: int(folder.name.removeprefix(RUN)))


def keep_matrix(clip: Clip, labels: Sequence[str], folder: Path) -> None:
    """Write the similarities of a model's label features beside its rows."""
    matrix = mfi.similarity_matrix(clip.encode_labels(labels)).cpu().numpy()  # (N, N)
    text = pd.DataFrame(matrix, index=list(labels), columns=list(labels)).to_csv(lineterminator="\n")
    paths.write_whole(folder / MATRIX, text.encode())


def compared(out: str | Path) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Of the models whose runs lie in `out`: all their tables, differences from the first, the pictures that changed.

    Differences have the columns of `verdicts`: what (a reading), measure, value, against, difference, its 95 % interval
    over images drawn alike for both, a verdict. Pictures: the `MOST` whose value changed most by any reading.
    Errors: those of `tasks.merged`; ValueError for runs of different tasks, data or protocols.
    """
    folders = runs(out)
    tables = [merged(folder) for folder in folders]
    each = [both(folder) for folder in folders]
    about = [told(found) for found, _ in each]
    task, *_, rules = same = [about[0][name] for name in ALIKE]
    if any([other[name] for name in ALIKE] != same for other in about):
        raise ValueError(f"The models in {out} were not measured alike (task, data and protocol): take another folder.")
    names = [f"{a['model']} ({a['weights']}, {folder.name})" for a, folder in zip(about, folders, strict=True)]
    base, *others = [[parts.by_reading() for parts in some if parts is not None] for some in each]
    rows, changes = [], []
    for folder, name, found in zip(folders[1:], names[1:], others, strict=True):
        who = {"model": name, "against": names[0]}
        for reading in (r for r in base[0] if r in found[0]):  # one at a time: memory holds the rows of one
            pair, *chosen = [[one[reading](), other[reading]()] for one, other in zip(base, found, strict=True)]
            made = PAIRED[task](pair, chosen[0] if chosen else [], protocol(rules, task))
            rows += [row | {"what": reading} | who for row in made]
            first, second = (results.images(some, reading) for some in pair)
            change = pd.DataFrame({"before": first, "after": second}).dropna().reset_index(names="image")
            change = change.assign(reading=reading, measure=results.value_of(pair[0]), **who)
            changes.append(most(change.assign(change=change["after"] - change["before"])))
        rows.append(_matrices(folders[0], folder) | who)
    every = most(joined(changes), len(changes) * MOST).drop_duplicates(["model", "image"])
    runs_of = [folder.name for folder in folders]
    table = pd.concat([t.assign(run=name) for t, name in zip(tables, runs_of, strict=True)], ignore_index=True)
    return table, pd.DataFrame(rows), every.groupby("model", sort=False).head(MOST).reset_index(drop=True)


def most(changes: pd.DataFrame, count: int = MOST) -> pd.DataFrame:
    """The rows of the greatest changes, in their order: of one reading no others can be among the `MOST` of all."""
    return changes.loc[changes["change"].abs().sort_values(ascending=False, kind="stable").index[:count]]


def over_seeds(table: pd.DataFrame) -> pd.DataFrame:
    """Of CLIP itself and of projectors on it, as `compared` gives them: a row per reading and measure, with the value
    `before`, and of those with projectors the `band` over their seeds; empty where no model has any.
    """
    if "projectors" not in table:
        return pd.DataFrame()
    by, after = ["reading", "measure"], table["projectors"].notna()
    before = table[~after].set_index(by)["value"]
    each = table[after].groupby(by, sort=False)["value"]
    rows = [dict(zip(by, key, strict=True)) | {"before": before.get(key)} | band(values) for key, values in each]
    about = {name: table[name].iloc[-1] for name in ("projectors", "data", "dataset", "protocol")}
    about["projectors"] = re.sub(r", seed \d+", "", about["projectors"])
    found = pd.DataFrame(rows).rename(columns={"n": "seeds"}).assign(**about)
    found.insert(4, "difference", found["mean"] - found["before"])
    return found


def _objects(pair: Frames, chosen: Frames, rules: Protocol) -> Iterator[Row]:
    """Maps of the labels present: every measure of `explain` on the same objects."""
    one, tuned = (
        joined(some.assign(reading=role) for some, role in zip(tables, ("before", "after"), strict=False))
        for tables in (pair, chosen)
    )
    for row in summary.against(one, tuned if len(tuned) else None, base="before").to_dict("records"):
        yield {name: row[name] for name in ("measure", "value", "difference", "low", "high", "verdict", "pairs")}


def _points(pair: Frames, chosen: Frames, rules: Protocol) -> Iterator[Row]:
    for measure, column in {"accuracy": "accuracy", "outside": "outside", "miou_points": "iou"}.items():
        yield _means(*(some.set_index(["image", "label"])[column] for some in pair)) | {"measure": measure}


def _segments(pair: Frames, chosen: Frames, rules: Protocol) -> Iterator[Row]:
    if rules.mean == PER_IMAGE:
        there = (some[some["true"] > 0].set_index(["image", "label"]) for some in pair)
        yield _means(*map(segment.iou, there)) | {"measure": "mIoU"}
        return
    labels = sorted(set(pair[0]["label"]) | set(pair[1]["label"]))
    sums = [some.pivot_table(segment.PARTS, "image", "label", aggfunc="sum", fill_value=0) for some in pair]
    images = sums[0].index.intersection(sums[1].index)
    whole = pd.MultiIndex.from_product([segment.PARTS, labels])
    counts = [
        some.loc[images].T.reindex(whole, fill_value=0).T.to_numpy(float).reshape(len(images), 3, -1) for some in sums
    ]  # (n, 3, K) both

    def miou(weights: np.ndarray, place: int) -> np.ndarray:  # (R, n) → (R,)
        return segment.miou(np.einsum("ri,ipk->rpk", weights, counts[place]), rules.mean == MMSEG)

    yield _paired(miou, len(images)) | {"measure": "mIoU"}


def _means(before: pd.Series, after: pd.Series) -> Row:
    """Of values by image and label, means over images, then labels: the second's, and the paired difference."""
    gaps = (after - before).dropna()
    (own, of), (images, labels) = (
        [index.to_numpy() for index in map(s.index.get_level_values, (0, 1))] for s in (after, gaps)
    )
    value, _ = bootstrap(after.to_numpy(float), own, of, 1)
    return difference(gaps.to_numpy(float), images, labels) | {"value": value}


def _scores(pair: Frames, chosen: Frames, rules: Protocol) -> Iterator[Row]:
    images = set(pair[0]["image"]) & set(pair[1]["image"])
    each = [recognise.by_protocol(some[some["image"].isin(images)], rules.rule) for some in pair]
    targets = each[0][1]  # (n, N)
    share = recognise.share_of(targets, rules.absent)

    def mean(weights: np.ndarray, place: int) -> np.ndarray:  # (R, n) → (R,)
        return share * mean_average_precision(each[place][0], targets, weights)

    yield _paired(mean, len(targets)) | {"measure": "mAP"}


def _paired(statistic: Any, images: int) -> Row:
    """What a statistic of weighted images says of both models, each draw the same for both and centred on the gap."""
    before, after = (float(statistic(np.ones((1, images)), place)[0]) for place in (0, 1))
    drawn = draws(lambda w: statistic(w, 1) - statistic(w, 0), images)
    low, high = interval(drawn - np.nanmean(drawn) + after - before) if images > 1 else (np.nan, np.nan)
    found = {"verdict": verdict(low, high), "value": after, "difference": after - before}
    return found | {"low": low, "high": high, "pairs": images}


def _matrices(before: Path, after: Path) -> Row:
    """Similarities of all pairs of labels: their mean, and its change with an interval over labels drawn alike."""
    one, other = (pd.read_csv(folder / MATRIX, index_col=0).to_numpy(float) for folder in (before, after))
    found = mfi.difference(one, other)
    a, b = np.triu_indices(len(one), 1)
    gap = (other - one)[a, b]
    drawn = draws(lambda w: (w[:, a] * w[:, b] @ gap) / np.maximum((w[:, a] * w[:, b]).sum(axis=1), 1), len(one))
    low, high = interval(drawn)
    row = {"what": "label texts", "measure": "mean similarity off the diagonal", "value": found["after"]}
    row |= {"difference": found["absolute"], "low": low, "high": high}
    return row | {"verdict": verdict(low, high), "pairs": len(a)}


PAIRED = {"explain": _objects, "points": _points, "segment": _segments, "recognise": _scores}
