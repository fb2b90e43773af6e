"""Methods × data set → a tidy table: how well maps find the objects that are there. Images stream, one at a time."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch

from clipsx.clip import Clip
from clipsx.datasets.sample import Sample
from clipsx.features import DenseFeatures
from clipsx.maps import feature_surgery, is_constant, minmax, similarity, upsample
from clipsx.methods import METHODS
from clipsx.metrics import SIZES, THRESHOLDS, bootstrap, exceedance, interval, iou_curve, msc, size_of

FIXED = 0.6  # the threshold reported beside the chosen one
INSIDE, OUTSIDE = ([f"{side}@{t:.2f}" for t in THRESHOLDS] for side in ("in", "out"))
ROW = ["method", "surgery"]  # what tells the rows of a summary apart, beside model and weights
MEASURES = {"msc": "mSC (%)", "opposite": "opposite pairs (%)", "miou": "mIoU (%)"}  # of a summary
ABOUT = ("model", "weights", "data", "image_size", "templates", "labels", "method", "tau", "depth", "protocol")
BOOTSTRAP = "95 % image bootstrap"
Progress = Callable[[int, int], None]


def queries(samples: Sequence[Sample], labels: Sequence[str] | None = None) -> tuple[str, ...]:
    """The labels asked of every image: those given, else all of the data set. Errors: ValueError for fewer than two."""
    found = tuple(dict.fromkeys(labels if labels is not None else getattr(samples, "labels", ())))
    if len(found) < 2:
        raise ValueError("An evaluation asks every image for all labels: give at least two different ones, labels=[…].")
    return found


def similarities(dense: DenseFeatures, text: torch.Tensor, surgery: str, tau: float) -> torch.Tensor:  # (B, h, w, N)
    """Plain cosines for surgery "none", else feature surgery in that form."""
    return similarity(dense, text) if surgery == "none" else feature_surgery(dense, text, tau=tau, form=surgery)


def evaluate(
    clip: Clip,
    samples: Sequence[Sample],
    methods: Sequence[str] = ("clip", "maskclip", "clip-surgery"),
    surgery: Sequence[str] = ("none", "code"),
    labels: Sequence[str] | Mapping[str, Sequence[str]] | None = None,
    templates: str | Sequence[str] = "clip-surgery",
    depth: int = 6,
    tau: float = 2.0,
    size: int | tuple[int, int] | None = None,
    on_progress: Progress | None = None,
) -> pd.DataFrame:
    """A row per image, label that is present with a mask, method and form of feature surgery ("none", "code", "paper").

    Every image is asked for all labels (`queries`); the maps of those that are present are stretched to 0…1 over the
    patches, upsampled to the picture's size and compared with the mask. `labels` may be several sets by name, for
    feature surgery to compare: then the column `label_set` says which (plain maps do not depend on it, and are measured
    for the first set alone), and only labels of the first set are measured. Columns: `msc` (%, NaN for a mask of all
    the picture), `area` (% of the picture) and its `size`, `constant` (the map says nothing), and the shares of
    object and background pixels at or above every threshold (`in@…`, `out@…`, 0…1), from which come IoU and the
    distributions of scores; then provenance. Images without a mask give no row.
    Errors: ValueError for no images at all, fewer than two labels, and what `Clip` refuses.
    Source: CLIP Surgery, explainability protocol (mSC, mIoU of the labels present).
    """
    if not len(samples):
        raise ValueError("There is no image to evaluate on.")
    named_sets = labels if isinstance(labels, Mapping) else {None: labels}
    sets = {name: queries(samples, some) for name, some in named_sets.items()}
    texts = {name: clip.encode_labels(some, templates) for name, some in sets.items()}  # (N, D) each
    first = next(iter(sets))
    asked = sets[first]
    about = provenance(clip, samples, templates)
    rows: list[dict[str, Any]] = []
    for number, sample in enumerate(samples):
        present = [label for label in sample.labels if label in asked and label in sample.masks]
        images = clip.prepare(sample.image, size=size)  # (1, 3, H, W)
        for method in methods if present else ():
            dense = clip.encode_dense(images, method=method, **deep(clip, method, depth))
            for form, name in [(form, name) for form in surgery for name in sets if form != "none" or name == first]:
                places = [sets[name].index(label) for label in present]
                sim = similarities(dense, texts[name], form, tau)[..., places]  # (1, h, w, n)
                setting = {"method": method, "surgery": form, "tau": None if form == "none" else tau}
                setting |= {"labels": len(sets[name])} | ({} if name is None else {"label_set": name})
                setting |= {"depth": deep(clip, method, depth).get("depth"), "image_size": side(images)}
                rows += [
                    {"image": named(sample, number), **found, **setting} for found in _measure(sim, sample, present)
                ]
        if on_progress:
            on_progress(number + 1, len(samples))
    if not rows:
        raise ValueError("No image has a mask of any of the labels: there is nothing to evaluate.")
    return pd.DataFrame(rows).assign(**about)


def _measure(sim: torch.Tensor, sample: Sample, present: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The measures of every present label's map; sim (1, h, w, n)."""
    maps = upsample(minmax(sim), sample.image.size[::-1])[0].float().cpu().numpy()  # (H, W, n)
    constant = is_constant(sim)[0].tolist()
    for n, label in enumerate(present):
        mask, seen = sample.masks[label], ~sample.ignore  # (H, W)
        if (mask & seen).any():
            area = float(100 * mask[seen].mean())
            inside, outside = exceedance(maps[..., n], mask, sample.ignore)  # (K,) both
            found = {"label": label, "msc": msc(maps[..., n], mask, sample.ignore), "area": area}
            found |= {"size": size_of(area), "constant": constant[n]}
            yield found | dict(zip(INSIDE, inside, strict=True)) | dict(zip(OUTSIDE, outside, strict=True))


def deep(clip: Clip, method: str, depth: int = 6) -> dict[str, int]:
    """`depth=…` for `Clip.encode_dense`: only for a method that has one, at most the tower's number of blocks."""
    plan = getattr(METHODS[method], clip.tower.family) if method in METHODS else None
    return {"depth": min(depth, clip.tower.blocks)} if plan is not None and getattr(plan, "blocks", 0) is None else {}


def provenance(clip: Clip, samples: Sequence[Sample], templates: str | Sequence[str]) -> dict[str, str]:
    """Columns that say what a table was made from: model, weights, data, templates."""
    data = samples.describe() if hasattr(samples, "describe") else {"data": f"{len(samples)} given samples"}
    return clip.describe() | data | {"templates": str(templates)}


def side(images: torch.Tensor) -> str:
    """What a table prints as the size that the model saw: "H×W"."""
    return "×".join(str(n) for n in images.shape[-2:])


def named(sample: Sample, number: int) -> str:
    """A sample's name in a table; nameless ones are told apart by their number, as intervals draw whole images."""
    return sample.name or f"#{number}"


def iou_at(table: pd.DataFrame) -> np.ndarray:
    """IoU of every row of `evaluate` at every threshold, (rows, K), in %."""
    return iou_curve(table[INSIDE].to_numpy(), table[OUTSIDE].to_numpy(), table["area"].to_numpy() / 100)


def curve(table: pd.DataFrame, by: Sequence[str] = ROW) -> pd.DataFrame:
    """mIoU against the threshold: mean over images, then over classes, for every group of rows."""
    wide = table[[*by, "label"]].join(pd.DataFrame(iou_at(table), index=table.index, columns=THRESHOLDS))
    classes = wide.groupby([*by, "label"], sort=False, dropna=False).mean()
    mean = classes.groupby(list(by), sort=False, dropna=False).mean().reset_index()
    return mean.melt(list(by), var_name="threshold", value_name="miou").astype({"threshold": float})


def exceeded(table: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Mean shares (0…1) of object and of background pixels at or above every threshold, over rows of `evaluate`."""
    return table[INSIDE].mean().to_numpy(), table[OUTSIDE].mean().to_numpy()


def split_by(table: pd.DataFrame, column: str, value: str = "msc") -> pd.DataFrame:
    """The mean of a measure: a row per method and surgery, a column per class, size (in order), … of `column`."""
    shown = table.assign(map=table["method"] + table["surgery"].map(lambda s: "" if s == "none" else f" + {s}"))
    wide = shown.pivot_table(value, "map", column, sort=False)
    return wide.reindex(columns=[size for size in SIZES if size in wide]) if column == "size" else wide


def summarise(
    table: pd.DataFrame, tuning: pd.DataFrame | None = None, by: Sequence[str] = ROW, resamples: int = 1000
) -> pd.DataFrame:
    """A row per group of `evaluate`'s rows: mSC, share of opposite pairs, mIoU, with 95 % image-bootstrap intervals.

    tuning: rows of other images, on which each group's threshold is chosen (the best mIoU); without it, or for a group
    that is not in it, the threshold is `FIXED`. All in %; `left_out` counts pairs without a background, which
    have no mSC. mSC and mIoU are means over images, then classes; the opposite share is over pairs.
    """
    found, best = [], {} if tuning is None else _best(tuning, by)
    for key, rows in table.groupby(list(by), sort=False, dropna=False):
        chosen = tuple(map(str, key)) in best
        threshold = best.get(tuple(map(str, key)), FIXED)
        ious, at, fixed = iou_at(rows), *(int(np.argmin(abs(THRESHOLDS - t))) for t in (threshold, FIXED))
        images, labels, score = rows["image"].to_numpy(), rows["label"].to_numpy(), rows["msc"].to_numpy()
        opposite = np.where(np.isfinite(score), 100.0 * (score < 0), np.nan)
        row = dict(zip(by, key, strict=True))
        for name, values, groups in (
            ("msc", score, labels),
            ("opposite", opposite, None),
            ("miou", ious[:, at], labels),
        ):
            mean, draws = bootstrap(values, images, groups, resamples)
            low, high = interval(draws)
            row |= {name: mean, f"{name}_low": low, f"{name}_high": high}
        row |= {
            "threshold": threshold,
            "threshold_chosen": chosen,
            f"miou_at_{FIXED}": bootstrap(ious[:, fixed], images, labels, 1)[0],
        }
        row |= {"pairs": len(rows), "images": len(set(images)), "left_out": int((~np.isfinite(score)).sum())}
        how = "chosen on other images" if chosen else "fixed"
        row["protocol"] = f"min-max per map; mSC, mIoU: mean over images, then classes; threshold {how}; {BOOTSTRAP}"
        found.append(row | constants(rows, by))
    return pd.DataFrame(found)


def _best(tuning: pd.DataFrame, by: Sequence[str]) -> dict[tuple[str, ...], float]:
    """The threshold of the best mIoU for every group, by its key in words (NaN is not equal to itself)."""
    curves = curve(tuning, by)
    rows = curves.loc[curves.groupby(list(by), sort=False, dropna=False)["miou"].idxmax()]
    keys = (tuple(map(str, key)) for key in rows[list(by)].itertuples(index=False))
    return dict(zip(keys, rows["threshold"].astype(float), strict=True))


def constants(table: pd.DataFrame, by: Sequence[str] = ()) -> dict[str, Any]:
    """Provenance columns with one value in the whole table, save those in `by`: what a table of means keeps."""
    one = [name for name in ABOUT if name in table and name not in by and len(table[name].unique()) == 1]
    return {name: table[name].iloc[0] for name in one if table[name].notna().all()}


def joined(*summaries: pd.DataFrame) -> pd.DataFrame:
    """Summaries of several models or settings as one table."""
    return pd.concat(summaries, ignore_index=True)
