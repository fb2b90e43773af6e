"""What the rows of explaining say: means, thresholds, curves and splits, each against a plain loop."""

import numpy as np
import pandas as pd
import pytest

import clipsx
from clipsx.evaluation import explain, summary
from clipsx.evaluation.stream import stream
from clipsx.metrics import SIZES, THRESHOLDS
from helpers import masked, tiny_clip

PROMPTS = ("a photo of a {}.",)
ASKED = ("clip", "clip+code", "clip-surgery@1", "clip-surgery@1+code")
SAMPLES = (masked(20, 28, ("cat",), 1), masked(17, 11, ("cat", "dog"), 2))


@pytest.fixture(scope="module")
def clip() -> clipsx.Clip:
    return tiny_clip(image_size=32, layers=2, width=32, patch_size=8)


@pytest.fixture(scope="module")
def table(clip: clipsx.Clip) -> pd.DataFrame:
    return stream(clip, SAMPLES, [explain.measure(clip, ("cat", "dog", "sky"), ASKED, PROMPTS)])[0]


def test_a_summary_is_the_mean_over_images_then_classes(table: pd.DataFrame) -> None:
    found = summary.summarise(table, resamples=20)
    assert found["reading"].tolist() == list(ASKED)
    np.testing.assert_equal(found["tau"].tolist(), [np.nan, 2, np.nan, 2])
    np.testing.assert_equal(found["depth"].tolist(), [np.nan, np.nan, 1, 1])
    assert found["method"].tolist() == ["clip", "clip", "clip-surgery", "clip-surgery"]
    assert found["surgery"].tolist() == ["none", "code"] * 2
    assert set(found["model"]) == {"tiny"} and set(found["templates"]) == {str(PROMPTS)}
    for _, row in found.iterrows():
        rows = table[table["reading"] == row["reading"]]
        assert row["threshold"] == summary.FIXED and not row["threshold_chosen"] and "fixed" in row["protocol"]
        overlap = summary.iou_at(rows)[:, list(THRESHOLDS).index(summary.FIXED)]
        for name, values in (("msc", rows["msc"].to_numpy()), ("miou", overlap), ("miou_at_0.6", overlap)):
            classes = []
            for label in ("cat", "dog"):
                of_class = [v for v, r in zip(values, rows["label"], strict=True) if r == label]
                classes.append(sum(of_class) / len(of_class))
            assert row[name] == pytest.approx(sum(classes) / len(classes)), name
        assert row["opposite"] == pytest.approx(100 * sum(v < 0 for v in rows["msc"]) / len(rows))  # over pairs
        assert (row["pairs"], row["images"], row["left_out"]) == (3, 2, 0)
        assert row["msc_low"] <= row["msc"] <= row["msc_high"]


def test_intervals_are_those_of_images_drawn_with_replacement(table: pd.DataFrame) -> None:
    """By hand: with two images a draw is the first twice, the second twice, or both."""
    rows = table[table["reading"] == "clip"]
    found = summary.summarise(rows, resamples=400).iloc[0]
    one, two, dog = (rows.query(q)["msc"].item() for q in (
        "image == 'image 1'", "image == 'image 2' and label == 'cat'", "label == 'dog'"))  # fmt: skip
    means = [one, (two + dog) / 2, ((one + two) / 2 + dog) / 2]
    assert found["msc"] == pytest.approx(means[2])
    assert (found["msc_low"], found["msc_high"]) == pytest.approx((min(means), max(means)))


def crafted(rows: list[tuple[str, str, float, float, float]]) -> pd.DataFrame:
    """Rows of an evaluation from (image, reading, up to which threshold the object, the background holds, mSC)."""
    found = []
    for image, reading, inside, outside, gap in rows:
        row = {"image": image, "label": "cat", "reading": reading, "msc": gap, "area": 50.0}
        row |= {name: float(t <= inside) for name, t in zip(explain.INSIDE, THRESHOLDS, strict=True)}
        row |= {name: float(t <= outside) for name, t in zip(explain.OUTSIDE, THRESHOLDS, strict=True)}
        found.append(row)
    return pd.DataFrame(found)


def test_threshold_is_chosen_on_the_tuning_rows_and_reported_on_the_others() -> None:
    tuning = crafted([("a", "clip", 0.5, 0.3, 1), ("b", "clip", 0.7, 0.3, 1), ("a", "maskclip", 0.9, 0.8, 1)])
    table = crafted([("c", "clip", 0.4, 0.1, 1), ("c", "maskclip", 1, 0, 1), ("c", "clip-surgery", 1, 0, 1)])
    found = summary.summarise(table, tuning, resamples=2).set_index("reading")
    assert found["threshold"].to_dict() == {"clip": 0.32, "maskclip": 0.82, "clip-surgery": 0.6}
    assert found["threshold_chosen"].to_dict() == {"clip": True, "maskclip": True, "clip-surgery": False}
    assert ["other images" in words for words in found["protocol"]] == [True, True, False]
    assert found.loc["clip", "miou"] == 100 and found.loc["clip", "miou_at_0.6"] == 0
    # Thresholds for rows told apart by a column that is not always there.
    with_depth = [frame.assign(depth=[1.0, np.nan, 2.0]) for frame in (tuning, table)]
    other = summary.summarise(with_depth[1], with_depth[0], by=("reading", "depth"), resamples=2)
    assert other["threshold"].tolist() == [0.32, 0.6, 0.6]
    assert len(other) == 3 and np.isnan(other["depth"][1])


def test_a_pair_without_a_background_has_no_msc_and_is_counted() -> None:
    table = crafted([("a", "clip", 0.5, 0.3, np.nan), ("b", "clip", 0.7, 0.3, -4), ("c", "clip", 0.9, 0.8, 5)])
    found = summary.summarise(table, resamples=2).iloc[0]
    assert (found["left_out"], found["pairs"], found["images"]) == (1, 3, 3)
    assert found["msc"] == pytest.approx(0.5) and found["opposite"] == pytest.approx(50)
    only = summary.summarise(table.iloc[:1], resamples=2).iloc[0]
    assert np.isnan(only["msc"]) and np.isfinite(only["miou"]) and only["left_out"] == 1
    assert np.isnan(only["opposite"]) and np.isnan(only["miou_low"])  # one image has no interval


def test_curve_and_splits() -> None:
    table = crafted([("a", "clip", 0.5, 0.3, 10), ("b", "clip", 0.7, 0.3, -30), ("a", "maskclip", 0.9, 0.8, 5)])
    found = summary.curve(table)
    assert len(found) == 2 * len(THRESHOLDS)
    clip = found[found["reading"] == "clip"].set_index("threshold")["miou"]
    assert (clip[0.0], clip[0.4], clip[0.6], clip[0.9]) == (50, 100, 50, 0)
    some = summary.curve(table, resamples=20)  # at fewer thresholds, with intervals
    assert len(some) == 2 * len(THRESHOLDS[::5]) and set(some["miou"]) <= set(found["miou"])
    assert (some["miou_low"].fillna(0) <= some["miou"]).all() and (some["miou_high"].fillna(100) >= some["miou"]).all()
    (inside, *drawn), (outside, *_) = summary.exceeded(table[table["reading"] == "clip"], 20)
    assert inside[30] == 0.5 and outside[10] == 1 and outside[20] == 0
    assert {float(row[30]) for row in drawn} == {0, 0.5, 1} and len(drawn) == 20  # of two images
    assert [len(part) for part in summary.exceeded(table[:1], 20)] == [1, 1]
    by_size = summary.split_by(table.assign(size=["large", "small", "medium"]), "size")
    assert list(by_size.columns) == list(SIZES) and by_size.loc["clip", "small"] == -30
    shown = summary.split_by(table.assign(reading=["clip", "clip+code", "maskclip"]), "label")
    assert list(shown.index) == ["clip", "clip+code", "maskclip"] and shown.loc["clip+code", "cat"] == -30


def test_the_curve_is_the_mean_over_images_then_classes(table: pd.DataFrame) -> None:
    rows = table[table["reading"] == "clip+code"]
    ious = summary.iou_at(rows)
    found = summary.curve(rows)["miou"].to_numpy()
    cats, dogs = (ious[(rows["label"] == label).to_numpy()] for label in ("cat", "dog"))
    np.testing.assert_allclose(found, (cats.mean(axis=0) + dogs.mean(axis=0)) / 2)


def test_constants_are_what_one_table_shares() -> None:
    table = pd.DataFrame({"model": ["a", "a"], "tau": [2.0, np.nan], "method": ["clip", "clip"], "image": ["x", "x"]})
    table["reading"] = ["clip", "clip+code"]
    assert summary.constants(table) == {"model": "a", "method": "clip"}
    assert summary.constants(table, by=["method"]) == {"model": "a"}
    assert summary.constants(table.assign(depth=np.nan)) == {"model": "a", "method": "clip"}
    assert len(summary.joined(table, table)) == 4


def test_differences_are_of_the_same_objects(table: pd.DataFrame) -> None:
    found = summary.against(table, resamples=50)
    measures = [name for name in summary.MEASURES if name != "opposite"]
    assert found["reading"].tolist() == [r for r in ASKED[1:] for _ in measures] and set(found["against"]) == {"clip"}
    assert found["measure"].tolist() == measures * 3
    means = summary.summarise(table, resamples=20).set_index("reading")
    for _, row in found.iterrows():
        expected = means.loc[row["reading"], row["measure"]] - means.loc["clip", row["measure"]]
        kept = 2 if row["measure"] == "others" else 3  # one picture has one object
        if row["measure"] != "others":  # where a class has none, means over classes are not of the same pairs
            assert row["difference"] == pytest.approx(expected)
        assert row["pairs"] == kept
        apart = "higher" if row["low"] > 0 else "lower" if row["high"] < 0 else "not apart"
        assert row["verdict"] == apart


def test_a_base_that_was_not_measured_is_refused(table: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match="'naclip' was not measured"):
        summary.against(table, base="naclip")


def test_references_are_the_area_and_what_the_grid_allows(table: pd.DataFrame) -> None:
    found = summary.references(table, resamples=20).set_index("reading")
    pairs = table[table["reading"] == "clip"]
    classes = pairs.groupby("label")[["area", "oracle"]].mean().mean()
    lit, best = found.loc["lit everywhere"], found.loc["best on the patch grid"]
    assert lit["miou"] == lit["pointing"] == pytest.approx(classes["area"]) and (lit["msc"], lit["auc"]) == (0, 50)
    assert best["miou"] == pytest.approx(classes["oracle"]) and np.isnan(best["msc"]) and best["model"] == "tiny"
    assert lit["miou_low"] <= lit["miou"] <= lit["miou_high"]
