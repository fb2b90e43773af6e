"""The paper's comparisons on both towers over five seeds: tables that are shipped, and made again."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float, Shaped

from clipsx import datasets, load, paths
from clipsx.clip import Clip
from clipsx.evaluation.recognise import ruled, summarise
from clipsx.metrics import mean_average_precision
from clipsx.statistics import draws, interval, verdict
from clipsx.unmix.ablation import MAIN, SETTINGS, Setting, ablate
from clipsx.unmix.gather import Gathered, gather
from clipsx.unmix.projectors import PROMPTS, Projectors, prompt_features
from clipsx.unmix.training import Config

Scores = Mapping[tuple[str, int], Float[np.ndarray, "n N"]]
RUN = Config(epochs=20, batch=8, lr=5e-4, alpha=0.1)  # at the published 0.002 the built-in models learn less
UNSEEN = ("red", "blue", "green", "yellow", "grass", "water", "sand", "sky", "brick", "snow")  # not trained on
CHOSEN = 2000  # images at most, on which thresholds are chosen
OTHER = {name: SETTINGS[name] for name in ("unmix", "without MFI loss")}


class Case(NamedTuple):
    """A model at a size (None: its own), the positions that are read, what is changed."""

    model: str
    size: int | None
    reading: str
    settings: Mapping[str, Setting]


CASES = (
    Case("sketchbook", None, "clip", SETTINGS),
    Case("sketchbook", None, "maskclip", OTHER),
    Case("sketchbook-rn", None, "maskclip", SETTINGS),
    Case("sketchbook-rn", None, "clip", OTHER),
    Case("lab-resnet-s7", 160, "maskclip", MAIN),
    Case("lab-resnet-s7", 160, "clip", OTHER),
)
PAIRS = (
    ("unmix", "without MFI loss"),
    ("unmix", "pooling kept"),
    ("without MFI loss", "pooling kept, without MFI loss"),
    ("unmix", "cosine"),
    ("without MFI loss", "cosine"),
)


def study(
    cases: Sequence[Case] = CASES,
    seeds: Sequence[int] = range(5),
    train: int = 700,
    test: int = 300,
    run: Config = RUN,
    words: str | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows of `ablate` for every case, and of `against`, on sketchbook scenes; about 25 minutes on one core.

    train, test: how many scenes to learn from and to test on; words: of a line of progress.
    """
    rows, differences = [], []
    (images, _), (_, asked) = (datasets.tuning_and_test("sketchbook", None, count) for count in (train, test))
    for case in cases:
        clip = load(case.model)
        learned, held = (gather(clip, split, size=case.size, words=words, reading=case.reading)
                         for split in (images, asked))  # fmt: skip
        table, found, _ = compare(clip, learned, held, run, case.settings, seeds, words)
        about = {"image_size": held.about["image_size"], "weights": clip.weights, "data": held.about["data"]}
        told = {"model": case.model, "positions read": case.reading}
        rows.append(pd.DataFrame(told, index=table.index).join(table).assign(**about))
        differences.append(pd.DataFrame(told, index=found.index).join(found))
    return pd.concat(rows, ignore_index=True), pd.concat(differences, ignore_index=True)


def compare(
    clip: Clip,
    train: Gathered,
    test: Gathered,
    run: Config = RUN,
    settings: Mapping[str, Setting] = MAIN,
    seeds: Sequence[int] = (0,),
    words: str | None = None,
    keep: Callable[[int, Projectors], None] = lambda seed, projectors: None,
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Projectors by every setting and seed beside rules without training: rows of `ablate`, `against`, the ranking.

    The rows have the mAP of a plain cosine ("cosine mAP") and hold labels that are not trained on (`UNSEEN`). The
    ranking is `recognise.summarise` of the rules, whose thresholds are chosen on `train`, and of the first seed's runs.
    """
    names, present = train.labels, test.present
    unseen = clip.encode_labels(UNSEEN, [PROMPTS[1]])
    text = prompt_features(clip, names)  # (2, N, D)
    rows, scores = ablate(train, test, text, names, run, settings, seeds, unseen, words, keep)
    tuning, plain = (ruled(part, clip.encode_labels(names)) for part in (train.cls[:CHOSEN], test.cls))
    first = {name: p for (name, seed), p in scores.items() if seed == seeds[0]}
    ranking = summarise(plain | first, present, (tuning, train.present[:CHOSEN]))
    rows["cosine mAP"] = mean_average_precision(plain["cosine"], present)
    return rows, against(scores, present, plain), ranking


def shipped() -> tuple[pd.DataFrame, pd.DataFrame]:
    """What `study` gave with its defaults, as it is in data/unmix."""
    folder = paths.data() / "unmix"
    return pd.read_csv(folder / "ablation.csv"), pd.read_csv(folder / "differences.csv")


def against(
    scores: Scores,
    present: Shaped[np.ndarray, "n N"],
    plain: Mapping[str, Float[np.ndarray, "n N"]] | None = None,
    pairs: Sequence[tuple[str, str]] = PAIRS,
    resamples: int = 300,
) -> pd.DataFrame:
    """Paired differences in mAP between settings, a row per pair that is there: value, difference, interval, verdict.

    scores: of `ablate`, by setting and seed; plain: rules without training. The interval is of 95 %, over images and
    seeds, each drawn with replacement; both sides are drawn alike, and the draws centred on the difference. With one
    seed it knows nothing of seeds.
    """
    every = {name: {seed: p for (other, seed), p in scores.items() if other == name} for name, _ in scores}
    every |= {name: {None: p} for name, p in (plain or {}).items()}
    point = {name: {seed: mean_average_precision(p, present) for seed, p in of.items()} for name, of in every.items()}
    used = {name for pair in pairs if set(pair) <= set(every) for name in pair}
    drawn = {
        name: {s: draws(lambda w, p=p: mean_average_precision(p, present, w), len(present), resamples)
               for s, p in every[name].items()}
        for name in used
    }  # fmt: skip
    rows = []
    for one, other in (pair for pair in pairs if set(pair) <= used):
        shared = [s for s in every[one] if s in every[other] or None in every[other]]
        if not shared:
            continue
        mates = [None if None in every[other] else s for s in shared]
        gaps = np.stack([drawn[one][s] - drawn[other][m] for s, m in zip(shared, mates, strict=True)])  # (S, R)
        counts = np.random.default_rng(0).multinomial(len(shared), [1 / len(shared)] * len(shared), resamples).T
        mixed = (gaps * counts).sum(axis=0) / len(shared)  # (R,)
        value = float(np.mean([point[one][s] for s in shared]))
        gap = value - float(np.mean([point[other][m] for m in mates]))
        low, high = interval(mixed - np.nanmean(mixed) + gap) if len(present) > 1 else (np.nan, np.nan)
        row = {"verdict": verdict(low, high), "what": one, "measure": "mAP (%)", "against": other, "value": value}
        rows.append(row | {"difference": gap, "low": low, "high": high, "seeds": len(shared), "images": len(present)})
    return pd.DataFrame(rows)


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """A row per model, positions and setting of `study`: means over seeds, and the standard deviation of mAP (ddof 1).

    Percent and seconds are told to one decimal: the number of threads moves the next.
    """
    groups = table.groupby(["model", "positions read", "setting"], sort=False)
    means = groups[["mAP", "cosine mAP", "seconds", "after", "held after"]].mean()
    means.insert(1, "mAP std", groups["mAP"].std())
    fixed = groups[["parameters", "threads", "trained on", "tested on", "image_size"]].first()
    found = means.assign(seeds=groups.size()).join(fixed).reset_index()
    return found.round({"mAP": 1, "mAP std": 1, "cosine mAP": 1, "seconds": 1, "after": 3, "held after": 3})
