"""Zero-shot segmentation by the best label at every position: what is where, by label alone."""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int, Num
from torch import Tensor

from clipsx.clip import Clip
from clipsx.evaluation.asked import Asked, Words, queries
from clipsx.evaluation.protocols import MMSEG, PER_IMAGE, PROTOCOLS, Protocol
from clipsx.evaluation.stream import Look, Measure
from clipsx.evaluation.summary import constants
from clipsx.evaluation.windows import Stitched, stitched, whole
from clipsx.reading import Reading, readings
from clipsx.statistics import METHOD, bootstrap, draws, interval

BACKGROUND = "background"
OWN = PROTOCOLS["segment"]
PARTS = ["hits", "said", "true"]  # pixels: intersection, predicted, true


def measure(
    clip: Clip,
    labels: Sequence[str],
    asked: str | Sequence[str | Reading] = "clip",
    grounds: Sequence[str] = (),
    templates: str | Sequence[str] = "clip-surgery",
    words: Words | None = None,
    rules: Protocol = OWN,
) -> Measure:
    """A row per image, reading and class that is there or was said: pixels that are `hits`, `said` and `true`.

    grounds: labels of backgrounds. Without them the labels compete on the objects' pixels alone; with them all pixels
    count, and whatever ground wins is "background", a class like the others. words: what asks for a label, if not its
    name: the best of several words counts. rules: windows, softmax and thresholds, of a `Protocol`. Similarities are
    upsampled before the argmax. Errors: ValueError for fewer than two labels, for a threshold without grounds to fall
    back to, and where no picture has a mask of any label.
    Source: Unmix-CLIP, zero-shot segmentation (without grounds: the protocol "without background" of VOC-20).
    """
    names = queries(labels)
    if (rules.least or rules.area) and not grounds:
        raise ValueError(f"The protocol {rules.name!r} sends pixels to the background: give words for it.")
    classes = [*names, BACKGROUND] if grounds else list(names)
    said, shown, asks = predictor(clip, names, asked, grounds, templates, words, rules)

    def rows(look: Look) -> Iterator[dict[str, Any]]:
        truth = look.sample.index_map(names)  # (H, W): the label's place, N for background, −1: does not count
        seen = (truth >= 0) & (truth < len(classes))
        for columns, best, _ in said(look) if seen.any() else ():
            kinds = (truth[seen & (best == truth)], best[seen], truth[seen])
            counts = np.stack([np.bincount(kind, minlength=len(classes)) for kind in kinds])  # (3, K)
            for k in np.flatnonzero(counts.any(axis=0)):
                row = {"image": look.name, "label": classes[k]} | dict(zip(PARTS, counts[:, k].tolist(), strict=True))
                yield row | columns

    over = f"all pixels, background = {len(grounds)} grounds" if grounds else "pixels of objects only"
    about = {"templates": str(templates), "labels": len(names)}
    about |= {"protocol": f"argmax over {len(names)} labels at every position; {over}"}
    empty = "No image has a mask of any of the labels: there is nothing to segment."
    return Measure("segment", rows, shown, about=about, asks=asks, empty=empty)


Said = tuple[dict[str, Any], Int[np.ndarray, "H W"], Float[np.ndarray, "H W"]]


def predictor(
    clip: Clip,
    names: Sequence[str],
    asked: str | Sequence[str | Reading],
    grounds: Sequence[str],
    templates: str | Sequence[str],
    words: Words | None,
    rules: Protocol,
) -> tuple[Callable[[Look], Iterator[Said]], tuple[Reading, ...], dict[str, Any]]:
    """From a look to what each reading says: its columns, the class of every pixel (`winners`) and how sure it is.

    Arguments as in `measure`. Beside it: the readings that a walk has to give, and what else decides.
    """
    shown, windows = readings(asked), rules.windows
    asking = Asked.by(clip, names, words, templates, grounds)
    columns = {reading: reading.columns(clip.tower) for reading in shown}
    columns = {r: own | ({"image_size": str(windows)} if windows else {}) for r, own in columns.items()}

    def said(look: Look) -> Iterator[Said]:
        maps = stitched(clip, look.sample.image, windows, shown, asking.text) if windows else {}
        for reading in shown:
            map = maps.pop(reading) if windows else whole(look.similarities(reading, asking.text), look.pixels)
            yield columns[reading], *winners(map, asking.of, rules, len(names))

    asks = {"names": tuple(names), "grounds": grounds, "words": asking.words, "rules": str(rules)}
    return said, () if windows else shown, asks


def winners(
    map: Stitched, of: Int[Tensor, " Q"], rules: Protocol, ground: int
) -> tuple[Int[np.ndarray, "H W"], Float[np.ndarray, "H W"]]:
    """The class of the best query word at every pixel, and what that word has there, a few rows of pixels at a time.

    of: the class of every word; ground: that of the background, of which may be several words. With a softmax its best
    probability has to reach `rules.least`, and a class that wins no more than `rules.area` of the pixels said to be
    objects is left out, before that. Source: SCLIP, released code.
    """
    of, out = of.to(map.tokens.device), torch.zeros(ground + 1, dtype=torch.bool, device=map.tokens.device)
    # Filled in place: small results kept between large ones would leave gaps in memory that nothing large fits into.
    tops = map.tokens.new_empty(len(map.down), len(map.across))  # (H, W)
    found = torch.empty_like(tops, dtype=torch.long)
    for last in (False, True) if rules.area else (True,):
        start = 0
        for values in map.rows():  # (r, W, Q)
            odds = values if rules.scale is None else (rules.scale * values).softmax(-1)
            top, word = odds.masked_fill(out[of], 0).max(-1) if rules.area else odds.max(-1)  # (r, W) both
            rows = slice(start, start := start + len(top))
            tops[rows] = top
            found[rows] = torch.where(top < rules.least, ground, of[word]) if last and rules.least else of[word]
        counts = found.flatten().bincount(minlength=ground + 1)[:ground]
        out[:ground] = counts <= rules.area * counts.sum()
    return found.cpu().numpy(), tops.float().cpu().numpy()


def summarise(table: pd.DataFrame, resamples: int = 300, mean: str = OWN.mean) -> pd.DataFrame:
    """A row per reading of `measure`'s rows: mIoU with its 95 % image-bootstrap interval, in %.

    Intersections and unions are summed over images, then IoU is averaged over the classes that are there; with `mean`
    of a protocol, over those too that were only said (mmsegmentation), or IoU is that of each image and class there.
    """
    found = []
    for reading, rows in table.groupby("reading", sort=False):
        wide = rows.pivot_table(PARTS, "image", "label", aggfunc="sum", fill_value=0, sort=False)
        counts = np.stack([wide[part].to_numpy(float) for part in PARTS], axis=1)  # (n, 3, K)
        if mean == PER_IMAGE:
            there = rows[rows["true"] > 0]
            images, labels = there["image"].to_numpy(), there["label"].to_numpy()
            value, drawn = bootstrap(iou(there).to_numpy(), images, labels, resamples)
        else:
            weighed = functools.partial(miou, said_too=mean == MMSEG)
            value = float(weighed(counts.sum(axis=0)[None])[0])
            drawn = draws(lambda w, c=counts, f=weighed: f(np.einsum("ri,ipk->rpk", w, c)), len(counts), resamples)
        low, high = interval(drawn)
        row = {"reading": reading, "mIoU": value, "mIoU_low": low, "mIoU_high": high, "images": len(counts)}
        row |= constants(rows, ["reading"])
        found.append(row | {"protocol": f"{rows['protocol'].iloc[0]}; {METHOD}"})
    return pd.DataFrame(found)


def iou(sums: pd.DataFrame) -> Any:
    """IoU (%) from columns of pixels, of classes that are there."""
    return 100.0 * sums["hits"] / (sums["said"] + sums["true"] - sums["hits"])


def miou(counts: Num[np.ndarray, "R 3 K"], said_too: bool = False) -> Num[np.ndarray, " R"]:
    """The mean over classes that are there (or were said: those have 0), in %; NaN where none is."""
    hits, said, true = counts[:, 0], counts[:, 1], counts[:, 2]  # (R, K) each
    there = true + said > 0 if said_too else true > 0
    with np.errstate(invalid="ignore", divide="ignore"):
        each = np.where(there, hits / (said + true - hits), 0)
        return 100 * each.sum(axis=-1) / there.sum(axis=-1)
