"""open_clip's VisionTransformer under CoCa's attentional pool; it is never changed."""

from typing import Any

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from clipsx.towers.shared import refuse_unknown
from clipsx.towers.vit import STEM, ViT


class CoCa(ViT):
    """As `ViT`; the class feature is the pool's first query, and a patch's is the pool asked of that patch alone.

    Errors: those of `ViT`; ValueError for a second, contrastive pool.
    """

    parts = (*STEM, "attn_pool")

    def __init__(self, visual: Any) -> None:
        super().__init__(visual)
        refuse_unknown("The image tower's pool", visual.attn_pool, ("attn", "ln_q", "ln_k"), ("query",))
        self.family, self.pools_first = "CoCa", False

    @staticmethod
    def fits(visual: Any) -> bool:
        """Whether this adapter is the one for the tower."""
        return getattr(visual, "attn_pool", None) is not None and hasattr(visual, "conv1")

    def project(self, tokens: Float[Tensor, "*tokens C"]) -> Float[Tensor, "*tokens D"]:
        """Every token as the only key of the pool: its value, mixed by 1; then the last norm and the projection."""
        pool = self.visual.attn_pool
        attention, width = pool.attn, pool.attn.embed_dim
        separate = attention.v_proj_weight  # where keys are as wide as queries, all three lie in one
        weight = attention.in_proj_weight[2 * width :] if separate is None else separate
        values = F.linear(pool.ln_k(tokens), weight, attention.in_proj_bias[2 * width :])  # (…, D)
        return self._head(self.visual.ln_post(attention.out_proj(values)))

    def pool(self, x: Float[Tensor, "B L C"]) -> Float[Tensor, "B D"]:
        x = self.visual.ln_post(self.visual.attn_pool(x))  # (B, queries, D)
        return self._head(x[:, 0] if self.visual.pool_type == "tok" else x[:, 1:].mean(1))
