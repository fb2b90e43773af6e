"""What attention looks at, and what the halves of a block say: two of CLIP Surgery's analyses."""

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from clipsx import arrays
from clipsx.clip import Clip
from clipsx.evaluation.stream import Look, Measure
from clipsx.evaluation.summary import constants
from clipsx.maps import similarity
from clipsx.messages import nearest
from clipsx.methods import PAIRS
from clipsx.reading import Reading

RAW = Reading("clip")


def has_attention(clip: Clip) -> bool:
    """Whether the model has transformer blocks to look into."""
    return clip.tower.transformer


def require_attention(clip: Clip, kinds: Sequence[str] = ()) -> None:
    """Raise a ValueError for a tower without transformer blocks, and for an unknown kind (with the nearest)."""
    if not has_attention(clip):
        raise ValueError(f"{clip.name} has no transformer blocks: attention relations need a vision transformer.")
    for kind in kinds:
        if kind not in PAIRS:
            raise ValueError(f"Unknown attention relation {kind!r}{nearest(kind, PAIRS)}.")


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


def coverage(mask: Any, grid: tuple[int, int]) -> Float[np.ndarray, "h w"]:
    """How much of every patch a mask covers, 0…1, exactly: pixels on an edge count for both sides by their parts.

    mask: (H, W), of any type that `arrays.mask` takes.
    """
    region, parts = arrays.mask(mask), []
    for pixels, patches in zip(region.shape, grid, strict=True):
        edges, pixel = np.linspace(0, pixels, patches + 1)[:, None], np.arange(pixels)[None]
        ends = np.clip(edges - pixel, 0, 1)  # (patches + 1, pixels), how much of each pixel lies before each edge
        parts.append(np.diff(ends, axis=0) * patches / pixels)  # (patches, pixels), rows sum to 1
    return parts[0] @ region @ parts[1].T  # (h, w)


def shares(clip: Clip, kinds: Sequence[str] = ("qk", "vv"), templates: str | Sequence[str] = "clip-surgery") -> Measure:
    """Share of an anchor's attention that stays inside the anchor's own object, per image, label, block and kind.

    The anchor is the patch whose plain CLIP feature is most like the label's text. The columns of the tokens before the
    patches are dropped and the row renormalised. Columns, all in percent but the flag: `share` with the anchor's own
    cell, `share_others` without it (v-v favours the token itself by construction), `chance` (the object's share of the
    area), and `on_object`, whether the anchor lies on the object at all. Ignored pixels count nowhere: a patch weighs
    by what is seen of it.
    Errors: ValueError for an unknown kind, a tower without blocks, and where no picture has a mask.
    Source: CLIP Surgery, figure of attention relations; the share is this package's own measure.
    """
    require_attention(clip, kinds)
    text = cache(lambda label: clip.encode_labels([label], templates))  # (1, D)

    @torch.no_grad()
    def rows(look: Look) -> Iterator[dict[str, Any]]:
        masks, seen = look.sample.masks, ~look.sample.ignore
        present = [label for label in look.sample.labels if label in masks and masks[label].any()]
        if not present:
            return
        dense = look.dense(RAW)
        sim = similarity(dense, torch.cat([text(label) for label in present]))  # (1, h, w, n)
        anchors = sim.flatten(0, 2).argmax(dim=0).tolist()  # (n,)
        whole = coverage(seen, dense.grid).ravel()  # (h·w,), 1 where nothing is ignored
        covered = np.stack([coverage(masks[label] & seen, dense.grid).ravel() for label in present])  # (n, h·w)
        with np.errstate(invalid="ignore"):
            chance = 100 * covered.sum(axis=1) / whole.sum()  # (n,)
        own = covered[np.arange(len(anchors)), anchors]  # (n,)
        on_object = (whole[anchors] > 0) & (2 * own >= whole[anchors] - 1e-9)  # half of the patch; the rest is rounding
        for block in look.seen.blocks:
            for kind in kinds:
                patches = block.relation(kind)[0, clip.tower.prefix :, clip.tower.prefix :]  # (h·w, h·w)
                found = _inside(patches.cpu().numpy()[anchors], anchors, covered, whole)  # (2, n)
                for n, label in enumerate(present):
                    row = {"image": look.name, "label": label, "block": block.index, "kind": kind}
                    row |= {"share": found[0, n], "share_others": found[1, n], "chance": chance[n]}
                    yield row | {"on_object": bool(on_object[n])}

    empty = "No image has a mask: there is no object whose attention could be measured."
    return Measure("attention", rows, (RAW,), True, {"templates": str(templates)}, {"kinds": kinds}, empty)


def _inside(
    attention: Float[np.ndarray, "n P"],
    anchors: Sequence[int],
    covered: Float[np.ndarray, "n P"],
    seen: Float[np.ndarray, " P"],
) -> Float[np.ndarray, "2 n"]:
    """Percent of each anchor's attention inside its object, with its own cell and without it; NaN where none is."""
    others = attention.copy()
    others[np.arange(len(anchors)), anchors] = 0
    with np.errstate(invalid="ignore"):  # no other patch, or nothing seen
        shares = [100 * (part * covered).sum(axis=1) / (part * seen).sum(axis=1) for part in (attention, others)]
    return np.stack(shares)


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
    """Means of both tables by block: what a figure shows, in one table. Shares are over anchors on their object."""
    measures = ["share", "share_others", "chance"]
    on = shares[shares["on_object"]].groupby(["kind", "block"])[measures].mean().reset_index()
    near = cosines.groupby(["part", "block"])[["cosine", "cosine_text"]].mean().reset_index()
    off = 100 * (1 - shares["on_object"].mean())
    protocol = f"anchors off their object ({off:.1f} %) left out of shares"
    return pd.concat([on, near]).assign(**constants(shares), protocol=protocol)
