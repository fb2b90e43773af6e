"""Points and their masks against plain loops; what says nothing is empty, explained and counted."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

import clipsx
from clipsx.datasets import Sample
from clipsx.evaluation import explain, points, summary
from clipsx.evaluation.stream import stream
from clipsx.reading import Reading
from clipsx.segmenters import RandomWalker
from helpers import masked, noise, tiny_clip, unchecked

LABELS = ("cat", "dog", "sky")
READINGS = ("clip", "clip-surgery@1+code")
SAMPLES = (masked(20, 28, ("cat",), 1), masked(17, 11, ("cat", "dog"), 2), masked(24, 15, ("boat", "dog"), 3))


@pytest.fixture(scope="module")
def clip() -> clipsx.Clip:
    return tiny_clip(image_size=32, layers=2, width=32, patch_size=4)


def run(clip: clipsx.Clip, samples: Any, labels: Any = LABELS, asked: Any = READINGS, **options: Any) -> pd.DataFrame:
    options = {"segmenter": RandomWalker(50), "templates": ["{}"], "threshold": 0.6} | options
    return stream(clip, samples, [points.measure(clip, labels, asked, **options)])[0]


@pytest.fixture(scope="module")
def table(clip: clipsx.Clip) -> pd.DataFrame:
    return run(clip, SAMPLES)


def test_rows_are_those_of_loops_over_points_and_pixels(clip: clipsx.Clip, table: pd.DataFrame) -> None:
    assert len(table) == 8
    text = clip.encode_labels(LABELS, ["{}"])
    for row in table.to_dict("records"):
        sample, reading = next(s for s in SAMPLES if s.name == row["image"]), Reading.parse(row["reading"])
        dense = clip.encode_dense(clip.prepare(sample.image), reading.method, reading.depth)
        sim = reading.similarities(dense, text)[0, ..., LABELS.index(row["label"])]
        xy, signs = clipsx.points_from_map(sim, sample.size[::-1], 0.6)
        mask, on, off = sample.masks[row["label"]], [], []
        for (x, y), sign in zip(xy.tolist(), signs.tolist(), strict=True):
            if not sample.ignore[y, x]:
                (on if sign else off).append(mask[y, x])
        assert (row["positives"], row["negatives"]) == (len(on), len(off))
        assert row["accuracy"] == pytest.approx(100 * sum(on) / len(on))
        assert row["outside"] == pytest.approx(100 * (1 - sum(off) / len(off)))
        found, both, either = RandomWalker(50)(sample.image, xy, signs), 0, 0
        for place in np.ndindex(mask.shape):
            if not sample.ignore[place]:
                both += bool(mask[place] and found[place])
                either += bool(mask[place] or found[place])
        assert row["iou"] == pytest.approx(100 * both / either)
        assert row["chance"] == row["area"] == pytest.approx(100 * mask[~sample.ignore].mean())
        assert row["why"] == "" and not row["constant"]
    (others,) = stream(clip, SAMPLES, [explain.measure(clip, LABELS, READINGS, ["{}"])])
    alike = [name for name in others.columns if name in table and name != "templates"]
    pd.testing.assert_frame_equal(table[alike], others[alike])
    assert set(table["segmenter"]) == {"random walker (beta 50, at most 256 px)"}
    assert table["protocol"].str.contains("at or above 0.6").all() and set(table["labels"]) == {3}


def test_a_summary_pairs_the_two_masks(table: pd.DataFrame) -> None:
    found = points.summarise(table, table, resamples=50).set_index("reading")
    for reading, rows in table.groupby("reading"):
        row, curve = found.loc[reading], summary.curve(table[table["reading"] == reading])
        ious = pd.DataFrame(summary.iou_at(rows), rows.index, summary.THRESHOLDS)[row["threshold"]]
        means = [values.groupby(rows["label"]).mean().mean() for values in (rows["iou"], ious, rows["accuracy"])]
        assert row[["miou_points", "miou_plain", "accuracy"]].tolist() == pytest.approx(means)
        assert row["miou_plain"] == pytest.approx(curve["miou"].max()) and row["threshold_chosen"]
        assert row["gain"] == pytest.approx(means[0] - means[1])
        assert row["gain_low"] <= row["gain"] <= row["gain_high"]
        assert (row["empty"], row["pairs"], row["images"], row["model"]) == (0, 4, 3, "tiny")
        assert "chosen on other images" in row["protocol"] and row["segmenter"].startswith("random walker")
    assert set(points.summarise(table, resamples=5)["threshold"]) == {summary.FIXED}


def flat(clip: clipsx.Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Reading, "similarities", lambda self, dense, text, r=None: 0 * dense.patches @ text.T)


def test_maps_that_say_nothing_are_empty_explained_and_counted(
    clip: clipsx.Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    flat(clip, monkeypatch)
    rows = run(clip, SAMPLES, asked="clip")
    assert rows["constant"].all() and (rows["iou"] == 0).all() and (rows["positives"] == 0).all()
    assert rows["accuracy"].isna().all() and rows["outside"].isna().all()
    assert rows["why"].str.contains("the map is the same everywhere").all()
    (found,) = points.summarise(rows, resamples=20).to_dict("records")
    assert found["empty"] == found["pairs"] == 4 and found["miou_points"] == found["gain"] == 0
    assert np.isnan(found["accuracy"]) and found["chance"] > 0


def test_points_on_what_is_ignored_count_nowhere(clip: clipsx.Clip) -> None:
    sample = SAMPLES[0]
    nothing = sample.replace(ignore=np.ones((20, 28), bool))
    (whole,) = run(clip, [nothing, SAMPLES[1]], asked="clip")["image"].unique()
    assert whole == SAMPLES[1].name  # nothing of the first counts: it gives no row
    half = sample.ignore.copy()
    half[:, :14] = True
    (row,) = run(clip, [sample.replace(ignore=half)], asked="clip").to_dict("records")
    flipped = sample.replace(ignore=half, masks={"cat": np.where(half, ~sample.masks["cat"], sample.masks["cat"])})
    (other,) = run(clip, [flipped], asked="clip").to_dict("records")
    assert row == other


def test_nothing_to_measure_and_bad_options(clip: clipsx.Clip) -> None:
    blank = Sample(noise(32, 32), ("cat",))
    for samples, labels in (([blank], ("cat", "dog")), (SAMPLES[:1], ("boat", "dog"))):
        with pytest.raises(ValueError, match="nothing to evaluate"):
            run(clip, samples, labels)
    with pytest.raises(ValueError, match="threshold"):
        run(clip, SAMPLES, threshold=2)
    with unchecked(), pytest.raises(ValueError, match="at least two"):
        run(clip, SAMPLES, ["cat"])
    with pytest.raises(ValueError, match="Unknown segmenter 'sam'"):
        run(clip, SAMPLES, segmenter="sam")
