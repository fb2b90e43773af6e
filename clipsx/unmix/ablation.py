"""What each part of Unmix-CLIP does: the same training with one thing changed, as one table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
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
from clipsx.reading import crossed
from clipsx.unmix.gather import Gathered
from clipsx.unmix.heads import probabilities
from clipsx.unmix.training import Config, fit, projected_matrix


@dataclass(frozen=True)
class Setting:
    """What is changed: the factor on α (so on α·λ, the one knob), negative prompts, pooling kept (class features)."""

    alpha: float = 1.0
    negative: bool = True
    pooled: bool = False


SETTINGS: dict[str, Setting] = {
    "unmix": Setting(),
    "without MFI loss": Setting(alpha=0.0),
    "α·λ / 100": Setting(alpha=0.01),
    "α·λ / 10": Setting(alpha=0.1),
    "α·λ × 10": Setting(alpha=10.0),
    "pooling kept": Setting(pooled=True),
    "pooling kept, without MFI loss": Setting(alpha=0.0, pooled=True),
    "positive prompts only": Setting(negative=False),
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
) -> tuple[pd.DataFrame, dict[tuple[str, int], Float[np.ndarray, "n N"]]]:
    """A row per setting and seed, and every run's probabilities on the test images.

    text: features of the negative and positive prompts; held: features of labels that
    were not trained on; words: of a line of progress. Columns: mAP, CF1, OF1 at 0.5 (%), mean off-diagonal before and
    after, of the held labels too. Errors: those of `fit`.
    """
    settings = settings or SETTINGS
    rows, scores = [], {}
    before = mean_off_diagonal(similarity_matrix(text[1]))
    runs = [(name, setting, seed) for name, setting in settings.items() for seed in seeds]
    for name, setting, seed in tqdm(runs, words, unit="run", leave=False, disable=words is None):
        changed = replace(config, alpha=config.alpha * setting.alpha, negative=setting.negative, seed=seed)
        read, asked = ((s.cls[:, None] if setting.pooled else s.positions) for s in (train, test))
        projectors, _ = fit(read, train.present, text, names, changed)
        p = probabilities(projectors, asked, text, changed).numpy()  # (n, N)
        row = {"setting": name, "seed": seed, "alpha": changed.alpha, "alpha·lambda": changed.alpha * changed.weight}
        row |= {"mAP": mean_average_precision(p, test.present), **f1_scores(p >= 0.5, test.present)}
        row |= {"before": before, "after": mean_off_diagonal(projected_matrix(projectors, text[1]))}
        if held is not None:
            row["held before"] = mean_off_diagonal(similarity_matrix(held))
            row["held after"] = mean_off_diagonal(projected_matrix(projectors, held))
        rows.append(row)
        scores[name, seed] = p
    kept = {key: getattr(config, key) for key in ("epochs", "batch", "lr", "momentum", "weight", "form")}
    protocol = "projectors on frozen CLIP, no augmentation; asymmetric loss: sum over classes, mean over the batch"
    return pd.DataFrame(rows).assign(**kept, protocol=f"{protocol}; absent classes masked; yes from 0.5"), scores


def over_seeds(table: pd.DataFrame) -> pd.DataFrame:
    """A row per setting: mean and standard deviation (ddof 1) over the seeds of `ablate`'s rows."""
    measured = [name for name in ("mAP", "CF1", "OF1", "after", "held after") if name in table]
    groups = table.groupby("setting", sort=False)
    spread = groups[measured].std().add_suffix(" std")
    fixed = groups[[name for name in ("alpha·lambda", "before", "held before") if name in table]].first()
    return pd.concat([fixed, groups[measured].mean(), spread], axis=1).assign(seeds=groups.size()).reset_index()


def maps(models: Mapping[str, Clip], samples: Sequence[Sample], labels: Sequence[str], words: str = "") -> pd.DataFrame:
    """Segmentation and co-activation of several models: a row per model and reading.

    That of `segment.summarise`, with the mean co-activation of `companions` and of `others`.
    models: when (before, after …) → model; words: of a line of progress. Errors: those of `stream`.
    """
    rows, asked = [], crossed(("clip", "clip-surgery"))
    for name, clip in models.items():
        measures = [coactivation.measure(clip, labels), segment.measure(clip, labels, asked)]
        pairs, counts = stream(clip, samples, measures, words=f"{words} {name}" if words else None)
        means = pairs.groupby("companion")["score"].mean()
        found = segment.summarise(counts)
        rows.append(found.assign(when=name, companions=means.get(True), others=means.get(False)))
    return pd.concat(rows, ignore_index=True)
