"""Held against real CLIP features and real photographs, where they are at hand; `conftest.real` says why it skips."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from clipsx import DenseFeatures, datasets, metrics, statistics, surgery_scores, unmix
from clipsx.evaluation import explain, recognise
from clipsx.evaluation import summary as summaries
from clipsx.evaluation.stream import stream
from helpers import tiny_clip

pytestmark = pytest.mark.filterwarnings("ignore:No positive image")  # few images: some labels are absent

Ranking = tuple[dict[str, np.ndarray], np.ndarray]


@pytest.fixture(scope="module")
def ranking(clip_features: Path) -> Ranking:
    """Scores of 250 COCO photographs × 80 labels from OpenAI's ViT-B/16, by four ways, and what is there."""
    images, texts = (np.load(next(clip_features.glob(f"{name}*.npz"))) for name in ("coco250", "coco80_text"))
    assert images["label_names"].tolist() == texts["label_names"].tolist()
    image = F.normalize(torch.as_tensor(images["image_features"]).float(), dim=-1)  # (250, 512)
    text = F.normalize(torch.as_tensor(texts["text_features"]).float(), dim=-1)  # (80, 512)
    dense = DenseFeatures(cls=image, patches=image[:, None, None])
    cosine = image @ text.T
    scores = {"cosine": cosine, "softmax": (100 * cosine).softmax(dim=-1)}
    scores |= {form: surgery_scores(dense, text, form=form) for form in ("code", "paper")}
    return {name: score.numpy() for name, score in scores.items()}, images["labels"]


def test_mean_average_precision_of_real_features(ranking: Ranking) -> None:
    """Feature surgery lifts the ranking over cosine, in either form; a plain softmax is at least as good."""
    scores, targets = ranking
    found = {name: metrics.mean_average_precision(score, targets) for name, score in scores.items()}
    # The text features are stored to 3e-4, which moves a mean by a tenth.
    assert found == pytest.approx({"cosine": 47.16, "softmax": 55.05, "code": 52.41, "paper": 52.44}, abs=0.15)
    assert np.isfinite(metrics.average_precision(scores["cosine"], targets)).sum() == 70


def test_intervals_over_images_of_real_features(ranking: Ranking) -> None:
    scores, targets = ranking
    rng, draws = np.random.default_rng(0), []
    for _ in range(150):
        chosen = rng.integers(0, len(targets), len(targets))
        value = {
            n: metrics.mean_average_precision(scores[n][chosen], targets[chosen]) for n in ("cosine", "softmax", "code")
        }
        draws.append((value["code"] - value["cosine"], value["softmax"] - value["code"]))
    gain, rest = (statistics.interval(np.array(found)) for found in zip(*draws, strict=True))
    assert gain == pytest.approx((1.9, 7.9), abs=0.9)
    assert rest == pytest.approx((-0.2, 5.3), abs=0.9)


@pytest.mark.slow
def test_projectors_on_real_features(clip_features: Path) -> None:
    """Class tokens and positive prompts only, half the images to learn from: similarity falls, the ranking is told."""
    images, texts = (np.load(next(clip_features.glob(f"{name}*.npz"))) for name in ("coco250", "coco80_text"))
    cls = F.normalize(torch.as_tensor(images["image_features"]).float(), dim=-1).numpy()  # (250, 512)
    text = F.normalize(torch.as_tensor(texts["text_features"]).float(), dim=-1)  # (80, 512)
    labels, names = images["labels"].astype(np.int64), texts["label_names"].tolist()
    known = np.arange(0, 80, 2)  # every other label is trained on, the rest are held out
    train, test = (unmix.Gathered(cls[half::2, None], cls[half::2], labels[half::2][:, known]) for half in (0, 1))
    config = unmix.Config(epochs=40, batch=8, lr=2e-4, alpha=0.1)
    settings = {"unmix": unmix.Setting(negative=False), "without": unmix.Setting(0.0, negative=False)}
    twice = torch.stack([text[known], text[known]])  # there are no negative prompts: the same text stands in, unread
    table, scores = unmix.ablate(
        train, test, twice, [names[k] for k in known], config, settings, held=text[np.setdiff1d(np.arange(80), known)]
    )
    rows = table.set_index("setting")
    assert rows["before"].between(0.7, 0.8).all() and rows.loc["unmix", "after"] < 0.4 < rows.loc["without", "after"]
    assert rows.loc["unmix", "held after"] < rows.loc["unmix", "held before"]
    plain = recognise.ruled(test.cls, text[known])
    ranking = recognise.summarise(plain | {"unmix": scores["unmix", 0]}, test.present, resamples=20).set_index("rule")
    assert ranking["mAP"].between(10, 90).all() and (ranking["images"] == 125).all()


def test_photographs_are_read_with_their_labels(voc: Path) -> None:
    samples = datasets.load("voc2012", root=voc)
    assert len(samples) == 16 and samples.describe() == {"data": "VOC2012 val n=16, words: voc-20"}
    for sample in samples:
        assert sample.image.mode == "RGB" and sample.labels and set(sample.labels) <= set(samples.labels)
        with Image.open(samples.root / "SegmentationClass" / f"{sample.name}.png") as mask:
            values = np.asarray(mask)
        np.testing.assert_array_equal(sample.ignore, values == 255)
        assert sample.ignore.any() and set(sample.masks) == set(sample.labels)
        for label, mask in sample.masks.items():
            np.testing.assert_array_equal(mask, values == samples.labels.index(label) + 1)
            assert not (mask & sample.ignore).any()


def test_photographs_go_through_an_evaluation(voc: Path) -> None:
    clip = tiny_clip(image_size=32, layers=2, width=32, patch_size=8)
    tuning, test = datasets.tuning_and_test("voc2012", voc, images=2)
    maps = explain.measure(clip, test.labels, "clip", ["a photo of a {}."])
    tables = [stream(clip, part, [maps])[0] for part in (test, tuning)]
    assert not set(tables[0]["image"]) & set(tables[1]["image"])
    summary = summaries.summarise(*tables, resamples=10).iloc[0]
    assert -100 <= summary["msc"] <= 100 and 0 < summary["miou"] <= 100
    assert summary["data"] == "VOC2012 val n=16, words: voc-20, odd samples: 2" and summary["threshold_chosen"]
