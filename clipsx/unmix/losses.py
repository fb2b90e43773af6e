"""The losses of Unmix-CLIP: class features pushed apart, and the asymmetric loss of multi-label recognition."""

from jaxtyping import Float, Shaped
from torch import Tensor
from torch.nn import functional as F

from clipsx.messages import require_known

FORMS = ("class", "correlation")


def mfi_loss(features: Float[Tensor, "M D"], weight: float = 0.2, form: str = "class") -> Float[Tensor, ""]:
    """How much mutual feature information class features (one prompt a row) hold; 0 where they are orthogonal.

    form "class": S = cosines (M, M); Σᵢ (Sᵢᵢ − 1)² + weight · Σᵢ≠ⱼ Sᵢⱼ², whose first term is 0 for unit rows.
    form "correlation": the same of the (D, D) correlation of feature dimensions over prompts, as in Barlow Twins.
    Errors: ValueError for an unknown form and fewer than two rows. Source: Unmix-CLIP, MFI loss, λ = 0.2.
    """
    require_known("form", form, FORMS)
    if len(features) < 2:
        raise ValueError("One class has nothing to be told apart from: give at least two labels.")
    if form == "class":
        rows = F.normalize(features, dim=1)  # (M, D)
        matrix = rows @ rows.T  # (M, M)
    else:
        columns = F.normalize(features - features.mean(dim=0), dim=0)  # (M, D)
        matrix = columns.T @ columns  # (D, D)
    own = matrix.diagonal()
    return ((own - 1) ** 2).sum() + weight * ((matrix**2).sum() - (own**2).sum())


def asymmetric_loss(
    probability: Float[Tensor, "B N"],
    target: Shaped[Tensor, "B N"],
    gamma_negative: float = 2.0,
    gamma_positive: float = 1.0,
    clip: float = 0.05,
    mask: Shaped[Tensor, " N"] | None = None,
) -> Float[Tensor, ""]:
    """Asymmetric loss (Ridnik et al. 2021) of probabilities 0 … 1: summed over classes, mean over the batch.

    clip: the margin by which a negative's probability is lowered first; mask: classes that count (1) or not (0).
    Unmix-CLIP's α only means something beside this reduction.
    """
    target = target.to(probability)
    absent = (probability - clip).clamp(min=0)  # (B, N), of the negatives
    tiny = 1e-8  # as in the released code of the loss
    positive = target * (1 - probability) ** gamma_positive * probability.clamp(min=tiny).log()
    negative = (1 - target) * absent**gamma_negative * (1 - absent).clamp(min=tiny).log()
    each = -(positive + negative)  # (B, N)
    return (each if mask is None else each * mask.to(each)).sum(dim=1).mean()
