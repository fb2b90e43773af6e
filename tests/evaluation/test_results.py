"""Results on disk: found, read, and what classes and pictures are worth, against plain loops."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score

import clipsx
from clipsx.evaluation import results, segment, summary
from clipsx.evaluation.results import Result
from helpers import masked, tiny_clip

LABELS = ("cat", "dog", "sky")
TEST = [masked(20, 28, ("cat",), 1), masked(17, 11, ("cat", "dog"), 2), masked(12, 15, ("dog", "sky"), 3)]


class Given(list):
    labels = LABELS


@pytest.fixture(scope="module")
def clip() -> clipsx.Clip:
    return tiny_clip(image_size=32, layers=2, width=32, patch_size=8)


@pytest.fixture(scope="module")
def runs(clip: clipsx.Clip, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Result]:
    out = tmp_path_factory.mktemp("out")
    asked = ["clip", "clip+code"]
    return {t: results.run(out, t, clip, t, [], Given(TEST), asked) for t in ("segment", "recognise", "explain")}


@pytest.mark.slow
def test_the_same_call_finds_what_it_made(
    clip: clipsx.Clip, runs: dict[str, Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    own, out = runs["segment"], runs["segment"].folder.parent
    monkeypatch.setattr(clipsx.Clip, "look", lambda *_: pytest.fail("a picture was looked at again"))
    again = results.run(out, "segment", clip, "segment", [], Given(TEST), ["clip", "clip+code"])
    assert again.folder == own.folder
    pd.testing.assert_frame_equal(again.table, own.table)
    monkeypatch.undo()
    other = results.run(out, "segment", clip, "segment", [], Given(TEST[:2]), ["clip"])
    assert other.folder != own.folder


def test_results_are_found_and_others_named(
    runs: dict[str, Result], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = results.find(runs["segment"].folder.parent)
    assert {run.protocol.name for run in found} == set(runs)
    assert results.find(tmp_path) == [] and results.find(tmp_path / "not there") == []
    for name, change in {
        "older": lambda table: table.drop(columns="dataset"),
        "newer": lambda table: table.assign(protocol="of next year: much"),
        "alone": lambda table: table,
    }.items():
        (tmp_path / name).mkdir()
        change(runs["explain"].table).to_csv(tmp_path / name / "table.csv", index=False)
    assert results.find(tmp_path) == []
    said = capsys.readouterr().out
    assert all(words in said for words in ("no column dataset", "none that is known", "holds no run"))


def test_worth_of_segmentation(runs: dict[str, Result]) -> None:
    rows = runs["segment"].rows()
    found = results.classes(rows).groupby("reading")["value"].mean()
    expected = segment.summarise(rows, resamples=2).set_index("reading")["mIoU"]
    pd.testing.assert_series_equal(found.sort_index(), expected.sort_index(), check_names=False)
    for _, row in results.pairs(rows).iterrows():
        own = rows.query(f"reading == {row['reading']!r} and image == {row['image']!r} and label == {row['label']!r}")
        hits, said, true = own[segment.PARTS].to_numpy()[0]
        assert row["value"] == pytest.approx(100 * hits / (said + true - hits))
    assert results.value_of(rows) == "IoU (%)"


@pytest.mark.parametrize("task", ["segment", "recognise", "explain"])
def test_classes_have_the_interval_of_images_drawn_anew(runs: dict[str, Result], task: str) -> None:
    """Against classes worked out anew from the rows of the pictures drawn, each as often as it was."""
    rows, least = runs[task].rows(), -100 if task == "explain" else 0
    found, images = results.classes(rows, resamples=12), rows["image"].unique()
    drawn: list[pd.Series] = []
    for weights in np.random.default_rng(0).multinomial(3, [1 / 3] * 3, size=12):
        names = [f"{image} {n}" for image, w in zip(images, weights, strict=True) for n in range(w)]
        some = pd.concat([rows[rows["image"] == name.rpartition(" ")[0]].assign(image=name) for name in names])
        drawn.append(results.classes(some, 0).set_index(["reading", "label"])["value"])
    each = pd.concat(drawn, axis=1)
    for row in found.to_dict("records"):
        known = each.loc[(row["reading"], row["label"])].dropna()
        low, high = np.quantile(known - known.mean() + row["value"], [0.025, 0.975])
        assert (row["value_low"], row["value_high"]) == pytest.approx((max(low, least), min(high, 100)))
    assert results.classes(rows[rows["image"] == images[0]])["value_low"].isna().all()


def test_worth_of_recognition(runs: dict[str, Result]) -> None:
    rows = runs["recognise"].rows()
    clip = rows[rows["reading"] == "clip"]
    values = results.images(rows, "clip")
    assert values.is_monotonic_increasing and len(values) == 3
    for name, present, scores in zip(clip["image"], clip["present"], clip["scores"], strict=True):
        assert values[name] == pytest.approx(100 * average_precision_score(present, scores))
    classes = results.classes(rows).query("reading == 'clip'").set_index("label")["value"]
    for place, label in enumerate(LABELS):
        present, scores = (np.array([row[place] for row in clip[name]]) for name in ("present", "scores"))
        if present.any():
            assert classes[label] == pytest.approx(100 * average_precision_score(present, scores))
        else:
            assert label not in classes


def test_worth_of_maps_and_differences(runs: dict[str, Result]) -> None:
    rows = runs["explain"].rows()
    found = results.against(rows).set_index("reading").loc["clip+code"]
    expected = summary.against(rows).query("measure == 'msc'").iloc[0]
    assert found["difference"] == pytest.approx(expected["difference"])
    assert (found["low"], found["high"], found["pairs"]) == pytest.approx(
        (expected["low"], expected["high"], expected["pairs"])
    )
    with pytest.raises(ValueError, match="'maskclip' was not measured"):
        results.against(rows, "maskclip")


def test_both_ends() -> None:
    worth = pd.Series({"image 3": 1.0, "gone": 2.0, "image 1": 3.0, "image 2": 4.0})
    assert [sample.name for sample in results.ends(TEST, worth, 1)] == ["image 3", "image 2"]
    assert [sample.name for sample in results.ends(TEST, worth)] == ["image 3", "image 1", "image 2"]
    assert results.ends([], worth) == [] and np.isfinite(worth).all()
