"""What the adapters share: heads, attention by a row of the table, positions."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import sqrt
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from clipsx.recipe import Attend

IDENTITY = nn.Identity()
Heads = Float[Tensor, "B heads L d"]
Sides = dict[str, tuple[Heads, Heads]]
"""By letter, queries, keys and values as they stand on the left and on the right of a comparison."""
DEFAULT = "bicubic-antialias"
POSITIONS: dict[str, dict[str, Any]] = {
    "bicubic-antialias": {"mode": "bicubic", "antialias": True},
    "bilinear": {"mode": "bilinear"},
    "bicubic": {"mode": "bicubic"},
    "bicubic-scale": {"mode": "bicubic", "by_factor": True},
    "bilinear-antialias": {"mode": "bilinear", "antialias": True},
}
"""How positions are interpolated at another size, by name: as open_clip resizes a checkpoint (also GEM, LeGrad); CLIP
Surgery's code; MaskCLIP's; by the factor (h + 0.1) / h0, as SCLIP, ClearCLIP, NACLIP and others; NaFlexVit's own."""


@dataclass(frozen=True, eq=False)
class Block:
    """One block of the original path: its input and what its two halves add to it.

    x (B, L, C) the input; q, k, v (B, heads, L, d) as attention compares and mixes them; attention (B, L, C) and
    ffn (B, L, C) what each half adds (LayerScale included). L = prefix + h·w, class and other tokens first.
    """

    index: int
    x: Float[Tensor, "B L C"]
    q: Heads
    k: Heads
    v: Heads
    attention: Float[Tensor, "B L C2"]
    ffn: Float[Tensor, "B L C2"]

    def relation(self, pair: str) -> Float[Tensor, "B L L"]:
        """How much every token attends to every other by a pair out of `PAIRS`, mean over heads; rows sum to 1."""
        left, right = (getattr(self, name) for name in pair)  # (B, heads, L, d)
        return (left @ right.transpose(-1, -2) / sqrt(left.shape[-1])).float().softmax(dim=-1).mean(dim=1)

    def of(self, image: int) -> "Block":
        """The same of one image of the batch, which keeps its place: B = 1."""
        parts = {name: value[image : image + 1] for name, value in vars(self).items() if name != "index"}
        return Block(self.index, **parts)


@dataclass(frozen=True, eq=False)
class Walk:
    """What one pass over a tower gave; nothing is normalised.

    features: per plan the class feature (B, D) and the patches (B, h·w, D); last: tokens that enter the last block, or
    the cells of the last map of convolutions; blocks: those of the original path, where they were asked for.
    """

    features: tuple[tuple[Float[Tensor, "B D"], Float[Tensor, "B hw D"]], ...]
    last: Float[Tensor, "B L C"]
    blocks: tuple[Block, ...] = ()


def split(x: Float[Tensor, "B L C"], heads: int) -> Heads:
    """Channels into heads."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def merge(x: Heads) -> Float[Tensor, "B L C"]:
    """Heads into channels."""
    return x.transpose(1, 2).flatten(2)


def mix(
    attend: Attend,
    sides: Sides,
    v: Heads,
    prefix: int,
    grid: tuple[int, int],
    start: int,
    known: dict[Any, Tensor] | None = None,
) -> Float[Tensor, "B heads R d"]:
    """Values mixed by the pairs of a row of the table, for the tokens from `start` on: R = L − start.

    v: what is mixed; prefix: tokens before the h × w patches of `grid`, which take no part in a neighbour bias; known:
    what pairs gave in this block, by what decides it, which rows share.
    """
    if not attend.pairs:
        return v[:, :, start:]
    known = {} if known is None else known
    parts = []
    for pair in attend.pairs:
        key = (pair, attend.unit, attend.sharpen, attend.neighbour, start)
        if key not in known:
            left, right = sides[pair[0]][0], sides[pair[1]][1]
            known[key] = _mixed(attend, left, right, v, prefix, grid, start)
        parts.append(known[key])
    return sum(parts[1:], parts[0]) / (len(parts) if attend.mean else 1)


def _mixed(
    attend: Attend, left: Heads, right: Heads, v: Heads, prefix: int, grid: tuple[int, int], start: int
) -> Float[Tensor, "B heads R d"]:
    """Values mixed by one pair."""
    bias = _near(attend.neighbour, prefix, grid).to(v)[start:] if attend.neighbour else None  # (R, L)
    left = left[:, :, start:]  # (B, heads, R, d)
    if attend.unit:
        left, right = F.normalize(left, dim=-1), F.normalize(right, dim=-1)
    scale = attend.sharpen * v.shape[-1] ** -0.5
    return F.scaled_dot_product_attention(left, right, v, attn_mask=bias, scale=scale)


def _near(deviation: float, prefix: int, grid: tuple[int, int]) -> Float[Tensor, "L L"]:
    """exp(−distance² / 2·deviation²) between patches, 0 for the tokens before them. Source: NACLIP's bias."""
    rows, columns = (torch.arange(n, dtype=torch.float32) for n in grid)
    places = torch.cartesian_prod(rows, columns)  # (h·w, 2)
    near = torch.exp(-(torch.cdist(places, places) ** 2) / (2 * deviation**2))  # (h·w, h·w)
    return F.pad(near, (prefix, 0, prefix, 0))


def positions(
    embedding: Float[Tensor, "L C"],
    native: tuple[int, int],
    grid: tuple[int, int],
    prefix: int = 1,
    rule: str = DEFAULT,
) -> Float[Tensor, "L2 C"]:
    """A positional embedding (class and other tokens first) at another grid (h, w), a new tensor; itself at `native`.

    The first `prefix` are split off and kept; the rest is interpolated by one of `POSITIONS`. The original is never
    written to.
    """
    if grid == native:
        return embedding
    first, patches = embedding[:prefix], embedding[prefix:].unflatten(0, native)  # (prefix, C), (h0, w0, C)
    patches = patches.permute(2, 0, 1)[None].float()  # (1, C, h0, w0)
    options = dict(POSITIONS[rule])
    size: dict[str, Any] = {"size": grid}
    if options.pop("by_factor", False):  # a tenth of a patch over, so that the size does not come out one short
        size = {"scale_factor": [(new + 0.1) / old for new, old in zip(grid, native, strict=True)]}
    patches = F.interpolate(patches, **size, **options, align_corners=False)  # (1, C, h, w)
    return torch.cat([first, patches[0].flatten(1).T.to(first.dtype)])  # (prefix + h·w, C)


def pair(value: int | Iterable[int]) -> tuple[int, int]:
    """An int as (value, value), a pair as it is."""
    if isinstance(value, int):
        return value, value
    first, second = value
    return int(first), int(second)


def own(module: nn.Module, part: str) -> Callable[[Tensor], Tensor]:
    """A part that a module may have; without it, what changes nothing."""
    return getattr(module, part, IDENTITY)


def refuse_unknown(where: str, module: nn.Module, children: Iterable[str], own: Iterable[str] = ()) -> None:
    """Raise a ValueError naming the first child module or own parameter of `module` that is not in the lists."""
    parts = ((module.named_children(), set(children)), (module.named_parameters(recurse=False), set(own)))
    strange = next((name for found, known in parts for name, _ in found if name not in known), None)
    if strange is not None:
        raise ValueError(f"{where} ({type(module).__name__}) has a part that is not understood: {strange!r}.")
