"""The table of localisation methods: a row each, and how each tower family carries it out."""

from dataclasses import dataclass

from clipsx.messages import nearest
from clipsx.towers import Path, Pool
from clipsx.towers.vit import itself, value_value


@dataclass(frozen=True)
class Method:
    """A way to make patch features. vit, resnet: how that tower family does it, None where it cannot; source: whose."""

    name: str
    title: str
    source: str
    vit: Path | None = None
    resnet: Pool | None = None


_ROWS = (
    Method(
        "clip",
        "CLIP",
        "Radford et al. 2021; a ResNet's attention pool asked at every position, as the CLIP Surgery baseline does",
        vit=Path(relation=None, blocks=0),
        resnet=Pool(compare="qk"),
    ),
    Method(
        "maskclip",
        "MaskCLIP",
        "Zhou et al. 2022, as later re-implemented: identity attention in the last block, no residual, no FFN",
        vit=Path(relation=itself, blocks=1, residual=False),
        resnet=Pool(compare=None),
    ),
    Method(
        "clip-surgery",
        "CLIP Surgery",
        "Li et al. 2023 (arXiv 2304.05653): ViT as released; ResNet as the paper describes (unit-length v, scale × 8)",
        vit=Path(relation=value_value, blocks=None),
        resnet=Pool(compare="vv", unit=True, sharpen=8.0),
    ),
    Method(
        "clip-surgery-released",
        "CLIP Surgery (released code)",
        "Li et al. 2023, released code for ResNet: plain v-v, its class feature from v-v too",
        resnet=Pool(compare="vv", own=False),
    ),
)
METHODS: dict[str, Method] = {row.name: row for row in _ROWS}


def plan(name: str, family: str) -> Path | Pool:
    """How a tower family carries out a method. Errors: ValueError for an unknown name or one the family cannot do."""
    known = able(family)
    if name not in METHODS:
        raise ValueError(f"Unknown method {name!r}{nearest(name, known)}.")
    if name not in known:
        raise ValueError(f"Method {name!r} does not apply to this kind of image tower. It can do: {', '.join(known)}.")
    return getattr(METHODS[name], family)


def able(family: str) -> tuple[str, ...]:
    """Names of the methods that a tower family can carry out, in the table's order."""
    return tuple(row.name for row in _ROWS if getattr(row, family) is not None)
