"""timm's convolutional towers as open_clip wraps them: ConvNeXt and FastViT. They have no attention: CLIP alone."""

from collections.abc import Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor

from clipsx.recipe import Recipe
from clipsx.towers.interface import Ending, Plan, Tower
from clipsx.towers.shared import Walk, pair, refuse_unknown

TRUNK = ("stem", "stages", "norm_pre", "final_conv", "head")
HEAD = ("drop", "proj", "mlp")


class ConvNet(Tower):
    """Adapter of a tower of stages of convolutions under open_clip's TimmModel.

    Its head, made for the pooled map, is asked of every cell as a map of 1 × 1. Where it is linear (FastViT), the mean
    over cells is the class feature. Errors: ValueError naming a part that is not understood.
    """

    blocks = 1
    prefix = 0
    transformer = False
    positions = "none"

    def __init__(self, visual: Any) -> None:
        refuse_unknown("The image tower", visual, ("trunk", "head"))
        refuse_unknown("The image tower's trunk", visual.trunk, TRUNK)
        refuse_unknown("The image tower's projection", visual.head, HEAD)
        self.visual, self.trunk = visual, visual.trunk
        self.family = f"timm {type(visual.trunk).__name__}"
        self.image_size = pair(visual.image_size)
        self.patch_size = pair(int(visual.trunk.feature_info[-1]["reduction"]))

    @staticmethod
    def fits(visual: Any) -> bool:
        return all(hasattr(getattr(visual, "trunk", None), part) for part in ("stem", "stages", "forward_head"))

    def refuses(self, recipe: Recipe) -> str:
        """Why it cannot carry a row out: every row but CLIP's own path asks for attention."""
        return "" if recipe.attend is None else "it has no attention, which the method replaces"

    def walk(self, images: Float[Tensor, "B 3 H W"], plans: Sequence[Plan], keep: bool = False) -> Walk:
        """As the interface says; there are no blocks of tokens to keep."""
        x = self.trunk.forward_features(images)  # (B, C, h, w)
        cls, cells = self._head(x), x.flatten(2).transpose(1, 2)  # (B, D), (B, h·w, C)
        return Walk(((cls, self.project(cells)),) * len(plans), cells)

    def ending(self, last: Float[Tensor, "B L C"], grid: tuple[int, int]) -> Ending:
        return last, lambda cells: self._head(cells.mT.unflatten(2, grid))

    def _head(self, x: Float[Tensor, "n C h w"]) -> Float[Tensor, "n D"]:
        return self.visual.head(self.trunk.forward_head(x))

    def project(self, tokens: Float[Tensor, "*tokens C"]) -> Float[Tensor, "*tokens D"]:
        """Cells of the last map, each through the head; not normalised."""
        return self._head(tokens.flatten(0, -2)[:, :, None, None]).unflatten(0, tokens.shape[:-1])
