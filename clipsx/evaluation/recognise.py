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
from clipsx.evaluation.asked import Asked, Words
from clipsx.evaluation.stream import Look, Measure
from clipsx.features import DenseFeatures
from clipsx.metrics import f1_scores, mean_average_precision
from clipsx.reading import Reading, readings, require_features
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
    "feature surgery": partial(scored, Reading("clip", surgery="code")),
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
    words: Words | None = None,
    head: tuple[Sequence[str], Callable[[Tensor, Tensor], Tensor]] | None = None,
) -> Measure:
    """A row per image and reading: `scores` of all labels, and which are `present` (1, 0; −1: its sample is unsure).

    Both in the order of `classes`, a label a line. The score is the cosine with the reading's class feature, or what
    feature surgery makes of it where the reading has it (`maps.surgery_scores`). Where the tower is not understood, its
    class feature alone is read. words: what asks for a label, if not its name: the best of several counts. head:
    instead of the class feature prompts and a function, from positions (1, P, D) and labels by every prompt (T, Q, D)
    to scores (1, Q). Errors: ValueError for feature surgery before a head, and for readings that need the texts.
    """
    names, shown = tuple(dict.fromkeys(listed(labels))), readings(asked)
    require_features(shown)
    by = [[prompt] for prompt in head[0]] if head else [templates]
    each = [Asked.by(clip, names, words, prompts) for prompts in by]
    text = torch.stack([one.text for one in each])  # (T, Q, D)
    alone = not clip.methods and all(reading.method == "clip" for reading in shown)
    columns = {reading: reading.columns(None if alone else clip.tower) for reading in shown}
    if head and (alone or any(reading.surgery != "none" for reading in shown)):
        raise ValueError(
            "A head reads the features of all positions, and knows no feature surgery: ask for such readings."
        )

    def scores(look: Look, reading: Reading) -> Float[Tensor, "1 Q"]:
        if head:
            return head[1](look.dense(reading).patches.flatten(1, 2), text)
        return scored(reading, look.seen.cls if alone else look.dense(reading).cls, text[0])

    def rows(look: Look) -> Iterator[dict[str, Any]]:
        there, unsure = look.sample.labels, look.sample.unsure
        present = np.array([-1 if name in unsure else name in there for name in names], np.int8)  # (N,)
        for reading in shown:
            found = each[0].best(scores(look, reading))[0].cpu().numpy()  # (N,)
            yield columns[reading] | {"image": look.name, "scores": found, "present": present}

    about = {"templates": " ".join(head[0]) if head else str(templates), "labels": len(names)}
    about |= {"classes": "\n".join(names)}
    return Measure("recognise", rows, () if alone else shown, about=about, asks={"words": each[0].words})


def as_arrays(table: pd.DataFrame) -> tuple[Scores, Targets]:
    """Scores and targets (images, labels) from rows of one reading of `measure`, both in their order.

    Where samples are unsure, targets are a masked array.
    """
    scores, present = (np.stack(list(table[name])) for name in ("scores", "present"))  # (n, N) both
    unsure = present < 0
    return scores.astype(float), np.ma.masked_array(present > 0, unsure) if unsure.any() else present > 0


def by_protocol(table: pd.DataFrame, rule: str) -> tuple[Scores, Targets]:
    """As `as_arrays`; cosines by a protocol's rule (`OF_COSINES`): other rules are in the scores already."""
    scores, targets = as_arrays(table)
    plain = Reading.parse(str(table["reading"].iloc[0])).surgery == "none"
    made = OF_COSINES.get(rule) if plain else None
    return scores if made is None else made(torch.tensor(scores)).numpy(), targets


def by_rule(table: pd.DataFrame) -> tuple[dict[str, Scores], Targets]:
    """Scores by every rule, and targets, from rows of `measure`: of CLIP's cosines, and of readings by their titles."""
    own = {Reading.parse(str(name)).title: as_arrays(rows) for name, rows in table.groupby("reading", sort=False)}
    cosines, targets = own.pop(Reading("clip").title)
    found = {name: rule(torch.tensor(cosines)).numpy() for name, rule in OF_COSINES.items()}
    return found | {name: scores for name, (scores, _) in own.items()}, targets


def summarise(
    scores: Mapping[str, Scores],
    targets: Targets,
    tuning: tuple[Mapping[str, Scores], Targets] | None = None,
    resamples: int = 300,
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
    share = share_of(targets, absent)
    for name, given in scores.items():
        score = arrays.numeric(given, f"scores of {name!r}")
        chosen = tuning is not None and name in tuning[0]
        threshold = best_threshold(tuning[0][name], tuning[1]) if tuning is not None and chosen else yes
        point = share * mean_average_precision(score, targets)
        drawn = share * draws(lambda w, s=score: mean_average_precision(s, targets, w), len(targets), resamples)
        # An image drawn twice ranks beside itself, which lifts every draw alike: only their spread is used.
        low, high = interval(drawn - np.nanmean(drawn) + point) if len(targets) > 1 else (np.nan, np.nan)
        row = {"rule": name, "mAP": point, "mAP_low": low, "mAP_high": high}
        row |= f1_scores(score >= threshold, targets, absent) | {"threshold": threshold}
        how = "threshold of the best OF1 on other images" if chosen else f"threshold {yes}"
        row |= {"images": len(targets), "labels": present.shape[1], "absent": int((~there).sum())}
        row |= {"without_labels": int((~present.any(axis=1)).sum())}
        found.append(row | {"protocol": f"absent classes {absent}; {how}; {METHOD}, centred"})
    return pd.DataFrame(found)


def share_of(targets: Targets, absent: str) -> float:
    """What the mean over classes with a positive image is multiplied with: their share, where the others count as 0."""
    return 1.0 if absent == "masked" else float(arrays.known(targets)[0].any(axis=0).mean())


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
