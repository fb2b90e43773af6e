"""The session: encodes once, keeps what it encoded, and computes what the package's functions do."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

import clipsx
from clipsx import metrics
from clipsx.analyses.attention import relation
from clipsx.datasets import Sample, Sketchbook
from clipsx.panels.session import THRESHOLDS, Kept, Picture, Session, measured
from clipsx.panels.state import State
from helpers import noise, tiny_clip, tiny_resnet

LABELS = ("cat", "boat", "fish")
STATE = State(labels=LABELS, shown="cat", depth=3)


@pytest.fixture
def picture() -> Picture:
    sample = Sketchbook(size=80, length=4)[1]
    return Picture(sample)


def _do(session: Session, picture: Picture, state: State) -> int:
    steps = session.steps(picture, state.labels, state)
    for _, call in steps:
        call()
    return len(steps)


@pytest.mark.parametrize("clip", [tiny_clip(), tiny_resnet()], ids=["vit", "resnet"])
def test_steps_name_all_that_is_dear(clip: clipsx.Clip, picture: Picture, monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session(clip)
    state = replace(STATE, depth=1)
    assert _do(session, picture, state) == 2 + len(LABELS) + 1
    assert session.steps(picture, LABELS, state) == []
    for name in ("encode_dense", "encode_labels"):
        monkeypatch.setattr(clipsx.Clip, name, lambda *_, **__: pytest.fail("encoded again"))
    session.maps(picture, LABELS, state)
    session.scores(picture, LABELS, None)
    session.relation(picture, state.attention, state.block, None)


def test_nothing_is_encoded_twice(picture: Picture, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Counter[str]()
    for name in ("encode_dense", "encode_labels"):
        whole = getattr(clipsx.Clip, name)
        monkeypatch.setattr(clipsx.Clip, name, lambda *a, _n=name, _w=whole, **k: (calls.update([_n]), _w(*a, **k))[1])
    session = Session(tiny_clip())
    for change in (
        {},
        {"tau": 5.0},
        {"surgery": "paper"},
        {"surgery": "off"},
        {"depth": 2},
        {"depth": 3},
        {"method": "clip"},
    ):
        state = replace(STATE, **change)
        _do(session, picture, state)
        session.maps(picture, LABELS, state)
    assert calls["encode_dense"] == 3  # clip, clip-surgery at depths 3 and 2
    assert calls["encode_labels"] == len(LABELS)


def test_maps_are_those_of_the_package(picture: Picture) -> None:
    clip, session = tiny_clip(), Session(tiny_clip())
    images, text = clip.prepare(picture.sample.image), clip.encode_labels(list(LABELS))
    dense = clip.encode_dense(images, method="clip-surgery", depth=3)
    for surgery, sim in {
        "off": clipsx.similarity(dense, text),
        "code": clipsx.feature_surgery(dense, text, tau=2.0),
        "paper": clipsx.feature_surgery(dense, text, tau=2.0, form="paper"),
    }.items():
        maps = session.maps(picture, LABELS, replace(STATE, surgery=surgery))
        want = clipsx.minmax(sim)[0].permute(2, 0, 1)
        torch.testing.assert_close(torch.from_numpy(maps.values), want, atol=1e-5, rtol=0)
        pixels = clipsx.upsample(clipsx.minmax(sim), picture.size)[0].permute(2, 0, 1)
        torch.testing.assert_close(torch.from_numpy(maps.pixels(picture.size)), pixels, atol=1e-5, rtol=0)


def test_one_label_goes_by_the_empty_label(picture: Picture) -> None:
    clip, session = tiny_clip(), Session(tiny_clip())
    state = replace(STATE, labels=("cat",))
    assert any("''" in words for words, _ in session.steps(picture, ("cat",), state))
    dense = clip.encode_dense(clip.prepare(picture.sample.image), method="clip-surgery", depth=3)
    sim = clipsx.feature_surgery(dense, clip.encode_labels(["cat"]), redundant=clip.encode_labels([""]))
    want = clipsx.minmax(sim)[0].permute(2, 0, 1)
    torch.testing.assert_close(torch.from_numpy(session.maps(picture, ("cat",), state).values), want, atol=1e-5, rtol=0)


def test_attention_rows_are_the_relation_without_the_class_column(picture: Picture) -> None:
    clip, session = tiny_clip(), Session(tiny_clip())
    rows = session.relation(picture, "qk", 1, None)
    want = relation(clip, clip.prepare(picture.sample.image), block=1, kind="qk")[0, 1:, 1:]
    np.testing.assert_allclose(rows, np.asarray(want / want.sum(-1, keepdim=True)), atol=1e-6)
    np.testing.assert_allclose(rows.sum(-1), 1, atol=1e-5)


def test_numbers_are_those_of_the_metrics(picture: Picture) -> None:
    session, there = Session(tiny_clip()), picture.sample.labels
    labels = (*there, "nowhere")
    maps = session.maps(picture, labels, STATE)
    numbers = measured(maps, picture, labels)
    assert numbers[-1] is None
    pixels = maps.pixels(picture.size)
    for i, label in enumerate(there):
        mask, (msc, curve) = picture.sample.masks[label], numbers[i]
        assert msc == pytest.approx(metrics.msc(pixels[i], mask))
        for k in (0, 37, 60, 100):
            assert curve[k] == pytest.approx(metrics.iou(pixels[i], mask, THRESHOLDS[k]))


def test_pictures_of_any_shape() -> None:
    clip = tiny_clip()
    for sample in (Sample(noise(1, 1), ()), Sample(noise(30, 90), ())):
        maps = Session(clip).maps(Picture(sample), LABELS, STATE)
        assert maps.values.shape == (3, 4, 4)
        assert maps.pixels(Picture(sample).size).shape == (3, sample.image.height, sample.image.width)


def test_kept_forgets_the_oldest() -> None:
    kept, made = Kept(2), []
    for key in "abacab":
        kept.get(key, lambda key=key: made.append(key))
    assert "".join(made) == "abcb"
