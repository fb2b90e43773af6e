"""Rules by which one block mixes values where pairs of queries, keys and values do not say it: GEM's and PEARL's."""

from collections.abc import Callable
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from clipsx.towers.shared import Heads

Rule = Callable[[Heads, Heads, Heads, Float[Tensor, "B L C"], int, int], Heads]
"""(q, k, v, what the attention reads, tokens before the patches, start) → values mixed for the tokens from start on."""


def gem(q: Heads, k: Heads, v: Heads, y: Float[Tensor, "B L C"], prefix: int, start: int) -> Float[Tensor, "B h R d"]:
    """Values by the mean of q-q, k-k and v-v after each was drawn together once, at unit length.

    The temperature is the mean length of what the attention reads, over √d: one number an image.
    Source: GEM, one iteration as released.
    """
    heat = y.norm(dim=-1).mean(dim=-1) * q.shape[-1] ** -0.5  # (B,)
    root, mixed = heat.sqrt()[:, None, None, None], []
    for p in (q, k, v):
        p = root * F.normalize(p, dim=-1)  # (B, heads, L, d), so that p pᵀ comes heated
        p = root * F.normalize(F.scaled_dot_product_attention(p, p, p, scale=1.0), dim=-1)
        mixed.append(F.scaled_dot_product_attention(p[:, :, start:], p, v, scale=1.0))
    return sum(mixed[1:], mixed[0]) / 3


def newton_schulz(m: Float[Tensor, "*heads d d"]) -> Float[Tensor, "*heads d d"]:
    """Towards the orthogonal factor of every matrix: the five steps of PEARL's released code, which do not reach it."""
    square = m.mT @ m
    size = torch.linalg.matrix_norm(square, keepdim=True)
    one = torch.eye(m.shape[-1], dtype=m.dtype, device=m.device)
    y, z = square / size + 1e-6 * one, one.expand_as(square)
    for _ in range(5):
        t = (3 * one - z @ y) / 2
        y, z = y @ t, t @ z
    return m @ z / size.sqrt()


def orthogonal(m: Float[Tensor, "*heads d d"]) -> Float[Tensor, "*heads d d"]:
    """The orthogonal factor of every matrix."""
    u, _, vt = torch.linalg.svd(m)
    return u @ vt


def pearl(
    factor: Callable[[Tensor], Tensor], q: Heads, k: Heads, v: Heads, y: Float[Tensor, "B L C"], prefix: int, start: int
) -> Float[Tensor, "B h R d"]:
    """Values by queries against keys that are turned to lie as the queries do, and a little by centred k-k.

    Centres are means over the patches, weighted by their queries' length; tokens before them weigh nothing.
    Source: PEARL, alignment.
    """
    a, b = q.float(), k.float()
    weight = a.norm(dim=-1, keepdim=True)  # (B, heads, L, 1)
    weight = F.pad(weight[:, :, prefix:], (0, 0, prefix, 0))
    weight = weight / (weight.sum(dim=2, keepdim=True) + 1e-6)
    qc, kc = (each - (weight * each).sum(dim=2, keepdim=True) for each in (a, b))  # (B, heads, L, d)
    turned = b @ factor(kc.mT @ qc)  # (B, heads, L, d)
    left, right = (torch.cat(pair, dim=-1).to(v) for pair in ((a, 0.08 * kc), (turned, kc)))  # (B, heads, L, 2·d)
    wide = F.pad(v, (0, v.shape[-1]))  # as wide as they are, so that no map of L × L is kept
    mixed = F.scaled_dot_product_attention(left[:, :, start:], right, wide, scale=v.shape[-1] ** -0.5)
    return mixed[..., : v.shape[-1]]


RULES: dict[str, Rule] = {"gem": gem, "pearl": partial(pearl, newton_schulz), "pearl-svd": partial(pearl, orthogonal)}
