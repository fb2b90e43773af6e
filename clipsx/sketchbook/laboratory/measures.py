"""All that the laboratory asks of one model, on one test world for every cell: both dials 0, seeds no training drew."""

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from clipsx import mfi
from clipsx.analyses import attention
from clipsx.analyses.high_norm import high_norm
from clipsx.clip import Clip
from clipsx.datasets import Sample
from clipsx.evaluation import explain
from clipsx.evaluation.recognise import recognise
from clipsx.maps import minmax
from clipsx.metrics import bootstrap, interval
from clipsx.sketchbook.drawings import MATES
from clipsx.sketchbook.world import Sketchbook

TUNING, TEST, SHOWN = 301, 302, 303  # seeds: thresholds, everything reported, the scenes that are shown
SETS = {"nouns": Sketchbook.NOUNS, "nouns and grounds": (*Sketchbook.NOUNS, *Sketchbook.BACKGROUNDS)}
CHOICES = (("clip", "none"), ("maskclip", "none"), ("clip-surgery", "none"), ("clip-surgery", "code"))  # that are shown
ROW = ["method", "depth", "surgery", "label_set"]
Progress = Callable[[int, int], None]


def world(seed: int, length: int, size: int, objects: tuple[int, int] = (1, 4)) -> Sketchbook:
    """The world on which all cells are compared: no company, no home ground."""
    return Sketchbook(seed, length, co_occurrence=0.0, background_bias=0.0, size=size, objects=objects)


def measure(
    clip: Clip,
    length: int = 150,
    size: int | None = None,
    depths: Sequence[int] | None = None,
    on_progress: Progress | None = None,
) -> dict[str, pd.DataFrame]:
    """Three tables of a model: "maps" by method, depth, surgery and label set; "blocks"; "measures", a row each.

    length: scenes of the test world, and as many others to choose thresholds on; size: pixels a side that scenes are
    drawn at and read at (default: the model's own); depths: of CLIP Surgery (default: every one). All in % but cosines
    and what says otherwise; intervals are 95 % image bootstraps.
    Source: design of the grid in `data/laboratory/grid.toml`; measures are `evaluate`'s, `attention`'s and `mfi`'s.
    """
    size = size or clip.image_size[0]
    tuning, test = world(TUNING, length, size), world(TEST, length, size)
    blocks, attended = _attention(clip, test)
    if on_progress:
        on_progress(1, 3)
    rows = [*_recognition(clip, size, length), *_company(clip, test), *_grounds(clip, test), *attended]
    rows += [*_tokens(clip, test), *_home(clip, size, length)]
    if on_progress:
        on_progress(2, 3)
    about = explain.provenance(clip, test, "clip-surgery")
    found = {"maps": maps(clip, tuning, test, depths), "blocks": blocks, "measures": pd.DataFrame(rows).assign(**about)}
    if on_progress:
        on_progress(3, 3)
    return found


def maps(clip: Clip, tuning: Sketchbook, test: Sketchbook, depths: Sequence[int] | None = None) -> pd.DataFrame:
    """mSC, opposite pairs and mIoU of every method, CLIP Surgery at all depths, by label set of feature surgery."""
    tables = []
    for samples in (tuning, test):
        parts = []
        for method in ("clip", "maskclip", "clip-surgery"):
            every = depths or range(1, clip.tower.blocks + 1)
            for depth in every if explain.deep(clip, method) else [1]:
                read = clip_size(clip, samples)
                parts.append(explain.evaluate(clip, samples, [method], labels=SETS, depth=depth, size=read))
        tables.append(pd.concat(parts, ignore_index=True))
    return explain.summarise(tables[1], tables[0], ROW)


def clip_size(clip: Clip, samples: Sketchbook) -> int | None:
    """The size to read scenes at: as they are drawn, None where that is the model's own."""
    return None if samples.size == clip.image_size[0] else samples.size


def _row(name: str, values: Float[np.ndarray, " P"], images: Iterable[object], what: str) -> dict[str, object]:
    """One measure: the mean over pairs with its 95 % image bootstrap."""
    mean, draws = bootstrap(np.asarray(values, float), np.asarray(list(images)))
    low, high = interval(draws)
    return {"measure": name, "value": mean, "low": low, "high": high, "what": what}


def features(clip: Clip, samples: Sketchbook) -> Float[Tensor, "n D"]:
    """Class features of all samples."""
    pictures = (clip.prepare(sample.image, size=clip_size(clip, samples)) for sample in samples)
    return torch.cat([clip.encode_image(images) for images in pictures])


def _recognition(clip: Clip, size: int, length: int) -> Iterator[dict[str, object]]:
    """Top-1 on scenes of one object and mAP on scenes of one to three, by cosine with "a photo of a {noun}"."""
    text = clip.encode_text([f"a photo of a {noun}" for noun in Sketchbook.NOUNS])  # (N, D)
    one, several = (world(TEST, length, size, objects) for objects in ((1, 1), (1, 3)))
    scores = (features(clip, one) @ text.T).cpu().numpy()  # (n, N)
    right = mfi.presence(one, Sketchbook.NOUNS)[np.arange(len(scores)), scores.argmax(axis=1)]
    yield _row("top-1", 100.0 * right, range(length), "scenes of one object, 'a photo of a {noun}'")
    scores, present = (features(clip, several) @ text.T).cpu().numpy(), mfi.presence(several, Sketchbook.NOUNS)
    found = recognise({"cosine": scores}, present).iloc[0]
    what = "scenes of one to three, absent masked"
    yield {"measure": "mAP", "value": found["mAP"], "low": found["mAP_low"], "high": found["mAP_high"], "what": what}


def mates() -> Bool[np.ndarray, "N N"]:
    """Which nouns are companions, in the order of `Sketchbook.NOUNS`."""
    nouns = Sketchbook.NOUNS
    return np.array([[MATES[a] == b for b in nouns] for a in nouns])


def _company(clip: Clip, test: Sketchbook) -> Iterator[dict[str, object]]:
    """Companions against other pairs: in text, in maps, in what the class token says of an object that is not there."""
    nouns, pairs = test.NOUNS, mates()
    text = clip.encode_labels(nouns)  # (N, D)
    cosines = np.asarray(mfi.similarity_matrix(text).cpu(), float)  # (N, N)
    found = mfi.company(pairs.astype(float), cosines, pairs)
    off = ~np.eye(len(nouns), dtype=bool)
    # Pairs are few and fixed: the interval is over classes, each with its one mate against its other pairs.
    gaps = np.array(
        [row[mate].mean() - row[~mate & o].mean() for row, mate, o in zip(cosines, pairs, off, strict=True)]
    )
    yield _row(
        "similarity, companions − others", gaps, range(len(gaps)), "cosine of label texts; interval over classes"
    )
    yield {"measure": "similarity, all pairs", "value": mfi.mean_off_diagonal(cosines), "what": "cosine of label texts"}
    yield {"measure": "similarity, Mantel p", "value": found["p"], "what": "companions or not, against similarity"}
    table = mfi.coactivation(clip, test, nouns, size=clip_size(clip, test))
    away = table[~table["companion"]]
    is_mate = np.array([MATES[a] == b for a, b in zip(away["a"], away["b"], strict=True)])
    wide = away.assign(mate=is_mate).pivot_table("score", ["image", "a"], "mate").dropna()
    yield _row(
        "co-activation, companions − others", (wide[True] - wide[False]).to_numpy(),
        wide.index.get_level_values("image"), "raw map of an absent label inside an object, 0…1",
    )  # fmt: skip
    scores, present = (features(clip, test) @ text.T).cpu().numpy(), mfi.presence(test, nouns)  # (n, N) both
    rows = [(i, n) for i, n in zip(*np.nonzero(present), strict=True) if not present[i, nouns.index(MATES[nouns[n]])]]
    wins = [
        (scores[i, nouns.index(MATES[nouns[n]])] > np.delete(scores[i], np.flatnonzero(present[i] | pairs[n]))).mean()
        for i, n in rows
    ]
    yield _row(
        "absent companion above other absent nouns", 100 * np.array(wins), [i for i, _ in rows],
        "class token; 50 = company makes no errors",
    )  # fmt: skip


def _grounds(clip: Clip, test: Sketchbook) -> Iterator[dict[str, object]]:
    """Whether a ground's own label finds it: mSC of its map, the background being the object that is asked for."""
    samples = []
    for number, sample in enumerate(test):
        around, ground = ~np.any(list(sample.masks.values()), axis=0), test.scene(number).ground  # (H, W)
        samples.append(Sample(sample.image, (ground,), {ground: around}, name=sample.name))
    for method in ("clip", "clip-surgery"):
        table = explain.evaluate(
            clip, samples, [method], ["none"], test.BACKGROUNDS, depth=min(6, clip.tower.blocks),
            size=clip_size(clip, test),
        )  # fmt: skip
        what = "of the true ground's label, on all that is no object; pairs"
        yield _row(f"mSC of the ground, {method}", table["msc"].to_numpy(), table["image"], what)


def _home(clip: Clip, size: int, length: int) -> Iterator[dict[str, object]]:
    """mSC of scenes of one object, on its home ground and on any: does a ground that goes with the object light up?"""
    for where, bias in (("at home", 1.0), ("anywhere", 0.0)):
        alone = Sketchbook(TEST, length, co_occurrence=0.0, background_bias=bias, size=size, objects=(1, 1))
        for method in ("clip", "clip-surgery"):
            table = explain.evaluate(
                clip, alone, [method], ["none"], depth=min(6, clip.tower.blocks), size=clip_size(clip, alone)
            )
            yield _row(f"mSC {where}, {method}", table["msc"].to_numpy(), table["image"], "scenes of one object; pairs")


def _attention(clip: Clip, test: Sketchbook) -> tuple[pd.DataFrame, list[dict[str, object]]]:
    """By block, and of the last block with intervals: attention inside the anchor's object, cosines of sub-modules."""
    if not attention.has_attention(clip):
        return pd.DataFrame(columns=["kind", "block", "share_others", "chance", "part", "cosine"]), []
    shares, cosines = attention.share_inside(clip, test), attention.submodule_cosines(clip, test)
    last = clip.tower.blocks - 1
    ended, parts = shares[shares["block"] == last], cosines[cosines["block"] == last]
    one = ended[ended["kind"] == "qk"]
    rows = [_row("anchors off their object", 100.0 * ~one["on_object"].to_numpy(bool), one["image"], "raw; %")]
    for kind, table in ended[ended["on_object"]].groupby("kind"):
        what = "last block, without the anchor's own cell, anchors on their object; %"
        rows.append(
            _row(f"attention inside the object, {kind}", table["share_others"].to_numpy(), table["image"], what)
        )
    for part, table in parts.groupby("part"):
        name = f"cosine of the last {part} with the class feature"
        rows.append(_row(name, table["cosine"].to_numpy(), table["image"], "class token through norm and projection"))
    return attention.by_block(shares, cosines), rows


def _tokens(clip: Clip, test: Sketchbook) -> Iterator[dict[str, object]]:
    """Patches of a high norm after the last block: how many, where, and how much of the preference they carry."""
    if not attention.has_attention(clip):
        return
    table = high_norm(clip, test)
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
    text, found = clip.encode_labels(Sketchbook.NOUNS), {}
    images = torch.cat([clip.prepare(sample.image, size=size) for sample in samples])  # (count, 3, H, W)
    for method, surgery in CHOICES:
        dense = clip.encode_dense(images, method=method, **explain.deep(clip, method))
        sim = explain.similarities(dense, text, surgery, 2.0)  # (count, h, w, N)
        found[f"{method} {surgery}"] = minmax(sim).half().contiguous()
    return found
