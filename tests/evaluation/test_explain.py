"""Rows of explaining against plain loops over pixels; and what must be left out, counted or refused."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import clipsx
from clipsx import feature_surgery, minmax, similarity, upsample
from clipsx.datasets import Sample, Sketchbook, Subset
from clipsx.evaluation import explain, summary
from clipsx.evaluation.stream import stream
from clipsx.metrics import THRESHOLDS
from clipsx.reading import Reading
from helpers import masked, noise, tiny_clip

LABELS = ("cat", "dog", "sky")
PROMPTS = ("a photo of a {}.",)
ASKED = ("clip", "clip+code", "clip-surgery@1", "clip-surgery@1+code", "free(kk)+paper(tau=1)")
SAMPLES = (  # of different sizes; "cat" has two images, "dog" one
    masked(20, 28, ("cat",), 1),
    masked(17, 11, ("cat", "dog"), 2),
    Sample(noise(8, 8), ("dog",), name="without a mask"),
)


@pytest.fixture(scope="module")
def clip() -> clipsx.Clip:
    return tiny_clip(image_size=32, layers=2, width=32, patch_size=8)


def run(
    clip: clipsx.Clip, samples: Any = SAMPLES, labels: Any = LABELS, asked: Any = ASKED, **rest: Any
) -> pd.DataFrame:
    (table,) = stream(clip, samples, [explain.measure(clip, labels, asked, PROMPTS)], **rest)
    return table


@pytest.fixture(scope="module")
def table(clip: clipsx.Clip) -> pd.DataFrame:
    return run(clip)


def pixels(clip: clipsx.Clip, shown: Sample, row: pd.Series, labels: tuple[str, ...] = LABELS) -> np.ndarray:
    """The map of a row at the picture's size."""
    depth = None if pd.isna(row["depth"]) else int(row["depth"])
    dense = clip.encode_dense(clip.prepare(shown.image), row["method"], depth)
    text = clip.encode_labels(labels, PROMPTS)
    plain = row["surgery"] == "none"
    sim = similarity(dense, text) if plain else feature_surgery(dense, text, row["tau"], row["surgery"])
    return upsample(minmax(sim), shown.image.size[::-1])[0, ..., labels.index(row["label"])].numpy()


def counted(map: np.ndarray, mask: np.ndarray, ignore: np.ndarray, threshold: float) -> tuple[float, float]:
    """mSC and IoU, pixel by pixel."""
    inside, outside, both, either = [], [], 0, 0
    for y, x in np.ndindex(map.shape):
        if not ignore[y, x]:
            (inside if mask[y, x] else outside).append(float(map[y, x]))
            hit = map[y, x] >= np.float32(threshold)
            both, either = both + bool(hit and mask[y, x]), either + bool(hit or mask[y, x])
    return 100 * (np.mean(inside) - np.mean(outside)), 100 * both / either


def test_every_row_equals_the_loop(clip: clipsx.Clip, table: pd.DataFrame) -> None:
    assert len(table) == 3 * len(ASKED)  # three pairs with a mask
    assert list(dict.fromkeys(table["reading"])) == list(ASKED)
    ious = summary.iou_at(table)
    for number, row in table.iterrows():
        shown = next(s for s in SAMPLES if s.name == row["image"])
        map = pixels(clip, shown, row)
        for place in (0, 17, 30, 50):
            gap, overlap = counted(map, shown.masks[row["label"]], shown.ignore, THRESHOLDS[place])
            assert ious[number, place] == pytest.approx(overlap, abs=1e-6)
        assert row["msc"] == pytest.approx(gap, abs=1e-4)
        assert row["area"] == pytest.approx(100 * shown.masks[row["label"]][3:].mean())
    assert not table["constant"].any() and set(table["size"]) == {"large"}
    columns = ["reading", "method", "depth", "surgery", "tau"]
    nan = float("nan")
    np.testing.assert_equal(
        table[columns].drop_duplicates().values.tolist(),
        [
            ["clip", "clip", nan, "none", nan],
            ["clip+code", "clip", nan, "code", 2.0],
            ["clip-surgery@1", "clip-surgery", 1.0, "none", nan],
            ["clip-surgery@1+code", "clip-surgery", 1.0, "code", 2.0],
            ["free(kk)+paper(tau=1)", "free(kk)", nan, "paper", 1.0],
        ],
    )
    about = {"model": "tiny", "weights": "seed 0", "data": "3 given samples", "image_size": "32×32", "labels": 3}
    about |= {"templates": str(PROMPTS)}
    assert {name: table[name].unique().tolist() for name in about} == {name: [value] for name, value in about.items()}


def test_the_depth_of_a_shallow_tower_is_told(clip: clipsx.Clip) -> None:
    table = run(clip, asked="clip-surgery, clip")
    assert table.groupby("reading")["depth"].first().to_dict() == {
        "clip-surgery": 2.0,
        "clip": pytest.approx(np.nan, nan_ok=True),
    }


def test_the_default_is_three_methods_plain_and_repaired(clip: clipsx.Clip) -> None:
    (table,) = stream(clip, SAMPLES, [explain.measure(clip, LABELS, templates=PROMPTS)])
    names = [f"{method}{end}" for method in ("clip", "maskclip", "clip-surgery") for end in ("", "+code")]
    assert list(dict.fromkeys(table["reading"])) == names


def test_both_halves_in_one_call(clip: clipsx.Clip) -> None:
    world = Sketchbook(seed=3, length=3)
    halves = Subset(world, range(1), "tuning"), Subset(world, range(1, 3), "test")
    rows, tuned, again = explain.halves(clip, *halves, "clip", [explain.measure(clip, world.labels, "clip")])
    names = [{sample.name for sample in half if sample.masks} for half in halves]
    assert [set(tuned["image"]), set(rows["image"])] == names and rows["msc"].equals(again["msc"])


def test_another_size_is_told_and_changes_the_map(clip: clipsx.Clip, table: pd.DataFrame) -> None:
    wide = run(clip, size=(16, 40))
    assert set(wide["image_size"]) == {"16×40"} and (wide["msc"] - table["msc"]).abs().max() > 0.01


def test_several_sets_of_labels_are_compared_on_the_labels_of_the_first(clip: clipsx.Clip) -> None:
    more = (*LABELS[::-1], "sea", "grass")
    table = run(clip, labels={"few": LABELS, "many": more}, asked="clip, clip+code")
    rows = set(table[["reading", "label_set", "labels"]].itertuples(index=False, name=None))
    assert rows == {("clip", "few", 3), ("clip+code", "few", 3), ("clip+code", "many", 5)}  # plain maps: once
    for _, row in table[table["reading"] == "clip+code"].iterrows():
        shown = next(s for s in SAMPLES if s.name == row["image"])
        map = pixels(clip, shown, row, LABELS if row["label_set"] == "few" else more)
        gap, _ = counted(map, shown.masks[row["label"]], shown.ignore, 0.5)
        assert row["msc"] == pytest.approx(gap, abs=1e-4)
    alone = run(clip, asked="clip, clip+code")
    few = table[table["label_set"] == "few"].drop(columns="label_set").reset_index(drop=True)
    pd.testing.assert_frame_equal(few, alone[few.columns])
    measured = run(clip, labels={"first": ("dog", "sky"), "second": LABELS}, asked="clip+code")
    assert set(measured["label"]) == {"dog"}


def test_labels_that_are_not_asked_for_are_not_measured(clip: clipsx.Clip) -> None:
    table = run(clip, labels=("dog", "sky"), asked="clip")
    assert table[["image", "label"]].values.tolist() == [["image 2", "dog"]]
    twice = run(clip, labels=("dog", "sky", "dog"), asked="clip")
    pd.testing.assert_frame_equal(twice, table)  # each label once


def test_a_mask_of_the_whole_picture_is_left_out_of_msc(clip: clipsx.Clip) -> None:
    full = SAMPLES[0].replace(masks={"cat": np.ones((20, 28), bool)}, name="full")
    table = run(clip, [full, SAMPLES[1]], asked="clip")
    assert np.isnan(table["msc"].iloc[0]) and table["area"].iloc[0] == 100 and table["size"].iloc[0] == "large"
    assert table["msc"].iloc[1:].notna().all()


def test_ignored_pixels_count_nowhere(clip: clipsx.Clip, table: pd.DataFrame) -> None:
    changed = []
    for shown in SAMPLES[:2]:
        flipped = {label: np.where(shown.ignore, ~mask, mask) for label, mask in shown.masks.items()}
        changed.append(shown.replace(masks=flipped))
    pd.testing.assert_frame_equal(run(clip, changed).drop(columns="data"), table.drop(columns="data"))
    hidden = SAMPLES[0].replace(masks={"cat": SAMPLES[0].ignore}, name="hidden")  # nothing of the object counts
    assert set(run(clip, [hidden, SAMPLES[1]], asked="clip")["image"]) == {"image 2"}


def test_what_cannot_be_evaluated_is_refused(clip: clipsx.Clip) -> None:
    with pytest.raises(ValueError, match="no image to evaluate"):
        run(clip, [])
    with pytest.raises(ValueError, match="No image has a mask"):
        run(clip, SAMPLES[2:])
    for labels in (["cat", "cat"], ["cat"], [], {"few": LABELS, "one": ["cat"]}):
        with pytest.raises(ValueError, match="at least two different"):
            run(clip, labels=labels)
    with pytest.raises(ValueError, match="did you mean 'maskclip'"):
        run(clip, asked=["maskclp"])
    with pytest.raises(ValueError, match="'paper'"):
        run(clip, asked=["clip+papper"])


def test_a_constant_map_is_flagged_and_says_nothing(clip: clipsx.Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        Reading, "similarities", lambda self, dense, text, *_: torch.full((1, *dense.grid, len(text)), 0.3)
    )
    table = run(clip, asked="clip")
    assert table["constant"].all() and (table["msc"] == 0).all()
    assert summary.summarise(table, resamples=2)["opposite"].iloc[0] == 0


def test_a_part_of_the_data_gives_its_own_rows(clip: clipsx.Clip) -> None:
    world = Sketchbook(size=32, length=3)
    table = run(clip, world, world.labels, "clip")
    assert table["labels"].unique().tolist() == [len(world.labels)]
    assert table["data"].unique().tolist() == [world.describe()["data"]]
    part = run(clip, Subset(world, [1], "one"), world.labels, "clip")
    same = table[table["image"] == world[1].name].reset_index(drop=True)
    pd.testing.assert_frame_equal(part.drop(columns="data"), same.drop(columns="data"))
    assert part["data"].unique().tolist() == [Subset(world, [1], "one").describe()["data"]]


def test_nameless_samples_are_told_apart(clip: clipsx.Clip) -> None:
    nameless = [shown.replace(name="") for shown in SAMPLES[:2]]
    assert run(clip, nameless, asked="clip")["image"].tolist() == ["#0", "#1", "#1"]
