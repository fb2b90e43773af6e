"""Maps that need the texts: gradients of a text's likeness with respect to attention (LeGrad)."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from clipsx.towers.shared import Block
from clipsx.towers.transformer import Transformer


def legrad(
    tower: Transformer, blocks: Sequence[Block], grid: tuple[int, int], text: Float[Tensor, "N D"]
) -> Float[Tensor, "B h w N"]:
    """How much more attention to a patch would bring every block's mean token nearer to a text; summed over blocks.

    Per block: the gradient of the cosine with respect to its attention, what is positive of it, mean over heads and
    rows. blocks: of the original path, those that count. Nothing of the model is written to, gradients included.
    Source: LeGrad. Its code stretches each block's map to pixels before it sums; here the patch grid is kept.
    """
    total = text.new_zeros(blocks[0].x.shape[0], *grid, len(text))
    for block in blocks:
        scores = block.q @ block.k.mT * block.q.shape[-1] ** -0.5
        weights = scores.softmax(dim=-1).detach()  # (B, heads, L, L)
        with torch.enable_grad():
            weights.requires_grad_()
            between = block.x.detach() + tower.attend(block.index, weights @ block.v.detach())
            mean = (between + tower.ffn(block.index, between)).mean(dim=1)  # (B, C)
            likeness = F.normalize(tower.project(mean).float(), dim=-1) @ text.float().T  # (B, N)
            sums = likeness.sum(dim=0).unbind()  # N, images do not mix
        for n, alike in enumerate(sums):
            (slope,) = torch.autograd.grad(alike, weights, retain_graph=n + 1 < len(text))
            found = slope.relu().mean(dim=(1, 2))[:, tower.prefix :]  # (B, h·w)
            total[..., n] += found.unflatten(1, grid).to(total)
    return total
