"""What towers of attention blocks share: one walk for the original and every second path; families fill in parts."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from clipsx.recipe import Attend, Recipe
from clipsx.towers.interface import Ending, Plan, Tower
from clipsx.towers.rules import RULES
from clipsx.towers.shared import DEFAULT, Block, Heads, Sides, Walk, mix
from clipsx.towers.tails import TAILS

Norm = Callable[[Tensor], Tensor]


class Transformer(Tower, ABC):
    """A tower of attention blocks: a family gives the parts below, and every row of the table follows from them.

    pools_first: whether the tower's own feature is read from the first token alone, so that the last block may be cut;
    pools_by_mlp: whether it is read by an attention pool with a feed-forward network of its own.
    """

    transformer = True
    pools_first: bool
    pools_by_mlp = False
    positions = DEFAULT
    visual: Any

    @abstractmethod
    def stem(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B L C"]:
        """Tokens that enter the first block; at another size, positions are interpolated for this call."""

    @abstractmethod
    def norm(self, index: int, x: Float[Tensor, "B L C"]) -> Float[Tensor, "B L C"]:
        """What a block's attention reads of its input."""

    @abstractmethod
    def qkv(self, index: int, y: Float[Tensor, "B L C"], grid: tuple[int, int]) -> tuple[Heads, Heads, Heads]:
        """Queries, keys and values of what a block reads (`norm`) over a grid, as attention compares and mixes them."""

    @abstractmethod
    def norms(self, index: int) -> tuple[Norm, Norm]:
        """A block's norms of queries and of keys, head by head."""

    @abstractmethod
    def attend(self, index: int, mixed: Heads) -> Float[Tensor, "B L C"]:
        """What a block's attention adds to its input, from mixed values."""

    @abstractmethod
    def ffn(self, index: int, x: Float[Tensor, "B L C"]) -> Float[Tensor, "B L C"]:
        """What a block's feed-forward network adds."""

    @abstractmethod
    def pool(self, x: Float[Tensor, "B L C"]) -> Float[Tensor, "B D"]:
        """The tower's own image feature from the last block's tokens: what `encode_image` gives."""

    def project_short(self, tokens: Float[Tensor, "*tokens C"]) -> Float[Tensor, "*tokens D"]:
        """As `project`, leaving out the feed-forward network of an attention pool (where `pools_by_mlp`)."""
        return self.project(tokens)

    def sides(self, index: int, q: Heads, k: Heads, v: Heads) -> Sides:
        """Queries, keys and values as they stand on the left and on the right of a comparison.

        Queries and keys carry their norms, and their rotation where the tower has one; values stand under the queries'
        norm on the left and the keys' on the right, and are never rotated (v-v on a rotary tower: a choice of ours).
        """
        ln_q, ln_k = self.norms(index)
        return {"q": (q, q), "k": (k, k), "v": (ln_q(v), ln_k(v))}

    @torch.no_grad()
    def agrees(self, index: int, x: Float[Tensor, "B L C"], grid: tuple[int, int], theirs: Tensor) -> bool:
        """Whether a block's own output for tokens is what our reading of its parts gives: a misread part shows here."""
        ours = self._block(index, x, self.norm(index, x), grid)
        tolerance = 1e-3 if x.dtype == torch.float32 else 5e-2
        return float((theirs - ours).float().norm()) <= tolerance * float(ours.float().norm())

    def _block(self, index: int, x: Tensor, y: Tensor, grid: tuple[int, int]) -> Float[Tensor, "B L C"]:
        """A block's output from its input x and what its attention reads of it, y, both (B, L, C)."""
        between = x + self.attend(index, F.scaled_dot_product_attention(*self.qkv(index, y, grid)))
        return between + self.ffn(index, between)

    def ending(self, last: Float[Tensor, "B L C"], grid: tuple[int, int]) -> Ending:
        """As the interface says: what the last block's attention reads, its input standing still."""
        index = self.blocks - 1
        return self.norm(index, last), lambda y: self.pool(self._block(index, last, y, grid))

    def refuses(self, recipe: Recipe) -> str:
        """Why it cannot carry a row out: what the row reads that it has not, or a depth beyond it."""
        if not recipe.own_class:
            return "its class token has a path of its own"
        if recipe.class_token and not self.pools_first:
            return "it has no class token that its image feature is read from"
        if self.blocks < recipe.least:
            return f"it has {self.blocks} blocks, and the method numbers blocks of {recipe.least} or more"
        if recipe.attend is not None and (recipe.blocks or 1) > self.blocks:
            return f"it has {self.blocks} blocks, not {recipe.blocks}"
        if not recipe.pool_mlp and not self.pools_by_mlp:
            return "it has no attention pool whose feed-forward network could be left out"
        return ""

    def walk(self, images: Float[Tensor, "B 3 H W"], plans: Sequence[Plan], keep: bool = False) -> Walk:
        """As the interface says; the class feature is the tower's own.

        Where nobody reads its patches, the last block of the original path computes no more than the tower's own
        pooling reads: the class token's row alone. An average-pooled tower has no class token that anything reads; its
        own feature, the pooled one, stands in its place.
        """
        grid, each = self.grid(*images.shape[2:]), list(dict.fromkeys(plans))
        whole = keep or not self.pools_first or any(row.attend is None for row, _ in each)
        tails = {plan: TAILS[plan[0].attend.rule] for plan in each if plan[0].attend and plan[0].attend.rule in TAILS}
        compared = {n for row, _ in each if row.attend and row.attend.earlier for n in row.attend.earlier.blocks}
        read = {n for row, _ in tails for n in (*row.reads, self.blocks - 2, self.blocks - 1)}
        second: dict[Plan, Tensor] = {}
        earlier: dict[int, Sides] = {}
        outputs: dict[int, Tensor] = {}
        kept = []
        x = last = self.stem(images)  # (B, L, C)
        for index in range(self.blocks):
            last, y = x, self.norm(index, x)  # (B, L, C) both
            q, k, v = self.qkv(index, y, grid)  # (B, heads, L, d)
            here = Here(index, x, y, q, k, v, grid, earlier, {})
            for plan in each:
                if plan[0].attend is not None and plan not in tails and index >= self.blocks - plan[1]:
                    second[plan] = self._step(here, plan[0], second.get(plan))
            if index + 1 in compared:
                earlier[index + 1] = {letter: self.sides(index, q, k, v)[letter] for letter in "qk"}
            if not whole and index == self.blocks - 1:
                x, q = x[:, :1], q[:, :, :1]  # (B, 1, C), (B, heads, 1, d)
            attention = self.attend(index, F.scaled_dot_product_attention(q, k, v))
            between = x + attention
            ffn = self.ffn(index, between)
            if keep:
                kept.append(Block(index, x, q, k, v, attention, ffn))
            x = between + ffn
            if index + 1 in read:
                outputs[index + 1] = x
        second |= {plan: tail(self, outputs, grid) for plan, tail in tails.items()}
        cls = self.pool(x)  # (B, D)
        ends = {plan: second.get(plan, x)[:, -grid[0] * grid[1] :] for plan in each}  # (B, h·w, C) each
        patches = {  # (B, h·w, D) each
            plan: self.project(tokens) if plan[0].pool_mlp else self.project_short(tokens)
            for plan, tokens in ends.items()
        }
        return Walk(tuple((cls, patches[plan]) for plan in plans), last, tuple(kept))

    def _step(self, here: "Here", recipe: Recipe, path: Float[Tensor, "B R C"] | None) -> Float[Tensor, "B R C"]:
        """A second path one block on: the patches' tokens, R = h·w; with all tokens, R = L, where it feeds itself."""
        assert recipe.attend is not None
        start = 0 if recipe.fed_by == "itself" else self.prefix
        before = path if path is not None else here.x[:, start:] if recipe.residual else 0
        if recipe.fed_by == "itself" and path is not None:
            y = self.norm(here.index, path)
            here = Here(here.index, path, y, *self.qkv(here.index, y, here.grid), here.grid, here.earlier, {})
        key = (recipe.attend, start)
        if key not in here.known:
            here.known[key] = self._second(here, recipe.attend, start)
        path = before + here.known[key]
        return path + self.ffn(here.index, path) if recipe.ffn else path

    def _second(self, here: "Here", attend: Attend, start: int) -> Float[Tensor, "B R C"]:
        """What a block adds to tokens from `start` on by another comparison than its own."""
        q, k, v, more = here.q, here.k, here.v, attend.earlier
        if attend.rule:
            mixed = RULES[attend.rule](q, k, v, here.y, self.prefix, start)
        else:
            sides = self.sides(here.index, q, k, v)
            mixed = mix(attend, sides, v, self.prefix, here.grid, start, here.known)  # (B, heads, R, d)
        if more is not None:
            past = [here.earlier[n] for n in more.blocks if n in here.earlier]
            theirs = sum(mix(more.attend, sides, v, self.prefix, here.grid, start) for sides in past) / len(past)
            mixed = more.times * ((1 - more.share) * mixed + more.share * theirs)
        return self.attend(here.index, mixed)


@dataclass(frozen=True, eq=False)
class Here:
    """One block as a path comes to it: its number, its input x, what its attention reads, y, and what rows share in it.

    earlier: queries and keys of earlier blocks, counted from 1, that a row compares; known: what comparisons gave here.
    """

    index: int
    x: Float[Tensor, "B L C"]
    y: Float[Tensor, "B L C"]
    q: Heads
    k: Heads
    v: Heads
    grid: tuple[int, int]
    earlier: dict[int, Sides]
    known: dict[Any, Tensor]
