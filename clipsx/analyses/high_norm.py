"""Patches of a high norm: how much of what a map prefers is carried by a few background tokens."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float

from clipsx.analyses.attention import RAW, require_attention
from clipsx.clip import Clip
from clipsx.evaluation.stream import Look, Measure
from clipsx.metrics import coverage

SPREADS = 3.0  # robust standard deviations above the median: a high norm
Patches = Float[np.ndarray, " P"]


def measure(clip: Clip, templates: str | Sequence[str] = "clip-surgery") -> Measure:
    """A row per image, label with a mask and patch: its raw `score`, what the mask covers of it, its `norm`.

    `covered` by the label's own object, `objects` by any, 0…1; the norm is that of the patch after the last block.
    Errors: ValueError for a tower without blocks, and where no sample has a mask.
    """
    require_attention(clip)

    def rows(look: Look) -> pd.DataFrame:
        masks = look.sample.masks
        if not masks:
            return pd.DataFrame()
        last = look.seen.blocks[-1]
        norms = (last.x + last.attention + last.ffn)[0, clip.tower.prefix :].float().norm(dim=-1)  # (P,)
        sim = look.similarities(RAW, clip.encode_labels(list(masks), templates))[0].flatten(0, 1)  # (P, n)
        grid = look.dense(RAW).grid
        objects = coverage(np.any(list(masks.values()), axis=0), grid).ravel()  # (P,)
        patches = pd.DataFrame({"image": look.name, "norm": norms.cpu().numpy(), "objects": objects})
        scores = sim.T.cpu().numpy()  # (n, P)
        own = zip(masks.items(), scores, strict=True)
        parts = [patches.assign(label=a, score=score, covered=coverage(m, grid).ravel()) for (a, m), score in own]
        return pd.concat(parts, ignore_index=True)

    return Measure("high-norm", rows, (RAW,), True, {"templates": str(templates)}, empty="No sample has a mask.")


def summarise(table: pd.DataFrame) -> pd.DataFrame:
    """A row per image and label with a mask: raw mSC with all patches, and without background patches of a high norm.

    High: more than `SPREADS` robust standard deviations (1.4826 × the median distance from the median) above the median
    of all patches of all samples. `background_share`, `object_share`: % of an image's patches on either side (objects
    cover half of a patch or not) that are high. Patches left out are left out before the map is stretched to 0…1.
    Source: high-norm tokens, Darcet et al. 2024 (arXiv 2309.16588); there the bound is read off a histogram.
    """
    each = table[table["label"] == table.groupby("image")["label"].transform("first")]  # an image's patches once
    middle = np.median(each["norm"])
    bound = middle + SPREADS * 1.4826 * np.median(abs(each["norm"] - middle))
    rows = []
    for (image, label), patches in table.groupby(["image", "label"], sort=False):
        score, covered, norm, objects = (patches[c].to_numpy() for c in ("score", "covered", "norm", "objects"))
        high, on = norm > bound, objects >= 0.5  # (P,) both
        kept = ~(high & ~on)
        row = {"image": image, "label": label, "msc": _msc(score, covered)}
        row["msc_without"] = _msc(score[kept], covered[kept])
        for side, chosen in (("background", ~on), ("object", on)):
            row[f"{side}_share"] = 100 * float(high[chosen].mean()) if chosen.any() else np.nan
        rows.append(row)
    return pd.DataFrame(rows)


def _msc(map: Patches, covered: Patches) -> float:
    """mSC on patches, %: a patch weighs on both sides by what the mask covers of it."""
    low, high = map.min(), map.max()
    if high - low <= 1e-7 or not 0 < covered.sum() < len(covered):
        return float("nan")
    stretched = (map - low) / (high - low)
    return float(100 * (np.average(stretched, weights=covered) - np.average(stretched, weights=1 - covered)))
