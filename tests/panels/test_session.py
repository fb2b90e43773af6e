"""The session: encodes once, keeps what it encoded, and computes what the package's functions do."""

import gc
import weakref
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import clipsx
from clipsx import metrics
from clipsx.analyses.attention import relation
from clipsx.datasets import Sample, Sketchbook
from clipsx.maps import minmax
from clipsx.panels.pictures import Kept, Picture
from clipsx.panels.session import THRESHOLDS, Session, at_pixels, measured
from clipsx.panels.state import State
from clipsx.reading import Reading
from helpers import noise, tiny_clip, tiny_resnet

LABELS = ("cat", "boat", "fish")
READING = Reading("clip-surgery", 3, "code")
STATE = State(labels=LABELS, shown="cat", reading=str(READING))


@pytest.fixture
def picture() -> Picture:
    sample = Sketchbook(size=80, length=4)[1]
    return Picture(sample)


def _do(session: Session, picture: Picture, state: State) -> int:
    steps = session.steps(picture, state.labels, state)
    for _, call in steps:
        call()
    return len(steps)


def _counted(monkeypatch: pytest.MonkeyPatch, *names: str) -> Counter[str]:
    """How often methods of `Clip` are called from now on."""
    calls = Counter[str]()

    def counting(name: str, whole: Any) -> Any:
        return lambda *args, **options: (calls.update([name]), whole(*args, **options))[1]

    for name in names:
        monkeypatch.setattr(clipsx.Clip, name, counting(name, getattr(clipsx.Clip, name)))
    return calls


@pytest.mark.parametrize("clip", [tiny_clip(), tiny_resnet()], ids=["vit", "resnet"])
def test_one_walk_gives_all_that_is_dear(clip: clipsx.Clip, picture: Picture, monkeypatch: pytest.MonkeyPatch) -> None:
    session, state = Session(clip), replace(STATE, reading="clip-surgery+code")
    calls = _counted(monkeypatch, "look", "encode_labels", "prepare")
    assert _do(session, picture, state) == 1 + len(LABELS)
    assert calls == {"look": 1, "prepare": 1, "encode_labels": len(LABELS)}
    assert session.steps(picture, LABELS, state) == []
    session.maps(picture, LABELS, Reading("clip"))
    session.maps(picture, LABELS, Reading.parse(state.reading))
    session.scores(picture, LABELS)
    for pair in ("qk", "vv"):
        session.relation(picture, pair, state.block)
    assert calls["look"] == 1 and calls["encode_labels"] == len(LABELS)


def test_nothing_is_encoded_twice(picture: Picture, monkeypatch: pytest.MonkeyPatch) -> None:
    session, calls = Session(tiny_clip()), _counted(monkeypatch, "look", "encode_labels")
    texts = ("clip-surgery@3+code", "clip-surgery@3+code(tau=5)", "clip-surgery@3+paper", "clip-surgery@3", "clip+code")
    for text in (*texts, "clip-surgery@2", "clip-surgery@3", "clip-surgery", "clip-surgery@6"):
        state = replace(STATE, reading=text)
        _do(session, picture, state)
        session.maps(picture, LABELS, Reading.parse(text))
    assert calls["look"] == 3  # depths 3, 2 and 6, which is the default
    assert calls["encode_labels"] == len(LABELS)


@pytest.mark.slow
def test_blocks_are_not_kept(picture: Picture, monkeypatch: pytest.MonkeyPatch) -> None:
    clip, seen = tiny_clip(), []
    session, look = Session(clip), clipsx.Clip.look

    def watched(*args: Any, **options: Any) -> Any:
        found = look(*args, **options)
        seen.extend(weakref.ref(block) for block in found.blocks)
        return found

    monkeypatch.setattr(clipsx.Clip, "look", watched)
    for block in range(clip.tower.blocks):
        assert _do(session, picture, replace(STATE, block=block)) <= 1 + len(LABELS)
    gc.collect()
    assert len(seen) == clip.tower.blocks**2 and not any(block() for block in seen)
    assert len(session._relations) == 1  # of the block shown
    assert [words for words, _ in session.steps(picture, LABELS, replace(STATE, block=0))] == ["reading the attention"]
    assert session.steps(picture, LABELS, replace(STATE, block=-1)) == []


def test_maps_are_those_of_the_package(picture: Picture) -> None:
    clip, session = tiny_clip(), Session(tiny_clip())
    images, text = clip.prepare(picture.sample.image), clip.encode_labels(list(LABELS))
    dense = clip.encode_dense(images, method="clip-surgery", depth=3)
    for surgery, sim in {
        "none": clipsx.similarity(dense, text),
        "code": clipsx.feature_surgery(dense, text, tau=2.0),
        "paper": clipsx.feature_surgery(dense, text, tau=2.0, form="paper"),
    }.items():
        maps = session.maps(picture, LABELS, replace(READING, surgery=surgery))
        want = clipsx.minmax(sim)[0].permute(2, 0, 1)
        torch.testing.assert_close(torch.from_numpy(maps.values), want, atol=1e-5, rtol=0)
        pixels = clipsx.upsample(clipsx.minmax(sim), picture.size)[0].permute(2, 0, 1)
        torch.testing.assert_close(torch.from_numpy(at_pixels(maps.values, picture.size)), pixels, atol=1e-5, rtol=0)


@pytest.mark.slow
def test_one_label_goes_by_the_empty_label(picture: Picture) -> None:
    clip, session = tiny_clip(), Session(tiny_clip())
    state = replace(STATE, labels=("cat",))
    assert any("''" in words for words, _ in session.steps(picture, ("cat",), state))
    dense = clip.encode_dense(clip.prepare(picture.sample.image), method="clip-surgery", depth=3)
    sim = clipsx.feature_surgery(dense, clip.encode_labels(["cat"]), redundant=clip.encode_labels([""]))
    want = clipsx.minmax(sim)[0].permute(2, 0, 1)
    torch.testing.assert_close(
        torch.from_numpy(session.maps(picture, ("cat",), READING).values), want, atol=1e-5, rtol=0
    )


@pytest.mark.slow
def test_attention_rows_are_the_relation_without_the_class_column(picture: Picture) -> None:
    clip, session = tiny_clip(), Session(tiny_clip())
    rows = session.relation(picture, "qk", 1)
    want = relation(clip, clip.prepare(picture.sample.image), block=1, kind="qk")[0, 1:, 1:]
    np.testing.assert_allclose(rows, np.asarray(want / want.sum(-1, keepdim=True)), atol=1e-6)
    np.testing.assert_allclose(rows.sum(-1), 1, atol=1e-5)
    assert not Session(tiny_resnet()).relation(picture, "vv", -1).any()  # no transformer blocks


def test_tokens_before_the_patches_are_dropped(picture: Picture, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = tiny_clip()
    monkeypatch.setattr(clip.tower, "prefix", 4, raising=False)
    assert Session(clip).relation(picture, "vv", 1).shape == (13, 13)  # 1 + 4 × 4 tokens


@pytest.mark.slow
def test_numbers_are_those_of_the_metrics(picture: Picture) -> None:
    session, there = Session(tiny_clip()), picture.sample.labels
    labels = (*there, "nowhere")
    maps = session.maps(picture, labels, READING)
    numbers = measured(maps, picture, labels)
    assert np.isnan(numbers.msc[-1]) and np.isnan(numbers.iou[-1]).all()
    pixels = at_pixels(maps.values, picture.size)
    for i, label in enumerate(there):
        mask, msc, curve = picture.sample.masks[label], numbers.msc[i], numbers.iou[i]
        assert msc == pytest.approx(metrics.msc(pixels[i], mask))
        for k in (0, 37, 60, 100):
            assert curve[k] == pytest.approx(metrics.iou(pixels[i], mask, THRESHOLDS[k]))


def test_pictures_of_any_shape() -> None:
    clip = tiny_clip()
    for sample in (Sample(noise(1, 1), ()), Sample(noise(30, 90), ())):
        maps = Session(clip).maps(Picture(sample), LABELS, READING)
        assert maps.values.shape == (3, 4, 4)
        assert at_pixels(maps.values, Picture(sample).size).shape == (3, sample.image.height, sample.image.width)


def test_kept_forgets_the_oldest() -> None:
    kept, made = Kept(2), []
    for key in "abacab":
        kept.made(key, lambda key=key: made.append(key) or key)
    assert "".join(made) == "abcb"


def test_a_reading_that_needs_the_texts_has_maps_too(picture: Picture) -> None:
    clip = tiny_clip(layers=3)
    session, labels = Session(clip), ["cat", "boat"]
    given = clip.prepare(picture.sample.image), ["legrad", "gradcam"], clip.encode_labels(labels)
    expected = clip.maps(*given)
    for method in (*given[1], *given[1]):  # the second time without a walk
        maps = session.maps(picture, labels, Reading(method))
        np.testing.assert_allclose(maps.values, minmax(expected[method])[0].permute(2, 0, 1).numpy(), atol=1e-6)
