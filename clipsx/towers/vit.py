"""open_clip's VisionTransformer: its stem, blocks and head, computed from its weights; it is never changed."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from clipsx.towers.shared import Heads, merge, pair, positions, refuse_unknown, split
from clipsx.towers.transformer import Norm, Transformer

STEM = ("conv1", "patch_dropout", "ln_pre", "transformer", "ln_post")
STEM_OWN = ("class_embedding", "positional_embedding", "proj")
BLOCK = ("ln_1", "attn", "ls_1", "ln_attn", "ln_2", "mlp", "ls_2")
ATTENTION = ("out_proj", "ln_q", "ln_k", "ln_inner", "attn_drop", "out_drop")
ATTENTION_OWN = ("in_proj_weight", "in_proj_bias", "head_scale")


class Attention:
    """One block's attention read from `in_proj_weight`, `in_proj_bias` and `out_proj`, whatever its class."""

    def __init__(self, where: str, module: Any) -> None:
        refuse_unknown(where, module, ATTENTION, ATTENTION_OWN)
        if getattr(module, "in_proj_weight", None) is None or getattr(module, "out_proj", None) is None:
            raise ValueError(f"{where} ({type(module).__name__}) has no in_proj_weight and out_proj.")
        if getattr(module, "add_zero_attn", False):
            raise ValueError(f"{where} ({type(module).__name__}) has a part that is not understood: 'add_zero_attn'.")
        self.module = module
        self.heads = int(module.num_heads)
        identity = nn.Identity()
        self.norms = (getattr(module, "ln_q", identity), getattr(module, "ln_k", identity))
        self.ln_inner = getattr(module, "ln_inner", identity)

    def qkv(self, x: Float[Tensor, "B L C"]) -> tuple[Heads, Heads, Heads]:
        """Queries and keys as they are compared (own norms applied), and values."""
        packed = F.linear(x, self.module.in_proj_weight, self.module.in_proj_bias)  # (B, L, 3·C)
        q, k, v = (split(part, self.heads) for part in packed.chunk(3, dim=-1))  # (B, heads, L, d)
        ln_q, ln_k = self.norms
        return ln_q(q), ln_k(k), v

    def output(self, x: Heads) -> Float[Tensor, "B L C"]:
        """Mixed values through head scales, the inner norm and the output projection."""
        scale = getattr(self.module, "head_scale", None)
        return self.module.out_proj(self.ln_inner(merge(x if scale is None else x * scale)))


class ViT(Transformer):
    """Adapter of open_clip's VisionTransformer (class-token or average pooling, LayerScale, final_ln_after_pool).

    Errors: ValueError naming a part that is not understood.
    """

    prefix = 1
    parts = STEM

    def __init__(self, visual: Any) -> None:
        refuse_unknown("The image tower", visual, self.parts, STEM_OWN)
        if visual.pool_type not in ("tok", "avg"):
            raise ValueError(f"The image tower pools by {visual.pool_type!r}, not by 'tok' or 'avg'.")
        self.visual = visual
        self.pools_first = visual.pool_type == "tok"
        self.family = "VisionTransformer" if self.pools_first else "average-pooled VisionTransformer"
        self.patch_size = pair(visual.conv1.kernel_size)
        self.image_size = pair(visual.image_size)
        self.native = self.grid(*self.image_size)
        self._blocks = list(visual.transformer.resblocks)
        self.blocks = len(self._blocks)
        self._attention = []
        for i, block in enumerate(self._blocks):
            refuse_unknown(f"Block {i}", block, BLOCK)
            self._attention.append(Attention(f"Block {i}'s attention", block.attn))
            self._probe(i)

    @staticmethod
    def fits(visual: Any) -> bool:
        """Whether this adapter is the one for the tower."""
        blocks = hasattr(visual, "conv1") and hasattr(getattr(visual, "transformer", None), "resblocks")
        return blocks and getattr(visual, "attn_pool", None) is None

    @torch.no_grad()
    def _probe(self, index: int) -> None:
        """Two random tokens through the block and through our reading of it."""
        block = self._blocks[index]
        weight = block.attn.in_proj_weight
        draw = torch.randn(2, 2, weight.shape[1], generator=torch.Generator().manual_seed(0))
        x = draw.to(weight)  # (2, 2, C), so that a sequence-first block can be asked as well
        for theirs in (block(x), block(x.transpose(0, 1)).transpose(0, 1)):
            if self.agrees(index, x, (1, 1), theirs):
                return
        raise ValueError(f"Block {index} ({type(block).__name__}) does not compute what its parts say; it is refused.")

    def stem(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B L C"]:
        visual = self.visual
        x = visual.conv1(images)  # (B, C, h, w)
        grid = (x.shape[2], x.shape[3])
        x = x.flatten(2).transpose(1, 2)  # (B, h·w, C)
        cls = visual.class_embedding.to(x.dtype).expand(x.shape[0], 1, -1)  # (B, 1, C)
        x = torch.cat([cls, x], dim=1)  # (B, 1 + h·w, C)
        where = positions(visual.positional_embedding, self.native, grid, self.prefix, self.positions)  # (1 + h·w, C)
        return visual.ln_pre(x + where.to(x.dtype))

    def norm(self, index: int, x: Float[Tensor, "B L C"]) -> Float[Tensor, "B L C"]:
        """The block's first norm."""
        return self._blocks[index].ln_1(x)

    def norms(self, index: int) -> tuple[Norm, Norm]:
        return self._attention[index].norms

    def qkv(self, index: int, y: Float[Tensor, "B L C"], grid: tuple[int, int]) -> tuple[Heads, Heads, Heads]:
        """Queries and keys with their own norms, and values."""
        return self._attention[index].qkv(y)

    def attend(self, index: int, mixed: Heads) -> Float[Tensor, "B L C"]:
        """Output projection, the block's norm of it and LayerScale."""
        block, out = self._blocks[index], self._attention[index].output(mixed)  # (B, L, C)
        out = block.ln_attn(out) if hasattr(block, "ln_attn") else out
        return block.ls_1(out) if hasattr(block, "ls_1") else out

    def ffn(self, index: int, x: Float[Tensor, "B L C"]) -> Float[Tensor, "B L C"]:
        """The second norm, the feed-forward network and LayerScale."""
        block = self._blocks[index]
        out = block.mlp(block.ln_2(x))  # (B, L, C)
        return block.ls_2(out) if hasattr(block, "ls_2") else out

    def project(self, tokens: Float[Tensor, "*tokens C"]) -> Float[Tensor, "*tokens D"]:
        """Tokens through the last norm and the projection into the joint space; not normalised."""
        return self._head(self.visual.ln_post(tokens))

    def _head(self, x: Tensor) -> Tensor:
        return x if self.visual.proj is None else x @ self.visual.proj  # (…, C) → (…, D)

    def pool(self, x: Float[Tensor, "B L C"]) -> Float[Tensor, "B D"]:
        if self.pools_first:
            return self.project(x[:, 0])
        if self.visual.final_ln_after_pool:
            return self.project(x[:, self.prefix :].mean(1))
        return self._head(self.visual.ln_post(x[:, self.prefix :]).mean(1))
