"""Recognition and segmentation against their definitions, and how rules relate to one another."""

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, f1_score
from torch.nn import functional as F

from clipsx import metrics, mfi
from clipsx.datasets import Sample, Sketchbook
from clipsx.evaluation import recognise
from helpers import tiny_clip, unchecked


def features(n: int, width: int, seed: int) -> torch.Tensor:
    return F.normalize(torch.randn(n, width, generator=torch.Generator().manual_seed(seed)), dim=1)


def test_f1_is_the_published_formula() -> None:
    rng = np.random.default_rng(0)
    said, true = rng.random((40, 6)) < 0.4, rng.random((40, 6)) < 0.3
    true[:, 5] = False
    hits, p, g = ((m[:, :5]).sum(axis=0) for m in (said & true, said, true))
    cp, cr = (hits / p).mean(), (hits / g).mean()
    found = metrics.f1_scores(said, true)
    assert found["CF1"] == pytest.approx(200 * cp * cr / (cp + cr))
    assert found["OF1"] == pytest.approx(100 * f1_score(true[:, :5].ravel(), said[:, :5].ravel()))
    assert metrics.f1_scores(true, true) == {"CF1": 100.0, "OF1": 100.0}
    assert metrics.f1_scores(np.zeros((2, 2), bool), np.eye(2, dtype=int)) == {"CF1": 0.0, "OF1": 0.0}
    assert np.isnan(metrics.f1_scores(said, np.zeros_like(true))["CF1"])


def test_rules_are_their_formulas() -> None:
    cls, text = features(12, 8, 0), features(5, 8, 1)
    scores = recognise.ruled(3 * cls, text)
    cosine = (cls @ text.T).numpy()
    assert np.allclose(scores["cosine"], cosine, atol=1e-6)
    assert np.allclose(scores["centring"], cosine - cosine.mean(axis=1, keepdims=True), atol=1e-6)
    assert np.allclose(scores["softmax(100·cosine)"].sum(axis=1), 1, atol=1e-5)
    assert np.allclose(scores["feature surgery (code)"].sum(axis=1), 0, atol=1e-5)
    order = [2, 0, 4, 1, 3]
    for name, score in recognise.ruled(cls, text[order]).items():
        assert np.allclose(score, scores[name][:, order], atol=1e-5), name


def test_recognition_masks_absent_classes_and_tells_its_protocol() -> None:
    rng = np.random.default_rng(1)
    targets = (rng.random((60, 4)) < 0.4).astype(int)
    targets[:, 3] = 0
    scores = {"good": targets + 0.3 * rng.normal(size=(60, 4)), "bad": rng.normal(size=(60, 4))}
    table = recognise.recognise(scores, targets, ({"good": scores["good"]}, targets), resamples=50).set_index("rule")
    expected = np.mean([average_precision_score(targets[:, n], scores["bad"][:, n]) for n in range(3)])
    assert table.loc["bad", "mAP"] == pytest.approx(100 * expected)
    assert (table["mAP_low"] < table["mAP"]).all() and (table["mAP"] < table["mAP_high"]).all()
    assert table.loc["good", "mAP_low"] > table.loc["bad", "mAP_high"]
    assert (table["absent"] == 1).all() and table.loc["bad", "threshold"] == 0.5
    assert "other images" in table.loc["good", "protocol"] and "threshold 0.5" in table.loc["bad", "protocol"]
    with pytest.raises(ValueError, match="no image"):
        recognise.recognise(scores, np.zeros_like(targets))


def test_the_threshold_has_the_best_of1() -> None:
    rng = np.random.default_rng(2)
    scores, targets = np.round(rng.normal(size=(20, 3)), 1), (rng.random((20, 3)) < 0.3).astype(int)
    found = recognise.best_threshold(scores, targets)
    best = max(metrics.f1_scores(scores >= t, targets)["OF1"] for t in np.unique(scores))
    assert metrics.f1_scores(scores >= found, targets)["OF1"] == pytest.approx(best)


def test_segmentation_counts_pixels() -> None:
    """The best label at every pixel against a plain loop, with and without backgrounds."""
    world = Sketchbook(seed=3, length=6, size=64)
    clip, labels, grounds = tiny_clip(), list(world.NOUNS), ["grass", "water"]
    for extra in ([], grounds):
        hits, said, true = (np.zeros(len(labels) + 1) for _ in range(3))
        text = clip.encode_labels([*labels, *extra], ["{}"])
        for sample in world:
            dense = clip.encode_dense(clip.prepare(sample.image), method="maskclip")
            best = recognise.upsample(dense.patches @ text.T, (64, 64))[0].argmax(-1).numpy()
            for y in range(64):
                for x in range(64):
                    there = next(
                        (n for n, label in enumerate(labels) if label in sample.masks and sample.masks[label][y, x]),
                        len(labels),
                    )
                    if there == len(labels) and not extra:
                        continue
                    guess = min(best[y, x], len(labels))
                    hits[there] += guess == there
                    said[guess] += 1
                    true[there] += 1
        kept = true > 0
        expected = 100 * (hits[kept] / (said + true - hits)[kept]).mean()
        found = recognise.segment(clip, world, grounds=extra, method="maskclip", templates=["{}"], resamples=20)
        assert found["mIoU"] == pytest.approx(expected)
        assert found["mIoU_low"] <= found["mIoU_high"] and found["images"] == 6
        assert ("all pixels" in found["protocol"]) == bool(extra)


def test_maps_of_several_models_are_segmented_and_compared() -> None:
    clip, world, told = tiny_clip(), Sketchbook(seed=3, length=6, size=32), []
    table = recognise.mapped({"before": clip, "after": clip}, world, lambda name: lambda *_: told.append(name))
    assert (
        table[["when", "method", "surgery"]].drop_duplicates().shape == (8, 3)
        and told == ["before"] * 6 + ["after"] * 6
    )
    row = table.set_index(["when", "method", "surgery"]).loc[("after", "clip-surgery", "code")]
    assert row["mIoU"] == recognise.segment(clip, world, method="clip-surgery", surgery="code")["mIoU"]
    scores = mfi.coactivation(clip, world).groupby("companion")["score"].mean()
    assert row["others"] == scores[False] and (table["others"] == scores[False]).all()


def test_nothing_to_segment_is_told() -> None:
    blank = Sample(Sketchbook(seed=1, length=1, size=32)[0].image, ("cat",))
    with pytest.raises(ValueError, match="nothing to segment"):
        recognise.segment(tiny_clip(), [blank], labels=["cat", "dog"])
    with unchecked(), pytest.raises(ValueError, match="at least two"):
        recognise.segment(tiny_clip(), [blank], labels=["cat"])
