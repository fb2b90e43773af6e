"""What attention looks at, and what the halves of a block say: two of CLIP Surgery's analyses."""

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from clipsx.clip import Clip
from clipsx.evaluation.stream import Look, Measure
from clipsx.evaluation.summary import constants
from clipsx.messages import require_known
from clipsx.methods import PAIRS
from clipsx.metrics import coverage
from clipsx.reading import Reading

RAW = Reading("clip")


def has_attention(clip: Clip) -> bool:
    """Whether the model has transformer blocks to look into."""
    return clip.tower.transformer


def measures(clip: Clip) -> list[Measure]:
    """`shares` and `cosines`; none of a tower without transformer blocks."""
    return [shares(clip), cosines(clip)] if has_attention(clip) else []


def require_attention(clip: Clip, kinds: Sequence[str] = ()) -> None:
    """Raise a ValueError for a tower without transformer blocks, and for an unknown kind (with the nearest)."""
    if not has_attention(clip):
        raise ValueError(f"{clip.name} has no transformer blocks: attention relations need a vision transformer.")
    for kind in kinds:
        require_known("attention relation", kind, PAIRS)


def relation(clip: Clip, images: Float[Tensor, "B 3 H W"], block: int = -1, kind: str = "qk") -> Float[Tensor, "B L L"]:
    """How much every token attends to every other in one block, mean over heads; rows sum to 1.

    L = prefix + h·w, class token first; block: counted from the first (0), or from the last (−1); kind: what is
    compared, a pair of `PAIRS`: "qk" as the model does, "vv" as CLIP Surgery does, …
    Errors: ValueError for an unknown kind, a block out of range, a tower without blocks.
    """
    require_attention(clip, [kind])
    if not -clip.tower.blocks <= block < clip.tower.blocks:
        raise ValueError(f"block must lie in 0…{clip.tower.blocks - 1}, or count back from -1, not {block}.")
    with torch.no_grad():
        return clip.look(images, keep=True).blocks[block].relation(kind)


def shares(clip: Clip, kinds: Sequence[str] = ("qk", "vv"), templates: str | Sequence[str] = "clip-surgery") -> Measure:
    """Share of attention that stays inside an object, over every patch of the object, per image, label, block and kind.

    A patch is the object's where at least half of what is seen of it is. Its row leaves out the columns of the tokens
    before the patches, and is renormalised. Columns, in percent, means over the object's patches: `share` with a
    patch's own cell, `share_others` without it (v-v favours the token itself by construction), `chance`, the object's
    share of all other cells, and `cells`, how many patches the object has; one without any gives no row. No text is
    asked: `templates` stands in the table beside the cosines'. Ignored pixels
    count nowhere: a patch weighs by what is seen of it.
    Errors: ValueError for an unknown kind, a tower without blocks, and where no picture has a mask.
    Source: CLIP Surgery, figure of attention relations; the share is this package's own measure.
    """
    require_attention(clip, kinds)

    @torch.no_grad()
    def rows(look: Look) -> Iterator[dict[str, Any]]:
        masks, seen = look.sample.masks, ~look.sample.ignore
        grid, prefix = look.dense(RAW).grid, clip.tower.prefix
        whole = coverage(seen, grid).ravel()  # (h·w,), 1 where nothing is ignored
        covered = {label: coverage(masks[label] & seen, grid).ravel() for label in look.sample.labels if label in masks}
        # Half of the patch; the rest is rounding.
        cells = {label: np.flatnonzero((whole > 0) & (2 * own >= whole - 1e-9)) for label, own in covered.items()}
        for block in look.seen.blocks:
            for kind in kinds:
                relation = block.relation(kind)[0, prefix:, prefix:].cpu().numpy()  # (h·w, h·w)
                for label, own in cells.items():
                    if len(own):
                        row = {"image": look.name, "label": label, "block": block.index, "kind": kind}
                        yield row | _inside(relation[own], own, covered[label], whole) | {"cells": len(own)}

    empty = "No image has a mask that fills half a patch: there is no object whose attention could be measured."
    return Measure(
        "attention", rows, (RAW,), True, {"templates": str(templates)}, {"kinds": kinds, "patches": "all"}, empty
    )


def _inside(
    attention: Float[np.ndarray, "n P"],
    own: Int[np.ndarray, " n"],
    covered: Float[np.ndarray, " P"],
    seen: Float[np.ndarray, " P"],
) -> dict[str, float]:
    """What `shares` says of one object, from the rows of its own n patches; NaN where there is no other patch."""
    others, even = attention.copy(), np.ones_like(attention)
    for part in (others, even):
        part[np.arange(len(own)), own] = 0
    with np.errstate(invalid="ignore"):
        each = [100 * (part @ covered) / (part @ seen) for part in (attention, others, even)]  # (n,) each
    return dict(zip(("share", "share_others", "chance"), (float(part.mean()) for part in each), strict=True))


def cosines(clip: Clip, templates: str | Sequence[str] = "clip-surgery") -> Measure:
    """Cosine of what every half of every block adds to the class token with the final class feature, −1…1.

    Each addition goes through the tower's last norm and projection, and the model's heads; where there is no class
    token, it is the mean of what is added to the patches. `cosine` is with the image's final class feature,
    `cosine_text` the mean over the labels present (NaN without any). Per image, block and part ("attention", "ffn").
    Errors: ValueError for a tower without blocks.
    Source: CLIP Surgery, figure of FFN features (0.12 for the last FFN of OpenAI's ViT-B/16).
    """
    require_attention(clip)
    text = cache(lambda label: clip.encode_labels([label], templates))  # (1, D)

    def rows(look: Look) -> Iterator[dict[str, Any]]:
        final, labels = look.seen.cls[0], look.sample.labels  # (D,)
        present = torch.cat([text(label) for label in labels]) if labels else final.new_full((1, len(final)), torch.nan)
        for block in look.seen.blocks:
            for part, added in (("attention", block.attention), ("ffn", block.ffn)):
                token = added[:, 0] if clip.tower.prefix else added.mean(dim=1)  # (1, C)
                feature = clip.project(token)[0]  # (D,)
                row = {"image": look.name, "block": block.index, "part": part, "cosine": float(feature @ final)}
                yield row | {"cosine_text": float((present @ feature).mean())}

    return Measure("submodules", rows, (RAW,), True, {"templates": str(templates)})


def by_block(shares: pd.DataFrame, cosines: pd.DataFrame) -> pd.DataFrame:
    """Means of both tables by block: what a figure shows, in one table."""
    measures = ["share", "share_others", "chance"]
    on = shares.groupby(["kind", "block"])[measures].mean().reset_index()
    near = cosines.groupby(["part", "block"])[["cosine", "cosine_text"]].mean().reset_index()
    protocol = "attention: means over an object's patches, then objects"
    return pd.concat([on, near]).assign(**constants(cosines), protocol=protocol)
