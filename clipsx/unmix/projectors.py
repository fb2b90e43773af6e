"""Unmix-CLIP's projectors, and the head that makes one probability per class from every position's feature."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from clipsx.clip import Clip

PROMPTS = ("A photo without a {}.", "A photo of a {}.")  # negative, positive


def prompt_features(clip: Clip, labels: Sequence[str]) -> Float[Tensor, "2 N D"]:
    """Features of the negative and of the positive prompt of every label."""
    return torch.stack([clip.encode_labels(labels, [prompt]) for prompt in PROMPTS])


class Projectors(nn.Module):
    """Into a space of half the width, where classes can be apart; the text's has a hidden layer of three quarters.

    width: D of the CLIP, at least 4 and divisible by 4; for 512 these are the published sizes (0.43 M parameters).
    seed: of the initial weights; the caller's random state is left alone.
    Errors: ValueError for another width. Source: Unmix-CLIP.
    """

    def __init__(self, width: int, seed: int = 0) -> None:
        super().__init__()
        if width < 4 or width % 4:
            raise ValueError(f"The features are {width} wide: the projectors need a multiple of 4.")
        self.width, hidden, out = width, 3 * width // 4, width // 2
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.image = nn.Linear(width, out)
            self.text = nn.Sequential(
                nn.Linear(width, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, out)
            )

    def project_image(self, features: Float[Tensor, "*B D"]) -> Float[Tensor, "*B d"]:
        """Image features of any leading shape, projected to unit length."""
        return F.normalize(self.image(features), dim=-1)

    def project_text(self, features: Float[Tensor, "*N D"]) -> Float[Tensor, "*N d"]:
        """Text features projected to unit length; BatchNorm runs over all rows (in eval mode over what it learned)."""
        flat = self.text(features.reshape(-1, self.width))  # (rows, d)
        return F.normalize(flat, dim=-1).reshape(*features.shape[:-1], -1)


def spatial_head(
    positions: Float[Tensor, "B P d"], text: Float[Tensor, "2 N d"], negative: bool = True
) -> Float[Tensor, "B N"]:
    """The probability of each class, 0 … 1, from unit features of every position and of both prompts.

    O = 20·cosine; w = softmax over positions of the positive half, shared by both; logits = 5·Σ over positions of O·w;
    softmax over (negative, positive). text: row 0 negative, row 1 positive prompts. negative=False drops the negative
    prompts: a sigmoid of the positive logit takes the softmax's place (an ablation).
    Source: DualCoOp's head, as Unmix-CLIP uses it.
    """
    scores = 20 * torch.einsum("bpd,knd->bkpn", positions, text)  # (B, 2, P, N)
    weights = scores[:, 1:].softmax(dim=2)  # (B, 1, P, N)
    logits = 5 * (scores * weights).sum(dim=2)  # (B, 2, N)
    return logits.softmax(dim=1)[:, 1] if negative else logits[:, 1].sigmoid()
