"""UnmixedClip: a Clip whose features go through trained projectors; it gives all that a Clip gives."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from clipsx.clip import Clip
from clipsx.features import DenseFeatures
from clipsx.unmix.files import read, write
from clipsx.unmix.projectors import PROMPTS, Projectors, spatial_head
from clipsx.unmix.training import Config
from clipsx.weights import digest

BATCH = 64  # images at a time


class UnmixedClip(Clip):
    """A Clip in the unmixed space (D/2 wide): every map, metric, plot and panel works on it unchanged.

    clip: the frozen model, shared and not changed; projectors: from `fit`, in eval mode; labels: what they were
    trained on, in order (any other label is projected too); config: of the run.
    """

    def __init__(self, clip: Clip, projectors: Projectors, labels: Sequence[str], config: Config) -> None:
        if projectors.width != clip.embed_dim:
            raise ValueError(
                f"The projectors are for features {projectors.width} wide, {clip.name}'s {clip.embed_dim}."
            )
        super().__init__(clip.model, clip.preprocess, clip.tokenizer, f"{clip.name} unmixed")
        self.clip, self.projectors = clip, projectors.eval().to(clip.device)
        self.labels, self.config = tuple(labels), config

    @property
    def weights(self) -> str:
        """CLIP's weights and those of the projectors."""
        return f"{self.clip.weights} + projectors sha256:{digest(self.projectors)[:8]}"

    @property
    def embed_dim(self) -> int:
        """d, the width of the unmixed space."""
        return self.clip.embed_dim // 2

    @property
    def logit_scale(self) -> float:
        """The factor on cosines in the head: 5 · 20."""
        return 100.0

    def encode_image(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B d"]:
        """`Clip.encode_image`, projected."""
        return self._image(self.clip.encode_image(images))

    def encode_text(self, prompts: Sequence[str]) -> Float[Tensor, "T d"]:
        """`Clip.encode_text`, projected."""
        return self._text(self.clip.encode_text(prompts))

    def encode_labels(
        self, labels: Sequence[str], templates: str | Sequence[str] = "clip-surgery"
    ) -> Float[Tensor, "N d"]:
        """`Clip.encode_labels`, projected; any label, also ones that were not trained on. Training read `PROMPTS`."""
        return self._text(self.clip.encode_labels(labels, templates))

    def encode_tokens(self, prompt: str) -> tuple[list[str], Float[Tensor, "T d"]]:
        """`Clip.encode_tokens`, projected."""
        words, features = self.clip.encode_tokens(prompt)
        return words, self._text(features)

    def encode_dense(
        self, images: Float[Tensor, "B 3 H W"], method: str = "clip-surgery", depth: int = 6
    ) -> DenseFeatures:
        """`Clip.encode_dense` by any of its methods, projected."""
        dense = self.clip.encode_dense(images, method, depth)
        return DenseFeatures(self._image(dense.cls), self._image(dense.patches))

    @torch.no_grad()
    def probabilities(self, positions: Any, labels: Sequence[str] | None = None) -> Float[Tensor, "n N"]:
        """The head's probability of every label, 0 … 1, for CLIP's positions (n, P, D), read batch by batch."""
        asked = self.labels if labels is None else labels
        text = torch.stack([self.clip.encode_labels(asked, [prompt]) for prompt in PROMPTS])  # (2, N, D)
        return probabilities(self.projectors, positions, text, self.config)

    def save(self, folder: str | Path) -> Path:
        """Write projectors.safetensors and unmix.json into `folder`, whole or not at all."""
        about = self.clip.describe() | {"sha256": digest(self.clip.model)}
        return write(Path(folder), self.projectors, self.labels, self.config, about)

    @staticmethod
    def load(folder: str | Path, clip: Clip, labels: Sequence[str] | None = None) -> "UnmixedClip":
        """What `save` wrote, on the CLIP it was trained on.

        labels: if given, must be those of training, in their order. Errors: FileNotFoundError; ValueError for another
        CLIP, other labels, another version, and files that are cut short or do not belong together.
        """
        projectors, names, config = read(Path(folder), digest(clip.model), clip.name, labels)
        return UnmixedClip(clip, projectors, names, config)

    @torch.no_grad()
    def _image(self, features: Float[Tensor, "*B D"]) -> Float[Tensor, "*B d"]:
        return self.projectors.project_image(features)

    @torch.no_grad()
    def _text(self, features: Float[Tensor, "N D"]) -> Float[Tensor, "N d"]:
        return self.projectors.project_text(features)


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
