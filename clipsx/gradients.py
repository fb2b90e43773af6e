"""Maps that need the texts: gradients of a text's likeness, by attention (LeGrad) or by activations (Grad-CAM)."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from clipsx.messages import require_package
from clipsx.towers.interface import Tower
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


class _Ending(nn.Module):
    """The end of a tower as a module of its own, which has none of its weights: hooks that it is given stay here."""

    def __init__(self, feature: Callable[[Tensor], Tensor], device: torch.device) -> None:
        super().__init__()
        self.layer, self.feature = nn.Identity(), feature
        self.where = nn.Parameter(torch.empty(0, device=device), requires_grad=False)

    def forward(self, tokens: Float[Tensor, "B L C"]) -> Float[Tensor, "B D"]:
        return self.feature(self.layer(tokens))


def gradcam(
    tower: Tower, last: Float[Tensor, "B L C"], grid: tuple[int, int], text: Float[Tensor, "N D"]
) -> Float[Tensor, "B h w N"]:
    """What is positive of the channels' sum, each weighed by its mean gradient of a text's cosine over positions.

    last: as in `towers.Walk`. Made by pytorch-grad-cam, whose maps are left as they are before it stretches them to
    0 … 1 a picture. Nothing of the model is written to, gradients included, and no hook is put on it.
    Errors: ImportError where the package is missing.
    """
    require_package("pytorch_grad_cam", "gradcam", "Grad-CAM")
    from pytorch_grad_cam import GradCAM

    tokens, feature = tower.ending(last, grid)
    ending = _Ending(feature, tokens.device)
    places = grid[0] * grid[1]  # the last ones: class and other tokens come first
    cam = GradCAM(ending, [ending.layer], lambda x: x[:, -places:].float().mT.unflatten(2, grid))  # (B, C, h, w)
    hooks, maps = cam.activations_and_grads, []
    with torch.enable_grad():
        tokens = tokens.detach().requires_grad_()
        likeness = F.normalize(hooks(tokens).float(), dim=-1) @ text.float().T  # (B, N)
        sums = likeness.sum(dim=0).unbind()  # N, images do not mix
    (activations,) = hooks.activations
    for n, alike in enumerate(sums):
        torch.autograd.grad(alike, tokens, retain_graph=n + 1 < len(text))
        weighed = cam.get_cam_image(tokens, ending.layer, [], activations, hooks.gradients[0].numpy())  # (B, h, w)
        maps.append(torch.from_numpy(weighed).relu())
    return torch.stack(maps, dim=-1).to(text.device)
