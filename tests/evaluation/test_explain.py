"""Evaluation against plain loops over pixels, images and classes; and what must be left out, counted or refused."""

import numpy as np
import pandas as pd
import pytest
import torch

import clipsx
from clipsx import feature_surgery, minmax, similarity, upsample
from clipsx.datasets import Sample, Sketchbook, Subset
from clipsx.evaluation import explain
from clipsx.metrics import SIZES, THRESHOLDS
from helpers import noise, tiny_clip

LABELS = ("cat", "dog", "sky")
PROMPTS = ("a photo of a {}.",)
ROWS = [("clip", "none"), ("clip", "code"), ("clip-surgery", "none"), ("clip-surgery", "code")]


@pytest.fixture(scope="module")
def clip() -> clipsx.Clip:
    return tiny_clip(image_size=32, layers=2, width=32, patch_size=8)


def region(height: int, width: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random((height, width)) < 0.4


def sample(height: int, width: int, labels: tuple[str, ...], seed: int, name: str = "") -> Sample:
    """Random pixels and masks, with a strip that counts nowhere."""
    ignore = np.zeros((height, width), bool)
    ignore[:3] = True
    masks = {label: region(height, width, 10 * seed + n) for n, label in enumerate(labels)}
    return Sample(noise(height, width, seed), labels, masks, (), ignore, name or f"image {seed}")


SAMPLES = (  # of different sizes; "cat" has two images, "dog" one
    sample(20, 28, ("cat",), 1),
    sample(17, 11, ("cat", "dog"), 2),
    Sample(noise(8, 8), ("dog",), name="without a mask"),
)


def run(clip: clipsx.Clip, samples: object = SAMPLES, **options: object) -> pd.DataFrame:
    given = {"methods": ["clip", "clip-surgery"], "labels": LABELS, "templates": PROMPTS, "depth": 1}
    return explain.evaluate(clip, samples, **{**given, **options})


@pytest.fixture(scope="module")
def table(clip: clipsx.Clip) -> pd.DataFrame:
    return run(clip)


def pixels(clip: clipsx.Clip, shown: Sample, method: str, surgery: str) -> dict[str, np.ndarray]:
    """The map of every label at the picture's size."""
    dense, text = clip.encode_dense(clip.prepare(shown.image), method, 1), clip.encode_labels(LABELS, PROMPTS)
    sim = similarity(dense, text) if surgery == "none" else feature_surgery(dense, text, 2.0, surgery)
    maps = upsample(minmax(sim), shown.image.size[::-1])[0]
    return {label: maps[..., n].numpy() for n, label in enumerate(LABELS)}


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
    assert len(table) == 3 * len(ROWS)  # three pairs with a mask
    ious = explain.iou_at(table)
    for number, row in table.iterrows():
        shown = next(s for s in SAMPLES if s.name == row["image"])
        map = pixels(clip, shown, row["method"], row["surgery"])[row["label"]]
        for place in (0, 17, 30, 50):
            gap, overlap = counted(map, shown.masks[row["label"]], shown.ignore, THRESHOLDS[place])
            assert ious[number, place] == pytest.approx(overlap, abs=1e-6)
        assert row["msc"] == pytest.approx(gap, abs=1e-4)
        assert row["area"] == pytest.approx(100 * shown.masks[row["label"]][3:].mean())
    assert not table["constant"].any()
    assert set(table["depth"].dropna()) == {1} and set(table["tau"].dropna()) == {2.0}
    about = {"model": "tiny", "weights": "seed 0", "data": "3 given samples", "image_size": "32×32", "labels": 3}
    assert {name: table[name].unique().tolist() for name in about} == {name: [value] for name, value in about.items()}


def test_summary_is_the_mean_over_images_then_classes(table: pd.DataFrame) -> None:
    summary = explain.summarise(table, resamples=20)
    assert list(zip(summary["method"], summary["surgery"], strict=True)) == ROWS
    np.testing.assert_equal(summary["tau"].tolist(), [np.nan, 2, np.nan, 2])
    np.testing.assert_equal(summary["depth"].tolist(), [np.nan, np.nan, 1, 1])
    assert set(summary["model"]) == {"tiny"} and set(summary["templates"]) == {str(PROMPTS)}
    for _, row in summary.iterrows():
        rows = table[(table["method"] == row["method"]) & (table["surgery"] == row["surgery"])]
        assert row["threshold"] == explain.FIXED and not row["threshold_chosen"] and "fixed" in row["protocol"]
        overlap = explain.iou_at(rows)[:, list(THRESHOLDS).index(explain.FIXED)]
        for name, values in (("msc", rows["msc"].to_numpy()), ("miou", overlap), ("miou_at_0.6", overlap)):
            classes = []
            for label in ("cat", "dog"):
                of_class = [v for v, r in zip(values, rows["label"], strict=True) if r == label]
                classes.append(sum(of_class) / len(of_class))
            assert row[name] == pytest.approx(sum(classes) / len(classes)), name
        assert row["opposite"] == pytest.approx(100 * sum(v < 0 for v in rows["msc"]) / len(rows))  # over pairs
        assert (row["pairs"], row["images"], row["left_out"]) == (3, 2, 0)
        assert row["msc_low"] <= row["msc"] <= row["msc_high"]


def crafted(rows: list[tuple[str, str, float, float, float]]) -> pd.DataFrame:
    """Rows of an evaluation from (image, method, up to which threshold the object, the background holds, mSC)."""
    found = []
    for image, method, inside, outside, gap in rows:
        row = {"image": image, "label": "cat", "method": method, "surgery": "none", "msc": gap, "area": 50.0}
        row |= {name: float(t <= inside) for name, t in zip(explain.INSIDE, THRESHOLDS, strict=True)}
        row |= {name: float(t <= outside) for name, t in zip(explain.OUTSIDE, THRESHOLDS, strict=True)}
        found.append(row)
    return pd.DataFrame(found)


def test_threshold_is_chosen_on_the_tuning_rows_and_reported_on_the_others() -> None:
    tuning = crafted([("a", "clip", 0.5, 0.3, 1), ("b", "clip", 0.7, 0.3, 1), ("a", "maskclip", 0.9, 0.8, 1)])
    table = crafted([("c", "clip", 0.4, 0.1, 1), ("c", "maskclip", 1, 0, 1), ("c", "clip-surgery", 1, 0, 1)])
    summary = explain.summarise(table, tuning, resamples=2).set_index("method")
    assert summary["threshold"].to_dict() == {"clip": 0.32, "maskclip": 0.82, "clip-surgery": 0.6}
    assert summary["threshold_chosen"].to_dict() == {"clip": True, "maskclip": True, "clip-surgery": False}
    assert ["other images" in words for words in summary["protocol"]] == [True, True, False]
    assert summary.loc["clip", "miou"] == 100 and summary.loc["clip", "miou_at_0.6"] == 0
    # Thresholds for rows told apart by a column that is not always there.
    with_depth = [frame.assign(depth=[1.0, np.nan, 2.0]) for frame in (tuning, table)]
    other = explain.summarise(with_depth[1], with_depth[0], by=("method", "surgery", "depth"), resamples=2)
    assert other["threshold"].tolist() == [0.32, 0.6, 0.6]


def test_a_mask_of_the_whole_picture_is_left_out_of_msc_and_counted(clip: clipsx.Clip) -> None:
    full = SAMPLES[0].replace(masks={"cat": np.ones((20, 28), bool)}, name="full")
    table = run(clip, [full, SAMPLES[1]], methods=["clip"], surgery=["none"])
    assert np.isnan(table["msc"].iloc[0]) and table["area"].iloc[0] == 100 and table["size"].iloc[0] == "large"
    summary = explain.summarise(table, resamples=2).iloc[0]
    assert (summary["left_out"], summary["pairs"]) == (1, 3)
    assert summary["msc"] == pytest.approx(table["msc"].iloc[1:].mean())
    assert summary["opposite"] == pytest.approx(100 * (table["msc"].iloc[1:] < 0).mean())
    only = explain.summarise(table.iloc[:1], resamples=2).iloc[0]
    assert np.isnan(only["msc"]) and np.isfinite(only["miou"]) and only["left_out"] == 1


def test_ignored_pixels_count_nowhere(clip: clipsx.Clip, table: pd.DataFrame) -> None:
    changed = []
    for shown in SAMPLES[:2]:
        flipped = {label: np.where(shown.ignore, ~mask, mask) for label, mask in shown.masks.items()}
        changed.append(shown.replace(masks=flipped))
    pd.testing.assert_frame_equal(run(clip, changed).drop(columns="data"), table.drop(columns="data"))
    hidden = SAMPLES[0].replace(masks={"cat": SAMPLES[0].ignore}, name="hidden")  # nothing of the object counts
    assert set(run(clip, [hidden, SAMPLES[1]], methods=["clip"])["image"]) == {"image 2"}


def test_what_cannot_be_evaluated_is_refused(clip: clipsx.Clip) -> None:
    with pytest.raises(ValueError, match="no image to evaluate"):
        run(clip, [])
    with pytest.raises(ValueError, match="No image has a mask"):
        run(clip, SAMPLES[2:])
    with pytest.raises(ValueError, match="at least two different"):
        run(clip, labels=["cat", "cat"])
    with pytest.raises(ValueError, match="at least two different"):
        run(clip, labels=None)  # a plain list of samples names no labels
    with pytest.raises(ValueError, match="did you mean 'maskclip'"):
        run(clip, methods=["maskclp"])
    with pytest.raises(ValueError, match="'paper'"):
        run(clip, surgery=["papper"])


def test_a_constant_map_is_flagged_and_says_nothing(clip: clipsx.Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explain, "similarities", lambda dense, text, *_: torch.full((1, *dense.grid, len(text)), 0.3))
    table = run(clip, methods=["clip"], surgery=["none"])
    assert table["constant"].all() and (table["msc"] == 0).all()
    assert explain.summarise(table, resamples=2)["opposite"].iloc[0] == 0


def test_labels_come_from_the_data_and_progress_is_told(clip: clipsx.Clip) -> None:
    world, seen = Sketchbook(size=32, length=3), []
    table = run(clip, world, labels=None, methods=["clip"], surgery=["none"], on_progress=lambda *p: seen.append(p))
    assert seen == [(1, 3), (2, 3), (3, 3)] and table["labels"].unique().tolist() == [len(world.labels)]
    assert table["data"].unique().tolist() == [world.describe()["data"]]
    part = run(clip, Subset(world, [1], "one"), labels=None, methods=["clip"], surgery=["none"])
    same = table[table["image"] == world[1].name].reset_index(drop=True)
    pd.testing.assert_frame_equal(part.drop(columns="data"), same.drop(columns="data"))


def test_nameless_samples_are_told_apart(clip: clipsx.Clip) -> None:
    nameless = [shown.replace(name="") for shown in SAMPLES[:2]]
    assert run(clip, nameless, methods=["clip"], surgery=["none"])["image"].tolist() == ["#0", "#1", "#1"]


def test_curve_and_splits() -> None:
    table = crafted([("a", "clip", 0.5, 0.3, 10), ("b", "clip", 0.7, 0.3, -30), ("a", "maskclip", 0.9, 0.8, 5)])
    found = explain.curve(table)
    assert len(found) == 2 * len(THRESHOLDS)
    clip = found[found["method"] == "clip"].set_index("threshold")["miou"]
    assert (clip[0.0], clip[0.4], clip[0.6], clip[0.9]) == (50, 100, 50, 0)
    inside, outside = explain.exceeded(table[table["method"] == "clip"])
    assert inside[30] == 0.5 and outside[10] == 1 and outside[20] == 0
    by_size = explain.split_by(table.assign(size=["large", "small", "medium"]), "size")
    assert list(by_size.columns) == list(SIZES) and by_size.loc["clip", "small"] == -30
    shown = explain.split_by(table.assign(surgery=["none", "code", "none"]), "label")
    assert list(shown.index) == ["clip", "clip + code", "maskclip"] and shown.loc["clip + code", "cat"] == -30


def test_constants_are_what_one_table_shares() -> None:
    table = pd.DataFrame({"model": ["a", "a"], "tau": [2.0, np.nan], "method": ["clip", "clip"], "image": ["x", "x"]})
    assert explain.constants(table) == {"model": "a", "method": "clip"}
    assert explain.constants(table, by=["method"]) == {"model": "a"}
    assert len(explain.joined(table, table)) == 4
