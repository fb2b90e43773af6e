"""Towers known by open_clip's configurations alone: what they could do, without weights."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from clipsx.recipe import Recipe
from clipsx.towers.convnet import ConvNet
from clipsx.towers.resnet import ResNet
from clipsx.towers.timm import Timm
from clipsx.towers.vit import CoCa, ViT

Kind = type[ViT] | type[ResNet] | type[Timm] | type[ConvNet]
NAMED: dict[str, tuple[str, Kind]] = {  # how timm's names begin: family, and whose rules hold; the first that fits
    "vit_relpos": ("", Timm), "vit_pe_": ("timm Eva", Timm), "vit_": ("timm VisionTransformer", Timm),
    "vitamin": ("timm VisionTransformer", Timm), "eva": ("timm Eva", Timm), "naflexvit": ("timm NaFlexVit", Timm),
    "convnext": ("timm ConvNeXt", ConvNet), "fastvit": ("timm FastVit", ConvNet),
}  # fmt: skip
DEPTHS = {  # of timm's towers, by what their names hold: the first that is there, else 12
    "enormous": 64, "core_gigantic": 50, "giant": 40, "vitamin_xlarge": 32, "vitamin_large": 31, "so400m": 27,
    "vitamin": 14, "large": 24,
}  # fmt: skip


@dataclass(frozen=True)
class Outline:
    """What decides which methods a tower can do: as `Transformer` says; kind: the adapter that would be its own."""

    family: str
    blocks: int
    kind: Kind
    pools_first: bool = False
    pools_by_mlp: bool = False

    @property
    def transformer(self) -> bool:
        """Whether it has blocks of attention."""
        return self.kind.transformer

    def refuses(self, recipe: Recipe) -> str:
        """Why it cannot carry a row of the table out, in words; nothing where it can."""
        return self.kind.refuses(self, recipe)  # type: ignore[arg-type]


def outline(vision: Mapping[str, Any]) -> Outline | None:
    """The tower of a configuration's `vision_cfg`; None where no adapter is for it: class features alone."""
    name, pool, layers = vision.get("timm_model_name"), vision.get("pool_type", "tok"), vision.get("layers")
    if name is None:
        if isinstance(layers, list | tuple):
            return Outline("ModifiedResNet", 1, ResNet)
        depth = int(layers or 12)
        if vision.get("attentional_pool"):
            return Outline("CoCa", depth, CoCa)
        first = pool == "tok"
        return Outline("VisionTransformer" if first else "average-pooled VisionTransformer", depth, ViT, first)
    family, kind = next((found for start, found in NAMED.items() if name.startswith(start)), ("", Timm))
    if not family:
        return None
    depth = 1 if kind is ConvNet else next((n for words, n in DEPTHS.items() if words in name), 12)
    pool = vision.get("timm_pool", "avg")
    return Outline(family, depth, kind, pool == "token", pool == "map")
