"""Unmix-CLIP: small projectors trained so that classes share less information, with CLIP frozen."""

from clipsx.unmix.ablation import SETTINGS, Setting, Split, ablate, over_seeds, projected_mean
from clipsx.unmix.gather import Gathered, gather
from clipsx.unmix.losses import asymmetric_loss, mfi_loss
from clipsx.unmix.model import UnmixedClip, probabilities
from clipsx.unmix.projectors import PROMPTS, Projectors, spatial_head
from clipsx.unmix.training import Config, fit

__all__ = [
    "PROMPTS", "SETTINGS", "Config", "Gathered", "Projectors", "Setting", "Split", "UnmixedClip",
    "ablate", "asymmetric_loss", "fit", "gather", "mfi_loss", "over_seeds", "probabilities", "projected_mean",
    "spatial_head",
]  # fmt: skip
