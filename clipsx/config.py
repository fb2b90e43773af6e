"""A model folder's open_clip_config.json, read and held against what its entries can be; other JSON files, read."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from clipsx.messages import brief

NAME = "open_clip_config.json"


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _wholes(count: int) -> Callable[[Any], bool]:
    """Whether a value is such a number, or a list of so many."""
    return lambda value: _whole(value) or (isinstance(value, list) and len(value) == count and all(map(_whole, value)))


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < float("inf")


def _three(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(isinstance(v, int | float) for v in value)


COUNT = (_whole, "a whole number of at least 1")
SIDE = (_wholes(2), "a whole number of at least 1, or two of them")
SECTION = (lambda value: isinstance(value, dict), "a section {…}")
ENTRIES: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "model_cfg": SECTION,
    "model_cfg.embed_dim": COUNT,
    "model_cfg.quick_gelu": (lambda value: isinstance(value, bool), "true or false"),
    "model_cfg.vision_cfg": SECTION,
    "model_cfg.vision_cfg.image_size": SIDE,
    "model_cfg.vision_cfg.patch_size": SIDE,
    "model_cfg.vision_cfg.layers": (_wholes(4), "a whole number of at least 1, or four of them (a ResNet)"),
    "model_cfg.vision_cfg.width": COUNT,
    "model_cfg.vision_cfg.head_width": COUNT,
    "model_cfg.vision_cfg.mlp_ratio": (_number, "a number above 0"),
    "model_cfg.text_cfg": SECTION,
    **{f"model_cfg.text_cfg.{name}": COUNT for name in ("context_length", "vocab_size", "width", "heads", "layers")},
    "preprocess_cfg": SECTION,
    "preprocess_cfg.size": SIDE,
    "preprocess_cfg.mean": (_three, "three numbers"),
    "preprocess_cfg.std": (lambda value: _three(value) and all(map(_number, value)), "three numbers above 0"),
}
"""By its place: whether an entry can be what it is, and what it should be."""
REQUIRED = ("model_cfg", "model_cfg.embed_dim", "model_cfg.vision_cfg", "model_cfg.text_cfg")


def read(folder: Path) -> dict[str, Any]:
    """The configuration of a model folder. Errors: ValueError naming the entry and what it should be."""
    file = folder / NAME
    config = read_json(file, " of open_clip's")
    for place, (can_be, words) in ENTRIES.items():
        value: Any = config
        for name in place.split("."):
            value = value.get(name) if isinstance(value, dict) else None
        if (value is None and place in REQUIRED) or (value is not None and not can_be(value)):
            said = "is missing" if value is None else f"is {json.dumps(value)[:60]}"
            raise ValueError(f"{file} is not a configuration of open_clip's: {place!r} {said}; it must be {words}.")
    text = config["model_cfg"]["text_cfg"]
    if text.get("width", 512) % text.get("heads", 8):
        raise ValueError(f"{file}: 'model_cfg.text_cfg.width' ({text.get('width', 512)}) must divide into its heads.")
    return config


def read_json(file: Path, of: str = "") -> dict[str, Any]:
    """The section {…} that a JSON file holds. Errors: ValueError for anything else, naming file and owner."""
    try:
        found = json.loads(file.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise ValueError(f"{file} is not a configuration{of}: it is no JSON ({brief(error)}).") from None
    if not isinstance(found, dict):
        raise ValueError(f"{file} is not a configuration{of}: it holds no {{…}}.")
    return found
