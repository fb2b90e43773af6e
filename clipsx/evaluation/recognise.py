"""What an image shows, and where, by label alone: multi-label recognition and zero-shot segmentation, as tables."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.nn import functional as F

from clipsx.clip import Clip
from clipsx.datasets.sample import Sample
from clipsx.evaluation.explain import deep, provenance, queries, side, similarities
from clipsx.features import DenseFeatures
from clipsx.maps import surgery_scores, upsample
from clipsx.metrics import f1_scores, interval, mean_average_precision
from clipsx.mfi import coactivation

Scores = Float[np.ndarray, "n N"]
Targets = Shaped[np.ndarray, "n N"]
Progress = Callable[[int, int], None]


def _surgery(form: str) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda cls, text: surgery_scores(DenseFeatures(cls, cls[:, None, None]), text, form=form)


RULES: dict[str, Callable[[Float[Tensor, "n D"], Float[Tensor, "N D"]], Float[Tensor, "n N"]]] = {
    "cosine": lambda cls, text: cls @ text.T,
    "softmax(100·cosine)": lambda cls, text: (100 * cls @ text.T).softmax(dim=1),
    "centring": lambda cls, text: (cls @ text.T) - (cls @ text.T).mean(dim=1, keepdim=True),
    "feature surgery (code)": _surgery("code"),
    "feature surgery (paper)": _surgery("paper"),
}
"""Rules without training: unit class features (n, D) and label features (N, D) → a score per image and label.

Centring is feature surgery with all weights 1: what is left of its gain when the weights say nothing."""


def ruled(cls: Float[Tensor, "n D"] | Float[np.ndarray, "n D"], text: Float[Tensor, "N D"]) -> dict[str, Scores]:
    """The scores of every one of `RULES`; rows are brought to unit length first."""
    cls = cls if isinstance(cls, Tensor) else torch.from_numpy(np.asarray(cls, dtype=np.float32))
    cls, text = F.normalize(cls.float(), dim=1), F.normalize(text.float(), dim=1)
    return {name: rule(cls, text).numpy() for name, rule in RULES.items()}


def recognise(
    scores: Mapping[str, Scores],
    targets: Targets,
    tuning: tuple[Mapping[str, Scores], Targets] | None = None,
    resamples: int = 300,
    seed: int = 0,
) -> pd.DataFrame:
    """A row per rule: mAP with its 95 % image-bootstrap interval, CF1, OF1, and how both were decided; all in %.

    scores: rule → (n, N); targets: 0 / 1. The interval's draws are centred on the mAP, as drawing an image twice lifts
    them. CF1 and OF1 need yes or no: for a rule in `tuning` (other images) at the one threshold with the best OF1
    there, else at 0.5. Classes without a positive image are masked, their number printed.
    Errors: ValueError for no image, unlike shapes, scores that are not finite, no positive at all.
    """
    if not len(targets) or not np.asarray(targets).any():
        raise ValueError("There is no image with any of the labels: nothing to recognise.")
    rng, found = np.random.default_rng(seed), []
    draws = [rng.integers(0, len(targets), len(targets)) for _ in range(resamples)]
    for name, score in scores.items():
        chosen = tuning is not None and name in tuning[0]
        threshold = best_threshold(tuning[0][name], tuning[1]) if tuning is not None and chosen else 0.5
        point = mean_average_precision(score, targets)
        drawn = np.array([mean_average_precision(score[d], targets[d]) for d in draws])
        # An image drawn twice ranks beside itself, which lifts every draw alike: only their spread is used.
        low, high = interval(drawn - np.nanmean(drawn) + point)
        row = {"rule": name, "mAP": point, "mAP_low": low, "mAP_high": high}
        row |= f1_scores(score >= threshold, targets) | {"threshold": threshold}
        how = "threshold of the best OF1 on other images" if chosen else "threshold 0.5"
        absent = int((~np.asarray(targets, bool).any(axis=0)).sum())
        row |= {"images": len(targets), "labels": targets.shape[1], "absent": absent}
        found.append(row | {"protocol": f"absent classes masked; {how}; 95 % image bootstrap, centred"})
    return pd.DataFrame(found)


def best_threshold(scores: Scores, targets: Targets) -> float:
    """The one score at or above which saying yes gives the best OF1."""
    order = np.argsort(-scores, axis=None, kind="stable")
    falling, hit = scores.ravel()[order], np.asarray(targets, bool).ravel()[order]
    f1 = 2 * hit.cumsum() / (np.arange(1, len(hit) + 1) + hit.sum())
    last = np.append(falling[1:] != falling[:-1], True)  # equal scores are said together
    return float(falling[np.argmax(np.where(last, f1, -1))])


def segment(
    clip: Clip,
    samples: Sequence[Sample],
    labels: Sequence[str] | None = None,
    grounds: Sequence[str] = (),
    method: str = "clip",
    surgery: str = "none",
    templates: str | Sequence[str] = "clip-surgery",
    size: int | None = None,
    resamples: int = 300,
    on_progress: Progress | None = None,
) -> dict[str, Any]:
    """Zero-shot segmentation by the best label at every position: a row with its mIoU and 95 % image interval, in %.

    grounds: labels of backgrounds. Without them the labels compete on the objects' pixels alone; with them all pixels
    count, and whatever ground wins is "background", a class like the others. Intersections and unions are summed
    over images, then IoU is averaged over the classes that are there. Similarities are upsampled before the argmax.
    Errors: ValueError for fewer than two labels, no mask at all, and what `Clip` refuses. Source: Unmix-CLIP, zero-shot
    segmentation (without grounds: the protocol "without background" of VOC-20).
    """
    asked = queries(samples, labels)
    text = clip.encode_labels([*asked, *grounds], templates)  # (N + G, D)
    counts = []
    for number, sample in enumerate(samples):
        truth = sample.index_map(asked)  # (H, W): the label's place, N for background, −1 for pixels that do not count
        if not grounds:
            truth[truth == len(asked)] = -1
        if (truth >= 0).any():
            images = clip.prepare(sample.image, size=size)  # (1, 3, H, W)
            dense = clip.encode_dense(images, method=method, **deep(clip, method))
            sim = upsample(similarities(dense, text, surgery, 2.0), sample.image.size[::-1])  # (1, H, W, N + G)
            best = sim[0].argmax(dim=-1).clamp(max=len(asked)).cpu().numpy()  # (H, W)
            counts.append(_overlaps(best, truth, len(asked) + bool(grounds)))
        if on_progress:
            on_progress(number + 1, len(samples))
    if not counts:
        raise ValueError("No image has a mask of any of the labels: there is nothing to segment.")
    overlaps = np.stack(counts)  # (n, 3, K): intersection, predicted, true
    rng = np.random.default_rng(seed=0)
    draws = [_miou(overlaps[rng.integers(0, len(overlaps), len(overlaps))]) for _ in range(resamples)]
    low, high = interval(np.array(draws))
    over = f"all pixels, background = {len(grounds)} grounds" if grounds else "pixels of objects only"
    about = {"method": method, "surgery": surgery, "image_size": side(images)} | provenance(clip, samples, templates)
    about |= {"protocol": f"argmax over {len(asked)} labels at every position; {over}; 95 % image bootstrap"}
    return {"mIoU": _miou(overlaps), "mIoU_low": low, "mIoU_high": high, "images": len(counts)} | about


def mapped(
    models: Mapping[str, Clip], samples: Sequence[Sample], on_progress: Callable[[str], Progress] | None = None
) -> pd.DataFrame:
    """A row per model and kind of map: `segment`'s, with the mean co-activation of `companions` and of `others`.

    models: when (before, after …) → model; on_progress: name → what is told (done, total) of its samples.
    Errors: those of `segment` and `mfi.coactivation`.
    """
    rows = []
    for name, clip in models.items():
        pairs = coactivation(clip, samples, on_progress=on_progress and on_progress(name))
        means = pairs.groupby("companion")["score"].mean()
        about = {"when": name, "companions": means.get(True), "others": means.get(False)}
        for method in ("clip", "clip-surgery"):
            rows += [about | segment(clip, samples, method=method, surgery=surgery) for surgery in ("none", "code")]
    return pd.DataFrame(rows)


def _overlaps(
    best: Shaped[np.ndarray, "H W"], truth: Shaped[np.ndarray, "H W"], classes: int
) -> Shaped[np.ndarray, "3 K"]:
    seen = truth >= 0
    right = seen & (best == truth)
    return np.stack([np.bincount(m, minlength=classes) for m in (truth[right], best[seen], truth[seen])])


def _miou(overlaps: Shaped[np.ndarray, "n 3 K"]) -> float:
    hits, said, true = overlaps.sum(axis=0)  # (K,) each
    there = true > 0
    return float(100 * (hits[there] / (said + true - hits)[there]).mean()) if there.any() else float("nan")
