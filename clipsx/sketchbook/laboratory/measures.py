"""All that the laboratory asks of one model, on one test world for every cell: both dials 0, seeds no training drew."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from clipsx import mfi
from clipsx.analyses import attention, coactivation, companions, high_norm
from clipsx.clip import Clip
from clipsx.datasets import Sample
from clipsx.evaluation import explain, recognise, summary
from clipsx.evaluation.stream import Look, Measure, Rows, stream
from clipsx.maps import minmax
from clipsx.methods import serving
from clipsx.reading import Reading, crossed, readings
from clipsx.sketchbook.drawings import MATES
from clipsx.sketchbook.world import Sketchbook
from clipsx.statistics import bootstrap, interval

TUNING, TEST, SHOWN = 301, 302, 303  # seeds: thresholds, everything reported, the scenes that are shown
NOUNS, GROUNDS = Sketchbook.NOUNS, Sketchbook.BACKGROUNDS
SETS = {"nouns": NOUNS, "nouns and grounds": (*NOUNS, *GROUNDS)}
CHOICES = readings("clip, maskclip, clip-surgery, clip-surgery+code")  # that are shown
ROW = ["method", "depth", "surgery", "label_set"]
RAW = ("clip", "clip-surgery")
PROMPT = ["a photo of a {}"]
OF_GROUND = "of the true ground's label, on all that is no object; pairs"
Found = Iterator[dict[str, object]]


def world(seed: int, length: int, size: int, objects: tuple[int, int] = (1, 4)) -> Sketchbook:
    """The world on which all cells are compared: no company, no home ground."""
    return Sketchbook(seed, length, co_occurrence=0.0, background_bias=0.0, size=size, objects=objects)


def asked(clip: Clip, depths: Sequence[int] | None = None) -> tuple[Reading, ...]:
    """Every method without and with feature surgery; CLIP Surgery at these depths (None: at every one)."""
    deep = serving("clip-surgery", clip.tower).blocks is None
    every = depths or range(1, clip.tower.blocks + 1)
    surgery = [Reading("clip-surgery", d, form) for d in (every if deep else [None]) for form in ("none", "code")]
    return (*crossed(("clip", "maskclip")), *surgery)


def measure(
    clip: Clip,
    length: int = 150,
    size: int | None = None,
    depths: Sequence[int] | None = None,
    words: str | None = None,
) -> dict[str, pd.DataFrame]:
    """Three tables of a model: "maps" by method, depth, surgery and label set; "blocks"; "measures", a row each.

    length: scenes of the test world, and as many others to choose thresholds on; size: pixels a side that scenes are
    drawn at and read at (default: the model's own); depths: of CLIP Surgery (default: every one); words: of a line of
    progress. Each scene goes through the tower once. All in % but cosines and what says otherwise; intervals are 95 %
    image bootstraps.
    Source: design of the grid in `data/laboratory/grid.toml`; measures are those of `evaluation` and `analyses`.
    """
    size = size or clip.image_size[0]
    maps = explain.measure(clip, SETS, asked(clip, depths))
    test = world(TEST, length, size)
    measures = [maps, recognise.measure(clip, NOUNS), coactivation.measure(clip, NOUNS), grounds(clip, test)]
    if attention.has_attention(clip):
        measures += [attention.shares(clip), attention.cosines(clip), high_norm.measure(clip)]
    tested, scores, active, around, *inside = stream(clip, test, measures, size=size, words=words)
    (tuned,) = stream(clip, world(TUNING, length, size), [maps], size=size, words=words)
    rows = [*_recognition(clip, size, length), *_company(clip, scores, active)]
    rows += _by("mSC of the ground, {}", around, "method", "msc", OF_GROUND)
    rows += [*_attention(*inside[:2]), *_tokens(inside[2])] if inside else []
    rows += _home(clip, size, length)
    about = {name: scores[name].iloc[0] for name in ("model", "weights", "data", "templates")}
    empty = pd.DataFrame(columns=["kind", "block", "share_others", "chance", "part", "cosine"])
    blocks = attention.by_block(*inside[:2]) if inside else empty
    found = {"maps": summary.summarise(tested, tuned, ROW), "blocks": blocks}
    return found | {"measures": pd.DataFrame(rows).assign(**about)}


def on_test(clip: Clip, length: int = 150) -> pd.DataFrame:
    """What a model's maps are worth on the test world, read at its own size: `summary.summarise`, threshold fixed."""
    test = world(TEST, length, clip.image_size[0])
    (seen,) = stream(clip, test, [explain.measure(clip, SETS)], words="measuring")
    return summary.summarise(seen, by=ROW)


def _row(name: str, values: Float[np.ndarray, " P"], images: Iterable[object], what: str) -> dict[str, object]:
    """One measure: the mean over pairs with its 95 % image bootstrap."""
    mean, draws = bootstrap(np.asarray(values, float), np.asarray(list(images)))
    low, high = interval(draws)
    return {"measure": name, "value": mean, "low": low, "high": high, "what": what}


def _by(name: str, table: pd.DataFrame, column: str, value: str, what: str) -> Found:
    """One measure for each of a column's entries, which stands in its name."""
    for entry, rows in table.groupby(column, sort=False):
        yield _row(name.format(entry), rows[value].to_numpy(), rows["image"], what)


def _recognition(clip: Clip, size: int, length: int) -> Found:
    """Top-1 on scenes of one object and mAP on scenes of one to three, by cosine with "a photo of a {noun}"."""
    measures = [recognise.measure(clip, NOUNS, templates=PROMPT)]
    one, several = (
        recognise.as_arrays(stream(clip, world(TEST, length, size, objects), measures, size=size)[0])
        for objects in ((1, 1), (1, 3))
    )
    right = one[1][np.arange(length), one[0].argmax(axis=1)]
    yield _row("top-1", 100.0 * right, range(length), "scenes of one object, 'a photo of a {noun}'")
    found = recognise.summarise({"cosine": several[0]}, several[1]).iloc[0]
    what = "scenes of one to three, absent masked"
    yield {"measure": "mAP", "value": found["mAP"], "low": found["mAP_low"], "high": found["mAP_high"], "what": what}


def mates() -> Bool[np.ndarray, "N N"]:
    """Which nouns are companions, in the order of `NOUNS`."""
    return np.array([[MATES[a] == b for b in NOUNS] for a in NOUNS])


def _company(clip: Clip, scores: pd.DataFrame, active: pd.DataFrame) -> Found:
    """Companions against other pairs: in text, in maps, in what the class token says of an object that is not there."""
    pairs, text = mates(), clip.encode_labels(NOUNS)  # (N, D)
    cosines = np.asarray(mfi.similarity_matrix(text).cpu(), float)  # (N, N)
    found = companions.follow(pairs.astype(float), cosines, pairs)
    off = ~np.eye(len(NOUNS), dtype=bool)
    # Pairs are few and fixed: the interval is over classes, each with its one mate against its other pairs.
    gaps = np.mean(cosines, axis=1, where=pairs) - np.mean(cosines, axis=1, where=off & ~pairs)  # (N,)
    what = "cosine of label texts; interval over classes"
    yield _row("similarity, companions − others", gaps, range(len(gaps)), what)
    yield {"measure": "similarity, all pairs", "value": mfi.mean_off_diagonal(cosines), "what": "cosine of label texts"}
    yield {"measure": "similarity, Mantel p", "value": found["p"], "what": "companions or not, against similarity"}
    away = active[~active["companion"]]
    is_mate = np.array([MATES[a] == b for a, b in zip(away["a"], away["b"], strict=True)])
    wide = away.assign(mate=is_mate).pivot_table("score", ["image", "a"], "mate").dropna()
    gaps, images = (wide[True] - wide[False]).to_numpy(), wide.index.get_level_values("image")
    yield _row("co-activation, companions − others", gaps, images, "raw map of an absent label inside an object, 0…1")
    score, present = recognise.as_arrays(scores)  # (n, N) both
    place = [NOUNS.index(MATES[noun]) for noun in NOUNS]
    rows = [(i, n) for i, n in zip(*np.nonzero(present), strict=True) if not present[i, place[n]]]
    wins = [(score[i, place[n]] > np.delete(score[i], np.flatnonzero(present[i] | pairs[n]))).mean() for i, n in rows]
    what = "class token; 50 = company makes no errors"
    yield _row("absent companion above other absent nouns", 100 * np.array(wins), [i for i, _ in rows], what)


def grounds(clip: Clip, test: Sketchbook) -> Measure:
    """`explain` of a ground's own label: the background is the object that is asked for."""
    own = explain.measure(clip, GROUNDS, RAW)

    def rows(look: Look) -> Rows:
        around = ~np.any(list(look.sample.masks.values()), axis=0)  # (H, W)
        ground = test.scene(look.number).ground
        sample = Sample(look.sample.image, (ground,), {ground: around}, name=look.name)
        return own.rows(replace(look, sample=sample))

    return replace(own, name="grounds", rows=rows)


def _home(clip: Clip, size: int, length: int) -> Found:
    """mSC of scenes of one object, on its home ground and on any: does a ground that goes with the object light up?"""
    for where, bias in (("at home", 1.0), ("anywhere", 0.0)):
        alone = Sketchbook(TEST, length, co_occurrence=0.0, background_bias=bias, size=size, objects=(1, 1))
        (table,) = stream(clip, alone, [explain.measure(clip, NOUNS, RAW)], size=size)
        yield from _by(f"mSC {where}, {{}}", table, "method", "msc", "scenes of one object; pairs")


def _attention(shares: pd.DataFrame, cosines: pd.DataFrame) -> Found:
    """Of the last block, with intervals: attention inside an object's patches' own object, cosines of sub-modules."""
    ended, parts = (table[table["block"] == table["block"].max()] for table in (shares, cosines))
    name, what = "attention inside the object, all patches, {}", "last block, without the patch's own cell; %"
    yield from _by(name, ended, "kind", "share_others", what)
    name, what = "cosine of the last {} with the class feature", "class token through norm and projection"
    yield from _by(name, parts, "part", "cosine", what)


def _tokens(patches: pd.DataFrame) -> Found:
    """Patches of a high norm after the last block: how many, where, and how much of the preference they carry."""
    table = high_norm.summarise(patches)
    each = table.drop_duplicates("image")
    for side in ("background", "object"):
        name = f"high-norm patches on {side}"
        yield _row(name, each[f"{side}_share"].to_numpy(), each["image"], "% of patches; 3 robust sd above the median")
    images, whole, rest = table["image"], table["msc"].to_numpy(), table["msc_without"].to_numpy()
    yield _row("mSC on patches, raw", whole, images, "mean over pairs, patches weighed by what the mask covers")
    yield _row("mSC without high-norm background, change", rest - whole, images, "min-max without them")


def shown(clip: Clip, size: int | None = None, count: int = 8) -> dict[str, Tensor]:
    """Maps of all nouns for scenes that every cell is shown on: "method surgery" → (count, h, w, N) float16, 0…1."""
    samples = world(SHOWN, count, size or clip.image_size[0])
    text = clip.encode_labels(NOUNS)  # (N, D)
    images = torch.cat([clip.prepare(sample.image, size=size) for sample in samples])  # (count, 3, H, W)
    seen = clip.encode_readings(images, CHOICES)
    maps = {r: minmax(r.similarities(seen[str(r)], text)) for r in CHOICES}  # (count, h, w, N) each
    return {f"{r.method} {r.surgery}": map.half().contiguous() for r, map in maps.items()}
