"""Protocols: rows that say what they do, one at a time in a table, and the traps between published numbers."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import average_precision_score, f1_score
from torchmetrics.classification import MulticlassJaccardIndex, MultilabelAveragePrecision

import clipsx
from clipsx import metrics
from clipsx.datasets import BUILT_IN, LAYOUTS, Sketchbook, Subset, Vocabulary, tuning_and_test
from clipsx.evaluation import explain, recognise, segment, summary
from clipsx.evaluation.parts import Parts
from clipsx.evaluation.protocols import HEAD, PER_IMAGE, PROTOCOLS, TASKS, Protocol, named, protocol
from clipsx.evaluation.stream import stream
from clipsx.evaluation.tasks import SUMMARIES, evaluate
from clipsx.evaluation.windows import Stitched, Windows, stitched
from clipsx.reading import Reading
from helpers import masked, tiny_clip

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def clip() -> clipsx.Clip:
    return tiny_clip(image_size=32, layers=2, width=32, patch_size=8)


@pytest.mark.parametrize("row", PROTOCOLS.values(), ids=str)
def test_a_row_says_what_it_does(row: Protocol) -> None:
    words = str(row)
    assert row.task in TASKS and set(SUMMARIES) == set(TASKS) and words.startswith(row.name)
    assert protocol(row.name, row.task) is row and named(f"{words}; and more") == row.name
    assert row.rule in (*recognise.OF_COSINES, HEAD)
    data = row.name.partition("-")[2]
    assert not row.vocabulary or len(BUILT_IN[row.vocabulary].names) == len(BUILT_IN[LAYOUTS[data].vocabulary].names)
    assert bool(row.least or row.area) <= bool(row.background), "what is sent to the background has one"
    for part in (row.windows, row.least, row.scale, row.source, row.words, row.size):
        assert not part or str(part) in words
    if row.windows:
        ours = protocol(f"{row.name}+antialias", row.task)
        assert ours.windows is not None and ours.windows.antialias and named(ours) == f"{row.name}+antialias"


@pytest.mark.parametrize(
    ("name", "task", "words"),
    [("sclip-voc2l", "segment", "did you mean 'sclip-voc21'"), ("segment", "explain", "of the task segment"),
     ("clip-surgery-segment+antialias", "segment", "already"), ("x", "points", "Known: points, clip-surgery-points"),
     ("sclip-voc21", "recognise", "--task segment")],
)  # fmt: skip
def test_a_wrong_name(name: str, task: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        protocol(name, task)


def test_different_protocols_are_refused_in_one_table() -> None:
    one, other = (pd.DataFrame({"protocol": [f"{PROTOCOLS[n]}; more"]}) for n in ("sclip-voc21", "naclip-voc21"))
    assert len(summary.joined(one, None, one, pd.DataFrame({"protocol": ["other words"]}))) == 3
    with pytest.raises(ValueError, match="naclip-voc21, sclip-voc21"):
        summary.joined(one, other)


# The traps ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("area", [0.0, 0.2])
def test_trap_softmax_runs_over_query_words(area: float) -> None:
    """The best of all words' probabilities, which has to reach the threshold: more words, smaller probabilities."""
    of, least = torch.tensor([0, 0, 1, 2, 3, 3]), 0.3  # two words of class 0 and of the background, class 3
    values = torch.from_numpy(RNG.normal(size=(7, 9, 6))).float()
    map = Stitched(values, torch.eye(7), torch.eye(9))
    rules = Protocol("p", "segment", scale=1.5, least=least, area=area, background=("x", "y"))
    odds = torch.softmax(1.5 * values, dim=-1).numpy()
    each = np.stack([odds[..., of == k].max(axis=-1) for k in range(4)], axis=-1)  # (7, 9, 4)
    first = each.argmax(axis=-1)
    objects = sum((first == k).sum() for k in range(3))
    for k in range(3):
        if area and (first == k).sum() / objects <= area:
            each[..., k] = 0
    expected = np.where(each.max(axis=-1) < least, 3, each.argmax(axis=-1))
    found, sure = segment.winners(map, of, rules, 3)
    assert np.allclose(sure, each.max(axis=-1)) and (found == expected).all() and 0 < (found == 3).sum() < found.size
    twice = Stitched(values[..., [0, 0, 1, 2, 3, 4, 5]], torch.eye(7), torch.eye(9))
    doubled, _ = segment.winners(twice, torch.tensor([0, 0, 0, 1, 2, 3, 3]), rules, 3)
    assert (doubled == 3).sum() > (found == 3).sum(), "one more synonym sends pixels to the background"


def toy() -> tuple[pd.DataFrame, list[np.ndarray], list[np.ndarray]]:
    """Rows of two images of three classes and a fourth that is only said, with the maps that they come from."""
    truth, said = ([RNG.integers(0, 3, (6, 5 + 4 * n)) for n in range(2)] for _ in range(2))
    said = [np.where(RNG.random(t.shape) < 0.6, t, s) for t, s in zip(truth, said, strict=True)]
    said[0][0, 0], truth[1][0, :2] = 3, 255
    rows = []
    for n, (t, s) in enumerate(zip(truth, said, strict=True)):
        seen = t != 255
        for k in range(4):
            parts = (((t == k) & (s == k))[seen].sum(), (s == k)[seen].sum(), (t == k)[seen].sum())
            if any(parts):
                rows.append({"reading": "clip", "image": n, "label": k} | dict(zip(segment.PARTS, parts, strict=True)))
    return pd.DataFrame(rows).assign(protocol="p"), truth, said


def test_trap_iou_of_sums_is_not_the_mean_over_images() -> None:
    table, truth, said = toy()

    def miou(mean: str) -> float:
        return segment.summarise(table, resamples=2, mean=mean)["mIoU"].item()

    oracle = MulticlassJaccardIndex(4, average="macro", ignore_index=255)
    for t, s in zip(truth, said, strict=True):
        oracle.update(torch.from_numpy(s.ravel()), torch.from_numpy(t.ravel()))
    published = PROTOCOLS["sclip-voc20"].mean
    assert miou(published) == pytest.approx(100 * float(oracle.compute()), abs=1e-4)
    assert miou(segment.OWN.mean) == pytest.approx(4 / 3 * miou(published)), "a class that is only said is no class"
    classes = []
    for k in range(3):
        pairs = [(t[t != 255] == k, s[t != 255] == k) for t, s in zip(truth, said, strict=True)]
        classes.append(np.mean([(a & b).sum() / (a | b).sum() for a, b in pairs]))
    assert miou(PER_IMAGE) == pytest.approx(100 * np.mean(classes))
    assert miou(PER_IMAGE) != pytest.approx(miou(segment.OWN.mean), abs=0.1)


def test_trap_two_f1_and_two_aps() -> None:
    targets = RNG.random((60, 5)) < 0.3
    cosines = 0.2 * targets + RNG.normal(size=(60, 5)) * 0.1
    said = cosines > 0.1
    found = metrics.f1_scores(said, targets)
    assert found["CF1_per_class"] == pytest.approx(100 * f1_score(targets, said, average="macro"))
    assert found["CF1_per_class"] != pytest.approx(found["CF1"], abs=0.1)
    rules = {name: rule(torch.from_numpy(cosines)).numpy() for name, rule in recognise.OF_COSINES.items()}
    maps = {name: metrics.mean_average_precision(scores, targets) for name, scores in rules.items()}
    assert len({round(value, 2) for value in maps.values()}) == 3, "softmax and centring couple the classes of an image"
    oracle = MultilabelAveragePrecision(5, average="macro", thresholds=None)
    for name, scores in rules.items():
        assert maps[name] == pytest.approx(100 * average_precision_score(targets, scores, average="macro"))
        # torchmetrics would squash values beyond 0…1, which ties none of these
        low, high = scores.min(), scores.max()
        assert maps[name] == pytest.approx(
            100 * float(oracle(torch.from_numpy((scores - low) / (high - low)), torch.from_numpy(targets).long())),
            abs=1e-3,
        )
    targets[:, 4] = False
    zeros = recognise.summarise({"r": cosines}, targets, resamples=9, absent="as 0").loc[0]
    kept = recognise.summarise({"r": cosines}, targets, resamples=9).loc[0]
    assert zeros["mAP"] == pytest.approx(0.8 * kept["mAP"]) and zeros["absent"] == kept["absent"] == 1
    assert zeros["without_labels"] == (~targets.any(axis=1)).sum() and "as 0" in zeros["protocol"]


# Through `evaluate` ---------------------------------------------------------------------------------------------------


def test_windows_in_a_measure(clip: clipsx.Clip) -> None:
    """The rows of a window protocol are those of its stitched maps, ground and all."""
    rules = Protocol("p", "segment", windows=Windows(40, 32, 16), scale=30, least=0.34, background=("sky", "sea"))
    words, sample = {"cat": ("cat", "kitten"), "dog": ("dog",)}, masked(20, 28, ("cat", "dog"), 1)
    measure = segment.measure(clip, ("cat", "dog"), "clip, maskclip+code", rules.background, ["{}"], words, rules)
    (table,) = stream(clip, [sample], [measure], size=clip.patch_size)
    text = clip.encode_labels(["cat", "kitten", "dog", "sky", "sea"], ["{}"])
    assert rules.windows is not None
    for name in ("clip", "maskclip+code"):
        map = stitched(clip, sample.image, rules.windows, [Reading.parse(name)], text)[Reading.parse(name)]
        best = segment.winners(map, torch.tensor([0, 0, 1, 2, 2]), rules, 2)[0][~sample.ignore]
        truth = sample.index_map(("cat", "dog"))[~sample.ignore]
        rows = table[table["reading"] == name].set_index("label")
        for k, label in enumerate(("cat", "dog", "background")):
            expected = [((best == k) & (truth == k)).sum(), (best == k).sum(), (truth == k).sum()]
            assert rows.reindex([label])[segment.PARTS].fillna(0).loc[label].tolist() == expected
    assert set(table["image_size"]) == {str(rules.windows)}
    with pytest.raises(ValueError, match="give words for it"):
        segment.measure(clip, ("cat", "dog"), rules=rules)


@pytest.mark.parametrize("task", TASKS)
def test_what_a_run_says_of_itself_stands_in_no_measured_column(clip: clipsx.Clip, task: str, tmp_path: Path) -> None:
    tuning, test = tuning_and_test("sketchbook", images=3, size=32)
    table = evaluate(clip, task, tuning, test, "clip", folder=tmp_path).set_index("measure")["value"]
    parts = Parts.of(tmp_path)
    (name, measure), *_ = parts.measures.items()
    assert not set(parts.read(name, 0)) & set(measure["about"])
    if task == "explain":
        (rows,) = stream(clip, test, [explain.measure(clip, test.labels, "clip")])
        for column in ("msc", "others", "absent"):
            assert table[column] == pytest.approx(summary.summarise(rows, resamples=2)[column].item(), nan_ok=True)


def test_a_protocols_background_is_its_own(clip: clipsx.Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    """Words of a built-in wording do not take its place, those of a file of one's own do, as the table says."""
    rules = Protocol("small", "segment", windows=Windows(32, 32, 16), scale=30, least=0.1, background=("sky",))
    monkeypatch.setitem(PROTOCOLS, "small", rules)
    own = Vocabulary(BUILT_IN["sketchbook"].queries, ("sea", "sand"))
    for given, count in ((BUILT_IN["sketchbook"], 1), (own, 2)):
        table = evaluate(clip, "segment", [], Sketchbook(length=1, size=32), "clip", protocol="small", vocabulary=given)
        assert f"background = {count} grounds" in table["protocol"][0]
        assert ("also its 2 for the background" in table["protocol"][0]) == (given is own)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "name", "measures"),
    [("explain", "clip-surgery-explain", {"miou", "miou_searched", "miou_fixed"}), ("recognise", "dualcoop", {"mAP"}),
     ("segment", "clip-surgery-segment-per-image", {"mIoU"}), ("segment", None, {"mIoU"})],
)  # fmt: skip
def test_evaluate_by_a_protocol(clip: clipsx.Clip, task: str, name: str | None, measures: set[str]) -> None:
    world = Sketchbook(seed=3, length=6, size=32)
    tuning, test = (Subset(world, range(start, 6, 2), "some") for start in (0, 1))
    table = evaluate(clip, task, tuning, test, "clip, clip+code", protocol=name)
    rules = protocol(name, task)
    assert measures <= set(table["measure"]) and table["protocol"].str.startswith(str(rules)).all()
    assert table["protocol"].str.contains("; words of sketchbook; ").all()
    side = rules.size and rules.size // 8 * 8
    assert set(table["image_size"]) == {f"{side}×{side}" if side else "32×32"}
    alone: Any = evaluate(clip, task, [], test, "clip", protocol=name)
    assert alone["protocol"].str.contains("no other images").all() == (task == "explain")  # else nothing is chosen
    if task == "explain":
        values = alone.set_index("measure")["value"]
        assert values["miou"] == values["miou_fixed"] <= values["miou_searched"]
