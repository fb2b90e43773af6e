"""Patches of a high norm: how much of what a map prefers is carried by a few background tokens."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float

from clipsx.analyses.attention import coverage, has_attention
from clipsx.clip import Clip
from clipsx.datasets import Sample
from clipsx.evaluation.explain import named
from clipsx.maps import similarity

SPREADS = 3.0  # robust standard deviations above the median: a high norm
Patches = Float[np.ndarray, " P"]


def _read(clip: Clip, samples: Sequence[Sample]) -> Iterator[tuple[Patches, Float[np.ndarray, "P n"], tuple[int, int]]]:
    """Per sample the norms of its patches after the last block, and the raw map of every label with a mask."""
    for sample in samples:
        images = clip.prepare(sample.image)  # (1, 3, H, W)
        last = list(clip.tower.trace(images))[-1]
        norms = (last.x + last.attention + last.ffn)[0, 1:].float().norm(dim=-1)  # (P,)
        sim = similarity(clip.encode_dense(images, method="clip"), clip.encode_labels(list(sample.masks)))[0]
        yield norms.cpu().numpy(), sim.flatten(0, 1).cpu().numpy(), (sim.shape[0], sim.shape[1])


def _msc(map: Patches, covered: Patches) -> float:
    """mSC on patches, %: a patch weighs on both sides by what the mask covers of it."""
    low, high = map.min(), map.max()
    if high - low <= 1e-7 or not 0 < covered.sum() < len(covered):
        return float("nan")
    stretched = (map - low) / (high - low)
    return float(100 * (np.average(stretched, weights=covered) - np.average(stretched, weights=1 - covered)))


@torch.no_grad()
def high_norm(clip: Clip, samples: Sequence[Sample]) -> pd.DataFrame:
    """A row per image and label with a mask: raw mSC with all patches, and without background patches of a high norm.

    High: more than `SPREADS` robust standard deviations (1.4826 × the median distance from the median) above the median
    of all patches of all samples. `background_share`, `object_share`: % of an image's patches on either side (objects
    cover half of a patch or not) that are high. Patches left out are left out before the map is stretched to 0…1.
    Errors: ValueError where no sample has a mask, or the tower has no blocks to read.
    Source: high-norm tokens, Darcet et al. 2024 (arXiv 2309.16588); there the bound is read off a histogram.
    """
    samples = [sample for sample in samples if sample.masks]
    if not samples or not has_attention(clip):
        raise ValueError("Norms of patches need a vision transformer, and samples with masks.")
    read = list(_read(clip, samples))
    norms = np.concatenate([n for n, _, _ in read])
    middle = np.median(norms)
    bound = middle + SPREADS * 1.4826 * np.median(abs(norms - middle))
    rows = []
    for number, (sample, (norm, maps, grid)) in enumerate(zip(samples, read, strict=True)):
        objects = coverage(np.any(list(sample.masks.values()), axis=0), grid).ravel() >= 0.5  # (P,)
        high = norm > bound
        kept = ~(high & ~objects)
        shares = {
            f"{name}_share": 100 * float(high[side].mean()) if side.any() else np.nan
            for name, side in (("background", ~objects), ("object", objects))
        }
        for n, label in enumerate(sample.masks):
            covered = coverage(sample.masks[label], grid).ravel()  # (P,)
            row = {"image": named(sample, number), "label": label, "msc": _msc(maps[:, n], covered)}
            rows.append(row | {"msc_without": _msc(maps[kept, n], covered[kept])} | shares)
    return pd.DataFrame(rows)
