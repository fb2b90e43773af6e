"""What chance does: the same architecture, size and readings with random weights, as a band over seeded starts."""

import hashlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.metadata import version
from typing import Any

import pandas as pd
from tqdm.auto import tqdm

from clipsx import cache, datasets, paths
from clipsx.analyses import attention, redundancy
from clipsx.clip import Clip
from clipsx.datasets import Sample, Subset
from clipsx.evaluation import explain, summary
from clipsx.evaluation.asked import vocabulary_of
from clipsx.evaluation.stream import Size, stream
from clipsx.load import load
from clipsx.reading import Reading, crossed, readings
from clipsx.statistics import band, spread

STARTS = 20
IMAGES = 60  # of a data set for which nothing is shipped: starts differ more than pictures do
ASKED = crossed(("clip", "maskclip", "clip-surgery"))
RAW = Reading("clip")
KEY = ["architecture", "image_size", "data", "templates"]  # what a shipped band is found by


def shipped() -> pd.DataFrame:
    """The bands that come with the package (`data/chance.csv`, made again by ``clipsx chance``): see `bands`."""
    return pd.read_csv(paths.data() / "chance.csv")


def architecture(clip: Clip) -> str:
    """A name for what a model is without its weights: all shapes, how it pools, its activation."""
    visual, gates = clip.model.visual, {type(m).__name__ for m in clip.model.modules() if "GELU" in type(m).__name__}
    shapes = sorted((name, tuple(p.shape)) for name, p in clip.model.named_parameters())
    return hashlib.sha256(repr((shapes, getattr(visual, "pool_type", ""), sorted(gates))).encode()).hexdigest()[:8]


def again(clip: Clip) -> Callable[[int], Clip]:
    """Random starts of a loaded model's architecture, by seed.

    Errors: ValueError for a model that `load` did not make, or whose configuration alone makes none.
    """
    if clip.recipe is None:
        raise ValueError(f"{clip.name} was not made by clipsx.load, so its random starts are not known.")
    quick = any(type(module).__name__ == "QuickGELU" for module in clip.model.modules()) or None
    name, precision, rule = clip.recipe["name"], clip.recipe["precision"], clip.recipe.get("positions")
    return lambda seed: load(name, f"random:{seed}", clip.device, precision, quick, rule)


def numbers(clip: Clip, samples: Sequence[Sample], asked: Sequence[Reading] = ASKED, size: Size = None) -> pd.DataFrame:
    """What is compared with chance, a number each: reading, measure, value.

    Of maps `summary.MEASURES`, mIoU at the best threshold of these very pictures; of raw maps what redundancy measures;
    of the last block, where there is one, attention inside the object ("attention qk") and what both halves add
    ("cosine ffn", "cosine_text ffn").
    """
    labels = datasets.labels_of(samples)
    words = dict(zip(labels, vocabulary_of(samples).queries, strict=True))
    maps = [explain.measure(clip, labels, asked, words=words), redundancy.measure(clip, labels, [RAW])]
    rows, shared, *looked = stream(clip, samples, [*maps, *attention.measures(clip)], size=size)
    means = summary.summarise(rows, rows, resamples=1)
    names = [name for name in summary.MEASURES if name in means]
    parts = [means.melt(["reading"], names, "measure")]
    others = {name: shared[name].mean() for name in redundancy.SHARED}
    asked_of = {"kind": ("share_others",), "part": ("cosine", "cosine_text")}
    for table, (kind, values) in zip(looked, asked_of.items(), strict=False):  # none of a ResNet
        last = table[table["block"] == table["block"].max()]
        for value in values:
            word = value.replace("share_others", "attention")
            others |= {f"{word} {name}": mean for name, mean in last.groupby(kind)[value].mean().items()}
    parts.append(pd.DataFrame({"reading": str(RAW), "measure": list(others), "value": list(others.values())}))
    return pd.concat(parts, ignore_index=True).assign(**summary.constants(rows, ["reading"]))


def starts(
    make: Callable[[int], Clip],
    samples: Sequence[Sample],
    count: int = STARTS,
    asked: Sequence[Reading] = ASKED,
    size: Size = None,
    words: str | None = "chance",
) -> pd.DataFrame:
    """`numbers` of every start by its `seed`, 0 … count − 1; each is kept in the cache, so that a run goes on.

    make: a model by its seed. Errors: ValueError for fewer than two starts; those of the measures.
    """
    if count < 2:
        raise ValueError(f"A band of chance needs at least two random starts, not {count}.")
    made = [version(name) for name in ("clipsx", "torch", "open_clip_torch")]
    asked = readings(asked)
    decides = [made, datasets.fingerprint_of(samples), list(map(str, asked)), size]
    tables = []
    for seed in tqdm(range(count), words, unit="start", leave=False, disable=words is None):
        clip = make(seed)
        place = cache.entry(
            "chance", repr([architecture(clip), clip.name, seed, str(clip.dtype), clip.positions, *decides]), ".csv"
        )
        if place.read() is None:
            found = numbers(clip, samples, asked, size).assign(architecture=architecture(clip), seed=seed)
            with suppress(OSError), place.write(clip.describe()) as part:  # a full disk costs the next run its time
                found.to_csv(part, index=False)
            tables.append(found)
        else:
            tables.append(pd.read_csv(place.file))
    return pd.concat(tables, ignore_index=True)


def bands(table: pd.DataFrame) -> pd.DataFrame:
    """A row per reading and measure of `starts`: mean, sd, low, high (the range), n starts, and what made it."""
    about = {name: table[name].iloc[0] for name in ("model", *KEY, "positions")}
    about["torch"] = version("torch").split("+")[0]
    groups = table.groupby(["reading", "measure"], sort=False)["value"]
    rows = [dict(zip(("reading", "measure"), key, strict=True)) | band(values) for key, values in groups]  # type: ignore[arg-type]
    return pd.DataFrame(rows).assign(**about)


def chance(clip: Clip, samples: Sequence[Sample], count: int = STARTS, anew: bool = False) -> pd.DataFrame:
    """The bands of a model's architecture on a data set: those that are shipped, else (or `anew`) measured and kept.

    Shipped ones are of the same world, of whatever number of pictures; measured are the first `IMAGES`. Empty, with a
    word, for a model whose random starts are not known. Errors: those of `starts`.
    """
    known, own = shipped(), {"architecture": architecture(clip), "templates": "clip-surgery"}
    own |= {"image_size": "×".join(map(str, clip.image_size)), "data": datasets.described(samples)["data"]}
    known = known.assign(data=known["data"].map(_world))
    found = shipped()[(known[KEY] == pd.Series(own | {"data": _world(own["data"])})[KEY]).all(axis=1)]
    if len(found) and not anew:
        return found.reset_index(drop=True)
    try:
        some = Subset(samples, range(min(len(samples), IMAGES)), f"first {IMAGES}")
        return bands(starts(again(clip), some, count))
    except ValueError as error:
        print(f"Left out: the band of chance. {error}")
        return known[:0]


def beside(models: Sequence[Clip], samples: Sequence[Sample], anew: bool = False) -> tuple[pd.DataFrame, Any]:
    """The bands of the first model (`chance`), and those of all as rows of a summary; None where none is known."""
    found = [chance(clip, samples, anew=anew) for clip in models]
    known = [as_summary(table) for table in found if len(table)]
    return found[0], summary.joined(*known) if known else None


def as_summary(table: pd.DataFrame) -> pd.DataFrame:
    """Bands as `summary.summarise`'s rows are: a row per reading, each measure's mean and where 95 % of starts lie."""
    half = spread(table["sd"], table["n"])
    ends = {"": table["mean"], "_low": table["mean"] - half, "_high": table["mean"] + half}
    parts = [table.assign(value=value, measure=table["measure"] + end) for end, value in ends.items()]
    wide = pd.concat(parts).pivot_table("value", "reading", "measure", sort=False).reset_index()
    about = {name: table[name].iloc[0] for name in ("model", "data", "image_size", "templates") if len(table)}
    weights = f"random, {table['n'].max():.0f} starts" if len(table) else ""
    return wide.assign(**about, weights=weights, protocol="mean over starts, and where 95 % of them lie")


def _world(data: str) -> str:
    """A data set's line without how many pictures it is of."""
    return data.rpartition(" n=")[0] or data
