"""A model's picture transform: what open_clip's says, and pictures through it."""

from collections.abc import Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from clipsx import images as pictures


def pixels(
    size: tuple[int, int],
    fit: str,
    interpolation: str,
    mean: Sequence[float],
    std: Sequence[float],
    picture: pictures.Picture,
) -> Float[Tensor, "1 3 H W"]:
    image = pictures.resize(pictures.decode(picture), size, fit, interpolation)
    return pictures.to_tensor(image, mean, std)  # (1, 3, H, W)


def read(model: nn.Module, preprocess: Any) -> tuple[Sequence[float], Sequence[float], str]:
    """Mean, standard deviation, interpolation: from the transform's steps, else what open_clip left on the tower."""
    steps = getattr(preprocess, "transforms", ())
    own = getattr(model.visual, "preprocess_cfg", {})
    mean = next((list(s.mean) for s in steps if hasattr(s, "mean") and hasattr(s, "std")), own.get("mean"))
    std = next((list(s.std) for s in steps if hasattr(s, "mean") and hasattr(s, "std")), own.get("std"))
    if mean is None or std is None:
        raise ValueError("preprocess has no Normalize step: mean and standard deviation of the pixels are not known.")
    named = (str(getattr(s.interpolation, "value", s.interpolation)) for s in steps if hasattr(s, "interpolation"))
    interpolation = next(named, own.get("interpolation", "bicubic"))
    return mean, std, interpolation if interpolation in pictures.RESAMPLE else "bicubic"


def transform(visual: nn.Module) -> Any:
    """open_clip's picture transform of a tower that open_clip made."""
    from open_clip.transform import PreprocessCfg, image_transform_v2

    stated: Any = visual.preprocess_cfg
    return image_transform_v2(PreprocessCfg(**stated), is_train=False)
