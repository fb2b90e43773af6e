"""Trained projectors and what they belong to: the heads of an unmixed CLIP, on disk and in use."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from clipsx.clip import Clip, Heads
from clipsx.unmix.files import read, write
from clipsx.unmix.projectors import PROMPTS, Projectors, spatial_head
from clipsx.unmix.training import Config
from clipsx.weights import digest

BATCH = 64  # images at a time
SCALE = 100.0  # the factor on cosines in the spatial head: 5 · 20


@dataclass(frozen=True, eq=False)
class Unmixed:
    """Projectors from `fit`, and the CLIP on whose features they were trained.

    base: the frozen model, shared and not changed; labels: what they were trained on, in order (any other label is
    projected too); config: of the run. Errors: ValueError where the projectors are of another width.
    """

    base: Clip
    projectors: Projectors
    labels: Sequence[str]
    config: Config

    def __post_init__(self) -> None:
        if self.projectors.width != self.base.embed_dim:
            raise ValueError(
                f"The projectors are for features {self.projectors.width} wide, {self.base.name}'s "
                f"{self.base.embed_dim}."
            )
        self.projectors.eval().to(self.base.device)

    @cached_property
    def clip(self) -> Clip:
        """The CLIP in the unmixed space (half as wide): every map, metric, plot and panel works on it unchanged."""
        heads = Heads(
            torch.no_grad()(self.projectors.project_image),
            torch.no_grad()(self.projectors.project_text),
            width=self.base.embed_dim // 2,
            logit_scale=SCALE,
            name=" unmixed",
            weights=f" + projectors sha256:{digest(self.projectors)[:8]}",
        )
        return self.base.with_heads(heads)

    def probabilities(self, positions: Any, labels: Sequence[str] | None = None) -> Float[Tensor, "n N"]:
        """The head's probability of every label, 0 … 1, for CLIP's positions (n, P, D), read batch by batch."""
        asked = self.labels if labels is None else labels
        text = torch.stack([self.base.encode_labels(asked, [prompt]) for prompt in PROMPTS])  # (2, N, D)
        return probabilities(self.projectors, positions, text, self.config)

    def save(self, folder: str | Path) -> Path:
        """Write projectors.safetensors and unmix.json into `folder`, whole or not at all."""
        about = self.base.describe() | {"sha256": digest(self.base.model)}
        return write(Path(folder), self.projectors, self.labels, self.config, about)

    @staticmethod
    def load(folder: str | Path, base: Clip, labels: Sequence[str] | None = None) -> "Unmixed":
        """What `save` wrote, on the CLIP it was trained on.

        labels: if given, must be those of training, in their order. Errors: FileNotFoundError; ValueError for another
        CLIP, other labels, another version, and files that are cut short or do not belong together.
        """
        projectors, names, config = read(Path(folder), digest(base.model), base.name, labels)
        return Unmixed(base, projectors, names, config)


@torch.no_grad()
def probabilities(
    projectors: Projectors, positions: Any, text: Float[Tensor, "2 N D"], config: Config
) -> Float[Tensor, "n N"]:
    """The head's probability of every label for positions (n, P, D), an array or memory map read batch by batch."""
    classes = projectors.eval().project_text(text)  # (2, N, d)
    found = []
    for start in range(0, len(positions), BATCH):
        part = torch.from_numpy(positions[start : start + BATCH].astype("float32")).to(text.device)  # (B, P, D)
        found.append(spatial_head(projectors.project_image(part), classes, config.negative))
    return torch.cat(found).cpu()
