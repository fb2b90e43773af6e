"""The panel of words on pictures: what the browser is sent, and the numbers as the functions give them."""

import json
import runpy
from collections.abc import Iterator
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest

import clipsx
from clipsx.analyses import words
from clipsx.datasets import Sample
from clipsx.panels import WordsPanel
from clipsx.panels.elements import jpeg
from helpers import masked, noise, tiny_clip

CAPTION = "a cat, and a dog"


@pytest.fixture(scope="module")
def clip() -> clipsx.Clip:
    return tiny_clip(image_size=32, layers=2, width=32, patch_size=8)


SAMPLES = (
    masked(20, 28, ("cat", "dog"), 1).replace(captions=(CAPTION,)),
    masked(24, 24, ("boat",), 2),
    Sample(noise(16, 16, 3), name="bare"),
)


@pytest.fixture
def panel(clip: clipsx.Clip, tmp_path: Path) -> Iterator[WordsPanel]:
    panel = WordsPanel(clip, SAMPLES, out=tmp_path)
    assert panel.wait(60) and panel._line.value == ""
    yield panel
    plt.close("all")


def similarities(clip: clipsx.Clip, sample: Sample, text: str, reading: str):
    return clip.maps(clip.prepare(sample.image), reading, clip.encode_words(text).features)[reading][0]


def test_the_browser_gets_every_words_map(panel: WordsPanel, clip: clipsx.Clip) -> None:
    scene, sentence = panel._sentence.scene, clip.encode_words(CAPTION)
    sim = similarities(clip, SAMPLES[0], CAPTION, "clip-surgery")
    maps = np.frombuffer(scene["maps"], np.float32).reshape(len(sentence.words), *scene["grid"])
    np.testing.assert_allclose(maps, clipsx.minmax(sim[None])[0].permute(2, 0, 1).numpy(), atol=1e-6)
    assert [entry["word"] for entry in scene["words"]] == ["start", *sentence.words[1:-1], "the whole sentence"]
    ranks = {entry["rank"]: place for place, entry in enumerate(scene["words"])}
    assert [ranks[rank] for rank in (1, 2, 3)] == words.strongest(sentence, sim)
    assert [("outline" in entry) for entry in scene["words"]] == [word in ("cat", "dog") for word in sentence.words]
    assert panel._sentence.picture["size"] == [28, 20] and len(panel._sentence.marks) == 3
    assert panel._sentence.word == -1 and panel.view.place == ranks[1] and scene["cut"] == []


def test_a_word_and_a_patch_are_chosen(panel: WordsPanel, clip: clipsx.Clip) -> None:
    panel._sentence.word, panel._sentence.patch = 2, [1, 3]  # as a click and a key do
    assert panel.wait(60) and (panel.state["word"], panel.state["patch"]) == (2, [1, 3])
    table = panel.table().set_index("place")
    sim = similarities(clip, SAMPLES[0], CAPTION, "clip-surgery")
    fires = words.firing(clip.encode_words(CAPTION), sim, (1, 3)).set_index("place")
    np.testing.assert_allclose(table["fires"], fires["fires"].loc[table.index], atol=1e-6)
    map = clipsx.upsample(clipsx.minmax(sim[None]), (20, 28))[0, ..., 2].numpy()
    expected = clipsx.metrics.msc(map, SAMPLES[0].masks["cat"], SAMPLES[0].ignore)
    assert table.loc[2, "msc"] == pytest.approx(expected, abs=1e-3) and table.loc[2, "label"] == "cat"
    assert f"mSC {expected:.1f} % on its object" in panel._sentence.scene["words"][2]["about"]
    assert set(table["sentence"]) == {CAPTION} and set(table["patch"]) == {"1, 3"} and "model" in table
    panel.restore({"patch": [99, -4]})
    assert panel.wait(60) and panel.view.patch == (3, 0)


def test_pictures_bring_their_own_sentence_and_any_can_be_typed(panel: WordsPanel) -> None:
    panel._sentence.word, panel._sentence.patch = 1, [0, 0]
    panel._gallery.chosen = 1
    assert panel.wait(60) and panel._typed.value == "a photo of a boat"
    assert panel.state["word"] is None and panel.state["patch"] is None
    panel._typed.value = "one red boat"
    assert panel.wait(60) and panel.view.sentence.words[1:-1] == ("one", "red", "boat")
    panel._gallery.chosen = 2
    assert panel.wait(60) and panel._typed.value == "one red boat"
    panel._own.click()
    assert panel.wait(60) and panel._typed.value == words.EXAMPLE and panel._line.value == ""
    panel._typed.value = "  "
    assert "Type a sentence" in panel._line.value and panel._typed.value == words.EXAMPLE


def test_a_picture_of_ones_own(panel: WordsPanel) -> None:
    panel._sentence.patch = [0, 0]
    panel._on_message(panel._gallery, {"kind": "picture", "name": "x"}, [memoryview(jpeg(noise(30, 44), 640))])
    path = panel._gallery.chosen
    assert (
        panel.wait(60) and panel._line.value == "" and panel.state["image"] == path == panel._gallery.thumbs[0]["key"]
    )
    assert panel.state["patch"] is None and panel._sentence.picture["size"] == [44, 30]
    assert panel._typed.value == words.EXAMPLE and panel.provenance()["data"] == "own picture"
    assert f"clipsx.images.decode({path!r})" in panel.code()
    again = WordsPanel(panel.session.clip, SAMPLES, out=panel.out, **panel.state)
    assert again.wait(60) and again.state == panel.state


def test_words_that_are_cut_are_named(panel: WordsPanel) -> None:
    panel._typed.value = "cat " * 38 + "boat"
    assert panel.wait(60) and panel._sentence.scene["cut"] == ["boat"]
    assert "not read: boat." in panel._line.value and 'role="status"' in panel._line.value


@pytest.mark.slow
def test_readings_errors_and_what_is_taken_away(panel: WordsPanel, clip: clipsx.Clip) -> None:
    panel._readings.value = "clip+code"
    assert panel.wait(60) and panel.provenance()["surgery"] == "code"
    panel._readings.value = "legrad"  # whose maps need the texts
    assert panel.wait(60) and panel._line.value == "" and panel.provenance()["reading"] == "legrad"
    expected = similarities(clip, SAMPLES[0], CAPTION, "legrad")
    np.testing.assert_allclose(panel.view.sim.numpy(), expected.numpy(), atol=1e-7)
    panel.restore({"reading": "clip-surgery@1+paper(tau=1)", "word": 3, "patch": (2, 2)})
    assert panel.wait(60) and panel._readings.value == "clip-surgery@1+paper(tau=1)" and panel._line.value == ""
    again = WordsPanel(clip, SAMPLES, out=panel.out, **json.loads(json.dumps(panel.state)))
    assert again.wait(60) and again.state == panel.state
    kept = panel.state
    for change, said in (
        ({"image": 3}, "image must be a whole number in 0…2"),
        ({"reading": "clip-surgery@9"}, "depth must lie in"),
        ({"opacity": 2}, "opacity must be"),
        ({"sentense": "a"}, "did you mean &#x27;sentence&#x27;"),
    ):
        panel.restore(change)
        assert said in panel._line.value and panel.state == kept
    panel.save_figure(("png",))
    panel.save_table()
    files = {"captions.md"} | {f"words.{ending}" for ending in ("png", "csv", "tex", "md")}
    assert {f.name for f in panel.out.iterdir()} == files
    assert "image/png" in panel._repr_mimebundle_()


def test_a_picture_that_cannot_be_opened_is_told(clip: clipsx.Clip, tmp_path: Path) -> None:
    def gone():
        raise OSError("the disk is gone")

    panel = WordsPanel(clip, [SAMPLES[0], Sample(gone, name="lost")], out=tmp_path)
    assert panel.wait(60)
    panel._gallery.chosen = 1
    assert "lost cannot be shown: the disk is gone" in panel._line.value and panel._gallery.chosen == 0


def test_a_tower_that_is_not_causal_reads_words_alone(tmp_path: Path) -> None:
    clip = tiny_clip(image_size=32, layers=1, width=32, patch_size=8)
    clip.model.attn_mask = None
    panel = WordsPanel(clip, SAMPLES, out=tmp_path, reading="clip")
    assert panel.wait(60) and "every word is read alone" in panel._line.value
    assert [entry["word"] for entry in panel._sentence.scene["words"]] == [
        *["a", "cat", "and", "a", "dog"],
        "the whole sentence",
    ]
    assert panel.table()["protocol"].str.contains("each word alone").all()


@pytest.mark.slow
def test_the_code_makes_the_same_maps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip, world = clipsx.load("sketchbook-random"), clipsx.datasets.Sketchbook(seed=3, length=2)
    panel = WordsPanel(clip, world, out=tmp_path, patch=(3, 4), reading="clip+code", image=1, size=64)
    assert panel.wait(60)
    (tmp_path / "code.py").write_text(panel.code(), encoding="utf-8")
    made = runpy.run_path(str(tmp_path / "code.py"))
    np.testing.assert_allclose(made["maps"].numpy(), panel.view.sim.numpy(), atol=1e-6)
    assert "fires" in capsys.readouterr().out and made["figure"].axes
    plt.close("all")
