"""One adapter per family of image towers: stem, blocks, head. All that knows open_clip's insides lives here."""

from torch import nn

from clipsx.towers.interface import Plan, Tower
from clipsx.towers.resnet import ResNet
from clipsx.towers.shared import Block, Walk, pair
from clipsx.towers.vit import ViT

FAMILIES: tuple[type[ViT] | type[ResNet], ...] = (ViT, ResNet)

__all__ = ["FAMILIES", "Block", "Plan", "ResNet", "Tower", "ViT", "Walk", "adapt", "pair"]


def adapt(visual: nn.Module) -> Tower:
    """The adapter of an image tower, by what it is made of. Nothing in `visual` is changed.

    Errors: ValueError naming the tower, or the part of it, that is not understood.
    """
    for family in FAMILIES:
        if family.fits(visual):
            return family(visual)
    raise ValueError(
        f"Image tower {type(visual).__name__} is not understood: localisation works with open_clip's VisionTransformer "
        "and ModifiedResNet."
    )
