"""Recognition against its definitions, and how rules relate to one another."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import average_precision_score, f1_score
from torch.nn import functional as F

import clipsx
from clipsx import metrics
from clipsx.datasets import Sample
from clipsx.evaluation import recognise
from clipsx.evaluation.stream import stream
from clipsx.reading import IN_WORDS
from clipsx.statistics import draws, interval
from helpers import noise, tiny_clip


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
    names = ("CF1", "CF1_per_class", "OF1")
    assert metrics.f1_scores(true, true) == dict.fromkeys(names, 100.0)
    assert metrics.f1_scores(np.zeros((2, 2), bool), np.eye(2, dtype=int)) == dict.fromkeys(names, 0.0)
    assert np.isnan(metrics.f1_scores(said, np.zeros_like(true))["CF1"])


def test_rules_are_their_formulas() -> None:
    cls, text = features(12, 8, 0), features(5, 8, 1)
    scores = recognise.ruled(3 * cls, text)
    cosine = (cls @ text.T).numpy()
    assert np.allclose(scores["cosine"], cosine, atol=1e-6)
    assert np.allclose(scores["centring"], cosine - cosine.mean(axis=1, keepdims=True), atol=1e-6)
    assert np.allclose(scores["softmax(100·cosine)"].sum(axis=1), 1, atol=1e-5)
    assert np.allclose(scores["feature surgery"].sum(axis=1), 0, atol=1e-5)
    dense = clipsx.DenseFeatures(cls, cls[:, None, None])
    for form in ("code", "paper"):
        expected = clipsx.surgery_scores(dense, text, form=form)
        assert np.allclose(scores[IN_WORDS[form]], expected, atol=1e-6)
    order = [2, 0, 4, 1, 3]
    for name, score in recognise.ruled(cls.numpy(), text[order]).items():
        assert np.allclose(score, scores[name][:, order], atol=1e-5), name


def test_rows_are_cosines_of_the_class_feature() -> None:
    clip = tiny_clip(image_size=32, layers=2, width=32, patch_size=8)
    labels = ("dog", "cat", "sky")
    samples = [
        Sample(noise(20, 30, 1), ("cat",), name="a"),
        Sample(noise(9, 9, 2), ()),
        Sample(noise(8, 8), ("sky", "dog")),
    ]
    (table,) = stream(clip, samples, [recognise.measure(clip, labels, templates="photo")])
    assert table["image"].tolist() == ["a", "#1", "#2"] and set(table["classes"]) == {"dog\ncat\nsky"}
    scores, targets = recognise.as_arrays(table)
    assert targets.tolist() == [[False, True, False], [False, False, False], [True, False, True]]
    text = clip.encode_labels(labels, "photo")
    for sample, row in zip(samples, scores, strict=True):
        own = clip.encode_image(clip.prepare(sample.image)) @ text.T
        assert row.tolist() == pytest.approx(own[0].tolist(), abs=1e-6)
    (again,) = stream(clip, samples, [recognise.measure(clip, (*labels, "cat"), templates="photo")])
    pd.testing.assert_frame_equal(again, table)  # each label once


def test_what_a_sample_is_unsure_of_counts_neither_way(tmp_path) -> None:
    clip, labels = tiny_clip(layers=1), ("dog", "cat")
    samples = [
        Sample(noise(8, 8, n), ("dog",) * (n % 2), name=str(n), unsure=("cat",) if n < 3 else ()) for n in range(6)
    ]
    samples.append(Sample(noise(8, 8, 9), ("cat",), name="cat"))
    (table,) = stream(clip, samples, [recognise.measure(clip, labels)], folder=tmp_path)
    scores, targets = recognise.as_arrays(table)
    assert targets.mask[:, 1].tolist() == [True] * 3 + [False] * 4 and not targets.mask[:, 0].any()
    (again,) = stream(clip, samples, [recognise.measure(clip, labels)], folder=tmp_path)  # as it was kept
    assert (recognise.as_arrays(again)[1].mask == targets.mask).all()
    found = recognise.summarise({"r": scores}, targets, ({"r": scores}, targets), resamples=5).loc[0]
    parts = [metrics.average_precision(scores[n:, [c]], targets[n:, [c]].data)[0] for c, n in ((0, 0), (1, 3))]
    assert found["mAP"] == pytest.approx(100 * np.mean(parts)) and found["without_labels"] == 3


def test_readings_that_need_the_texts_are_refused() -> None:
    with pytest.raises(ValueError, match="'gradcam' has no features: its maps need the texts"):
        recognise.measure(tiny_clip(layers=1), ["cat", "dog"], "clip, gradcam")


def test_recognition_masks_absent_classes_and_tells_its_protocol() -> None:
    rng = np.random.default_rng(1)
    targets = (rng.random((60, 4)) < 0.4).astype(int)
    targets[:, 3] = 0
    scores = {"good": targets + 0.3 * rng.normal(size=(60, 4)), "bad": rng.normal(size=(60, 4))}
    table = recognise.summarise(scores, targets, ({"good": scores["good"]}, targets), resamples=50).set_index("rule")
    expected = np.mean([average_precision_score(targets[:, n], scores["bad"][:, n]) for n in range(3)])
    assert table.loc["bad", "mAP"] == pytest.approx(100 * expected)
    assert (table["mAP_low"] < table["mAP"]).all() and (table["mAP"] < table["mAP_high"]).all()
    assert table.loc["good", "mAP_low"] > table.loc["bad", "mAP_high"]
    assert (table["absent"] == 1).all() and table.loc["bad", "threshold"] == 0.5
    assert "other images" in table.loc["good", "protocol"] and "threshold 0.5" in table.loc["bad", "protocol"]
    for none in (np.zeros_like(targets), targets[:0]):
        with pytest.raises(ValueError, match="no image"):
            recognise.summarise({name: score[: len(none)] for name, score in scores.items()}, none)


def test_a_summary_is_the_loop_over_draws_rules_and_pairs() -> None:
    rng = np.random.default_rng(4)
    scores, targets = rng.normal(size=(12, 3)), rng.random((12, 3)) < 0.5
    other, known = rng.normal(size=(9, 3)), rng.random((9, 3)) < 0.5
    (found,) = recognise.summarise({"r": scores}, targets, ({"r": other}, known), resamples=25).to_dict("records")

    # Every draw, by repeating the images that were drawn.
    weights = np.random.default_rng(0).multinomial(12, np.full(12, 1 / 12), size=25)
    drawn = []
    for weight in weights:
        chosen = np.repeat(np.arange(12), weight)
        each = [
            average_precision_score(targets[chosen, n], scores[chosen, n]) for n in range(3) if targets[chosen, n].any()
        ]
        drawn.append(100 * np.mean(each))
    point = 100 * np.mean([average_precision_score(targets[:, n], scores[:, n]) for n in range(3)])
    assert found["mAP"] == pytest.approx(point)
    centred = np.array(drawn) - np.mean(drawn) + point
    assert (found["mAP_low"], found["mAP_high"]) == pytest.approx(tuple(np.quantile(centred, [0.025, 0.975])))

    # Yes or no at the one threshold that is best on the other images.
    def of1(threshold: float, values: np.ndarray, truth: np.ndarray) -> float:
        hit = sum(v >= threshold and t for v, t in zip(values.ravel(), truth.ravel(), strict=True))
        said, true = sum(v >= threshold for v in values.ravel()), truth.sum()
        return 200 * hit / (said + true)

    best = max(other.ravel(), key=lambda t: of1(t, other, known))
    assert found["threshold"] == pytest.approx(best)
    assert found["OF1"] == pytest.approx(of1(best, scores, targets))
    precisions, recalls = [], []
    for n in range(3):
        said = [i for i in range(12) if scores[i, n] >= best]
        hits = [i for i in said if targets[i, n]]
        precisions.append(len(hits) / len(said) if said else 0.0)
        recalls.append(len(hits) / targets[:, n].sum())
    p, r = np.mean(precisions), np.mean(recalls)
    assert found["CF1"] == pytest.approx(200 * p * r / (p + r))
    assert (found["images"], found["labels"], found["absent"]) == (12, 3, 0)


def test_one_image_has_no_interval() -> None:
    (found,) = recognise.summarise({"r": np.array([[0.3, 0.1]])}, np.array([[1, 0]])).to_dict("records")
    assert found["mAP"] == 100 and np.isnan(found["mAP_low"]) and np.isnan(found["mAP_high"])


def test_rules_of_one_summary_are_paired_by_their_draws() -> None:
    """The interval of a difference comes from the same images drawn for both."""
    rng = np.random.default_rng(5)
    scores, targets = rng.normal(size=(30, 3)), rng.random((30, 3)) < 0.5
    same = recognise.summarise({"one": scores, "other": 2 * scores + 1}, targets, resamples=30)
    assert same["mAP_low"].nunique() == same["mAP_high"].nunique() == 1
    own = draws(lambda w: metrics.mean_average_precision(scores, targets, w), 30, 30)
    low, _ = interval(own - own.mean() + same["mAP"][0])
    assert same["mAP_low"][0] == pytest.approx(low)


def test_the_threshold_has_the_best_of1() -> None:
    rng = np.random.default_rng(2)
    scores, targets = np.round(rng.normal(size=(20, 3)), 1), (rng.random((20, 3)) < 0.3).astype(int)
    found = recognise.best_threshold(scores, targets)
    best = max(metrics.f1_scores(scores >= t, targets)["OF1"] for t in np.unique(scores))
    assert metrics.f1_scores(scores >= found, targets)["OF1"] == pytest.approx(best)
