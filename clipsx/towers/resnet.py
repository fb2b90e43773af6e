"""open_clip's ModifiedResNet: its convolutions and its attention pool, read from its weights; it is never changed."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from clipsx.recipe import Recipe
from clipsx.towers.interface import Ending, Plan, Tower
from clipsx.towers.rules import RULES
from clipsx.towers.shared import DEFAULT, Block, Heads, Walk, merge, mix, pair, positions, refuse_unknown, split

PARTS = (
    *(f"{kind}{i}" for kind in ("conv", "bn", "act") for i in (1, 2, 3)),
    "avgpool",
    *(f"layer{i}" for i in (1, 2, 3, 4)),
    "attnpool",
)
POOL = ("q_proj", "k_proj", "v_proj", "c_proj")


class ResNet(Tower):
    """Adapter of open_clip's ModifiedResNet. Errors: ValueError naming a part that is not understood."""

    family = "ModifiedResNet"
    blocks = 1
    prefix = 1
    transformer = False
    patch_size: tuple[int, int] = (32, 32)
    positions = DEFAULT

    def __init__(self, visual: Any) -> None:
        refuse_unknown("The image tower", visual, PARTS)
        refuse_unknown("The attention pool", visual.attnpool, POOL, ("positional_embedding",))
        self.visual = visual
        self.image_size = pair(visual.image_size)
        self.native = self.grid(*self.image_size)
        cells = visual.attnpool.positional_embedding.shape[0] - 1
        if self.native[0] * self.native[1] != cells:
            raise ValueError(f"The attention pool has {cells} positions, an image of {self.image_size} {self.native}.")

    @staticmethod
    def fits(visual: Any) -> bool:
        return all(hasattr(visual, part) for part in ("stem", "layer4", "attnpool")) and visual.attnpool is not None

    def stem(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B hw C"]:
        """The cells of the last map of convolutions."""
        visual = self.visual
        x = visual.layer4(visual.layer3(visual.layer2(visual.layer1(visual.stem(images)))))  # (B, C, h, w)
        return x.flatten(2).transpose(1, 2)

    def _tokens(self, cells: Float[Tensor, "B hw C"], grid: tuple[int, int]) -> Float[Tensor, "B L C"]:
        """What enters the attention pool: the mean, then every cell; positions are interpolated for this call."""
        x = torch.cat([cells.mean(1, keepdim=True), cells], dim=1)  # (B, 1 + h·w, C)
        table = self.visual.attnpool.positional_embedding
        return x + positions(table, self.native, grid, 1, self.positions).to(x.dtype)

    def ending(self, last: Float[Tensor, "B L C"], grid: tuple[int, int]) -> Ending:

        def feature(cells: Tensor) -> Tensor:
            q, k, v = self._qkv(self._tokens(cells, grid))
            return self.project(merge(F.scaled_dot_product_attention(q[:, :, :1], k, v)))[:, 0]

        return last, feature

    def _qkv(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        pool = self.visual.attnpool
        q, k, v = (split(p(x), pool.num_heads) for p in (pool.q_proj, pool.k_proj, pool.v_proj))
        return q, k, v  # (B, heads, L, d) each

    def project(self, tokens: Float[Tensor, "*tokens C"]) -> Float[Tensor, "*tokens D"]:
        """Mixed values through the output projection into the joint space; not normalised."""
        return self.visual.attnpool.c_proj(tokens)

    def refuses(self, recipe: Recipe) -> str:
        """Why it cannot carry a row out: its attention pool is one block without residual and feed-forward network."""
        bare = recipe.attend is not None and recipe.blocks == recipe.least == 1 and not recipe.residual
        served = recipe.attend is None or (bare and not recipe.ffn)
        return "" if served else "its attention pool is one block, without residual and FFN"

    def walk(self, images: Float[Tensor, "B 3 H W"], plans: Sequence[Plan], keep: bool = False) -> Walk:
        """As the interface says; the pool, whose own query is the mean, is asked at every position.

        The pool as a block has (B, L, D) as its `attention` and zeros as its `ffn`.
        """
        cells, grid = self.stem(images), self.grid(*images.shape[2:])  # (B, h·w, C)
        x = self._tokens(cells, grid)  # (B, L, C)
        q, k, v = self._qkv(x)
        whole = keep or any(recipe.attend is None for recipe, _ in plans)
        own = F.scaled_dot_product_attention(q if whole else q[:, :, :1], k, v)  # (B, heads, L or 1, d)
        each = dict.fromkeys(recipe for recipe, _ in plans)
        features = {recipe: self._features(recipe, x, own, (q, k, v), grid) for recipe in each}
        blocks = ()
        if keep:
            out = self.project(merge(own))  # (B, L, D)
            blocks = (Block(0, x, q, k, v, out, torch.zeros_like(out)),)
        return Walk(tuple(features[recipe] for recipe, _ in plans), cells, blocks)

    def _features(
        self,
        recipe: Recipe,
        x: Float[Tensor, "B L C"],
        own: Float[Tensor, "B heads R d"],
        qkv: tuple[Heads, Heads, Heads],
        grid: tuple[int, int],
    ) -> tuple[Float[Tensor, "B D"], Float[Tensor, "B hw D"]]:
        """The class feature and those of all positions by one row."""
        mixed = own  # (B, heads, L, d)
        if recipe.attend is not None:
            start, rule = int(recipe.own_class), RULES.get(recipe.attend.rule)
            sides = {letter: (each, each) for letter, each in zip("qkv", qkv, strict=True)}
            mixed = rule(*qkv, x, 1, start) if rule else mix(recipe.attend, sides, qkv[2], 1, grid, start)
            mixed = torch.cat([own[:, :, :1], mixed], dim=2) if recipe.own_class else mixed
        out = self.project(merge(mixed))  # (B, L, D)
        return out[:, 0], out[:, 1:]
