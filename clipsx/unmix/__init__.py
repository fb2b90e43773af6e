"""Unmix-CLIP: small projectors trained so that classes share less information, with CLIP frozen."""

from clipsx.unmix.losses import asymmetric_loss, mfi_loss
from clipsx.unmix.projectors import PROMPTS, Projectors, spatial_head

__all__ = ["PROMPTS", "Projectors", "asymmetric_loss", "mfi_loss", "spatial_head"]
