"""clipsx shows, measures and repairs what is wrong inside CLIP."""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clipsx import datasets, images, maps, metrics, mfi, segmenters, unmix
    from clipsx.clip import Clip
    from clipsx.features import DenseFeatures
    from clipsx.huggingface import from_transformers
    from clipsx.load import load
    from clipsx.maps import feature_surgery, is_constant, minmax, points_from_map, similarity, surgery_scores, upsample
    from clipsx.methods import METHODS
    from clipsx.reading import Reading

__all__ = [
    "METHODS",
    "Clip",
    "DenseFeatures",
    "Reading",
    "datasets",
    "feature_surgery",
    "from_transformers",
    "images",
    "is_constant",
    "load",
    "maps",
    "metrics",
    "mfi",
    "minmax",
    "points_from_map",
    "segmenters",
    "similarity",
    "surgery_scores",
    "unmix",
    "upsample",
]

_MAPS = ("feature_surgery", "is_constant", "minmax", "points_from_map", "similarity", "surgery_scores", "upsample")
_HOMES = {"METHODS": "methods", "Clip": "clip", "DenseFeatures": "features", "Reading": "reading", "load": "load"}
_HOMES |= dict.fromkeys(_MAPS, "maps") | {"from_transformers": "huggingface"}


def __getattr__(name: str) -> Any:
    """What is public is imported when it is first asked for: torch, open_clip and pandas take seconds."""
    if name not in __all__:
        raise AttributeError(f"module 'clipsx' has no attribute {name!r}")
    module = import_module(f"clipsx.{_HOMES.get(name, name)}")
    globals()[name] = found = getattr(module, name) if name in _HOMES else module
    return found


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])


class _Package(ModuleType):
    def __setattr__(self, name: str, value: Any) -> None:
        """The import system sets a package's modules as attributes: `clipsx.load` stays the function."""
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
