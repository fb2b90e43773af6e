"""Methods that are more than a comparison of pairs, written out plainly, one image at a time: oracles."""

from collections.abc import Callable

import torch
from literal import attention, feed_forward, head, neighbours, own, softmax, tokens, whole
from torch import Tensor, nn


def outputs(visual: nn.Module, image: Tensor) -> list[Tensor]:
    """The tokens (L, C) that enter the first block, then what every block of the model gives."""
    found = [tokens(visual, image)]
    for block in visual.transformer.resblocks:
        found.append(whole(block, found[-1]))
    return found


def unit(x: Tensor) -> Tensor:
    return x / x.norm(dim=-1, keepdim=True)


@torch.no_grad()
def gem(visual: nn.Module, image: Tensor, depth: int) -> Tensor:
    """Patch features (h·w, D) by GEM's second path over the last blocks."""
    blocks, given = list(visual.transformer.resblocks), outputs(visual, image)
    path = given[len(blocks) - depth]
    for i in range(len(blocks) - depth, len(blocks)):
        y = nn.functional.layer_norm(given[i], given[i].shape[-1:], blocks[i].ln_1.weight, blocks[i].ln_1.bias, 1e-5)

        def relation(q: Tensor, k: Tensor, v: Tensor, y: Tensor = y) -> Tensor:
            tau, maps = y.norm(dim=-1).mean() / q.shape[-1] ** 0.5, []
            for p in (q, k, v):
                p = unit(p)
                p = unit(softmax(tau * p @ p.T) @ p)
                maps.append(softmax(tau * p @ p.T))
            return (maps[0] + maps[1] + maps[2]) / 3

        path = path + attention(blocks[i], given[i], relation)
    return head(visual, path)[1:]


def turned(svd: bool) -> Callable[..., Tensor]:
    """PEARL's map of one head, (q, k, v) → (L, L): queries against keys turned by an orthogonal factor."""

    def relation(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        w = q.norm(dim=-1)
        w[0] = 0
        w = w / (w.sum() + 1e-6)
        kc = k - sum(w[i] * k[i] for i in range(len(k)))
        qc = q - sum(w[i] * q[i] for i in range(len(q)))
        m = kc.T @ qc
        if svd:
            u, _, vt = torch.linalg.svd(m)
            r = u @ vt
        else:
            a = m.T @ m
            n = (a**2).sum().sqrt()
            y, z, one = a / n + 1e-6 * torch.eye(len(m)), torch.eye(len(m)), torch.eye(len(m))
            for _ in range(5):
                t = (3 * one - z @ y) / 2
                y = y @ t
                z = t @ z
            r = m @ z / n.sqrt()
        s = q.shape[-1] ** -0.5
        return softmax(s * q @ (k @ r).T + 0.08 * s * kc @ kc.T)

    return relation


@torch.no_grad()
def pearl(visual: nn.Module, image: Tensor, svd: bool) -> Tensor:
    """Patch features (h·w, D) by PEARL's map in the last block; bare."""
    return head(visual, attention(visual.transformer.resblocks[-1], outputs(visual, image)[-2], turned(svd)))[1:]


def maps(block: nn.Module, x: Tensor, relation: Callable[..., Tensor]) -> list[Tensor]:
    """The weights of every head of a block (L, L), by a relation."""
    found: list[Tensor] = []

    def noted(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        found.append(relation(q, k, v))
        return found[-1]

    attention(block, x, noted)
    return found


def selves(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return softmax(q @ q.T / q.shape[-1] ** 0.5) + softmax(k @ k.T / q.shape[-1] ** 0.5)


@torch.no_grad()
def itaclip(visual: nn.Module, image: Tensor) -> Tensor:
    """Patch features (h·w, D): q-q and k-k of the last block and of blocks 7, 8, 10 before it; residual, no FFN."""
    blocks, given = list(visual.transformer.resblocks), outputs(visual, image)
    earlier = [maps(blocks[n - 1], given[n - 1], selves) for n in (7, 8, 10) if n < len(blocks)]
    mean = iter([sum(each) / len(each) for each in zip(*earlier, strict=True)])
    last = attention(blocks[-1], given[-2], lambda q, k, v: selves(q, k, v) / 2 + next(mean) / 2)
    return head(visual, given[-2] + last)[1:]


@torch.no_grad()
def resclip_rcs(visual: nn.Module, image: Tensor) -> Tensor:
    """Patch features (h·w, D): NACLIP's map and the model's own of blocks 6 to 9; bare."""
    blocks, given = list(visual.transformer.resblocks), outputs(visual, image)
    grid = image.shape[1] // visual.conv1.kernel_size[0], image.shape[2] // visual.conv1.kernel_size[1]
    earlier = [maps(blocks[n - 1], given[n - 1], own) for n in (6, 7, 8, 9)]
    mean = iter([sum(each) / 4 for each in zip(*earlier, strict=True)])

    def relation(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return 2 * (0.7 * softmax(k @ k.T / q.shape[-1] ** 0.5 + neighbours(grid, 5)) + 0.3 * next(mean))

    return head(visual, attention(blocks[-1], given[-2], relation))[1:]


def outliers(x: Tensor) -> set[int]:
    """SC-CLIP's: patches (N, C) by the local outlier factor with squared distances."""
    count = len(x)
    apart = [[float(((x[i] - x[j]) ** 2).sum()) for j in range(count)] for i in range(count)]
    near = [sorted((j for j in range(count) if j != i), key=lambda j, i=i: apart[i][j])[:30] for i in range(count)]
    density = []
    for i in range(count):
        reach = [max(apart[i][j], apart[i][near[i][-1]]) for j in near[i]]
        density.append(30 / (sum(reach) / 30))
    factor = torch.tensor([sum(density[j] for j in near[i]) / 30 / density[i] for i in range(count)])
    limit = torch.quantile(factor, 0.95)
    return {i for i in range(count) if factor[i] > limit}


def lit(block: nn.Module, x: Tensor) -> set[int]:
    """SFP's: patches that the class token × 1.5 attends to more than they to themselves, the ten largest."""
    each = maps(block, x, own)
    mean = sum(each) / len(each)
    found = {i: 1.5 * float(mean[0, 1 + i]) for i in range(len(mean) - 1)}
    over = [i for i in found if found[i] > float(mean[1 + i, 1 + i])]
    return set(sorted(over, key=lambda i: -found[i])[:10])


def heal(x: Tensor, out: set[int], grid: tuple[int, int]) -> Tensor:
    """Every outlier the mean of its eight neighbours that are none."""
    new = x.clone()
    for i in out:
        row, column = divmod(i, grid[1])
        around = [
            r * grid[1] + c
            for r in range(max(0, row - 1), min(grid[0], row + 2))
            for c in range(max(0, column - 1), min(grid[1], column + 2))
            if r * grid[1] + c not in out
        ]
        if around:
            new[i] = sum(x[j] for j in around) / len(around)
    return new


def cut(s: Tensor) -> Tensor:
    return torch.where(s < 0.4, torch.zeros_like(s), s)


def share(s: Tensor, f: Tensor) -> Tensor:
    return s @ f / (s.sum(dim=-1, keepdim=True) + 1e-6)


@torch.no_grad()
def self_calibrated(visual: nn.Module, image: Tensor, method: str) -> Tensor:
    """Patch features (h·w, D) by "sc-clip" or "sfp" of a tower of 12 blocks."""
    x, last = outputs(visual, image), visual.transformer.resblocks[11]
    grid = image.shape[1] // visual.conv1.kernel_size[0], image.shape[2] // visual.conv1.kernel_size[1]
    out = outliers(x[11][1:]) if method == "sc-clip" else lit(visual.transformer.resblocks[10], x[10])
    middle = unit(heal(x[9][1:], out, grid)) @ unit(heal(x[9][1:], out, grid)).T
    before, after = cut(middle), cut(unit(x[4][1:]) @ unit(x[4][1:]).T)
    given = middle if method == "sc-clip" else before
    m = 3 * (given - given.mean())
    m = softmax(torch.where(m < 0, torch.full_like(m, -torch.inf), m))

    def attend(f: Tensor, names: str) -> Tensor:
        def relation(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            each = [softmax(p @ p.T / q.shape[-1] ** 0.5) for p in ({"q": q, "k": k}[name] for name in names)]
            return sum([m, *each]) / (1 + len(each))

        return attention(last, f, relation)

    names = ("k", "k") if method == "sc-clip" else ("kq", "")
    p = share(before, heal(x[11][1:], out, grid))
    x1 = share(after, attend(p, names[0]) + 0.3 * x[11][:1])
    f = x[4] + x[5] + x[6] + x[7] + x[8] + x[9] + x[10]
    x2 = share(after, attend(f[1:], names[1]) + 0.3 * f[:1])
    return head(visual, x1 + x2)


@torch.no_grad()
def maskclip_original(visual: nn.Module, image: Tensor) -> Tensor:
    """Patch features (h·w, D): the last block with every token attending to itself alone."""
    last, x = visual.transformer.resblocks[-1], outputs(visual, image)[-2]
    x = x + attention(last, x, lambda q, k, v: torch.eye(len(v)))
    return head(visual, x + feed_forward(last, x))[1:]


def legrad(visual: nn.Module, image: Tensor, text: Tensor, layers: int) -> Tensor:
    """Maps (h·w, N): per block and text what is positive of the gradient with respect to attention, summed."""
    blocks = list(visual.transformer.resblocks)
    with torch.no_grad():
        given = outputs(visual, image)
    total = torch.zeros(len(given[0]) - 1, len(text))
    for i in range(len(blocks) - layers, len(blocks)):
        for n, one in enumerate(text):
            leaves: list[Tensor] = []

            def relation(q: Tensor, k: Tensor, v: Tensor, leaves: list[Tensor] = leaves) -> Tensor:
                leaves.append(own(q, k, v).detach().requires_grad_())
                return leaves[-1]

            x = given[i] + attention(blocks[i], given[i], relation)
            x = x + feed_forward(blocks[i], x)
            slopes = torch.autograd.grad(head(visual, x.mean(dim=0)) @ one, leaves)
            mean = sum(torch.where(slope > 0, slope, torch.zeros_like(slope)).mean(dim=0) for slope in slopes)
            total[:, n] += mean[1:] / len(slopes)
    return total
