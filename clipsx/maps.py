"""From features to maps: similarity, feature surgery, min-max, upsampling and points. Pure functions of tensors."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from clipsx.features import DenseFeatures, require_unit
from clipsx.images import MAX_PIXELS
from clipsx.messages import require, require_known

STEEPEST = 1e30  # tau beyond which no weight changes any more
CONSTANT = 1e-7
"""A map whose range is at most this, or a hundred-thousandth of its largest value, is called constant (cosines)."""


def similarity(dense: DenseFeatures, text: Float[Tensor, "N D"]) -> Float[Tensor, "B h w N"]:
    """Cosine of every patch with every label, in −1…1.

    Source: CLIP Surgery, released code (features normalised along the feature axis).
    """
    return dense.patches @ _labels(dense, text).T  # (B, h, w, N)


def _code(s: Tensor, w: Tensor) -> Tensor:
    weighted = w * s  # (B, h, w, N)
    return weighted - weighted.mean(-1, keepdim=True)


def _paper(s: Tensor, w: Tensor) -> Tensor:
    return s - (w * s).mean(-1, keepdim=True)  # (B, h, w, N)


FORMS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"code": _code, "paper": _paper}
"""How the redundant part is subtracted: as the released code does, or as the paper's formula says."""


def feature_surgery(
    dense: DenseFeatures,
    text: Float[Tensor, "N D"],
    tau: float = 2.0,
    form: str = "code",
    redundant: Float[Tensor, "1 D"] | None = None,
) -> Float[Tensor, "B h w N"]:
    """Similarity of every patch with every label, without what all labels share.

    With s the cosines, p the softmax over labels of tau · (class feature · label) and w = p / mean(p):

    - form "code": w·s minus its mean over the labels (the released code, exactly; its sum over labels is 0);
    - form "paper": s minus the mean over the labels of w·s (the winner at a patch never changes);
    - with `redundant`, the feature of the empty label: patch · (label − redundant), for any number of labels.

    tau ≥ 0 sharpens the weights. One label alone needs `redundant`: the first form would be 0 everywhere.
    Errors: ValueError for one label without `redundant`, an unknown form, a tau that is negative or not finite.
    Source: CLIP Surgery, section on feature surgery; released code `clip_feature_surgery`. Memory: B·h·w·N, whatever D.
    """
    require_known("form of feature surgery", form, FORMS)
    require("tau", tau, 0)
    text = _labels(dense, text)
    if redundant is not None:
        if tuple(redundant.shape) != (1, text.shape[1]):
            raise ValueError(f"redundant must have shape (1, {text.shape[1]}), not {tuple(redundant.shape)}.")
        if not bool(torch.isfinite(redundant).all()):
            raise ValueError("redundant holds values that are not finite.")
        return dense.patches @ (text - redundant.to(text)).T  # (B, h, w, N)
    if text.shape[0] < 2:
        raise ValueError(
            "Feature surgery of one label alone is 0 everywhere. Give more labels, or the empty label's feature: "
            'redundant=clip.encode_labels([""]).'
        )
    scores = dense.cls.to(text) @ text.T  # (B, N)
    gaps = _wide(scores - scores.amax(-1, keepdim=True))  # ≤ 0: no tau, however large, overflows
    p = (min(float(tau), STEEPEST) * gaps).softmax(-1)  # (B, N)
    w = (p / p.mean(-1, keepdim=True)).to(text)  # (B, N)
    return FORMS[form](dense.patches @ text.T, w[:, None, None, :])  # (B, h, w, N)


def surgery_scores(
    dense: DenseFeatures,
    text: Float[Tensor, "N D"],
    form: str = "code",
    redundant: Float[Tensor, "1 D"] | None = None,
    tau: float = 2.0,
) -> Float[Tensor, "B N"]:
    """One score per image and label: the class feature itself through feature surgery (multi-label recognition).

    Arguments and errors as in `feature_surgery`. Source: CLIP Surgery, an author's reply on multi-label recognition.
    """
    alone = DenseFeatures(dense.cls, dense.cls[:, None, None])  # the class feature as the one patch
    return feature_surgery(alone, text, tau, form, redundant)[:, 0, 0]  # (B, N)


def _labels(dense: DenseFeatures, text: Tensor) -> Tensor:
    if text.ndim != 2 or text.shape[0] < 1 or text.shape[1] != dense.cls.shape[1]:
        raise ValueError(f"Label features must have shape (N, {dense.cls.shape[1]}) (N ≥ 1), not {tuple(text.shape)}.")
    require_unit("text", text)
    return text.to(dense.patches)


def _wide(values: Tensor) -> Tensor:
    """Half precision in full."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def is_constant(sim: Float[Tensor, "B h w N"]) -> Bool[Tensor, "B N"]:
    """Which maps say nothing: the same value (up to rounding) at every patch."""
    low, high = _range(sim)
    size = torch.maximum(low.abs(), high.abs())
    rounding = max(1e-5, torch.finfo(sim.dtype).eps)
    return high - low <= torch.clamp(rounding * size, min=CONSTANT)  # (B, N)


def minmax(sim: Float[Tensor, "B h w N"]) -> Float[Tensor, "B h w N"]:
    """Every map of every label stretched to 0…1 over its own patches; a constant map becomes zeros (`is_constant`).

    Errors: ValueError where a value is not finite.
    """
    low, high = _range(sim)
    flat = is_constant(sim)  # (B, N)
    span = torch.where(flat, torch.ones_like(low), high - low)  # (B, N)
    out = ((_wide(sim) - low[:, None, None]) / span[:, None, None]).to(sim.dtype)  # (B, h, w, N)
    return torch.where(flat[:, None, None], torch.zeros_like(out), out).clamp(0, 1)


def _range(sim: Tensor) -> tuple[Tensor, Tensor]:
    _check_maps(sim)
    low, high = _wide(sim.amin((1, 2))), _wide(sim.amax((1, 2)))  # (B, N) both
    if not bool(torch.isfinite(high - low).all()):
        raise ValueError("A map holds values that are not finite, or so large that their differences are not.")
    return low, high


def _check_maps(maps: Tensor) -> None:
    if maps.ndim != 4 or 0 in maps.shape or not maps.is_floating_point():
        raise ValueError(
            f"Maps must be floating point, of shape (B, h, w, N), none of them 0, not {maps.dtype} {tuple(maps.shape)}."
        )


def upsample(maps: Float[Tensor, "B h w N"], size: tuple[int, int]) -> Float[Tensor, "B H W N"]:
    """Maps at the pixels of an image of size (H, W): bilinear, cell centres kept where they are.

    Errors: ValueError for maps that are empty, and for sides that are no whole numbers from 1 on.
    """
    _check_maps(maps)
    height, width = _sides(size)
    grid = maps.permute(0, 3, 1, 2)  # (B, N, h, w)
    return F.interpolate(grid, size=(height, width), mode="bilinear", align_corners=False).permute(0, 2, 3, 1)


def region_weights(regions: Bool[Tensor, "n H W"], grid: tuple[int, int]) -> Float[Tensor, "n h w"]:
    """How much every patch counts in the mean of an upsampled map over the pixels of a region; NaN for an empty one.

    The mean of `upsample`'s picture over a region is the sum of these weights times the map: no picture is made.
    """
    ends = [
        F.interpolate(torch.eye(cells, dtype=torch.float64)[None], pixels, mode="linear", align_corners=False)[0]
        for cells, pixels in zip(grid, regions.shape[1:], strict=True)
    ]  # (h, H), (w, W): upsampling is one after the other
    sums = ends[0] @ regions.double() @ ends[1].T  # (n, h, w)
    return sums / regions.sum((1, 2), keepdim=True)


def _sides(size: Sequence[int]) -> tuple[int, int]:
    if not hasattr(size, "__len__") or len(size) != 2:
        raise ValueError(f"size must be (H, W), two whole numbers, not {size}.")
    for side in size:
        require("each side of size (H, W)", side, 1, whole=True)
    if int(size[0]) * int(size[1]) > MAX_PIXELS:
        raise ValueError(f"size must have at most {MAX_PIXELS:,} pixels, not {size}.")
    return int(size[0]), int(size[1])


def points_from_map(
    sim: Float[Tensor, "h w"], size: tuple[int, int], threshold: float = 0.8
) -> tuple[Int[Tensor, "P 2"], Int[Tensor, " P"]]:
    """Points for a promptable segmenter: (P, 2) as (x, y) pixels in an image of size (H, W), and (P,) 1 or 0.

    The map is halved bilinearly and stretched to 0…1; positives (1) are the cells of at least `threshold` (0…1), but at
    most half of all cells; as many of the lowest cells are negatives (0). A constant map gives no points.
    Source: CLIP Surgery, released code `similarity_map_to_points`.
    """
    require("threshold", threshold, 0, 1)
    if sim.ndim != 2:
        raise ValueError(f"sim must be one map (h, w), not {tuple(sim.shape)}.")
    height, width = _sides(size)
    h, w = max(1, sim.shape[0] // 2), max(1, sim.shape[1] // 2)
    cells = minmax(upsample(sim[None, :, :, None], (h, w)))[0, :, :, 0].flatten()  # (h·w)
    count = min(int((cells >= threshold).sum()), cells.numel() // 2) if bool((cells > 0).any()) else 0
    order = cells.sort(stable=True).indices  # (h·w), lowest first
    chosen = torch.cat([order.flip(0)[:count], order[:count]])  # (2·count)
    x = ((chosen % w + 0.5) * width / w).long().clamp(max=width - 1)
    y = ((chosen // w + 0.5) * height / h).long().clamp(max=height - 1)
    labels = torch.cat([torch.ones(count, dtype=torch.long), torch.zeros(count, dtype=torch.long)]).to(chosen.device)
    return torch.stack([x, y], dim=-1), labels


def points_from_maps(
    sim: Float[Tensor, "h w N"], size: tuple[int, int], threshold: float = 0.8
) -> tuple[Int[Tensor, "P 2"], Int[Tensor, " P"]]:
    """Points for several texts at once, as `points_from_map` gives them for one map.

    Positives are those of every map, negatives those of the mean of the maps, each stretched to 0…1 before. Each place
    counts once; one that would be both is positive.
    Source: CLIP Surgery, released demo for texts joined by "+"; that a place is not both is ours.
    """
    each = [points_from_map(sim[..., n], size, threshold) for n in range(sim.shape[-1])]
    mean, signs = points_from_map(minmax(sim[None])[0].mean(-1), size, threshold)
    on = dict.fromkeys(tuple(xy) for points, labels in each for xy in points[labels == 1].tolist())
    off = [xy for xy in dict.fromkeys(map(tuple, mean[signs == 0].tolist())) if xy not in on]
    points = torch.tensor([*on, *off], dtype=torch.long, device=sim.device).reshape(-1, 2)
    return points, torch.tensor([1] * len(on) + [0] * len(off), dtype=torch.long, device=sim.device)
