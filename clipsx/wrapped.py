"""An open_clip model that is wrapped and never modified: what it is, and the heads that its features go through."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

import torch
from torch import Tensor, nn

from clipsx import methods, towers
from clipsx.preprocess import read
from clipsx.quiet import plain
from clipsx.weights import digest, require_open_clip, require_sound

P = ParamSpec("P")
R = TypeVar("R")


def _same(features: Tensor) -> Tensor:
    return features


def plainly(method: "Callable[Concatenate[Any, P], R]") -> "Callable[Concatenate[Any, P], R]":
    """A method whose numbers do not depend on the caller's modes of torch (see `quiet.plain`)."""

    @wraps(method)
    def wrapped(self: Any, *args: P.args, **kwargs: P.kwargs) -> R:
        with plain(self.device.type):
            return method(self, *args, **kwargs)

    return wrapped


@dataclass(frozen=True, eq=False)
class Heads:
    """What CLIP's features go through afterwards: nothing, or trained projectors.

    image, text: from unit features (…, D) to unit features (…, d), without gradient; width: d, None where it is D;
    logit_scale: the factor on cosines that they were trained with, None for CLIP's own; name, weights: what tables add
    to CLIP's; about: columns of their own, how they were trained.
    """

    image: Callable[[Tensor], Tensor] = _same
    text: Callable[[Tensor], Tensor] = _same
    width: int | None = None
    logit_scale: float | None = None
    name: str = ""
    weights: str = ""
    about: Mapping[str, str] = field(default_factory=dict)


class Wrapped:
    """What is known of an open_clip model, which is read and never changed: no hooks, nothing resized in place.

    Parameters and errors as of `Clip`.
    """

    def __init__(
        self,
        model: nn.Module,
        preprocess: Callable[..., Tensor] | None,
        tokenizer: Callable[..., Tensor],
        name: str | None = None,
        weights: str | None = None,
        recipe: dict[str, Any] | None = None,
    ) -> None:
        require_open_clip(model, tokenizer)
        require_sound(model)
        self.model: Any = model  # open_clip's: its parts are known by name alone
        self.preprocess = preprocess
        self.tokenizer = tokenizer
        self.name = name or type(model).__name__
        self.recipe = recipe
        self.heads = Heads()
        self._rule: str | None = None
        self._weights = weights
        self._mean, self._std, self._interpolation = read(model, preprocess)

    def __repr__(self) -> str:
        return f"Clip({self.name!r}, weights={self.weights!r}, device={str(self.device)!r}, dtype={self.dtype})"

    @property
    def weights(self) -> str:
        """What tables call the weights: a tag, or a name with a digest; then those of the heads."""
        return (self._weights or "sha256:" + digest(self.model)[:8]) + self.heads.weights

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """What the image tower's stem computes in."""
        stem = next(m for m in self.model.visual.modules() if isinstance(m, nn.Conv2d | nn.Linear))
        return stem.weight.dtype

    @property
    def image_size(self) -> tuple[int, int]:
        """The size (H, W) the model was made for."""
        return towers.size_of(self.model.visual)

    @property
    def patch_size(self) -> tuple[int, int]:
        """Pixels per patch, (rows, columns)."""
        return self.tower.patch_size

    @property
    def logit_scale(self) -> float:
        """The factor on cosines that CLIP, or its heads, were trained with (100 for OpenAI's)."""
        return self.heads.logit_scale or float(self.model.logit_scale.detach().exp().reshape(-1)[0])

    @property
    def embed_dim(self) -> int:
        """D, the width of the joint space, or of what the heads make of it."""
        visual = self.model.visual
        stated = [m.out_features for m in visual.modules() if isinstance(m, nn.Linear)]  # timm's own end in one
        return self.heads.width or int(getattr(visual, "output_dim", None) or stated[-1])

    @cached_property
    def tower(self) -> towers.Tower:
        """The image tower's adapter. Errors: ValueError naming a tower, or a part of it, that is not understood."""
        with plain(self.device.type):
            tower = towers.adapt(self.model.visual)
        return tower if self._rule is None else towers.placed(tower, self._rule)

    @property
    def positions(self) -> str:
        """How positions are interpolated at another size, one of `towers.POSITIONS`; "none" where the tower has none.

        So it is too for a tower that is not understood, which is read at its own size alone.
        """
        try:
            return self.tower.positions
        except ValueError:
            return "none"

    @property
    def methods(self) -> tuple[str, ...]:
        """The localisation methods that this model's image tower can do; none where it is not understood."""
        try:
            return methods.able(self.tower)
        except ValueError:
            return ()

    def describe(self) -> dict[str, str]:
        """Provenance columns for tables."""
        return {"model": self.name, "weights": self.weights, "positions": self.positions, **self.heads.about}

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
