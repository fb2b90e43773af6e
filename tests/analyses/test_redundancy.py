"""Redundant features: what the mean over labels carries, the empty label's map, and the sweep of feature surgery."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import clipsx
from clipsx import feature_surgery, metrics, minmax, similarity, upsample
from clipsx.analyses import redundancy
from clipsx.datasets import Sample, Sketchbook
from clipsx.evaluation.stream import stream
from clipsx.reading import Reading
from helpers import noise as pixels
from helpers import tiny_clip

PROMPTS = ("a photo of a {}.",)
LABELS = ("cat", "dog", "sky", "sea", "boat")


@pytest.fixture(scope="module")
def clip() -> clipsx.Clip:
    return tiny_clip(image_size=32, layers=2, width=32, patch_size=8)


@pytest.fixture(scope="module")
def world() -> Sketchbook:
    return Sketchbook(size=32, length=3)


@pytest.fixture(scope="module")
def swept(clip: clipsx.Clip, world: Sketchbook) -> pd.DataFrame:
    measure = redundancy.sweep(clip, world.labels, counts=(2, 6), taus=(0.0, 2.0, 8.0), templates=PROMPTS)
    return stream(clip, world, [measure])[0]


MAPS = hnp.arrays(np.float32, st.tuples(st.integers(1, 9), st.integers(1, 5)), elements=st.floats(-1, 1, width=16))


@given(MAPS)
@settings(max_examples=60, deadline=None)
def test_explained_by_mean_is_a_share_of_variance(maps: np.ndarray) -> None:
    value = redundancy.explained_by_mean(torch.from_numpy(maps))
    if (maps == maps[0]).all():
        assert not value > 1e-9 or np.isnan(value) or np.ptp(maps, axis=0).max() < 1e-6
    else:
        centred = maps.astype(float) - maps.astype(float).mean(axis=0)
        assert value == pytest.approx(100 * centred.mean(axis=1).var() / (centred**2).mean(), abs=1e-6)
        assert -1e-9 <= value <= 100 + 1e-9
        shifted = torch.from_numpy(maps.astype(float) + 2)  # in float32 the shift would swallow small differences
        np.testing.assert_allclose(redundancy.explained_by_mean(shifted), value, atol=1e-3)


def test_identical_maps_are_all_mean_and_feature_surgery_leaves_none_of_it(clip: clipsx.Clip) -> None:
    one = torch.randn(16, 1, generator=torch.Generator().manual_seed(0))
    assert redundancy.explained_by_mean(one.expand(-1, 4)) == pytest.approx(100)
    assert redundancy.explained_by_mean(torch.cat([one, -one], dim=1)) == pytest.approx(0, abs=1e-9)
    assert np.isnan(redundancy.explained_by_mean(torch.ones(16, 4)))
    dense = clip.encode_dense(clip.prepare(pixels(32, 32)), "clip")
    repaired = feature_surgery(dense, clip.encode_labels(LABELS, PROMPTS), form="code")[0].flatten(0, 1)  # (h·w, N)
    assert redundancy.explained_by_mean(repaired) == pytest.approx(0, abs=1e-6)


def test_redundancy_is_numpys_correlation(clip: clipsx.Clip) -> None:
    samples = [Sample(pixels(32, 32, 1), ("dog",), name="a"), Sample(pixels(20, 30, 2), ())]
    (table,) = stream(clip, samples, [redundancy.measure(clip, LABELS, "clip, maskclip", PROMPTS)])
    assert len(table) == 2 * 2 * len(LABELS) and set(table["image"]) == {"a", "#1"}
    text, empty = clip.encode_labels(LABELS, PROMPTS), clip.encode_labels([""], PROMPTS)
    for _, row in table.iterrows():
        dense = clip.encode_dense(clip.prepare(samples[row["image"] == "#1"].image), row["method"])
        maps = similarity(dense, text)[0].reshape(16, -1).double().numpy()
        ours = maps[:, LABELS.index(row["label"])] - maps[:, LABELS.index(row["label"])].mean()
        other = similarity(dense, empty)[0].reshape(16).double().numpy()
        other = other - other.mean()
        expected = (ours * other).sum() / np.sqrt((ours**2).sum() * (other**2).sum())
        assert row["correlation"] == pytest.approx(expected, abs=1e-3)
        assert row["shared"] == pytest.approx(redundancy.explained_by_mean(torch.from_numpy(maps)), abs=1e-2)
        assert row["present"] == (row["image"] == "a" and row["label"] == "dog")
    means = redundancy.by_label(table)
    assert len(means) == 2 * (len(LABELS) + 1) and set(means["data"]) == {"2 given samples"}
    absent = table.query("reading == 'clip' and label == 'cat'")["correlation"].mean()
    assert means.query("reading == 'clip' and label == 'cat'")["correlation"].item() == pytest.approx(absent)
    # Feature surgery has no part in it: readings that differ only in that are one.
    (same,) = stream(clip, samples, [redundancy.measure(clip, LABELS, "clip+code, maskclip+paper", PROMPTS)])
    pd.testing.assert_frame_equal(same, table)


def test_a_constant_map_correlates_with_nothing(clip: clipsx.Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        Reading, "similarities", lambda _, dense, text, *rest: torch.full((1, *dense.grid, len(text)), 0.3)
    )
    (table,) = stream(clip, [Sample(pixels(32, 32), ())], [redundancy.measure(clip, LABELS, "clip", PROMPTS)])
    assert table["correlation"].isna().all() and table["shared"].isna().all()


def test_sweep_has_a_row_per_pair_form_and_setting(swept: pd.DataFrame, world: Sketchbook) -> None:
    pairs = sum(len(sample.masks) for sample in world)
    settings = [("labels", n, 2.0) for n in (2, 6, len(world.labels))]
    settings += [("tau", len(world.labels), tau) for tau in (0.0, 2.0, 8.0)]
    found = swept.groupby(["varied", "labels", "tau", "form"]).size()
    assert found.to_dict() == {(*setting, form): pairs for setting in settings for form in ("none", "code", "paper")}
    about = {"model": "tiny", "data": world.describe()["data"], "method": "clip-surgery", "image_size": "32×32"}
    assert {name: swept[name].unique().tolist() for name in about} == {name: [v] for name, v in about.items()}
    means = redundancy.averaged(swept)
    assert len(means) == len(found) and set(means["data"]) == {about["data"]}
    one = swept.query("varied == 'tau' and tau == 8 and form == 'code'")["energy"].mean()
    assert means.query("varied == 'tau' and tau == 8 and form == 'code'")["energy"].item() == pytest.approx(one)


def test_without_feature_surgery_neither_tau_nor_the_number_of_labels_matters(swept: pd.DataFrame) -> None:
    for form in ("none", "code", "paper"):
        spread = swept[swept["form"] == form].groupby(["image", "label"])[["energy", "msc", "iou"]].agg(np.ptp)
        assert (spread.to_numpy() < 1e-3).all() == (form == "none"), form


def test_a_row_of_the_sweep_equals_the_formula(clip: clipsx.Clip, swept: pd.DataFrame, world: Sketchbook) -> None:
    sample, text = world[0], clip.encode_labels(world.labels, PROMPTS)
    sim = feature_surgery(clip.encode_dense(clip.prepare(sample.image), "clip-surgery", 2), text, 8.0, "paper")
    rows = swept.query("varied == 'tau' and tau == 8 and form == 'paper' and image == @sample.name").set_index("label")
    assert set(rows.index) == set(sample.masks)
    objects = np.any(list(sample.masks.values()), axis=0)
    for label, mask in sample.masks.items():
        map = upsample(minmax(sim), (32, 32))[0, :, :, world.labels.index(label)].numpy()
        assert rows.loc[label, "energy"] == pytest.approx(metrics.energy_outside(map, objects), abs=0.02)
        assert rows.loc[label, "msc"] == pytest.approx(metrics.msc(map, mask), abs=0.02)
        assert rows.loc[label, "iou"] == pytest.approx(metrics.iou(map, mask, 0.6), abs=1)


def test_images_without_masks_give_no_row(clip: clipsx.Clip, world: Sketchbook) -> None:
    plain = Sample(pixels(8, 8), ("boat",), name="plain")
    measure = redundancy.sweep(clip, world.labels, counts=(2,), taus=(2.0,), templates=PROMPTS)
    (table,) = stream(clip, [plain, world[0]], [measure])
    assert set(table["image"]) == {world[0].name}
    with pytest.raises(ValueError, match="No image has a mask"):
        stream(clip, [plain], [measure])
    for make in (redundancy.measure, redundancy.sweep):
        with pytest.raises(ValueError, match="at least two different"):
            make(clip, ["cat", "cat"], templates=PROMPTS)


def test_the_labels_beside_the_present_ones_are_drawn_by_seed_and_place(clip: clipsx.Clip, world: Sketchbook) -> None:
    """The same for every part of a run, and for a run that is cut in pieces; other seeds ask others."""

    def run(samples: object, seed: int = 0) -> pd.DataFrame:
        measure = redundancy.sweep(clip, world.labels, counts=(6,), taus=(), templates=PROMPTS, seed=seed)
        return stream(clip, samples, [measure])[0]

    whole = run(world)
    pd.testing.assert_frame_equal(run(world), whole)
    some = whole.query("labels == 6 and form == 'code'")["msc"].to_numpy()
    other = run(world, seed=1).query("labels == 6 and form == 'code'")["msc"].to_numpy()
    assert not np.allclose(some, other, atol=1e-3)
    sample, n = world[1], 1
    present = [world.labels.index(label) for label in sample.masks]
    absent = [k for k in range(len(world.labels)) if k not in present]
    drawn = np.random.default_rng([0, n]).permutation(absent).tolist()
    asked = [world.labels[k] for k in [*present, *drawn][: max(6, len(present))]]
    dense = clip.encode_dense(clip.prepare(sample.image))
    sim = feature_surgery(dense, clip.encode_labels(asked, PROMPTS))
    for k, label in enumerate(sample.masks):
        map = upsample(minmax(sim), (32, 32))[0, ..., k].numpy()
        row = whole.query("image == @sample.name and label == @label and labels == 6 and form == 'code'")
        assert row["msc"].item() == pytest.approx(metrics.msc(map, sample.masks[label]), abs=0.02)
