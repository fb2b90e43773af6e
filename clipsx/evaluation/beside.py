"""What mSC does not ask of a map: its object against the other objects, its label against absent ones, its ranks."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from clipsx.evaluation.stream import Look
from clipsx.maps import minmax, region_weights, upsample
from clipsx.metrics import coverage, exceedance, iou_curve, rank_score


@dataclass(frozen=True, eq=False)
class Regions:
    """Where the n labels are that a picture shows, on its patch grid of P = h · w.

    own, others, around: how much each patch counts in the mean over a label's pixels, over those of the other objects,
    and over all that are not the label's (NaN where there are none); inside, outside: the share of each patch that is
    the label's, and that is seen and is not; oracle: the IoU (%) that the grid allows, a map of how much of each patch
    the object covers, at its best threshold.
    """

    own: Float[Tensor, "n P"]
    others: Float[Tensor, "n P"]
    around: Float[Tensor, "n P"]
    inside: Float[np.ndarray, "n P"]
    outside: Float[np.ndarray, "n P"]
    oracle: Sequence[float]


def regions(look: Look, labels: Sequence[str], grid: tuple[int, int]) -> Regions:
    """The regions of these labels, which the picture shows with a mask; ignored pixels count nowhere."""
    masks, seen = look.sample.masks, ~look.sample.ignore  # (H, W) each
    own = np.stack([masks[label] & seen for label in labels])  # (n, H, W)
    rest = np.stack([np.any([seen & False, *(masks[m] for m in masks if m != label)], axis=0) for label in labels])
    own_weights, others, around = (
        region_weights(torch.from_numpy(some), grid).flatten(1) for some in (own, rest & seen & ~own, seen & ~own)
    )
    inside = np.stack([coverage(mask, grid) for mask in own])  # (n, h, w)
    best = upsample(minmax(torch.from_numpy(inside)[..., None]), seen.shape)[..., 0].numpy()  # (n, H, W)
    at = [exceedance(map, mask, ~seen) for map, mask in zip(best, own, strict=True)]
    curves = [iou_curve(*both, float(mask[seen].mean())) for both, mask in zip(at, own, strict=True)]
    flat = inside.reshape(len(labels), -1)
    return Regions(
        own_weights, others, around, flat, coverage(seen, grid).ravel() - flat, [float(curve.max()) for curve in curves]
    )


def beside(
    sim: Float[Tensor, "1 h w N"], where: Regions, places: Sequence[int], absent: Bool[np.ndarray, " N"]
) -> Iterator[dict[str, float]]:
    """For each present label, from maps of all N labels, each stretched to 0…1, in % (NaN where there is no other).

    `others`: its mean on its own object minus that on the other objects; `absent`: its mSC minus the mean mSC of the
    absent labels' maps on the same mask; `auc`: how often a place on the object ranks above one beside it, ties half,
    patches by their shares (50 is chance); `oracle`: see `Regions`.
    """
    maps = minmax(sim)[0].flatten(0, 1).double().cpu()  # (P, N)
    others = 100 * (where.own - where.others) @ maps  # (n, N)
    gaps = 100 * (where.own - where.around) @ maps  # (n, N), mSC
    rest = gaps[:, torch.from_numpy(absent)].mean(dim=1)  # (n,)
    for n, place in enumerate(places):
        ranks = rank_score(maps[:, place].numpy(), where.inside[n], where.outside[n])
        found = {"others": float(others[n, place]), "absent": float(gaps[n, place] - rest[n])}
        yield found | {"auc": ranks, "oracle": where.oracle[n]}
