"""What each part of Unmix-CLIP does: the same training with one thing changed, as one table."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm

from clipsx.analyses import coactivation
from clipsx.clip import Clip
from clipsx.datasets import Sample
from clipsx.evaluation import segment
from clipsx.evaluation.stream import stream
from clipsx.metrics import f1_scores, mean_average_precision
from clipsx.mfi import mean_off_diagonal, similarity_matrix
from clipsx.reading import Reading, crossed
from clipsx.unmix.gather import Gathered, same_positions
from clipsx.unmix.heads import probabilities
from clipsx.unmix.projectors import Projectors
from clipsx.unmix.training import Config, fit, projected_matrix


@dataclass(frozen=True)
class Setting:
    """What is changed: α·λ, the one knob (None: the run's own), negative prompts, pooling kept (class features)."""

    product: float | None = None
    negative: bool = True
    pooled: bool = False


PUBLISHED = Config()
MAIN: dict[str, Setting] = {
    "unmix": Setting(),
    "without MFI loss": Setting(0.0),
    "α·λ 1.4e-5, as published": Setting(PUBLISHED.alpha * PUBLISHED.weight),
    "pooling kept": Setting(pooled=True),
    "pooling kept, without MFI loss": Setting(0.0, pooled=True),
}
SETTINGS = MAIN | {
    "α·λ 2e-4": Setting(2e-4),
    "α·λ 2e-3": Setting(2e-3),
    "α·λ 0.2": Setting(0.2),
    "positive prompts only, no bias": Setting(negative=False),
}


def ablate(
    train: Gathered,
    test: Gathered,
    text: Float[Tensor, "2 N D"],
    names: Sequence[str],
    config: Config,
    settings: Mapping[str, Setting] | None = None,
    seeds: Sequence[int] = (0,),
    held: Float[Tensor, "M D"] | None = None,
    words: str | None = None,
    keep: Callable[[int, Projectors], None] = lambda seed, projectors: None,
) -> tuple[pd.DataFrame, dict[tuple[str, int], Float[np.ndarray, "n N"]]]:
    """A row per setting and seed, and every run's probabilities on the test images.

    text: features of the negative and positive prompts; held: features of labels that were not trained on; words: of a
    line of progress; keep: takes every run's projectors, with their seed. Columns: mAP, CF1, OF1 at 0.5 (%), mean
    off-diagonal before and after, of the held labels too; trained parameters, processor seconds of training, threads,
    which positions were read.
    Errors: those of `fit`; ValueError where the two splits hold other positions.
    """
    same_positions(train, test)
    settings = settings or SETTINGS
    rows, scores = [], {}
    before = mean_off_diagonal(similarity_matrix(text[1]))
    runs = [(name, setting, seed) for name, setting in settings.items() for seed in seeds]
    for name, setting, seed in tqdm(runs, words, unit="run", leave=False, disable=words is None):
        changed = replace(config, negative=setting.negative, seed=seed)
        if setting.product is not None:
            changed = replace(changed, alpha=setting.product / PUBLISHED.weight, weight=PUBLISHED.weight)
        read, asked = ((s.cls[:, None] if setting.pooled else s.positions) for s in (train, test))
        began = time.process_time()  # other work on the machine does not count
        projectors, _ = fit(read, train.present, text, names, changed)
        seconds = time.process_time() - began
        keep(seed, projectors)
        p = probabilities(projectors, asked, text, changed).numpy()  # (n, N)
        row = {"setting": name, "seed": seed, "alpha": changed.alpha, "alpha·lambda": changed.alpha * changed.weight}
        row |= {"mAP": mean_average_precision(p, test.present), **f1_scores(p >= 0.5, test.present)}
        row |= {"before": before, "after": mean_off_diagonal(projected_matrix(projectors, text[1]))}
        if held is not None:
            row["held before"] = mean_off_diagonal(similarity_matrix(held))
            row["held after"] = mean_off_diagonal(projected_matrix(projectors, held))
        row |= {"parameters": sum(p.numel() for p in projectors.parameters()), "seconds": seconds}
        row |= {"threads": torch.get_num_threads(), "read": "class token" if setting.pooled else str(train.reading)}
        rows.append(row)
        scores[name, seed] = p
    kept = {key: getattr(config, key) for key in ("epochs", "batch", "lr", "momentum", "form")}
    kept |= {"trained on": len(train.present), "tested on": len(test.present)}
    protocol = "projectors on frozen CLIP, no augmentation; asymmetric loss: sum over classes, mean over the batch"
    return pd.DataFrame(rows).assign(**kept, protocol=f"{protocol}; absent classes masked; yes from 0.5"), scores


def maps(
    models: Mapping[str, Clip],
    samples: Sequence[Sample],
    labels: Sequence[str],
    words: str = "",
    reading: str | Reading = "clip",
) -> pd.DataFrame:
    """Segmentation and co-activation of several models: a row per model and reading.

    That of `segment.summarise`, with the mean co-activation of `companions` and of `others`.
    models: when (before, after …) → model; words: of a line of progress; reading: of the positions that projectors
    learned from, shown first and read for co-activation. Errors: those of `stream`.
    """
    own = Reading.parse(reading)
    asked = dict.fromkeys((own, replace(own, surgery="code"), *crossed(("clip", "clip-surgery"))))
    rows = []
    for name, clip in models.items():
        measures = [coactivation.measure(clip, labels, own), segment.measure(clip, labels, tuple(asked))]
        pairs, counts = stream(clip, samples, measures, words=f"{words} {name}" if words else None)
        means = pairs.groupby("companion")["score"].mean()
        found = segment.summarise(counts)
        rows.append(found.assign(when=name, companions=means.get(True), others=means.get(False)))
    return pd.concat(rows, ignore_index=True)
