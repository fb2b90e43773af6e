"""Clip: an open_clip model that is wrapped and never modified."""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from clipsx import images as pictures
from clipsx import methods, text, towers
from clipsx.features import DenseFeatures
from clipsx.weights import digest, require_finite


class Clip:
    """An open_clip model with what localisation needs. It is read, never changed: no hooks, nothing resized in place.

    model: an open_clip model in eval mode; preprocess: its image transform (mean, standard deviation and interpolation
    are read from it); tokenizer: its tokenizer; name, weights: what tables call them (weights default to a digest).
    Whether QuickGELU is right cannot be known for a model object: that is its maker's word.
    Errors: ValueError for weights that are not finite, and for a preprocess without mean and standard deviation.
    """

    def __init__(
        self,
        model: nn.Module,
        preprocess: Callable[..., Tensor] | None,
        tokenizer: Callable[..., Tensor],
        name: str | None = None,
        weights: str | None = None,
    ) -> None:
        require_finite(model)
        self.model = model
        self.preprocess = preprocess
        self.tokenizer = tokenizer
        self.name = name or type(model).__name__
        self._weights = weights
        self._mean, self._std, self._interpolation = _recipe(model, preprocess)

    def __repr__(self) -> str:
        return f"Clip({self.name!r}, weights={self.weights!r}, device={str(self.device)!r}, dtype={self.dtype})"

    @property
    def weights(self) -> str:
        """What tables call the weights: a tag, or a name with a digest."""
        return self._weights or "sha256:" + digest(self.model)[:8]

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """What the image tower's stem computes in."""
        return next(p for p in self.model.visual.parameters() if p.ndim == 4).dtype

    @property
    def image_size(self) -> tuple[int, int]:
        """The size (H, W) the model was made for."""
        return towers.shared.pair(self.model.visual.image_size)

    @property
    def patch_size(self) -> tuple[int, int]:
        """Pixels per patch, (rows, columns)."""
        return self.tower.patch_size

    @property
    def logit_scale(self) -> float:
        """The factor on cosines that CLIP was trained with (100 for OpenAI's)."""
        return float(self.model.logit_scale.detach().exp().reshape(-1)[0])

    @property
    def embed_dim(self) -> int:
        """D, the width of the joint space."""
        return int(self.model.visual.output_dim)

    @cached_property
    def tower(self) -> towers.ViT | towers.ResNet:
        """The image tower's adapter. Errors: ValueError naming a tower, or a part of it, that is not understood."""
        return towers.adapt(self.model.visual)

    @property
    def methods(self) -> tuple[str, ...]:
        """The localisation methods that this model's image tower can do."""
        return methods.able(self.tower.family)

    def describe(self) -> dict[str, str]:
        """Provenance columns for tables."""
        return {"model": self.name, "weights": self.weights}

    def prepare(
        self, image: pictures.Picture, size: int | tuple[int, int] | None = None, fit: str = "squash"
    ) -> Float[Tensor, "1 3 H W"]:
        """A picture as the model reads it: (1, 3, H, W), normalised, on the model's device and in its dtype.

        image: PIL, path, bytes or array; size: side or (H, W) in pixels, the model's own by default, rounded to whole
        patches; fit: "squash" as the papers do, or "crop" (the shorter side scaled, the middle kept).
        Errors: those of `images.decode` and `images.resize`; ValueError for a size below 1.
        """
        height, width = (size, size) if isinstance(size, int) else size or self.image_size
        if min(height, width) < 1:
            raise ValueError(f"size must be at least 1 pixel, not {size}.")
        rows, columns = self.patch_size
        whole = (max(1, round(height / rows)) * rows, max(1, round(width / columns)) * columns)
        image = pictures.resize(pictures.decode(image), whole, fit, self._interpolation)
        return pictures.to_tensor(image, self._mean, self._std).to(self.device, self.dtype)  # (1, 3, H, W)

    @torch.no_grad()
    def encode_image(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B D"]:
        """The model's own image features, float32, unit length, at any size. Errors: as `encode_dense`."""
        images = self._checked(images)
        if tuple(images.shape[2:]) == self.image_size:
            features = self.model.encode_image(images)
            features = features[0] if isinstance(features, tuple) else features
        else:
            features, _ = self.tower.dense(images, methods.plan("clip", self.tower.family), 0)
        return F.normalize(features.float(), dim=-1)

    def encode_text(self, prompts: Sequence[str]) -> Float[Tensor, "T D"]:
        """Features of prompts as they stand, float32, unit length. Errors: those of `text.check_labels`."""
        self._ready()
        return text.encode_prompts(self.model, self.tokenizer, text.check_labels(prompts))

    def encode_labels(
        self, labels: Sequence[str], templates: str | Sequence[str] = "clip-surgery"
    ) -> Float[Tensor, "N D"]:
        """Features of labels through an ensemble of templates, unit length; kept on disk (`text.label_features`)."""
        self._ready()
        return text.label_features(self.model, self.tokenizer, labels, templates, self.describe())

    def encode_tokens(self, prompt: str) -> tuple[list[str], Float[Tensor, "T D"]]:
        """Every token of a prompt with its own feature (`text.token_features`)."""
        self._ready()
        return text.token_features(self.model, self.tokenizer, prompt)

    @torch.no_grad()
    def encode_dense(
        self, images: Float[Tensor, "B 3 H W"], method: str = "clip-surgery", depth: int = 6
    ) -> DenseFeatures:
        """The class feature and the patch features of images, float32, unit length.

        images: as `prepare` makes them, any H × W of whole patches; method: one of `methods`; depth: over how many of
        the last blocks a method with a second path goes (1 … number of blocks). The class feature is `encode_image`'s
        (save where a method's row says otherwise); an average-pooled tower's is its pooled feature.
        Errors: ValueError for an unknown method (with the nearest), one the tower cannot do, a depth out of range, a
        model in train mode, images of a wrong shape or with values that are not finite.
        """
        plan = methods.plan(method, self.tower.family)
        if not 1 <= depth <= self.tower.blocks and getattr(plan, "blocks", 0) is None:
            raise ValueError(f"depth must lie in 1…{self.tower.blocks} (the tower's blocks), not {depth}.")
        images = self._checked(images)
        grid = self.tower.grid(*images.shape[2:])
        cls, patches = self.tower.dense(images, plan, depth)  # (B, D), (B, h·w, D)
        patches = F.normalize(patches.float(), dim=-1).unflatten(1, grid)  # (B, h, w, D)
        return DenseFeatures(F.normalize(cls.float(), dim=-1), patches)

    def _ready(self) -> None:
        training = next((name for name, module in self.model.named_modules() if module.training), None)
        if training is not None:
            raise ValueError(
                f"The model is in train mode ({training or 'the whole of it'}): encoding would change its statistics. "
                "Call model.eval() first."
            )

    def _checked(self, images: Any) -> Tensor:
        self._ready()
        if not isinstance(images, Tensor) or images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
            shape = tuple(images.shape) if isinstance(images, Tensor) else type(images).__name__
            raise ValueError(f"images must be a floating-point tensor (B, 3, H, W) as prepare() makes it, not {shape}.")
        if not bool(torch.isfinite(images).all()):
            raise ValueError("images hold values that are not finite.")
        height, width = images.shape[2:]
        if (height, width) != self.image_size:
            rows, columns = self.patch_size
            if height % rows or width % columns or 0 in (height, width):
                raise ValueError(
                    f"An image of {height} × {width} pixels does not divide into patches of {rows} × {columns}; "
                    "prepare(image, size=…) rounds to whole patches."
                )
        return images.to(self.device, self.dtype)


def _recipe(model: nn.Module, preprocess: Any) -> tuple[Sequence[float], Sequence[float], str]:
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
