"""Unmix-CLIP: small projectors trained so that classes share less information, with CLIP frozen."""

from clipsx.unmix.losses import asymmetric_loss, mfi_loss
from clipsx.unmix.projectors import PROMPTS, Projectors, spatial_head
from clipsx.unmix.training import Config, fit

__all__ = ["PROMPTS", "Config", "Projectors", "asymmetric_loss", "fit", "mfi_loss", "spatial_head"]
