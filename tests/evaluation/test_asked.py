"""A class by several words: the best of them counts, at every place, in every task, and the table says so."""

from typing import Any

import numpy as np
import pytest
import torch

import clipsx
from clipsx import metrics
from clipsx.datasets import Vocabulary
from clipsx.evaluation import explain, recognise
from clipsx.evaluation.asked import Asked, vocabulary_of
from clipsx.evaluation.stream import stream
from clipsx.evaluation.tasks import evaluate
from helpers import masked, tiny_clip

WORDS = Vocabulary((("cat", "kitten"), ("dog",), ("sky", "clouds", "blue air")))
LABELS = WORDS.names
OF = dict(zip(LABELS, WORDS.queries, strict=True))
SAMPLES = [masked(20, 28, LABELS[n : n + 2], n) for n in range(3)]


class Given(list):
    labels, vocabulary = LABELS, WORDS


@pytest.fixture(scope="module")
def clip() -> clipsx.Clip:
    return tiny_clip(image_size=32, layers=2, width=32, patch_size=8)


def test_the_best_word_is_that_of_a_loop(clip: clipsx.Clip) -> None:
    asked = Asked.by(clip, LABELS, OF, "photo")
    assert asked.of.tolist() == [0, 0, 1, 2, 2, 2] and asked.words == WORDS.queries
    found = torch.randn(2, 3, 6, generator=torch.Generator().manual_seed(0))
    expected = [found[..., [k for k, of in enumerate(asked.of) if of == n]].amax(dim=-1) for n in range(3)]
    assert torch.equal(asked.best(found), torch.stack(expected, dim=-1))
    assert Asked.by(clip, LABELS).best(found[..., :3]).equal(found[..., :3])


def test_maps_and_scores_are_of_the_best_word(clip: clipsx.Clip) -> None:
    measures = [
        explain.measure(clip, LABELS, "clip", "photo", OF),
        recognise.measure(clip, LABELS, "clip", "photo", OF),
    ]
    rows, scores = stream(clip, SAMPLES, measures)
    each = {label: clip.encode_labels(words, "photo") for label, words in OF.items()}  # (words, D)
    for n, sample in enumerate(SAMPLES):
        dense = clip.encode_dense(clip.prepare(sample.image), "clip")
        expected = [float((dense.cls @ each[label].T).max()) for label in LABELS]
        assert scores["scores"][n].tolist() == pytest.approx(expected, abs=1e-6)
        for label, mask in sample.masks.items():
            map = (dense.patches @ each[label].T).amax(dim=-1, keepdim=True)  # (1, h, w, 1)
            map = clipsx.upsample(clipsx.minmax(map), mask.shape)[0, ..., 0].numpy()
            row = rows[(rows["image"] == sample.name) & (rows["label"] == label)]
            assert row["msc"].item() == pytest.approx(metrics.msc(map, mask, sample.ignore), abs=1e-3)


def test_every_task_asks_with_the_words_of_the_vocabulary(clip: clipsx.Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    encode = clip.encode_labels
    monkeypatch.setattr(clip, "encode_labels", lambda labels, *how: asked.append(tuple(labels)) or encode(labels, *how))
    for task in ("explain", "segment", "recognise", "points"):
        del asked[:]
        table = evaluate(clip, task, [], Given(SAMPLES), "clip")
        assert set(asked) == {tuple(word for words in WORDS.queries for word in words)}
        assert table["protocol"].str.contains("; the best of a class's words").all()
    plain: Any = type("Plain", (list,), {"labels": LABELS})(SAMPLES)
    said = evaluate(clip, "recognise", [], plain, "clip")["protocol"][0]
    assert "; words of given words;" in said and "best of a class" not in said and "labels from" not in said
    assert vocabulary_of(plain).names == LABELS and np.isfinite(table["value"]).any()
