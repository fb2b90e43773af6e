"""Sentences hold what the view measures, and say so when there is nothing to measure."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import clipsx
from clipsx.datasets import Sample, Sketchbook
from clipsx.panels import Session, likeness, sentence
from clipsx.panels.code import clip_code
from clipsx.panels.pictures import Picture
from clipsx.panels.state import State
from clipsx.panels.view import View
from helpers import noise, tiny_clip


@pytest.fixture
def view() -> View:
    sample = Sketchbook(size=64, length=4)[1]
    state = State(labels=(*sample.labels, "nothing", ""), shown=sample.labels[0], reading="clip-surgery@3+code")
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


def test_code_that_loads_a_model(tmp_path: Path) -> None:
    assert clip_code(clipsx.load("sketchbook-random")) == "clip = clipsx.load('sketchbook-random')"
    assert clip_code(tiny_clip()) == "# clip: the model given to the panel, tiny (seed 0)"
    weights = tmp_path / "mine.safetensors"
    clip = tiny_clip()
    clip.recipe = {"name": "ViT-B-16", "pretrained": str(weights), "precision": "bf16", "quickgelu": False}
    words = f"clip = clipsx.load('ViT-B-16', pretrained={str(weights)!r}, precision='bf16', quickgelu=False)"
    assert clip_code(clip) == words


def test_a_region_without_surroundings_prefers_nothing(view: View) -> None:
    sample, label = view.picture.sample, view.state.shown or ""
    whole = sample.replace(labels=(label,), masks={label: np.ones(sample.size[::-1], bool)})
    words = sentence(View(view.session, [whole], Picture(whole), view.state))
    assert "has no pixel that counts" in words and "prefers the" not in words and "nan" not in words
