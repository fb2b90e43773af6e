"""timm's vision transformers as open_clip wraps them: SigLIP, ViTamin, MobileCLIP-B, PE-Core, EVA; never changed."""

from copy import deepcopy
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from clipsx.towers.shared import Heads, merge, own, pair, positions, refuse_unknown, split
from clipsx.towers.transformer import Norm, Transformer

EMBED = ("backbone", "proj", "norm")
TRUNK = (
    *("patch_embed", "embeds", "pos_drop", "patch_drop", "rope", "norm_pre", "blocks", "norm", "attn_pool", "fc_norm"),
    *("head_drop", "head"),
)
TRUNK_OWN = ("cls_token", "reg_token", "pos_embed")
BLOCK = ("norm1", "attn", "ls1", "drop_path1", "norm2", "mlp", "ls2", "drop_path2")
BLOCK_OWN = ("gamma_1", "gamma_2")
ATTENTION = ("qkv", "q_proj", "k_proj", "v_proj", "q_norm", "k_norm", "attn_drop", "norm", "proj", "proj_drop")
ATTENTION_OWN = ("q_bias", "v_bias")
POOL = ("q", "kv", "q_norm", "k_norm", "proj", "proj_drop", "norm", "mlp")
HEAD = ("drop", "proj", "mlp")


class Timm(Transformer):
    """Adapter of timm's VisionTransformer and Eva under open_clip's TimmModel: class token, average or attention pool.

    Blocks with their norms before (LayerScale or not) or after (EVA02-E) what they add; registers, absolute and rotary
    positions, stems of convolutions. Under an attention pool a patch's feature is the pool asked of that patch alone:
    its softmax over one key is 1. Errors: ValueError naming a part that is not understood.
    """

    def __init__(self, visual: Any) -> None:
        trunk = visual.trunk
        refuse_unknown("The image tower", visual, ("trunk", "head"))
        refuse_unknown("The image tower's trunk", trunk, TRUNK, TRUNK_OWN)
        refuse_unknown("The image tower's projection", visual.head, HEAD)
        if trunk.attn_pool is not None:
            refuse_unknown("The image tower's pool", trunk.attn_pool, POOL, ("latent",))
        elif trunk.global_pool not in ("token", "avg"):
            raise ValueError(f"The image tower pools by {trunk.global_pool!r}, not by 'token', 'avg' or 'map'.")
        if getattr(trunk, "rope_mixed", False) or getattr(trunk, "rope_is_mixed", False):
            raise ValueError("The image tower's rotary positions differ from block to block, which is not understood.")
        self.visual, self.trunk = visual, trunk
        self.family = f"timm {type(trunk).__name__}"
        self.prefix = trunk.num_prefix_tokens
        self.pools_first = trunk.attn_pool is None and trunk.global_pool == "token"
        self.pools_by_mlp = getattr(trunk.attn_pool, "mlp", None) is not None
        self._read_stem()
        self._blocks = list(trunk.blocks)
        self.blocks = len(self._blocks)
        for i, block in enumerate(self._blocks):
            refuse_unknown(f"Block {i}", block, BLOCK, BLOCK_OWN)
            refuse_unknown(f"Block {i}'s attention", block.attn, ATTENTION, ATTENTION_OWN)
            if getattr(block.attn, "num_kv_groups", 1) != 1:
                raise ValueError(f"Block {i}'s attention shares keys among heads ('num_kv_groups'): not understood.")
        self._post_norm = False
        self._post_norm = not self._probe(0)
        for i, block in enumerate(self._blocks):
            if not self._probe(i):
                name = type(block).__name__
                raise ValueError(f"Block {i} ({name}) does not compute what its parts say; it is refused.")

    @staticmethod
    def fits(visual: Any) -> bool:
        trunk = getattr(visual, "trunk", None)
        return hasattr(trunk, "blocks") and all(hasattr(trunk, n) for n in ("patch_embed", "norm_pre", "attn_pool"))

    def _read_stem(self) -> None:
        """Sizes, what holds first tokens and positions, and the grid and the number of first tokens these are for."""
        embed, self._holds = self.trunk.patch_embed, self.trunk
        refuse_unknown("The image tower's stem", embed, EMBED)
        self.patch_size, self.image_size = pair(embed.feat_ratio(as_scalar=False)), pair(embed.img_size)
        self.native, self._placed = pair(embed.grid_size), 0 if self.trunk.no_embed_class else self.prefix

    @torch.no_grad()
    def _probe(self, index: int) -> bool:
        """Random tokens of a grid of 2 × 2 through the block and through our reading of it."""
        block, weight = self._blocks[index], self._blocks[index].attn.proj.weight
        draw = torch.randn(1, self.prefix + 4, weight.shape[0], generator=torch.Generator().manual_seed(0))
        x = draw.to(weight)  # (1, prefix + 4, C)
        theirs = block(x) if self._rope() is None else block(x, rope=self._turns((2, 2)))
        return self.agrees(index, x, (2, 2), theirs)

    def _tokens(self, images: Float[Tensor, "B 3 H W"]) -> tuple[Float[Tensor, "B hw C"], tuple[int, int]]:
        """The patches' tokens without positions, and their grid; past the stem's own check of the size."""
        embed = self.trunk.patch_embed
        x = embed.proj(own(embed, "backbone")(images))  # (B, C, h, w)
        return own(embed, "norm")(x.flatten(2).transpose(1, 2)), (x.shape[2], x.shape[3])

    def _rope(self) -> Any:
        return getattr(self.trunk, "rope", None)

    def _turns(self, grid: tuple[int, int]) -> Float[Tensor, "hw turns"]:
        """The sines and cosines by which patches of a grid are rotated; another grid's come from a copy."""
        rope = self._rope()
        if getattr(rope, "feat_shape", None) is None:
            return rope.get_embed(shape=list(grid))
        if tuple(rope.feat_shape) != grid:
            rope = deepcopy(rope)
            rope.update_feat_shape(list(grid))
        return rope.get_embed()

    def stem(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B L C"]:
        x, grid = self._tokens(images)
        held = (self._holds.cls_token, self._holds.reg_token)  # (1, n, C) each, or none
        first = [token.expand(len(x), -1, -1).to(x.dtype) for token in held if token is not None]
        x = torch.cat([*first, x], dim=1)  # (B, prefix + h·w, C)
        table = self._holds.pos_embed  # (1, L, C), or (1, h0, w0, C)
        if table is not None:
            where = positions(table.flatten(0, -2), self.native, grid, self._placed, self.positions).to(x.dtype)
            x = x + F.pad(where, (0, 0, x.shape[1] - len(where), 0))
        return self.trunk.norm_pre(x)

    def norm(self, index: int, x: Float[Tensor, "B L C"]) -> Float[Tensor, "B L C"]:
        return x if self._post_norm else self._blocks[index].norm1(x)

    def norms(self, index: int) -> tuple[Norm, Norm]:
        attention = self._blocks[index].attn
        return attention.q_norm, attention.k_norm

    def qkv(self, index: int, y: Float[Tensor, "B L C"], grid: tuple[int, int]) -> tuple[Heads, Heads, Heads]:
        """Queries and keys with their own norms, then rotated (patches alone), and values."""
        attention = self._blocks[index].attn
        if getattr(attention, "qkv", None) is None:
            packed = (attention.q_proj(y), attention.k_proj(y), attention.v_proj(y))  # (B, L, C) each
        else:
            bias = attention.qkv.bias
            if getattr(attention, "q_bias", None) is not None:
                bias = torch.cat([attention.q_bias, attention.k_bias, attention.v_bias])
            packed = F.linear(y, attention.qkv.weight, bias).chunk(3, dim=-1)  # (B, L, C) each
        q, k, v = (split(part, attention.num_heads) for part in packed)  # (B, heads, L, d)
        ln_q, ln_k = self.norms(index)
        q, k = ln_q(q), ln_k(k)
        if self._rope() is not None:
            q, k = self._rotated(q, attention, grid), self._rotated(k, attention, grid)
        return q, k, v

    def _rotated(self, x: Heads, attention: Any, grid: tuple[int, int]) -> Heads:
        from timm.layers.pos_embed_sincos import apply_rot_embed_cat

        how = {"half": True} if getattr(attention, "rotate_half", False) else {}
        first, patches = x[:, :, : self.prefix], x[:, :, self.prefix :]
        turned = apply_rot_embed_cat(patches, self._turns(grid), **how)
        return torch.cat([first, turned.to(first.dtype)], dim=2)

    def attend(self, index: int, mixed: Heads) -> Float[Tensor, "B L C"]:
        """Inner norm, output projection, then LayerScale or the norm of a block that norms afterwards."""
        block = self._blocks[index]
        out = block.attn.proj(own(block.attn, "norm")(merge(mixed)))  # (B, L, C)
        return block.norm1(out) if self._post_norm else _scaled(block, 1, out)

    def ffn(self, index: int, x: Float[Tensor, "B L C"]) -> Float[Tensor, "B L C"]:
        block = self._blocks[index]
        return block.norm2(block.mlp(x)) if self._post_norm else _scaled(block, 2, block.mlp(block.norm2(x)))

    def project(self, tokens: Float[Tensor, "*tokens C"]) -> Float[Tensor, "*tokens D"]:
        return self._project(tokens, self.pools_by_mlp)

    def project_short(self, tokens: Float[Tensor, "*tokens C"]) -> Float[Tensor, "*tokens D"]:
        return self._project(tokens, False)

    def _project(self, tokens: Tensor, mlp: bool) -> Tensor:
        trunk, pool, x = self.trunk, self.trunk.attn_pool, self.trunk.norm(tokens)
        if pool is not None:
            x = pool.proj(pool.kv(x).chunk(2, dim=-1)[1])  # (…, C): the values
            x = x + pool.mlp(pool.norm(x)) if mlp else x
        return self.visual.head(trunk.head(trunk.fc_norm(x)))  # (…, D)

    def pool(self, x: Float[Tensor, "B L C"]) -> Float[Tensor, "B D"]:
        return self.visual.head(self.trunk.forward_head(self.trunk.norm(x)))


def _scaled(block: Any, half: int, out: Float[Tensor, "B L C"]) -> Float[Tensor, "B L C"]:
    """What half a block adds, by its LayerScale: a parameter in Eva, a module in VisionTransformer."""
    gamma = getattr(block, f"gamma_{half}", None)
    return own(block, f"ls{half}")(out) if gamma is None else gamma * out


class NaFlex(Timm):
    """Adapter of timm's NaFlexVit: patches through a linear layer, a table of positions of its own shape."""

    @staticmethod
    def fits(visual: Any) -> bool:
        return hasattr(getattr(visual, "trunk", None), "embeds")

    def _read_stem(self) -> None:
        self._holds = embeds = self.trunk.embeds
        refuse_unknown("The image tower's stem", embeds, ("norm_input", "proj", "norm", "pos_drop"), TRUNK_OWN)
        self.patch_size, self.image_size = pair(embeds.patch_size), pair(self.visual.image_size)
        self.native, self._placed = pair(embeds.pos_embed_grid_size or (1, 1)), 0
        # Its table fits no size in particular: its own rule is part of the model.
        self.positions = embeds.pos_embed_interp_mode + "-antialias" * getattr(embeds, "pos_embed_antialias", True)
        odd = ("pos_embed_ar_preserving", "pos_embed_align_corners", "pos_embed_use_grid_sample")
        for name in [name for name in odd if getattr(embeds, name, False)]:
            raise ValueError(f"The image tower's positions are resized in a way that is not understood: {name!r}.")

    def _tokens(self, images: Float[Tensor, "B 3 H W"]) -> tuple[Float[Tensor, "B hw C"], tuple[int, int]]:
        embeds, grid = self.trunk.embeds, self.grid(*images.shape[2:])
        if not embeds.is_linear:
            return embeds.norm(embeds.proj(images).flatten(2).transpose(1, 2)), grid
        x = images.unflatten(3, (grid[1], -1)).unflatten(2, (grid[0], -1))  # (B, 3, h, rows, w, columns)
        order = (0, 2, 4, 3, 5, 1) if getattr(embeds, "channels_last", True) else (0, 2, 4, 1, 3, 5)
        x = x.permute(order).flatten(3).flatten(1, 2)  # (B, h·w, rows · columns · 3)
        return embeds.norm(embeds.proj(x if embeds.norm_input is None else embeds.norm_input(x))), grid
