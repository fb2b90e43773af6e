"""What attention looks at, and what the halves of a block say: two of CLIP Surgery's analyses."""

from collections.abc import Callable, Iterator, Sequence
from math import sqrt

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from clipsx.clip import Clip
from clipsx.datasets.sample import Sample
from clipsx.evaluation.explain import constants, named, provenance, side
from clipsx.maps import similarity
from clipsx.messages import nearest
from clipsx.towers.shared import Block

KINDS: dict[str, tuple[str, str]] = {"qk": ("q", "k"), "qq": ("q", "q"), "kk": ("k", "k"), "vv": ("v", "v")}
Progress = Callable[[int, int], None]


def _compare(block: Block, kind: str) -> Float[Tensor, "B L L"]:
    """Softmax of the scaled products of two of a block's projections, mean over heads; rows sum to 1."""
    if kind not in KINDS:
        raise ValueError(f"Unknown attention relation {kind!r}{nearest(kind, KINDS)}.")
    left, right = (getattr(block, name) for name in KINDS[kind])  # (B, heads, L, d)
    return (left @ right.transpose(-1, -2) / sqrt(left.shape[-1])).float().softmax(dim=-1).mean(dim=1)


def has_attention(clip: Clip) -> bool:
    """Whether the model has transformer blocks to look into."""
    return clip.tower.family == "vit"


def _trace(clip: Clip, images: Tensor) -> Iterator[Block]:
    if not has_attention(clip):
        raise ValueError(f"{clip.name} has no transformer blocks: attention relations need a vision transformer.")
    return clip.tower.trace(images)


@torch.no_grad()
def relation(clip: Clip, images: Float[Tensor, "B 3 H W"], block: int = -1, kind: str = "qk") -> Float[Tensor, "B L L"]:
    """How much every token attends to every other in one block, mean over heads; rows sum to 1.

    L = 1 + h·w, class token first; block: counted from the first (0), or from the last (−1); kind: what is compared,
    "qk" as the model does, "vv" as CLIP Surgery does, "qq" or "kk".
    Errors: ValueError for an unknown kind, a block out of range, a tower without blocks.
    """
    blocks = _trace(clip, images)
    if not -clip.tower.blocks <= block < clip.tower.blocks:
        raise ValueError(f"block must lie in 0…{clip.tower.blocks - 1}, or count back from -1, not {block}.")
    return next(_compare(found, kind) for found in blocks if found.index == block % clip.tower.blocks)


def coverage(mask: Bool[np.ndarray, "H W"], grid: tuple[int, int]) -> Float[np.ndarray, "h w"]:
    """How much of every patch a mask covers, 0…1, exactly: pixels on an edge count for both sides by their parts."""
    parts = []
    for pixels, patches in zip(mask.shape, grid, strict=True):
        edges, pixel = np.linspace(0, pixels, patches + 1)[:, None], np.arange(pixels)[None]
        ends = np.clip(edges - pixel, 0, 1)  # (patches + 1, pixels), how much of each pixel lies before each edge
        parts.append(np.diff(ends, axis=0) * patches / pixels)  # (patches, pixels), rows sum to 1
    return parts[0] @ mask @ parts[1].T  # (h, w)


@torch.no_grad()
def share_inside(
    clip: Clip,
    samples: Sequence[Sample],
    kinds: Sequence[str] = ("qk", "vv"),
    templates: str | Sequence[str] = "clip-surgery",
    size: int | tuple[int, int] | None = None,
    on_progress: Progress | None = None,
) -> pd.DataFrame:
    """Share of an anchor's attention that stays inside the anchor's own object, per image, label, block and kind.

    The anchor is the patch whose plain CLIP feature is most like the label's text. The class token's column is dropped
    and the row renormalised. Columns, all in percent but the flag: `share` with the anchor's own cell, `share_others`
    without it (v-v favours the token itself by construction), `chance` (the object's share of the area), and
    `on_object`, whether the anchor lies on the object at all. Ignored pixels count nowhere: a patch weighs by what is
    seen of it.
    Errors: ValueError for no mask at all, an unknown kind, a tower without blocks, and what `Clip` refuses.
    Source: CLIP Surgery, figure of attention relations; the share is this package's own measure.
    """
    rows = []
    for number, sample in enumerate(samples):
        images = clip.prepare(sample.image, size=size)  # (1, 3, H, W)
        present = [label for label in sample.labels if sample.masks.get(label, np.zeros(1)).any()]
        if present:
            sim = similarity(clip.encode_dense(images, method="clip"), clip.encode_labels(present, templates))
            grid = (sim.shape[1], sim.shape[2])
            anchors = sim[0].flatten(0, 1).argmax(dim=0).tolist()  # a patch per label
            seen = coverage(~sample.ignore, grid).ravel()  # (h·w,), 1 where nothing is ignored
            covered = np.stack([coverage(sample.masks[label] & ~sample.ignore, grid).ravel() for label in present])
            with np.errstate(invalid="ignore"):
                chance = 100 * covered.sum(axis=1) / seen.sum()  # (N,)
            own, whole = covered[np.arange(len(anchors)), anchors], seen[anchors]  # (N,) both
            on_object = (whole > 0) & (2 * own >= whole - 1e-9)  # half of the patch; the rest is rounding
            for block in _trace(clip, images):
                for kind in kinds:
                    attention = _compare(block, kind)[0, 1:, 1:].cpu().numpy()[anchors]  # (N, h·w)
                    others = attention.copy()
                    others[np.arange(len(anchors)), anchors] = 0
                    with np.errstate(invalid="ignore"):  # no other patch, or nothing seen: NaN
                        share, share_others = (
                            100 * (part * covered).sum(axis=1) / (part * seen).sum(axis=1)
                            for part in (attention, others)
                        )
                    for n, label in enumerate(present):
                        row = {"image": named(sample, number), "label": label, "block": block.index, "kind": kind}
                        row |= {"share": share[n], "share_others": share_others[n], "chance": chance[n]}
                        row |= {"on_object": bool(on_object[n]), "image_size": side(images)}
                        rows.append(row)
        if on_progress:
            on_progress(number + 1, len(samples))
    if not rows:
        raise ValueError("No image has a mask: there is no object whose attention could be measured.")
    return pd.DataFrame(rows).assign(**provenance(clip, samples, templates))


@torch.no_grad()
def submodule_cosines(
    clip: Clip,
    samples: Sequence[Sample],
    templates: str | Sequence[str] = "clip-surgery",
    size: int | tuple[int, int] | None = None,
    on_progress: Progress | None = None,
) -> pd.DataFrame:
    """Cosine of what every half of every block adds to the class token with the final class feature, −1…1.

    Each addition goes through the tower's last norm and projection. `cosine` is with the image's final class feature,
    `cosine_text` the mean over the labels present (NaN without any). Per image, block and part ("attention", "ffn").
    Source: CLIP Surgery, figure of FFN features (0.12 for the last FFN of OpenAI's ViT-B/16).
    """
    rows = []
    for number, sample in enumerate(samples):
        images = clip.prepare(sample.image, size=size)
        final = clip.encode_image(images)[0]  # (D,)
        text = clip.encode_labels(sample.labels, templates) if sample.labels else None  # (N, D)
        for block in _trace(clip, images):
            for part, added in (("attention", block.attention), ("ffn", block.ffn)):
                feature = F.normalize(clip.tower.project(added[:, 0]).float(), dim=-1)[0]  # (D,)
                words = float("nan") if text is None else float((text @ feature).mean())
                row = {"image": named(sample, number), "block": block.index, "part": part}
                rows.append(row | {"cosine": float(feature @ final), "cosine_text": words, "image_size": side(images)})
        if on_progress:
            on_progress(number + 1, len(samples))
    return pd.DataFrame(rows).assign(**provenance(clip, samples, templates))


def by_block(shares: pd.DataFrame, cosines: pd.DataFrame) -> pd.DataFrame:
    """Means of both tables by block: what a figure shows, in one table. Shares are over anchors on their object."""
    measures = ["share", "share_others", "chance"]
    on = shares[shares["on_object"]].groupby(["kind", "block"])[measures].mean().reset_index()
    near = cosines.groupby(["part", "block"])[["cosine", "cosine_text"]].mean().reset_index()
    off = 100 * (1 - shares["on_object"].mean())
    return pd.concat([on, near]).assign(
        **constants(shares), protocol=f"anchors off their object ({off:.1f} %) left out of shares"
    )
