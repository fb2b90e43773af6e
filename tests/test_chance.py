"""Bands of random starts: seeded, kept, found again, and told where they cannot be had."""

import numpy as np
import pandas as pd
import pytest
import torch

import clipsx
from clipsx import chance
from clipsx.cli import main
from clipsx.datasets import Sketchbook, Subset, Vocabulary
from clipsx.evaluation import explain, summary
from clipsx.evaluation.stream import stream
from clipsx.reading import Reading
from clipsx.sketchbook.laboratory import floors
from helpers import tiny_clip

WORLD = Sketchbook(seed=5, length=3, size=32, objects=(2, 3))


def make(seed: int) -> clipsx.Clip:
    return tiny_clip(seed, image_size=32, layers=2, width=32, patch_size=8)


@pytest.mark.slow
def test_a_band_is_over_the_numbers_of_every_start(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = (Reading("clip"),)
    table = chance.starts(make, WORLD, 2, asked, words=None)
    found = chance.bands(table).set_index("measure")
    values = []
    for seed in (0, 1):
        (rows,) = stream(make(seed), WORLD, [explain.measure(make(seed), WORLD.labels, asked)])
        values.append(summary.summarise(rows, resamples=2)["others"].item())
    assert found.loc["others", "mean"] == pytest.approx(np.mean(values)) and set(found["n"]) == {2}
    assert found.loc["others", "sd"] == pytest.approx(np.std(values, ddof=1))
    assert {"correlation", "shared_ground", "attention vv", "cosine_text ffn"} <= set(found.index)
    monkeypatch.setattr(chance, "numbers", None)  # what was measured is found again
    again = chance.starts(make, WORLD, 2, asked, words=None)
    pd.testing.assert_frame_equal(again, table, check_dtype=False)
    wide = chance.as_summary(chance.bands(table))
    assert wide["others_low"].item() < wide["others"].item() < wide["others_high"].item()
    with pytest.raises(ValueError, match="at least two random starts"):
        chance.starts(make, WORLD, 1)


def test_shipped_bands_are_found_by_architecture_size_and_world() -> None:
    test = Sketchbook(seed=102, length=7)
    for name in ("sketchbook", "sketchbook-home", "sketchbook-random"):
        found = chance.chance(clipsx.load(name), test)
        assert set(found["model"]) == {"sketchbook"} and (found["n"] >= 20).all() and found["torch"].all()
    first, floor = chance.beside([clipsx.load("sketchbook"), clipsx.load("sketchbook-rn")], test)
    assert first.equals(found) and set(floor["model"]) == {"sketchbook", "sketchbook-rn"}
    assert {"clip", "clip-surgery+code"} <= set(floor.loc[floor["model"] == "sketchbook-rn", "reading"])
    msc = found.set_index(["reading", "measure"]).loc[("clip", "msc")]
    assert msc["low"] < msc["mean"] - msc["sd"] < 0 < msc["mean"] + msc["sd"] < msc["high"]


def test_a_model_whose_starts_are_not_known_has_no_band(capsys: pytest.CaptureFixture[str]) -> None:
    assert chance.beside([make(0)], WORLD)[1] is None
    assert "tiny was not made by clipsx.load" in capsys.readouterr().out
    assert main(["chance", "--model", "sketchbook", "--starts", "1"]) == 2
    for more in (["--split", "val"], ["--vocabulary", "voc21.sclip"], ["--dataset", "voc2012"], ["--limit", "3"]):
        capsys.readouterr()
        assert main(["chance", *more]) == 2 and "say --model for other data" in capsys.readouterr().err


def test_a_class_is_asked_for_as_its_vocabulary_says(monkeypatch: pytest.MonkeyPatch) -> None:
    clip, asked = make(0), []
    encode = clip.encode_labels
    monkeypatch.setattr(
        clip, "encode_labels", lambda labels, *more: asked.append(list(labels)) or encode(labels, *more)
    )
    WORDS = Vocabulary(tuple((name, f"a drawn {name}") for name in WORLD.labels))
    world = Subset(WORLD, range(2), "two")
    world.vocabulary = WORDS
    chance.numbers(clip, world, [Reading("clip")])
    assert [word for words in WORDS.queries for word in words] in asked


def test_seeds_of_random_weights() -> None:
    starts = [clipsx.load("sketchbook", pretrained=f"random{end}", device="cpu") for end in ("", ":0", ":7", ":7")]
    weights = [clip.model.visual.proj for clip in starts]
    assert torch.equal(weights[0], weights[1]) and torch.equal(weights[2], weights[3])
    assert not torch.equal(weights[1], weights[2]) and starts[2].weights == "random, seed 7"
    again = chance.again(starts[0])(7)
    assert torch.equal(again.model.visual.proj, weights[2])
    for wrong in ("random:", "random:x", "random:-1"):
        with pytest.raises(ValueError, match="names no seed"):
            clipsx.load("sketchbook", pretrained=wrong)


def test_every_tower_of_the_laboratory_has_a_start() -> None:
    towers = floors.towers()
    assert {floors.tower_of(run) for run in ("lab-centre-s7", "lab-co-0-s7@60032", "lab-blocks-12-s7")} <= set(towers)
    clip = floors.start("lab-average-s7", 3)
    assert clip.image_size == (64, 64) and clip.model.visual.pool_type == "avg"
    assert chance.architecture(floors.start("sketchbook", 1)) == chance.architecture(clipsx.load("sketchbook"))
