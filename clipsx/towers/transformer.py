"""What towers of attention blocks share: one walk for the original and every second path; families fill in parts."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from clipsx.methods import Attend, Recipe
from clipsx.towers.interface import Plan
from clipsx.towers.shared import Block, Heads, Walk, mix


class Transformer(ABC):
    """A tower of attention blocks: a family gives the parts below, and every row of the table follows from them.

    pools_first: whether the tower's own feature is read from the first token alone, so that the last block may be cut.
    """

    family: str
    transformer = True
    blocks: int
    prefix: int
    pools_first: bool
    image_size: tuple[int, int]
    patch_size: tuple[int, int]
    visual: Any

    @abstractmethod
    def stem(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B L C"]:
        """Tokens that enter the first block; at another size, positions are interpolated for this call."""

    @abstractmethod
    def norm(self, index: int, x: Float[Tensor, "B L C"]) -> Float[Tensor, "B L C"]:
        """What a block's attention reads of its input."""

    @abstractmethod
    def qkv(self, index: int, x: Float[Tensor, "B L C"]) -> tuple[Heads, Heads, Heads]:
        """Queries, keys and values of a block's input, as attention compares and mixes them."""

    @abstractmethod
    def sides(self, index: int, q: Heads, k: Heads, v: Heads) -> dict[str, tuple[Heads, Heads]]:
        """Queries, keys and values as they stand on the left and on the right of a comparison."""

    @abstractmethod
    def attend(self, index: int, mixed: Heads) -> Float[Tensor, "B L C"]:
        """What a block's attention adds to its input, from mixed values."""

    @abstractmethod
    def ffn(self, index: int, x: Float[Tensor, "B L C"]) -> Float[Tensor, "B L C"]:
        """What a block's feed-forward network adds."""

    @abstractmethod
    def project(self, tokens: Float[Tensor, "*tokens C"]) -> Float[Tensor, "*tokens D"]:
        """Tokens through the last norm and the projection into the joint space; not normalised."""

    @abstractmethod
    def pool(self, x: Float[Tensor, "B L C"]) -> Float[Tensor, "B D"]:
        """The tower's own image feature from the last block's tokens: what `encode_image` gives."""

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Patch rows and columns of an image of H × W pixels."""
        return height // self.patch_size[0], width // self.patch_size[1]

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
        whole = keep or not self.pools_first or any(recipe.attend is None for recipe, _ in plans)
        second: dict[Plan, Tensor] = {}
        kept = []
        x = self.stem(images)  # (B, L, C)
        for index in range(self.blocks):
            q, k, v = self.qkv(index, x)  # (B, heads, L, d)
            known: dict[
                tuple[Attend, int], Tensor
            ] = {}  # what this block adds by a comparison does not depend on depth
            for plan in dict.fromkeys(plans):
                if plan[0].attend is not None and index >= self.blocks - plan[1]:
                    second[plan] = self._step(index, plan[0], x, second.get(plan), (q, k, v), known, grid)
            if not whole and index == self.blocks - 1:
                x, q = x[:, :1], q[:, :, :1]  # (B, 1, C), (B, heads, 1, d)
            attention = self.attend(index, F.scaled_dot_product_attention(q, k, v))
            ffn = self.ffn(index, x + attention)
            if keep:
                kept.append(Block(index, x, q, k, v, attention, ffn))
            x = x + attention + ffn
        cls = self.pool(x)  # (B, D)
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
            new = self._second(index, recipe.attend, self.qkv(index, path), grid, start)
        else:
            if (recipe.attend, start) not in known:
                known[recipe.attend, start] = self._second(index, recipe.attend, qkv, grid, start)
            new = known[recipe.attend, start]  # (B, R, C)
        before = path if path is not None else x[:, start:] if recipe.residual else 0
        path = before + new
        return path + self.ffn(index, path) if recipe.ffn else path

    def _second(
        self, index: int, attend: Attend, qkv: tuple[Heads, Heads, Heads], grid: tuple[int, int], start: int
    ) -> Float[Tensor, "B R C"]:
        """What a block adds to tokens from `start` on by another comparison than its own."""
        sides = self.sides(index, *qkv)
        return self.attend(index, mix(attend, sides, qkv[2], self.prefix, grid, start))
