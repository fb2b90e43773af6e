"""What the laboratory asks of a model: the package's own measures on one world, and a few of its own."""

import numpy as np
import pandas as pd
import pytest
import torch

import clipsx
from clipsx import mfi
from clipsx.analyses import companions
from clipsx.analyses import high_norm as tokens
from clipsx.datasets import Sample, Sketchbook
from clipsx.evaluation import explain, summary
from clipsx.evaluation.stream import stream
from clipsx.maps import minmax
from clipsx.sketchbook.laboratory import measure, measures
from helpers import tiny_clip, tiny_resnet


@pytest.fixture(scope="module")
def clip():
    return tiny_clip()


@pytest.fixture(scope="module")
def tables(clip):
    return measure(clip, length=8)


@pytest.mark.slow
def test_every_method_depth_and_label_set_is_there(clip, tables):
    maps = tables["maps"]
    rows = set(maps[["method", "surgery", "label_set"]].itertuples(index=False, name=None))
    sets = [("none", "nouns"), ("code", "nouns"), ("code", "nouns and grounds")]
    assert rows == {(method, *one) for method in ("clip", "maskclip", "clip-surgery") for one in sets}
    assert sorted(maps.loc[maps["method"] == "clip-surgery", "depth"].unique()) == [1, 2, 3, 4, 5, 6]
    assert maps["threshold_chosen"].all() and set(maps["images"]) == {8}


@pytest.mark.slow
def test_its_rows_are_evaluates_own(clip, tables):
    test = measures.world(measures.TEST, 8, 64)
    for labels, name in ((Sketchbook.NOUNS, "nouns"), (measures.SETS["nouns and grounds"], "nouns and grounds")):
        (rows,) = stream(clip, test, [explain.measure(clip, labels, "clip-surgery@3+code")])
        own = summary.summarise(rows).iloc[0]
        maps = tables["maps"]
        kept = maps[(maps["method"] == "clip-surgery") & (maps["depth"] == 3) & (maps["surgery"] == "code")]
        assert kept[kept["label_set"] == name]["msc"].item() == pytest.approx(own["msc"], abs=1e-4)


@pytest.mark.slow
def test_the_world_has_no_companions_and_no_home_and_no_training_seed(tables):
    assert "co_occurrence=0 background_bias=0" in tables["measures"]["data"].iloc[0]
    seeds = {measures.TUNING, measures.TEST, measures.SHOWN}
    assert len(seeds) == 3
    assert min(seeds) > 100 and not seeds & {1000, 2000}


@pytest.mark.slow
def test_companions_are_compared_with_the_other_pairs(clip, tables):
    rows = tables["measures"].set_index("measure")["value"]
    text = clip.encode_labels(Sketchbook.NOUNS)
    cosines, mates = np.asarray(mfi.similarity_matrix(text), float), measures.mates()
    assert (mates == mates.T).all() and (mates.sum(axis=1) == 1).all() and not mates.diagonal().any()
    off = ~mates & ~np.eye(len(mates), dtype=bool)
    assert rows["similarity, companions − others"] == pytest.approx(
        cosines[mates].mean() - cosines[off].mean(), abs=1e-6
    )
    assert rows["similarity, all pairs"] == pytest.approx(mfi.mean_off_diagonal(cosines), abs=1e-6)
    assert 0 <= rows["absent companion above other absent nouns"] <= 100


@pytest.mark.slow
def test_an_error_is_an_absent_companion_that_ranks_high():
    """A model that always scores companions of what is there highest makes errors in all pairs."""
    clip = clipsx.load("sketchbook")
    test = measures.world(measures.TEST, 12, 96, (1, 1))
    nouns, mates = Sketchbook.NOUNS, measures.mates()
    present = companions.presence(test, nouns)  # (n, N)
    wanted = present @ (np.eye(len(nouns)) + 2 * mates)  # (n, N)
    scores = pd.DataFrame({"image": range(len(test)), "scores": list(wanted), "present": list(present)})
    a, b, c = "car", "house", "boat"
    active = [{"image": 0, "a": a, "b": other, "score": s, "companion": False} for other, s in ((b, 0.9), (c, 0.4))]
    rows = {row["measure"]: row["value"] for row in measures._company(clip, scores, pd.DataFrame(active))}
    assert rows["absent companion above other absent nouns"] > 95


@pytest.mark.slow
def test_a_resnet_has_no_blocks_but_all_else():
    found = measure(tiny_resnet(), length=6)
    assert not len(found["blocks"])
    names = set(found["measures"]["measure"])
    assert "top-1" in names and "mSC of the ground, clip" in names and not any("high-norm" in n for n in names)


def test_maps_of_the_shown_scenes_are_stretched(clip):
    maps = measures.shown(clip, count=2)
    assert set(maps) == {"clip none", "maskclip none", "clip-surgery none", "clip-surgery code"}
    assert all(m.shape == (2, 4, 4, 18) and m.dtype == torch.float16 for m in maps.values())
    assert all(float(m.amin()) == 0 and float(m.amax()) == 1 for m in maps.values())


def _sample() -> Sample:
    picture = Sketchbook(seed=5, length=1, size=64)[0].image
    mask = np.zeros((64, 64), dtype=bool)
    mask[:32, :32] = True
    return Sample(picture, ("cat",), {"cat": mask}, name="one")


def test_patch_msc_is_the_maps_own():
    """With masks along patch borders, mSC on patches is mSC of the map without interpolation."""
    map, covered = np.random.default_rng(0).normal(size=16), np.array([1.0] * 4 + [0.0] * 12)
    stretched = minmax(torch.tensor(map)[None, :, None, None])[0, :, 0, 0].numpy()
    assert tokens._msc(map, covered) == pytest.approx(100 * (stretched[:4].mean() - stretched[4:].mean()))
    assert np.isnan(tokens._msc(np.ones(4), np.array([1.0, 0, 0, 0]))) and np.isnan(tokens._msc(map, np.zeros(16)))


def test_high_norms_on_the_background_are_found_and_left_out():
    norm = np.array([1.0, 1.1, 0.9, 1.05] * 4)
    norm[[2, 15]] = 9.0, 9.0
    map = np.linspace(0, 1, 16)
    map[15] = 30.0  # the one background patch of a high norm outshines all
    covered = np.isin(np.arange(16), [0, 1, 4, 5]).astype(float)
    patches = {"image": "one", "label": "cat", "score": map, "covered": covered, "objects": covered, "norm": norm}
    row = tokens.summarise(pd.DataFrame(patches)).iloc[0]
    assert row["background_share"] == pytest.approx(100 * 2 / 12)  # patches 2 and 15; the object is 0, 1, 4, 5
    assert row["object_share"] == 0
    kept = np.setdiff1d(np.arange(16), [2, 15])
    assert row["msc_without"] == pytest.approx(tokens._msc(map[kept], covered[kept]))
    assert row["msc"] == pytest.approx(tokens._msc(map, covered))


def test_norms_need_blocks_and_masks():
    with pytest.raises(ValueError, match="vision transformer"):
        tokens.measure(tiny_resnet())
    clip = tiny_clip()
    with pytest.raises(ValueError, match="mask"):
        stream(clip, [Sample(_sample().image, ("cat",))], [tokens.measure(clip)])
