"""The papers' formulas written out as plainly as possible, one image and one head at a time: oracles, not for use."""

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


def mix(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    """Attention of one head: q (L, d), k (L, d), v (L, d)."""
    return torch.softmax(scale * q @ k.T, dim=-1) @ v


def heads(x: Tensor, count: int) -> list[Tensor]:
    return list(x.chunk(count, dim=-1))


def attention(block: nn.Module, x: Tensor, kind: str) -> Tensor:
    """What one block's attention adds for the tokens x (L, C) of one image: relation "qk" or "vv"."""
    attn, width = block.attn, x.shape[-1]
    y = F.layer_norm(x, (width,), block.ln_1.weight, block.ln_1.bias, block.ln_1.eps)
    q, k, v = (y @ w.T + b for w, b in zip(attn.in_proj_weight.chunk(3), attn.in_proj_bias.chunk(3), strict=True))
    if kind == "vv":
        q = k = v
    scale = (width // attn.num_heads) ** -0.5
    parts = [mix(*qkv, scale) for qkv in zip(*(heads(t, attn.num_heads) for t in (q, k, v)), strict=True)]
    out = torch.cat(parts, dim=-1) @ attn.out_proj.weight.T + attn.out_proj.bias
    return out * block.ls_1.gamma if hasattr(block.ls_1, "gamma") else out


def feed_forward(block: nn.Module, x: Tensor) -> Tensor:
    y = F.layer_norm(x, (x.shape[-1],), block.ln_2.weight, block.ln_2.bias, block.ln_2.eps)
    y = block.mlp.gelu(y @ block.mlp.c_fc.weight.T + block.mlp.c_fc.bias)
    out = y @ block.mlp.c_proj.weight.T + block.mlp.c_proj.bias
    return out * block.ls_2.gamma if hasattr(block.ls_2, "gamma") else out


def tokens(visual: nn.Module, image: Tensor) -> Tensor:
    """Tokens (L, C) of one image (3, H, W) of the model's own size that enter the first block."""
    patches = F.conv2d(image[None], visual.conv1.weight, stride=visual.conv1.stride)[0].flatten(1).T  # (h·w, C)
    x = torch.cat([visual.class_embedding[None], patches]) + visual.positional_embedding
    return F.layer_norm(x, (x.shape[-1],), visual.ln_pre.weight, visual.ln_pre.bias, visual.ln_pre.eps)


def head(visual: nn.Module, x: Tensor) -> Tensor:
    y = F.layer_norm(x, (x.shape[-1],), visual.ln_post.weight, visual.ln_post.bias, visual.ln_post.eps)
    return F.normalize(y @ visual.proj, dim=-1)


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
            new = new + attention(block, x, "vv")
        x = x + attention(block, x, "qk")
        x = x + feed_forward(block, x)
    return head(visual, x)[0], head(visual, new)[1:]


@torch.no_grad()
def maskclip(visual: nn.Module, image: Tensor) -> Tensor:
    """Patch features (h·w, D): the last block's values straight through the output projection."""
    x = tokens(visual, image)
    *before, last = visual.transformer.resblocks
    for block in before:
        x = x + attention(block, x, "qk")
        x = x + feed_forward(block, x)
    y = F.layer_norm(x, (x.shape[-1],), last.ln_1.weight, last.ln_1.bias, last.ln_1.eps)
    v = y @ last.attn.in_proj_weight.chunk(3)[2].T + last.attn.in_proj_bias.chunk(3)[2]
    return head(visual, v @ last.attn.out_proj.weight.T + last.attn.out_proj.bias)[1:]


@torch.no_grad()
def resnet_pool(visual: nn.Module, image: Tensor, kind: str) -> tuple[Tensor, Tensor]:
    """Class feature (D,) and patch features (h·w, D) of a ModifiedResNet: "qk", "none", "surgery" or "released"."""
    pool = visual.attnpool
    x = visual.layer4(visual.layer3(visual.layer2(visual.layer1(visual.stem(image[None])))))[0].flatten(1).T  # (h·w, C)
    x = torch.cat([x.mean(0, keepdim=True), x]) + pool.positional_embedding
    q, k, v = (x @ p.weight.T + p.bias for p in (pool.q_proj, pool.k_proj, pool.v_proj))
    scale = (x.shape[-1] // pool.num_heads) ** -0.5
    own, out = [], []
    for a, b, c in zip(*(heads(t, pool.num_heads) for t in (q, k, v)), strict=True):
        own.append(mix(a, b, c, scale))
        unit = c / c.norm(dim=-1, keepdim=True)
        out.append(
            {
                "qk": lambda a=a, b=b, c=c: mix(a, b, c, scale),
                "none": lambda c=c: c,
                "surgery": lambda unit=unit, c=c: mix(unit, unit, c, 8 * scale),
                "released": lambda c=c: mix(c, c, c, scale),
            }[kind]()
        )
    own, out = (F.normalize(torch.cat(t, dim=-1) @ pool.c_proj.weight.T + pool.c_proj.bias, dim=-1) for t in (own, out))
    return (out if kind == "released" else own)[0], out[1:]
