"""open_clip's VisionTransformer, alone and under CoCa's attentional pool, computed from its weights; never changed."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from clipsx.towers.shared import Heads, merge, own, pair, positions, refuse_unknown, split
from clipsx.towers.transformer import Norm, Transformer

STEM = ("conv1", "patch_dropout", "ln_pre", "transformer", "ln_post")
STEM_OWN = ("class_embedding", "positional_embedding", "proj")
BLOCK = ("ln_1", "attn", "ls_1", "ln_attn", "ln_2", "mlp", "ls_2")
ATTENTION = ("out_proj", "ln_q", "ln_k", "ln_inner", "attn_drop", "out_drop")
ATTENTION_OWN = ("in_proj_weight", "in_proj_bias", "head_scale")


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
        for i, block in enumerate(self._blocks):
            refuse_unknown(f"Block {i}", block, BLOCK)
            _require_attention(f"Block {i}'s attention", block.attn)
            self._probe(i)

    @staticmethod
    def fits(visual: Any) -> bool:
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
        return self._blocks[index].ln_1(x)

    def norms(self, index: int) -> tuple[Norm, Norm]:
        return own(self._blocks[index].attn, "ln_q"), own(self._blocks[index].attn, "ln_k")

    def qkv(self, index: int, y: Float[Tensor, "B L C"], grid: tuple[int, int]) -> tuple[Heads, Heads, Heads]:
        attention, (ln_q, ln_k) = self._blocks[index].attn, self.norms(index)
        packed = F.linear(y, attention.in_proj_weight, attention.in_proj_bias)  # (B, L, 3·C)
        q, k, v = (split(part, attention.num_heads) for part in packed.chunk(3, dim=-1))  # (B, heads, L, d)
        return ln_q(q), ln_k(k), v

    def attend(self, index: int, mixed: Heads) -> Float[Tensor, "B L C"]:
        """Head scales, the inner norm, the output projection, the block's norm of it and LayerScale."""
        block, scale = self._blocks[index], getattr(self._blocks[index].attn, "head_scale", None)
        mixed = own(block.attn, "ln_inner")(merge(mixed if scale is None else mixed * scale))  # (B, L, C)
        return own(block, "ls_1")(own(block, "ln_attn")(block.attn.out_proj(mixed)))

    def ffn(self, index: int, x: Float[Tensor, "B L C"]) -> Float[Tensor, "B L C"]:
        block = self._blocks[index]
        return own(block, "ls_2")(block.mlp(block.ln_2(x)))

    def project(self, tokens: Float[Tensor, "*tokens C"]) -> Float[Tensor, "*tokens D"]:
        return self._head(self.visual.ln_post(tokens))

    def _head(self, x: Tensor) -> Tensor:
        return x if self.visual.proj is None else x @ self.visual.proj  # (…, C) → (…, D)

    def pool(self, x: Float[Tensor, "B L C"]) -> Float[Tensor, "B D"]:
        if self.pools_first:
            return self.project(x[:, 0])
        if self.visual.final_ln_after_pool:
            return self.project(x[:, self.prefix :].mean(1))
        return self._head(self.visual.ln_post(x[:, self.prefix :]).mean(1))


def _require_attention(where: str, module: Any) -> None:
    """Errors: ValueError for attention of another kind than `in_proj_weight`, `in_proj_bias` and `out_proj`."""
    refuse_unknown(where, module, ATTENTION, ATTENTION_OWN)
    if getattr(module, "in_proj_weight", None) is None or getattr(module, "out_proj", None) is None:
        raise ValueError(f"{where} ({type(module).__name__}) has no in_proj_weight and out_proj.")
    if getattr(module, "add_zero_attn", False):
        raise ValueError(f"{where} ({type(module).__name__}) has a part that is not understood: 'add_zero_attn'.")


class CoCa(ViT):
    """As `ViT`; the class feature is the pool's first query, and a patch's is the pool asked of that patch alone.

    Errors: those of `ViT`; ValueError for a second, contrastive pool.
    """

    parts = (*STEM, "attn_pool")

    def __init__(self, visual: Any) -> None:
        super().__init__(visual)
        refuse_unknown("The image tower's pool", visual.attn_pool, ("attn", "ln_q", "ln_k"), ("query",))
        self.family, self.pools_first = "CoCa", False

    @staticmethod
    def fits(visual: Any) -> bool:
        return getattr(visual, "attn_pool", None) is not None and hasattr(visual, "conv1")

    def project(self, tokens: Float[Tensor, "*tokens C"]) -> Float[Tensor, "*tokens D"]:
        """Every token as the only key of the pool: its value, mixed by 1; then the last norm and the projection."""
        pool = self.visual.attn_pool
        attention, width = pool.attn, pool.attn.embed_dim
        separate = attention.v_proj_weight  # where keys are as wide as queries, all three lie in one
        weight = attention.in_proj_weight[2 * width :] if separate is None else separate
        values = F.linear(pool.ln_k(tokens), weight, attention.in_proj_bias[2 * width :])  # (…, D)
        return self._head(self.visual.ln_post(attention.out_proj(values)))

    def pool(self, x: Float[Tensor, "B L C"]) -> Float[Tensor, "B D"]:
        x = self.visual.ln_post(self.visual.attn_pool(x))  # (B, queries, D)
        return self._head(x[:, 0] if self.visual.pool_type == "tok" else x[:, 1:].mean(1))
