"""Methods that go on by themselves from outputs of earlier blocks, in place of the last block: SC-CLIP and SFP.

Both heal patches that stand out, let alike patches share, and mix the last block's values by likeness in the middle of
the tower. Their codes take one image and count places by rows, right for square grids alone: here any batch and grid.
"""

from collections.abc import Callable, Mapping
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from clipsx.towers.shared import Heads, Sides

NEIGHBOURS = 30  # of SC-CLIP's local outlier factor
SHARE = 0.05  # of patches that SC-CLIP heals
MOST = 10  # patches that SFP heals
ALIKE = 0.4  # cosine below which patches share nothing
CLASS = 0.3  # of the class token that is added
EARLY, MIDDLE = 4, 9  # the blocks, from 1, whose likeness shares at the end and mixes values


@runtime_checkable
class Parts(Protocol):
    """What is asked of a tower of blocks here."""

    blocks: int
    prefix: int

    def norm(self, index: int, x: Float[Tensor, "B L C"]) -> Float[Tensor, "B L C"]: ...
    def qkv(self, index: int, y: Float[Tensor, "B L C"], grid: tuple[int, int]) -> tuple[Heads, Heads, Heads]: ...
    def sides(self, index: int, q: Heads, k: Heads, v: Heads) -> Sides: ...
    def attend(self, index: int, mixed: Heads) -> Float[Tensor, "B L C"]: ...


Outputs = Mapping[int, Float[Tensor, "B L C"]]
Tail = Callable[[Parts, Outputs, tuple[int, int]], Float[Tensor, "B N C"]]
"""(tower, outputs of blocks counted from 1, grid) → the patches' tokens, N = h·w, that go to the head."""


def sc_clip(tower: Parts, outputs: Outputs, grid: tuple[int, int]) -> Float[Tensor, "B N C"]:
    """Patches healed where their neighbourhood is less dense than their neighbours'; half of every mix is k-k.

    Errors: ValueError for fewer than 31 patches.
    """
    count = grid[0] * grid[1]
    if count <= NEIGHBOURS:
        raise ValueError(
            f"sc-clip compares every patch with {NEIGHBOURS} others, and there are {count} patches ({grid[0]} × "
            f"{grid[1]}): give a larger image, such as prepare(image, size=…)."
        )
    outliers = _sparse(outputs[tower.blocks - 1][:, tower.prefix :])  # (B, N)
    middle = _cosines(healed(outputs[MIDDLE][:, tower.prefix :], outliers, grid))  # (B, N, N)
    return _rebuilt(tower, outputs, grid, outliers, middle, _kept(middle), "k", "k")


def sfp(tower: Parts, outputs: Outputs, grid: tuple[int, int]) -> Float[Tensor, "B N C"]:
    """Patches healed that the class token attends to more than they do themselves; mixes by k-k and q-q as well."""
    outliers = _lit(tower, outputs[tower.blocks - 2], grid)  # (B, N)
    middle = _kept(_cosines(healed(outputs[MIDDLE][:, tower.prefix :], outliers, grid)))  # (B, N, N)
    return _rebuilt(tower, outputs, grid, outliers, middle, middle, "kq", "")


def _rebuilt(
    tower: Parts,
    outputs: Outputs,
    grid: tuple[int, int],
    outliers: Bool[Tensor, "B N"],
    likeness: Float[Tensor, "B N N"],
    before: Float[Tensor, "B N N"],
    first: str,
    second: str,
) -> Float[Tensor, "B N C"]:
    """Two mixes of the last block's values, shared by early likeness: of the healed tokens, and of a sum of outputs.

    likeness: by which values are mixed; before: by which healed tokens are shared; first, second: out of "qk", what
    each mix compares with itself beside that.
    """
    above = 3 * (likeness - likeness.mean(dim=(1, 2), keepdim=True))  # (B, N, N)
    weights = above.masked_fill(above < 0, -torch.inf).softmax(dim=-1)
    after = _kept(_cosines(outputs[EARLY][:, tower.prefix :]))  # (B, N, N)
    last = outputs[tower.blocks - 1]  # (B, L, C)
    total = sum(outputs[n] for n in range(EARLY + 1, 11)) + outputs[EARLY]  # (B, L, C)
    tokens = _shared(before, healed(last[:, tower.prefix :], outliers, grid))  # (B, N, C)
    ends = []
    for whole, patches, letters in ((last, tokens, first), (total, total[:, tower.prefix :], second)):
        x = torch.cat([whole[:, : tower.prefix], patches], dim=1)  # (B, L, C)
        ends.append(_mixed(tower, x, grid, weights, letters) + CLASS * whole[:, :1])
    return _shared(after, ends[0]) + _shared(after, ends[1])


def _mixed(
    tower: Parts, x: Float[Tensor, "B L C"], grid: tuple[int, int], weights: Float[Tensor, "B N N"], letters: str
) -> Tensor:
    """What the last block adds to the patches, (B, N, C), by given weights and by comparing patches alone."""
    index = tower.blocks - 1
    q, k, v = tower.qkv(index, tower.norm(index, x), grid)
    sides = {letter: tower.sides(index, q, k, v)[letter] for letter in letters}
    v = v[:, :, tower.prefix :]  # (B, heads, N, d)
    parts = [weights[:, None].to(v) @ v]
    for left, right in sides.values():
        parts.append(F.scaled_dot_product_attention(left[:, :, tower.prefix :], right[:, :, tower.prefix :], v))
    return tower.attend(index, sum(parts[1:], parts[0]) / len(parts))


def _sparse(x: Float[Tensor, "B N C"]) -> Bool[Tensor, "B N"]:
    """Patches whose local outlier factor is above its 95 % quantile: how much denser their neighbours lie.

    A neighbour's reach is at least the distance of the farthest, so that density is one over that distance.
    Source: SC-CLIP, released code (squared distances).
    """
    apart = torch.cdist(x.float(), x.float(), compute_mode="donot_use_mm_for_euclid_dist") ** 2  # (B, N, N)
    near, which = apart.topk(NEIGHBOURS + 1, largest=False)  # (B, N, 31), the patch itself first
    density = 1 / near[:, :, -1]  # (B, N)
    around = torch.stack([one[places] for one, places in zip(density, which[:, :, 1:], strict=True)])  # (B, N, 30)
    factor = around.mean(dim=-1) / density  # (B, N)
    return factor > factor.quantile(1 - SHARE, dim=1, keepdim=True)


def _lit(tower: Parts, x: Float[Tensor, "B L C"], grid: tuple[int, int]) -> Bool[Tensor, "B N"]:
    """The 10 patches, at most, that the class token attends to most of those where × 1.5 it exceeds their own.

    x: what enters the block before the last. Source: SFP, released code.
    """
    index, found = tower.blocks - 2, []
    for one in x:  # an image at a time: the maps of all heads are large
        q, k, v = tower.qkv(index, tower.norm(index, one[None]), grid)
        left, right = tower.sides(index, q, k, v)["q"][0], tower.sides(index, q, k, v)["k"][1]
        maps = (left @ right.mT * v.shape[-1] ** -0.5).float().softmax(dim=-1).mean(dim=1)[0]  # (L, L)
        theirs, own = 1.5 * maps[0, tower.prefix :], maps.diagonal()[tower.prefix :]  # (N,) both
        value, place = theirs.where(theirs > own, -torch.inf).topk(min(MOST, len(own)))
        found.append(torch.zeros_like(own, dtype=torch.bool).scatter(0, place, value.isfinite()))
    return torch.stack(found)


def healed(x: Float[Tensor, "B N C"], outliers: Bool[Tensor, "B N"], grid: tuple[int, int]) -> Float[Tensor, "B N C"]:
    """Patches with every outlier the mean of those around it that are none; as it is where all are."""
    good = (~outliers)[..., None].to(x)  # (B, N, 1)
    both = torch.cat([x * good, good], dim=-1).mT.unflatten(-1, grid)  # (B, C + 1, h, w)
    around = F.avg_pool2d(both, 3, stride=1, padding=1, divisor_override=1).flatten(2).mT  # (B, N, C + 1), sums
    total, count = around[..., :-1], around[..., -1:]
    return torch.where(outliers[..., None] & (count > 0), total / count.clamp(min=1), x)


def _cosines(x: Float[Tensor, "B N C"]) -> Float[Tensor, "B N N"]:
    unit = F.normalize(x, dim=-1)
    return unit @ unit.mT


def _kept(likeness: Float[Tensor, "B N N"]) -> Float[Tensor, "B N N"]:
    return likeness.masked_fill(likeness < ALIKE, 0)


def _shared(likeness: Float[Tensor, "B N N"], x: Float[Tensor, "B N C"]) -> Float[Tensor, "B N C"]:
    """Every patch as the mean of those that are like it."""
    return likeness @ x / (likeness.sum(dim=-1, keepdim=True) + 1e-6)


TAILS: dict[str, Tail] = {"sc-clip": sc_clip, "sfp": sfp}
