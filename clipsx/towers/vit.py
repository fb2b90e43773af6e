"""open_clip's VisionTransformer: its stem, blocks and head, computed from its weights; it is never changed."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from clipsx.methods import Attend, Recipe
from clipsx.towers.interface import Plan
from clipsx.towers.shared import Block, Heads, Walk, merge, mix, pair, positions, refuse_unknown, split

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
        self.ln_q = getattr(module, "ln_q", identity)
        self.ln_k = getattr(module, "ln_k", identity)
        self.ln_inner = getattr(module, "ln_inner", identity)

    def qkv(self, x: Float[Tensor, "B L C"]) -> tuple[Heads, Heads, Heads]:
        """Queries and keys as they are compared (own norms applied), and values."""
        packed = F.linear(x, self.module.in_proj_weight, self.module.in_proj_bias)  # (B, L, 3·C)
        q, k, v = (split(part, self.heads) for part in packed.chunk(3, dim=-1))  # (B, heads, L, d)
        return self.ln_q(q), self.ln_k(k), v

    def sides(self, q: Heads, k: Heads, v: Heads) -> dict[str, tuple[Heads, Heads]]:
        """Queries, keys and values as they stand on the left and on the right of a comparison."""
        return {"q": (q, q), "k": (k, k), "v": (self.ln_q(v), self.ln_k(v))}

    def output(self, x: Heads) -> Float[Tensor, "B L C"]:
        """Mixed values through head scales, the inner norm and the output projection."""
        scale = getattr(self.module, "head_scale", None)
        return self.module.out_proj(self.ln_inner(merge(x if scale is None else x * scale)))


class ViT:
    """Adapter of open_clip's VisionTransformer (class-token or average pooling, LayerScale, final_ln_after_pool).

    Errors: ValueError naming a part that is not understood.
    """

    family = "VisionTransformer"
    prefix = 1
    transformer = True

    def __init__(self, visual: Any) -> None:
        if getattr(visual, "attn_pool", None) is not None:
            raise ValueError("The image tower has an attentional pool ('attn_pool'), which is not understood.")
        refuse_unknown("The image tower", visual, STEM, STEM_OWN)
        if visual.pool_type not in ("tok", "avg"):
            raise ValueError(f"The image tower pools by {visual.pool_type!r}, not by 'tok' or 'avg'.")
        self.visual = visual
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
        return hasattr(visual, "conv1") and hasattr(getattr(visual, "transformer", None), "resblocks")

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Patch rows and columns of an image of H × W pixels."""
        return height // self.patch_size[0], width // self.patch_size[1]

    @torch.no_grad()
    def _probe(self, index: int) -> None:
        """Two random tokens through the block and through our reading of it: a part we read wrongly shows here."""
        block = self._blocks[index]
        weight = block.attn.in_proj_weight
        draw = torch.randn(2, 2, weight.shape[1], generator=torch.Generator().manual_seed(0))
        x = draw.to(weight)  # (2, 2, C), so that a sequence-first block can be asked as well
        q, k, v = self._qkv(index, x)
        attended = x + self._attend(index, F.scaled_dot_product_attention(q, k, v))
        ours = attended + self._ffn(index, attended)
        tolerance = 1e-3 if weight.dtype == torch.float32 else 5e-2
        for theirs in (block(x), block(x.transpose(0, 1)).transpose(0, 1)):
            if float((theirs - ours).float().norm()) <= tolerance * float(ours.float().norm()):
                return
        raise ValueError(f"Block {index} ({type(block).__name__}) does not compute what its parts say; it is refused.")

    def stem(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B L C"]:
        """Tokens that enter the first block; at another size, positions are interpolated for this call."""
        visual = self.visual
        x = visual.conv1(images)  # (B, C, h, w)
        grid = (x.shape[2], x.shape[3])
        x = x.flatten(2).transpose(1, 2)  # (B, h·w, C)
        cls = visual.class_embedding.to(x.dtype).expand(x.shape[0], 1, -1)  # (B, 1, C)
        x = torch.cat([cls, x], dim=1)  # (B, 1 + h·w, C)
        return visual.ln_pre(x + positions(visual.positional_embedding, self.native, grid, self.prefix).to(x.dtype))

    def _qkv(self, index: int, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self._attention[index].qkv(self._blocks[index].ln_1(x))

    def _attend(self, index: int, mixed: Tensor) -> Tensor:
        block, out = self._blocks[index], self._attention[index].output(mixed)  # (B, L, C)
        out = block.ln_attn(out) if hasattr(block, "ln_attn") else out
        return block.ls_1(out) if hasattr(block, "ls_1") else out

    def _ffn(self, index: int, x: Tensor) -> Tensor:
        block = self._blocks[index]
        out = block.mlp(block.ln_2(x))  # (B, L, C)
        return block.ls_2(out) if hasattr(block, "ls_2") else out

    def project(self, tokens: Float[Tensor, "*tokens C"]) -> Float[Tensor, "*tokens D"]:
        """Tokens through the last norm and the projection into the joint space; not normalised."""
        return self._head(self.visual.ln_post(tokens))

    def _head(self, x: Tensor) -> Tensor:
        return x if self.visual.proj is None else x @ self.visual.proj  # (…, C) → (…, D)

    def _pool(self, x: Tensor) -> Tensor:
        """The tower's own image feature (B, D) from the last block's tokens: what `encode_image` gives."""
        if self.visual.pool_type == "tok":
            return self.project(x[:, 0])
        if self.visual.final_ln_after_pool:
            return self.project(x[:, self.prefix :].mean(1))
        return self._head(self.visual.ln_post(x[:, self.prefix :]).mean(1))

    def refuses(self, recipe: Recipe) -> str:
        """Why it cannot carry a row out: its class feature has a path of its own, and a depth beyond it."""
        if not recipe.own_class:
            return "its class token has a path of its own"
        if recipe.attend is not None and (recipe.blocks or 1) > self.blocks:
            return f"it has {self.blocks} blocks, not {recipe.blocks}"
        return ""

    def walk(self, images: Float[Tensor, "B 3 H W"], plans: Sequence[Plan], keep: bool = False) -> Walk:
        """As the interface says; the class feature is the tower's own.

        Where nobody reads its patches, the last block of the original path computes no more than the tower's own
        pooling reads: the class token's row alone. An average-pooled tower has no class token that anything reads; its
        own feature, the pooled one, stands in its place.
        """
        grid = self.grid(*images.shape[2:])
        whole = keep or self.visual.pool_type != "tok" or any(recipe.attend is None for recipe, _ in plans)
        second: dict[Plan, Tensor] = {}
        kept = []
        x = self.stem(images)  # (B, L, C)
        for index in range(self.blocks):
            q, k, v = self._qkv(index, x)  # (B, heads, L, d)
            known: dict[
                tuple[Attend, int], Tensor
            ] = {}  # what this block adds by a comparison does not depend on depth
            for plan in dict.fromkeys(plans):
                if plan[0].attend is not None and index >= self.blocks - plan[1]:
                    second[plan] = self._step(index, plan[0], x, second.get(plan), (q, k, v), known, grid)
            if not whole and index == self.blocks - 1:
                x, q = x[:, :1], q[:, :, :1]  # (B, 1, C), (B, heads, 1, d)
            attention = self._attend(index, F.scaled_dot_product_attention(q, k, v))
            ffn = self._ffn(index, x + attention)
            if keep:
                kept.append(Block(index, x, q, k, v, attention, ffn))
            x = x + attention + ffn
        cls = self._pool(x)  # (B, D)
        ends = {plan: second.get(plan, x)[:, -grid[0] * grid[1] :] for plan in dict.fromkeys(plans)}  # (B, h·w, C) each
        patches = {plan: self.project(tokens) for plan, tokens in ends.items()}  # (B, h·w, D) each
        return Walk(tuple((cls, patches[plan]) for plan in plans), tuple(kept))

    def _step(
        self,
        index: int,
        recipe: Recipe,
        x: Float[Tensor, "B L C"],
        path: Float[Tensor, "B R C"] | None,
        qkv: tuple[Heads, Heads, Heads],
        known: dict[tuple[Attend, int], Tensor],
        grid: tuple[int, int],
    ) -> Float[Tensor, "B R C"]:
        """A second path one block on: the patches' tokens, R = h·w; with all tokens, R = L, where it feeds itself."""
        assert recipe.attend is not None
        itself = recipe.fed_by == "itself"
        start = 0 if itself else self.prefix
        if itself and path is not None:
            new = self._second(index, recipe.attend, self._qkv(index, path), grid, start)
        else:
            if (recipe.attend, start) not in known:
                known[recipe.attend, start] = self._second(index, recipe.attend, qkv, grid, start)
            new = known[recipe.attend, start]  # (B, R, C)
        before = path if path is not None else x[:, start:] if recipe.residual else 0
        path = before + new
        return path + self._ffn(index, path) if recipe.ffn else path

    def _second(
        self, index: int, attend: Attend, qkv: tuple[Heads, Heads, Heads], grid: tuple[int, int], start: int
    ) -> Float[Tensor, "B R C"]:
        """What a block adds to tokens from `start` on by another comparison than its own."""
        sides = self._attention[index].sides(*qkv)
        return self._attend(index, mix(attend, sides, qkv[2], self.prefix, grid, start))
