"""Sentences hold what the view measures, and say so when there is nothing to measure."""

from dataclasses import replace

import numpy as np
import pytest

from clipsx.datasets import Sample, Sketchbook
from clipsx.panels import Session, likeness, sentence
from clipsx.panels.code import clip_code
from clipsx.panels.session import Picture
from clipsx.panels.state import State
from clipsx.panels.view import View
from helpers import noise, tiny_clip


@pytest.fixture
def view() -> View:
    sample = Sketchbook(size=64, length=4)[1]
    state = State(labels=(*sample.labels, "nothing", ""), shown=sample.labels[0], depth=3)
    return View(Session(tiny_clip()), [sample], Picture(sample), state)


def test_sentence_states_what_was_measured(view: View) -> None:
    words, table = sentence(view), view.table()
    raw, repaired = (
        table[(table.label == view.state.shown) & (table.kind == kind)].iloc[0] for kind in ("raw", "repaired")
    )
    assert f"mSC {raw.msc:.1f} %" in words
    assert f"mSC {repaired.msc:.1f} %" in words
    assert ("prefers the background" in words) == (raw.msc < 0)
    assert ("no higher" in words) == (repaired.msc <= raw.msc)
    assert "q-k attention" in words
    assert "v-v attention" in words


def test_sentence_without_a_true_region(view: View) -> None:
    assert "nothing is measured" in sentence(replace(view, state=replace(view.state, shown="nothing")))
    own = replace(view, picture=Picture(Sample(noise(9, 9), ())))
    assert "this picture" in sentence(own)


def test_likeness_is_the_mean_correlation(view: View) -> None:
    rows = np.corrcoef(view.raw.values.reshape(len(view.labels), -1))
    assert f"the empty label's at {rows[-1, :-1].mean():.2f} on average when raw" in likeness(view)
    among = replace(view, state=replace(view.state, labels=view.labels[:-1]))
    want = rows[:-1, :-1][np.triu_indices(len(rows) - 1, 1)].mean()
    assert f"one another's at {want:.2f} on average when raw" in likeness(among)


@pytest.mark.parametrize(
    ("model", "weights", "words"),
    [
        ("ViT-B-16", "openai", "clip = clipsx.load('ViT-B-16', pretrained='openai')"),
        ("ViT-B-16", "random, seed 0", "clip = clipsx.load('ViT-B-16', pretrained='random')"),
        (
            "ViT-B-16",
            "mine.pt sha256:12345678",
            "# clip: the model given to the panel, ViT-B-16 (mine.pt sha256:12345678)",
        ),
        ("tiny", "seed 0", "# clip: the model given to the panel, tiny (seed 0)"),
    ],
)
def test_code_that_loads_a_model(model: str, weights: str, words: str) -> None:
    assert clip_code(model, weights) == words
