"""Models beside each other on the same images: paired differences, and the pictures that changed most."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from clipsx import mfi, paths
from clipsx.clip import Clip
from clipsx.evaluation import protocols, recognise, segment, summary
from clipsx.evaluation.parts import Parts, joined
from clipsx.evaluation.protocols import MMSEG, Protocol
from clipsx.evaluation.tasks import TASK_OF, merged
from clipsx.metrics import average_precision, mean_average_precision
from clipsx.reading import Reading
from clipsx.statistics import difference, draws, interval, verdict

RUN = "model-"  # and a number: a model's own folder; the first is what the others are held against
MATRIX = "similarities.csv"
MOST = 20  # pictures that changed most
PIXELS = "pixels right (%)"
Row = dict[str, Any]


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
    same = ["dataset", "data", "rules"]
    each = [_rows(folder) for folder in folders]
    if len({(task, *found[same].iloc[0]) for task, found, _ in each}) > 1:
        raise ValueError(f"The models in {out} were not measured alike (task, data and protocol): take another folder.")
    task, base, tuned = each[0]
    rules = protocols.protocol(base["rules"].iloc[0], task)
    rows, changes = [], []
    for folder, (_, found, choosing) in zip(folders[1:], each[1:], strict=True):
        names = {"model": _named(found, folder), "against": _named(base, folders[0])}
        for reading in (r for r in base["reading"].unique() if r in set(found["reading"])):
            pair = [some[some["reading"] == reading] for some in (base, found)]
            chosen = [some[some["reading"] == reading] for some in (tuned, choosing) if some is not None]
            rows += [row | {"what": reading} | names for row in PAIRED[task](pair, chosen, rules)]
            first, second = (_pictures(task, some) for some in pair)
            change = pd.DataFrame({"before": first, "after": second}).dropna().reset_index(names="image")
            changes.append(change.assign(reading=reading, measure=PICTURE[task], **names))
        rows.append(_matrices(folders[0], folder) | names)
    every = joined(changes)
    every["change"] = every["after"] - every["before"]
    order = every["change"].abs().sort_values(ascending=False, kind="stable").index
    most = every.loc[order].drop_duplicates(["model", "image"]).groupby("model", sort=False).head(MOST)
    runs_of = [folder.name for folder in folders]
    table = pd.concat([t.assign(run=name) for t, name in zip(tables, runs_of, strict=True)], ignore_index=True)
    return table, pd.DataFrame(rows), most.reset_index(drop=True)


def _rows(folder: Path) -> tuple[str, pd.DataFrame, pd.DataFrame | None]:
    """The task, the rows of the test images, and of those that thresholds are chosen on."""
    (name, found), *_ = Parts.of(folder).tables().items()
    tuned = next(iter(Parts.of(folder / "tuning").tables().values())) if (folder / "tuning").is_dir() else None
    return TASK_OF.get(name, name), found, tuned


def _named(table: pd.DataFrame, folder: Path) -> str:
    return f"{table['model'].iloc[0]} ({table['weights'].iloc[0]}, {folder.name})"


def _objects(pair: Sequence[pd.DataFrame], chosen: Sequence[pd.DataFrame], rules: Protocol) -> Iterator[Row]:
    """Maps of the labels present: every measure of `explain` on the same objects."""
    one, tuned = (
        joined(some.assign(reading=role) for some, role in zip(tables, ("before", "after"), strict=False))
        for tables in (pair, chosen)
    )
    for row in summary.against(one, tuned if len(tuned) else None, base="before").to_dict("records"):
        yield {name: row[name] for name in ("measure", "difference", "low", "high", "verdict", "pairs")}


def _points(pair: Sequence[pd.DataFrame], chosen: Sequence[pd.DataFrame], rules: Protocol) -> Iterator[Row]:
    before, after = (some.set_index(["image", "label"]) for some in pair)
    for name in ("accuracy", "outside", "iou"):
        gaps = (after[name] - before[name]).dropna()
        images, labels = (gaps.index.get_level_values(level).to_numpy() for level in ("image", "label"))
        yield difference(gaps.to_numpy(float), images, labels) | {"measure": name, "value": float(after[name].mean())}


def _segments(pair: Sequence[pd.DataFrame], chosen: Sequence[pd.DataFrame], rules: Protocol) -> Iterator[Row]:
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


def _scores(pair: Sequence[pd.DataFrame], chosen: Sequence[pd.DataFrame], rules: Protocol) -> Iterator[Row]:
    surgery = Reading.parse(str(pair[0]["reading"].iloc[0])).surgery != "none"
    rule = recognise.OF_COSINES["cosine" if surgery else rules.rule]
    images = set(pair[0]["image"]) & set(pair[1]["image"])
    each = [recognise.as_arrays(some[some["image"].isin(images)]) for some in pair]
    scores, targets = [rule(torch.tensor(own)).numpy() for own, _ in each], each[0][1]
    yield _paired(lambda w, place: mean_average_precision(scores[place], targets, w), len(targets)) | {"measure": "mAP"}


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
PICTURE = {"explain": "msc", "points": "iou", "segment": PIXELS, "recognise": "average precision of its labels (%)"}
"""What says how a picture fares, by task: the mean over its labels; of recognition, how its labels rank among all."""


def _pictures(task: str, rows: pd.DataFrame) -> pd.Series:
    by = rows.groupby("image", sort=False)
    if task == "segment":
        return 100 * by["hits"].sum() / by["true"].sum()
    if task != "recognise":
        return by[PICTURE[task]].mean()
    scores, targets = recognise.as_arrays(rows)
    return pd.Series(100 * average_precision(scores.T, targets.T), index=rows["image"].unique())
