"""What the rest of the package asks of an image tower: written once, each family's adapter is one answer to it."""

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from clipsx.recipe import Recipe
from clipsx.towers.shared import Walk

Plan = tuple[Recipe, int]
"""A row of the table, and over how many of the last blocks it goes."""

Ending = tuple[Float[Tensor, "B L C"], Callable[[Tensor], Tensor]]
"""Tokens near a tower's end, and how its own image feature (B, D), not normalised, comes of tokens in their place."""


@runtime_checkable
class Tower(Protocol):
    """An image tower, read from its weights and never changed.

    family: its name in messages; blocks: how many there are to look into; prefix: tokens before the patches (class,
    registers; 0 for none); transformer: whether attention relations of its blocks mean anything; image_size (H, W) and
    patch_size (rows, columns) in pixels; positions: one of `POSITIONS`, by which they are interpolated at another size
    ("none": it has none).
    """

    family: str
    blocks: int
    prefix: int
    transformer: bool
    image_size: tuple[int, int]
    patch_size: tuple[int, int]
    positions: str

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of patches of an image of H × W pixels."""
        return height // self.patch_size[0], width // self.patch_size[1]

    def refuses(self, recipe: Recipe) -> str:
        """Why it cannot carry a row of the table out, in words; nothing where it can."""
        ...

    def walk(self, images: Float[Tensor, "B 3 H W"], plans: Sequence[Plan], keep: bool = False) -> Walk:
        """Every plan in one pass: each block is computed once, and each comparison in it once.

        Rows that are fed by themselves compute blocks of their own. keep: the blocks of the original path as well.
        """
        ...

    def ending(self, last: Float[Tensor, "B L C"], grid: tuple[int, int]) -> Ending:
        """Where Grad-CAM looks, from a walk's `last`: what the last block's attention reads, or cells of a map."""
        ...

    def project(self, tokens: Float[Tensor, "*tokens C"]) -> Float[Tensor, "*tokens D"]:
        """Tokens through the last norm and the projection into the joint space; not normalised."""
        ...
