"""The papers' formulas written out as plainly as possible, one image and one head at a time: oracles, not for use."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def feature_surgery_code(cls: Tensor, patches: Tensor, text: Tensor, tau: float) -> Tensor:
    """The released code's form with its (images, tokens, labels, channels) tensor. cls (B, D), patches (B, L, D)."""
    p = torch.softmax(tau * cls @ text.T, dim=1)  # (B, N)
    w = p / p.mean(dim=1, keepdim=True)  # (B, N)
    features = patches[:, :, None, :] * text[None, None, :, :]  # (B, L, N, D)
    features = features * w[:, None, :, None]  # (B, L, N, D)
    redundant = features.mean(dim=2, keepdim=True)  # (B, L, 1, D)
    return (features - redundant).sum(dim=-1)  # (B, L, N)


def feature_surgery_paper(cls: Tensor, patches: Tensor, text: Tensor, tau: float) -> Tensor:
    """The paper's form: the unweighted product minus the weighted mean over labels."""
    p = torch.softmax(tau * cls @ text.T, dim=1)  # (B, N)
    w = p / p.mean(dim=1, keepdim=True)  # (B, N)
    features = patches[:, :, None, :] * text[None, None, :, :]  # (B, L, N, D)
    redundant = (features * w[:, None, :, None]).mean(dim=2, keepdim=True)  # (B, L, 1, D)
    return (features - redundant).sum(dim=-1)  # (B, L, N)


def heads(x: Tensor, count: int) -> list[Tensor]:
    return list(x.chunk(count, dim=-1))


def attention(block: nn.Module, x: Tensor, relation: Callable[..., Tensor]) -> Tensor:
    """What one block's attention adds for the tokens x (L, C) of one image; relation: of one head, (q, k, v) → (L, L).

    The relation's rows are weights of values; they need not add up to 1.
    """
    attn, width = block.attn, x.shape[-1]
    y = F.layer_norm(x, (width,), block.ln_1.weight, block.ln_1.bias, block.ln_1.eps)
    q, k, v = (y @ w.T + b for w, b in zip(attn.in_proj_weight.chunk(3), attn.in_proj_bias.chunk(3), strict=True))
    parts = [relation(*qkv) @ qkv[2] for qkv in zip(*(heads(t, attn.num_heads) for t in (q, k, v)), strict=True)]
    out = torch.cat(parts, dim=-1) @ attn.out_proj.weight.T + attn.out_proj.bias
    return out * block.ls_1.gamma if hasattr(block.ls_1, "gamma") else out


def own(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """The model's own attention of one head: (L, L)."""
    return softmax(q @ k.T / q.shape[-1] ** 0.5)


def softmax(scores: Tensor) -> Tensor:
    powers = (scores - scores.max(dim=-1, keepdim=True).values).exp()
    return powers / powers.sum(dim=-1, keepdim=True)


def feed_forward(block: nn.Module, x: Tensor) -> Tensor:
    y = F.layer_norm(x, (x.shape[-1],), block.ln_2.weight, block.ln_2.bias, block.ln_2.eps)
    y = block.mlp.gelu(y @ block.mlp.c_fc.weight.T + block.mlp.c_fc.bias)
    out = y @ block.mlp.c_proj.weight.T + block.mlp.c_proj.bias
    return out * block.ls_2.gamma if hasattr(block.ls_2, "gamma") else out


def whole(block: nn.Module, x: Tensor) -> Tensor:
    """One block of the model itself."""
    x = x + attention(block, x, own)
    return x + feed_forward(block, x)


def tokens(visual: nn.Module, image: Tensor) -> Tensor:
    """Tokens (L, C) of one image (3, H, W) of the model's own size that enter the first block."""
    patches = F.conv2d(image[None], visual.conv1.weight, stride=visual.conv1.stride)[0].flatten(1).T  # (h·w, C)
    x = torch.cat([visual.class_embedding[None], patches]) + visual.positional_embedding
    return F.layer_norm(x, (x.shape[-1],), visual.ln_pre.weight, visual.ln_pre.bias, visual.ln_pre.eps)


def head(visual: nn.Module, x: Tensor) -> Tensor:
    y = F.layer_norm(x, (x.shape[-1],), visual.ln_post.weight, visual.ln_post.bias, visual.ln_post.eps)
    return F.normalize(y @ visual.proj, dim=-1)


@torch.no_grad()
def plain(visual: nn.Module, image: Tensor) -> tuple[Tensor, Tensor]:
    """Class feature (D,) and patch features (h·w, D) of one image by the model's own path."""
    x = tokens(visual, image)
    for block in visual.transformer.resblocks:
        x = whole(block, x)
    return head(visual, x)[0], head(visual, x)[1:]


@torch.no_grad()
def clip_surgery(visual: nn.Module, image: Tensor, depth: int) -> tuple[Tensor, Tensor]:
    """Class feature (D,) and patch features (h·w, D) of one image by the two-path loop."""
    x = tokens(visual, image)
    new = None
    blocks = list(visual.transformer.resblocks)
    for i, block in enumerate(blocks):
        if i == len(blocks) - depth:
            new = x
        if new is not None:
            new = new + attention(block, x, lambda q, k, v: softmax(v @ v.T / v.shape[-1] ** 0.5))
        x = whole(block, x)
    return head(visual, x)[0], head(visual, new)[1:]


@torch.no_grad()
def maskclip(visual: nn.Module, image: Tensor) -> Tensor:
    """Patch features (h·w, D): the last block's values straight through the output projection."""
    x = tokens(visual, image)
    *before, last = visual.transformer.resblocks
    for block in before:
        x = whole(block, x)
    y = F.layer_norm(x, (x.shape[-1],), last.ln_1.weight, last.ln_1.bias, last.ln_1.eps)
    v = y @ last.attn.in_proj_weight.chunk(3)[2].T + last.attn.in_proj_bias.chunk(3)[2]
    out = v @ last.attn.out_proj.weight.T + last.attn.out_proj.bias
    return head(visual, out * last.ls_1.gamma if hasattr(last.ls_1, "gamma") else out)[1:]


def neighbours(grid: tuple[int, int], deviation: float) -> Tensor:
    """NACLIP's bias (L, L): near patches count for more; nothing in the class token's row and column."""
    height, width = grid
    bias = torch.zeros(1 + height * width, 1 + height * width)
    for i in range(height * width):
        for j in range(height * width):
            apart = (i // width - j // width) ** 2 + (i % width - j % width) ** 2
            bias[1 + i, 1 + j] = math.exp(-apart / (2 * deviation**2))
    return bias


@torch.no_grad()
def combination(
    visual: nn.Module,
    image: Tensor,
    pairs: Sequence[str] = (),
    *,
    blocks: int = 1,
    unit: bool = False,
    sharpen: float = 1.0,
    summed: bool = False,
    neighbour: float = 0.0,
    itself: bool = False,
    bare: bool = False,
    ffn: bool = False,
) -> Tensor:
    """Patch features (h·w, D) of one image by a second path over the last blocks, in the words of the table."""
    grid = image.shape[1] // visual.conv1.kernel_size[0], image.shape[2] // visual.conv1.kernel_size[1]

    def relation(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        if not pairs:
            return torch.eye(len(v))
        total = torch.zeros(len(v), len(v))
        for left, right in pairs:
            a, b = ({"q": q, "k": k, "v": v}[letter] for letter in (left, right))
            if unit:
                a, b = a / a.norm(dim=-1, keepdim=True), b / b.norm(dim=-1, keepdim=True)
            scores = sharpen * (a @ b.T) / v.shape[-1] ** 0.5
            total = total + softmax(scores + (neighbours(grid, neighbour) if neighbour else 0))
        return total if summed else total / len(pairs)

    x, second = tokens(visual, image), None
    every = list(visual.transformer.resblocks)
    for i, block in enumerate(every):
        if i >= len(every) - blocks:
            read = x if second is None or not itself else second  # what its attention is computed from
            before = (torch.zeros_like(x) if bare else x) if second is None else second
            second = before + attention(block, read, relation)
            if ffn:
                second = second + feed_forward(block, second)
        x = whole(block, x)
    assert second is not None
    return head(visual, second)[1:]


@torch.no_grad()
def resnet_pool(visual: nn.Module, image: Tensor, kind: str | Callable[..., Tensor]) -> tuple[Tensor, Tensor]:
    """Class feature (D,) and patch features (h·w, D) of a ModifiedResNet.

    kind: "qk", "none", "surgery" (unit v-v, scale × 8), "released" (v-v, for its class feature too), "kk+qq", a sum, or
    a function of one head, (q, k, v) → (L, L).
    """
    pool = visual.attnpool
    x = visual.layer4(visual.layer3(visual.layer2(visual.layer1(visual.stem(image[None])))))[0].flatten(1).T  # (h·w, C)
    x = torch.cat([x.mean(0, keepdim=True), x]) + pool.positional_embedding
    q, k, v = (x @ p.weight.T + p.bias for p in (pool.q_proj, pool.k_proj, pool.v_proj))
    scale = (x.shape[-1] // pool.num_heads) ** -0.5
    mixed: dict[str, list[Tensor]] = {"own": [], "asked": []}
    for a, b, c in zip(*(heads(t, pool.num_heads) for t in (q, k, v)), strict=True):
        unit = c / c.norm(dim=-1, keepdim=True)
        relation = {
            "qk": softmax(scale * a @ b.T),
            "none": torch.eye(len(c)),
            "surgery": softmax(8 * scale * unit @ unit.T),
            "released": softmax(scale * c @ c.T),
            "kk+qq": softmax(scale * b @ b.T) + softmax(scale * a @ a.T),
        }
        mixed["own"].append(relation["qk"] @ c)
        mixed["asked"].append((relation[kind] if isinstance(kind, str) else kind(a, b, c)) @ c)
    found = {
        name: F.normalize(torch.cat(parts, dim=-1) @ pool.c_proj.weight.T + pool.c_proj.bias, dim=-1)
        for name, parts in mixed.items()
    }
    return found["asked" if kind == "released" else "own"][0], found["asked"][1:]
