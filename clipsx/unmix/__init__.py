"""Unmix-CLIP: small projectors trained so that classes share less information, with CLIP frozen."""

from clipsx.unmix.ablation import MAIN, SETTINGS, Setting, ablate, maps
from clipsx.unmix.gather import Gathered, gather, own_positions, same_positions
from clipsx.unmix.heads import Unmixed, probabilities
from clipsx.unmix.losses import asymmetric_loss, mfi_loss
from clipsx.unmix.projectors import PROMPTS, Projectors, prompt_features, spatial_head
from clipsx.unmix.study import against, compare, shipped, study, summary
from clipsx.unmix.training import Config, fit, projected_matrix

__all__ = [
    "MAIN", "PROMPTS", "SETTINGS", "Config", "Gathered", "Projectors", "Setting", "Unmixed",
    "ablate", "against", "asymmetric_loss", "compare", "fit", "gather", "maps", "mfi_loss", "own_positions",
    "probabilities", "projected_matrix", "prompt_features", "same_positions", "shipped", "spatial_head", "study",
    "summary",
]  # fmt: skip
