"""One adapter per family of image towers: stem, blocks, head. All that knows open_clip's insides lives here."""

from copy import copy

from torch import nn

from clipsx.messages import require_known
from clipsx.towers.convnet import ConvNet
from clipsx.towers.interface import Plan, Tower
from clipsx.towers.resnet import ResNet
from clipsx.towers.shared import DEFAULT, POSITIONS, Block, Walk, pair
from clipsx.towers.timm import NaFlex, Timm
from clipsx.towers.vit import CoCa, ViT

FAMILIES = (ViT, CoCa, ResNet, Timm, NaFlex, ConvNet)

# fmt: off
__all__ = [
    "DEFAULT", "FAMILIES", "POSITIONS", "Block", "CoCa", "ConvNet", "NaFlex", "Plan", "ResNet", "Timm", "Tower", "ViT",
    "Walk", "adapt", "pair", "placed", "size_of",
]
# fmt: on


def adapt(visual: nn.Module) -> Tower:
    """The adapter of an image tower, by what it is made of. Nothing in `visual` is changed.

    Errors: ValueError naming the tower, or the part of it, that is not understood.
    """
    for family in FAMILIES:
        if family.fits(visual):
            try:
                return family(visual)
            except AttributeError as error:
                where = f"Image tower {_name(visual)} is made of other parts than open_clip's and timm's usual"
                raise ValueError(f"{where}: {error}.") from None
    raise ValueError(
        f"Image tower {_name(visual)} is not understood: localisation works with "
        "open_clip's VisionTransformer (CoCa's too) and ModifiedResNet, and with timm's VisionTransformer, Eva, "
        "NaFlexVit, ConvNeXt and FastViT. Class features (encode_image at the model's own size) need no such "
        "understanding."
    )


def _name(visual: nn.Module) -> str:
    return type(getattr(visual, "trunk", visual)).__name__


def placed(tower: Tower, rule: str) -> Tower:
    """The same tower, its positions (where it has some) interpolated by another rule; ValueError for an unknown one."""
    require_known("rule for positions", rule, POSITIONS)
    other = copy(tower)
    other.positions = rule if other.positions in POSITIONS else other.positions
    return other


def size_of(visual: nn.Module) -> tuple[int, int]:
    """The size (H, W) that a tower takes: what its stem says, where a configuration says something else."""
    stem = getattr(getattr(visual, "trunk", None), "patch_embed", None)
    return pair(getattr(stem, "img_size", None) or visual.image_size)  # type: ignore[arg-type]
