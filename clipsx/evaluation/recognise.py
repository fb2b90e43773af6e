"""Multi-label recognition: scores of every label, without training, and what they are worth."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from clipsx import arrays
from clipsx.clip import Clip
from clipsx.datasets.lines import listed
from clipsx.evaluation.stream import Look, Measure
from clipsx.features import DenseFeatures
from clipsx.metrics import f1_scores, mean_average_precision
from clipsx.reading import Reading, readings
from clipsx.statistics import METHOD, draws, interval

Scores = Any  # (n, N), numbers
Targets = Any  # (n, N), 0 or 1, as `arrays.binary` takes them


def scored(reading: Reading, cls: Float[Tensor, "n D"], text: Float[Tensor, "N D"]) -> Float[Tensor, "n N"]:
    """Cosines of unit class features with labels, or what the reading's feature surgery makes of them."""
    return reading.similarities(DenseFeatures(cls, cls[:, None, None]), text)[:, 0, 0]


OF_COSINES: dict[str, Callable[[Float[Tensor, "n N"]], Float[Tensor, "n N"]]] = {
    "cosine": lambda cosines: cosines,
    "softmax(100·cosine)": lambda cosines: (100 * cosines).softmax(dim=1),
    "centring": lambda cosines: cosines - cosines.mean(dim=1, keepdim=True),
}
RULES: dict[str, Callable[[Float[Tensor, "n D"], Float[Tensor, "N D"]], Float[Tensor, "n N"]]] = {
    **{name: lambda cls, text, rule=rule: rule(cls @ text.T) for name, rule in OF_COSINES.items()},
    "feature surgery (code)": partial(scored, Reading("clip", surgery="code")),
    "feature surgery (paper)": partial(scored, Reading("clip", surgery="paper")),
}
"""Rules without training: unit class features (n, D) and label features (N, D) → a score per image and label.

Centring is feature surgery with all weights 1: what is left of its gain when the weights say nothing."""


def ruled(cls: Float[Tensor, "n D"] | Float[np.ndarray, "n D"], text: Float[Tensor, "N D"]) -> dict[str, Scores]:
    """The scores of every one of `RULES`; rows are brought to unit length first."""
    cls = cls if isinstance(cls, Tensor) else torch.from_numpy(np.asarray(cls, dtype=np.float32))
    cls, text = (F.normalize(rows.float().cpu(), dim=1) for rows in (cls, text))
    return {name: rule(cls, text).numpy() for name, rule in RULES.items()}


def measure(
    clip: Clip,
    labels: Sequence[str],
    asked: str | Sequence[str | Reading] = "clip",
    templates: str | Sequence[str] = "clip-surgery",
) -> Measure:
    """A row per image, reading and label: `score` of the reading's class feature, and whether the label is `present`
    (None where its sample is unsure).

    The score is the cosine, or what feature surgery makes of it where the reading has it (`maps.surgery_scores`). Where
    the tower is not understood, its class feature alone is read.
    """
    names, shown = tuple(dict.fromkeys(listed(labels))), readings(asked)
    text = clip.encode_labels(names, templates)  # (N, D)
    alone = not clip.methods and all(reading.method == "clip" for reading in shown)
    columns = {reading: reading.columns(None if alone else clip.tower) for reading in shown}

    def rows(look: Look) -> Iterator[dict[str, Any]]:
        for reading in shown:
            cls = look.seen.cls if alone else look.dense(reading).cls  # (1, D)
            there, unsure = look.sample.labels, look.sample.unsure
            for label, score in zip(names, scored(reading, cls, text)[0].tolist(), strict=True):
                present = None if label in unsure else label in there
                yield columns[reading] | {"image": look.name, "label": label, "score": score, "present": present}

    about = {"templates": str(templates), "labels": len(names)}
    return Measure("recognition", rows, () if alone else shown, about=about, asks={"names": names})


def as_arrays(table: pd.DataFrame, value: str = "score") -> tuple[Scores, Targets]:
    """Scores and targets (images, labels) from rows of one reading of `measure`, both in the order of the rows.

    Where samples are unsure, targets are a masked array.
    """
    shape, unsure = (-1, table["label"].nunique()), table["present"].isna().to_numpy()
    present = table["present"].eq(True).to_numpy(bool).reshape(shape)
    targets = np.ma.masked_array(present, unsure.reshape(shape)) if unsure.any() else present
    return table[value].to_numpy().reshape(shape), targets


def by_rule(table: pd.DataFrame) -> tuple[dict[str, Scores], Targets]:
    """Scores by every rule, and targets, from rows of `measure`: of CLIP's cosines, and of readings with surgery."""
    own = {str(name): as_arrays(rows) for name, rows in table.groupby("reading", sort=False)}
    cosines, targets = own.pop("clip")
    found = {name: rule(torch.tensor(cosines)).numpy() for name, rule in OF_COSINES.items()}
    return found | {name: scores for name, (scores, _) in own.items()}, targets


def summarise(
    scores: Mapping[str, Scores],
    targets: Targets,
    tuning: tuple[Mapping[str, Scores], Targets] | None = None,
    resamples: int = 300,
    seed: int = 0,
    absent: str = "masked",
    yes: float = 0.5,
) -> pd.DataFrame:
    """A row per rule: mAP with its 95 % image-bootstrap interval, CF1, OF1, and how both were decided; all in %.

    scores: rule → (n, N); targets: 0 / 1, masked where not known. The interval's draws are centred on the mAP, as
    drawing an image twice lifts them. CF1 and OF1 need yes or no: for a rule in `tuning` (other images) at the one
    threshold with the best OF1 there, else at `yes`. absent: classes without a positive image are "masked" or count
    "as 0"; their number is printed, and that of images without any label.
    Errors: ValueError for no image, unlike shapes, scores that are not finite, targets that are not 0 or 1, no positive
    at all.
    """
    for score in scores.values():
        arrays.alike(score, targets, ("scores", "targets"))
    present, _ = arrays.known(targets)
    if not present.any():
        raise ValueError("There is no image with any of the labels: nothing to recognise.")
    found, there = [], present.any(axis=0)
    share = 1.0 if absent == "masked" else there.mean()
    for name, given in scores.items():
        score = arrays.numeric(given, f"scores of {name!r}")
        chosen = tuning is not None and name in tuning[0]
        threshold = best_threshold(tuning[0][name], tuning[1]) if tuning is not None and chosen else yes
        point = share * mean_average_precision(score, targets)
        drawn = share * draws(lambda w, s=score: mean_average_precision(s, targets, w), len(targets), resamples, seed)
        # An image drawn twice ranks beside itself, which lifts every draw alike: only their spread is used.
        low, high = interval(drawn - np.nanmean(drawn) + point) if len(targets) > 1 else (np.nan, np.nan)
        row = {"rule": name, "mAP": point, "mAP_low": low, "mAP_high": high}
        row |= f1_scores(score >= threshold, targets, absent) | {"threshold": threshold}
        how = "threshold of the best OF1 on other images" if chosen else f"threshold {yes}"
        row |= {"images": len(targets), "labels": present.shape[1], "absent": int((~there).sum())}
        row |= {"without_labels": int((~present.any(axis=1)).sum())}
        found.append(row | {"protocol": f"absent classes {absent}; {how}; {METHOD}, centred"})
    return pd.DataFrame(found)


def best_threshold(scores: Scores, targets: Targets) -> float:
    """The one score at or above which saying yes gives the best OF1."""
    arrays.alike(scores, targets, ("scores", "targets"))
    targets, known = arrays.known(targets)
    scores, targets = arrays.numeric(scores)[known], targets[known]  # (pairs,) each
    order = np.argsort(-scores, kind="stable")
    falling, hit = scores[order], targets[order]
    f1 = 2 * hit.cumsum() / (np.arange(1, len(hit) + 1) + hit.sum())
    last = np.append(falling[1:] != falling[:-1], True)  # equal scores are said together
    return float(falling[np.argmax(np.where(last, f1, -1))])
