"""What an image tower gives for localisation: one class feature and a grid of patch features per image."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, eq=False)
class DenseFeatures:
    """The class feature and the patch features of B images in the joint space of images and texts.

    cls (B, D) and patches (B, h, w, D): floating point, finite, of unit length along D. The grid (h, w) is carried by
    the shape, so that images need not be square. Anything else is refused with a ValueError.
    """

    cls: Float[Tensor, "B D"]
    patches: Float[Tensor, "B h w D"]

    def __post_init__(self) -> None:
        if self.cls.ndim != 2 or self.patches.ndim != 4:
            raise ValueError(
                f"DenseFeatures wants cls (B, D) and patches (B, h, w, D), "
                f"not {tuple(self.cls.shape)} and {tuple(self.patches.shape)}."
            )
        if (self.cls.shape[0], self.cls.shape[1]) != (self.patches.shape[0], self.patches.shape[3]):
            raise ValueError(
                f"cls {tuple(self.cls.shape)} and patches {tuple(self.patches.shape)} differ in their number of images "
                "or in their feature dimension."
            )
        if 0 in self.patches.shape:
            raise ValueError(f"patches {tuple(self.patches.shape)} are empty.")
        for name, value in (("cls", self.cls), ("patches", self.patches)):
            require_unit(name, value)

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the patch grid: (h, w)."""
        return self.patches.shape[1], self.patches.shape[2]

    def to(self, device: torch.device | str) -> "DenseFeatures":
        """The same features on another device."""
        return DenseFeatures(self.cls.to(device), self.patches.to(device))


def require_unit(name: str, value: Float[Tensor, "*batch D"]) -> None:
    """Raise a ValueError unless every row of `value` is floating point, finite and of unit length along D."""
    if not value.is_floating_point():
        raise ValueError(f"{name} must be floating point, not {value.dtype}.")
    length = torch.linalg.vector_norm(value.detach().float(), dim=-1)  # (*batch)
    if not bool(torch.isfinite(length).all()):
        raise ValueError(f"{name} holds values that are not finite.")
    tolerance = 1e-3 if value.dtype in (torch.float32, torch.float64) else 2e-2
    if length.numel() and float((length - 1).abs().max()) > tolerance:
        raise ValueError(
            f"{name} must have unit length along its last axis (lengths here: {float(length.min()):.3g} to "
            f"{float(length.max()):.3g}). Pass torch.nn.functional.normalize({name}, dim=-1)."
        )
