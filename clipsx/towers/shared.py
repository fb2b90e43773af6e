"""What the adapters share: heads, attention, positions."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True, eq=False)
class Block:
    """One block of the original path: its input and what its two halves add to it.

    x (B, L, C) the input; q, k, v (B, heads, L, d) as attention compares and mixes them; attention (B, L, C) and
    ffn (B, L, C) what each half adds (LayerScale included). L = 1 + h·w, class token first.
    """

    index: int
    x: Float[Tensor, "B L C"]
    q: Float[Tensor, "B heads L d"]
    k: Float[Tensor, "B heads L d"]
    v: Float[Tensor, "B heads L d"]
    attention: Float[Tensor, "B L C2"]
    ffn: Float[Tensor, "B L C2"]


def split(x: Float[Tensor, "B L C"], heads: int) -> Float[Tensor, "B heads L d"]:
    """Channels into heads."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def merge(x: Float[Tensor, "B heads L d"]) -> Float[Tensor, "B L C"]:
    """Heads into channels."""
    return x.transpose(1, 2).flatten(2)


def positions(embedding: Float[Tensor, "L C"], native: tuple[int, int], grid: tuple[int, int]) -> Float[Tensor, "L2 C"]:
    """A positional embedding (class token first) at another grid (h, w), as a new tensor; itself at `native`.

    The class token's is split off and kept; the rest is interpolated bicubically with antialiasing, the way open_clip
    resizes a checkpoint. The original is never written to.
    """
    if grid == native:
        return embedding
    cls, patches = embedding[:1], embedding[1:].unflatten(0, native)  # (1, C), (h0, w0, C)
    patches = patches.permute(2, 0, 1)[None].float()  # (1, C, h0, w0)
    patches = F.interpolate(patches, size=grid, mode="bicubic", antialias=True, align_corners=False)  # (1, C, h, w)
    return torch.cat([cls, patches[0].flatten(1).T.to(cls.dtype)])  # (1 + h·w, C)


def pair(value: int | Iterable[int]) -> tuple[int, int]:
    """An int as (value, value), a pair as it is."""
    if isinstance(value, int):
        return value, value
    first, second = value
    return int(first), int(second)


def refuse_unknown(where: str, module: nn.Module, children: Iterable[str], own: Iterable[str] = ()) -> None:
    """Raise a ValueError naming the first child module or own parameter of `module` that is not in the lists."""
    for name in _strange(module, set(children), set(own)):
        raise ValueError(f"{where} ({type(module).__name__}) has a part that is not understood: {name!r}.")


def _strange(module: nn.Module, children: set[str], own: set[str]) -> Iterator[str]:
    yield from (n for n, _ in module.named_children() if n not in children)
    yield from (n for n, _ in module.named_parameters(recurse=False) if n not in own)
