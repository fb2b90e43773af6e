"""Projectors for any model and data set, trained over several seeds and saved, with their tables (`clipsx unmix`)."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from clipsx import datasets
from clipsx.clip import Clip
from clipsx.datasets import Sample
from clipsx.evaluation.asked import vocabulary_of
from clipsx.reading import Reading
from clipsx.unmix.ablation import Setting, maps
from clipsx.unmix.gather import gather
from clipsx.unmix.heads import Unmixed
from clipsx.unmix.projectors import Projectors
from clipsx.unmix.study import compare
from clipsx.unmix.training import Config

NAME, BEFORE = "unmix", "before"
MEASURED = {"mAP": "mAP", "CF1": "CF1", "OF1": "OF1", "after": "mean similarity off the diagonal"}


def run(
    clip: Clip,
    train: Sequence[Sample],
    test: Sequence[Sample],
    out: str | Path,
    reading: str | Reading | None = None,
    size: int | None = None,
    seeds: Sequence[int] = range(5),
    config: Config | None = None,
    words: str | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Train on one part, measure on another: recognition, and zero-shot segmentation where there are masks.

    Features of both parts are gathered once and kept (`gather`); the projectors of every seed are saved as
    `out/unmix-seed…` (`Unmixed.load`). Tables: a row per measure (of segmentation: per reading) with `before` (CLIP
    itself, by a cosine), mean and sd over `seeds`, and their difference; that of mAP is paired, with a 95 % interval
    over images and seeds.
    Errors: those of `gather` and `fit`.
    """
    config, (learned, asked) = (
        config or Config(),
        (gather(clip, some, size=size, words=words, reading=reading) for some in (train, test)),
    )
    heads: dict[str, Clip] = {}

    def keep(seed: int, projectors: Projectors) -> None:
        head = Unmixed(clip, projectors, learned.labels, replace(config, seed=seed), learned.reading, learned.trained)
        head.save(Path(out) / f"{NAME}-seed{seed}")
        heads[f"seed {seed}"] = head.clip

    rows, gaps, _ = compare(clip, learned, asked, config, {NAME: Setting()}, seeds, words, keep)
    before = {"mAP": rows["cosine mAP"].iloc[0], "after": rows["before"].iloc[0]}
    gap = gaps[gaps["against"] == "cosine"].iloc[0]
    found = pd.DataFrame(
        {"measure": title, "before": before.get(name), "mean": rows[name].mean(), "sd": rows[name].std()}
        | ({key: gap[key] for key in ("difference", "low", "high", "verdict")} if name == "mAP" else {})
        for name, title in MEASURED.items()
    )
    told = {"seeds": len(rows), "seconds": rows["seconds"].mean(), "model": clip.name, "weights": clip.weights}
    fixed = ("parameters", "threads", "read", "trained on", "tested on", "epochs", "batch", "lr", "protocol")
    told |= {name: rows[name].iloc[0] for name in fixed} | {k: asked.about[k] for k in ("data", "image_size")}
    told["words"] = vocabulary_of(test).name
    samples = test if asked.samples is None else asked.samples
    if not datasets.has(samples, "masks"):
        return found.assign(**told), pd.DataFrame()
    measured = maps({BEFORE: clip} | heads, samples, learned.labels, words or "", learned.reading)
    each = measured.pivot_table("mIoU", "reading", "when", sort=False)  # a column for CLIP itself and for each seed
    after = each.drop(columns=BEFORE)
    table = pd.DataFrame({"before": each[BEFORE], "mean": after.mean(axis=1), "sd": after.std(axis=1)})
    table["difference"] = table["mean"] - table["before"]
    return found.assign(**told), table.reset_index().assign(measure="mIoU", **told)
