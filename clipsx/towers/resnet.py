"""open_clip's ModifiedResNet: its convolutions and its attention pool, read from its weights; it is never changed."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from clipsx.towers.shared import Block, merge, pair, positions, refuse_unknown, split

PARTS = (
    *(f"{kind}{i}" for kind in ("conv", "bn", "act") for i in (1, 2, 3)),
    "avgpool",
    *(f"layer{i}" for i in (1, 2, 3, 4)),
    "attnpool",
)
POOL = ("q_proj", "k_proj", "v_proj", "c_proj")
STRIDE = 32


@dataclass(frozen=True)
class Pool:
    """How the attention pool is asked at every position (its own only asks for the class token).

    compare: which projection is compared with itself or another, "qk", "vv" or None (each position takes its own
    value); unit: compare vectors of unit length; sharpen: factor on the usual 1/√d; own: whether the class feature
    is CLIP's own, or comes from the same comparison as the patches.
    """

    compare: str | None
    unit: bool = False
    sharpen: float = 1.0
    own: bool = True


class ResNet:
    """Adapter of open_clip's ModifiedResNet. Errors: ValueError naming a part that is not understood."""

    family = "resnet"
    blocks = 1

    def __init__(self, visual: Any) -> None:
        refuse_unknown("The image tower", visual, PARTS)
        refuse_unknown("The attention pool", visual.attnpool, POOL, ("positional_embedding",))
        self.visual = visual
        self.patch_size = (STRIDE, STRIDE)
        self.image_size = pair(visual.image_size)
        self.native = self.grid(*self.image_size)
        cells = visual.attnpool.positional_embedding.shape[0] - 1
        if self.native[0] * self.native[1] != cells:
            raise ValueError(f"The attention pool has {cells} positions, an image of {self.image_size} {self.native}.")

    @staticmethod
    def fits(visual: Any) -> bool:
        """Whether this adapter is the one for the tower."""
        return all(hasattr(visual, part) for part in ("stem", "layer4", "attnpool")) and visual.attnpool is not None

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of the last feature map for an image of H × W pixels."""
        return height // STRIDE, width // STRIDE

    def stem(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B L C"]:
        """Tokens that enter the attention pool: the mean, then every position; positions interpolated for this call."""
        visual = self.visual
        x = visual.layer4(visual.layer3(visual.layer2(visual.layer1(visual.stem(images)))))  # (B, C, h, w)
        grid = (x.shape[2], x.shape[3])
        x = x.flatten(2).transpose(1, 2)  # (B, h·w, C)
        x = torch.cat([x.mean(1, keepdim=True), x], dim=1)  # (B, 1 + h·w, C)
        return x + positions(visual.attnpool.positional_embedding, self.native, grid).to(x.dtype)

    def _qkv(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        pool = self.visual.attnpool
        q, k, v = (split(p(x), pool.num_heads) for p in (pool.q_proj, pool.k_proj, pool.v_proj))
        return q, k, v  # (B, heads, L, d) each

    def project(self, tokens: Float[Tensor, "*tokens C"]) -> Float[Tensor, "*tokens D"]:
        """Mixed values through the output projection into the joint space; not normalised."""
        return self.visual.attnpool.c_proj(tokens)

    def trace(self, images: Float[Tensor, "B 3 H W"]) -> Iterator[Block]:
        """The attention pool asked at every position, as one block; its `attention` is (B, L, D), its `ffn` zeros."""
        x = self.stem(images)
        q, k, v = self._qkv(x)
        out = self.project(merge(F.scaled_dot_product_attention(q, k, v)))  # (B, L, D)
        yield Block(0, x, q, k, v, out, torch.zeros_like(out))

    def dense(
        self, images: Float[Tensor, "B 3 H W"], path: Pool, depth: int
    ) -> tuple[Float[Tensor, "B D"], Float[Tensor, "B hw D"]]:
        """The class feature and the features of all positions by `path`; not normalised. `depth` is not used."""
        q, k, v = self._qkv(self.stem(images))
        mixed = v  # (B, heads, L, d)
        if path.compare is not None:
            a, b = {"q": q, "k": k, "v": v}[path.compare[0]], {"q": q, "k": k, "v": v}[path.compare[1]]
            if path.unit:
                a, b = F.normalize(a, dim=-1), F.normalize(b, dim=-1)
            mixed = F.scaled_dot_product_attention(a, b, v, scale=path.sharpen * v.shape[-1] ** -0.5)
        if path.own:
            cls = F.scaled_dot_product_attention(q[:, :, :1], k, v)  # (B, heads, 1, d)
            mixed = torch.cat([cls, mixed[:, :, 1:]], dim=2)  # (B, heads, L, d)
        out = self.project(merge(mixed))  # (B, L, D)
        return out[:, 0], out[:, 1:]
