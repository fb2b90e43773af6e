"""The panel of Unmix-CLIP: it trains, stops, goes on, forgets, and what it shows is what the functions give."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

import clipsx
from clipsx import mfi, plots, unmix
from clipsx.datasets import Sketchbook
from clipsx.panels import UnmixPanel
from helpers import tiny_resnet

pytestmark = pytest.mark.filterwarnings("ignore:No positive image")  # few images: some labels are absent

DIALS = {"epochs": 3, "lr": 1e-3, "seed": 4}


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    clip, world = clipsx.load("sketchbook-random"), Sketchbook(seed=9, length=16)
    got = unmix.gather(clip, world, folder=tmp_path_factory.mktemp("features"))
    return clip, got, got, world


@pytest.fixture
def panel(parts, tmp_path):
    panel = UnmixPanel(*parts, out=tmp_path, **DIALS)
    assert panel.wait(60)
    yield panel
    panel.reset()
    assert panel.wait(60)
    plt.close("all")


@pytest.mark.slow
def test_what_it_trains_is_what_fit_trains(panel, parts, monkeypatch):
    panel.start()
    assert panel.wait(120) and panel._line.value == "" and len(panel.rows) == 3
    clip, got, _, world = parts
    projectors, log = unmix.fit(got.positions, got.present, panel.text, got.labels, panel._state.config)
    assert log == panel.rows
    assert all(
        torch.equal(a, b) for a, b in zip(projectors.parameters(), panel.unmixed.projectors.parameters(), strict=True)
    )
    matrix = unmix.projected_matrix(projectors, panel.text[1])
    assert np.allclose(panel.training.now.after, matrix, atol=1e-6)
    assert f"{mfi.mean_off_diagonal(matrix):.3f}" in panel._words.value
    assert panel._bar.value == 3 and not panel._go.disabled and panel._halt.disabled
    with monkeypatch.context() as patched:
        patched.setattr(type(panel), "unmixed", None)
        with pytest.raises(ValueError, match="Nothing is trained yet"):
            panel.choose()
    chosen = panel.choose().shown
    assert (panel.state["image"], panel.state["label"]) == (chosen.image, chosen.label) and panel.wait(60)
    panel.restore({"image": 0, "label": world[0].labels[0]})
    assert panel.wait(60)
    label = world.labels.index(panel.state["label"])
    sim = clipsx.similarity(
        panel.unmixed.clip.encode_dense(clip.prepare(world[0].image), method="clip"),
        panel.unmixed.clip.encode_labels(got.labels, [unmix.PROMPTS[1]]),
    )
    drawn, overlay = [], plots.overlay
    monkeypatch.setattr(plots, "overlay", lambda *args, **options: (drawn.append(args[1]), overlay(*args, **options)))
    panel.figure()  # photo, before, after, after with CLIP Surgery
    assert len(drawn) == 4
    assert np.allclose(drawn[2], clipsx.upsample(clipsx.minmax(sim), (96, 96))[0, ..., label], atol=1e-5)


@pytest.mark.slow
def test_maps_are_those_of_the_positions_it_learned_from(tmp_path, monkeypatch):
    clip, world = tiny_resnet(), Sketchbook(seed=9, length=6, size=64)
    got, other = (unmix.gather(clip, world, folder=tmp_path, reading=reading) for reading in (None, "clip"))
    with pytest.raises(ValueError, match="to train on are maskclip, to test on clip"):
        UnmixPanel(clip, got, other, world)
    panel = UnmixPanel(clip, got, got, world, out=tmp_path, epochs=1)
    try:
        panel.start()
        assert panel.wait(120) and panel._line.value == "" and str(panel.unmixed.reading) == "maskclip"
        drawn, overlay = [], plots.overlay
        monkeypatch.setattr(plots, "overlay", lambda *args, **kept: (drawn.append(args[1]), overlay(*args, **kept)))
        panel.figure()
        text = panel.unmixed.clip.encode_labels(got.labels, [unmix.PROMPTS[1]])
        dense = panel.unmixed.clip.encode_dense(clip.prepare(world[0].image), method="maskclip")
        label, shape = world.labels.index(panel.state["label"]), world[0].size[::-1]
        maps = clipsx.upsample(clipsx.minmax(clipsx.similarity(dense, text)), shape)
        assert np.allclose(drawn[2], maps[0, ..., label], atol=1e-5)
        assert set(panel.table()["reading"]) == {"maskclip"} and panel.code().count("reading='maskclip'") == 2
    finally:
        panel.reset()
        assert panel.wait(60)


@pytest.mark.slow
def test_stop_and_go_on_ends_in_the_same_weights(panel):
    panel.start()
    assert panel.wait(120)
    whole = panel.unmixed.projectors.state_dict()
    panel.reset()
    assert panel.unmixed is None and panel.rows == []
    on_epoch = panel._on_epoch
    panel._on_epoch = lambda: (on_epoch(), panel.stop())
    panel.start()
    assert panel.wait(120) and len(panel.rows) == 1 and panel._go.description == "Resume"
    panel._on_epoch = on_epoch
    panel.start()
    assert panel.wait(120) and len(panel.rows) == 3
    assert all(torch.equal(whole[name], value) for name, value in panel.unmixed.projectors.state_dict().items())


@pytest.mark.slow
def test_an_interrupt_stops_and_nothing_is_lost(panel, monkeypatch):
    wait, asked = panel._worker.wait, []

    def interrupted(seconds=None):
        asked.append(seconds)
        if len(asked) == 1:
            raise KeyboardInterrupt
        return wait(seconds)

    panel.start()
    monkeypatch.setattr(panel._worker, "wait", interrupted)
    assert panel.wait(120) and len(panel.rows) < 3 and panel.unmixed is not None and not panel._go.disabled


@pytest.mark.slow
def test_what_is_refused_is_told_and_the_panel_lives_on(panel):
    kept = panel.state
    panel.restore({"image": 99})
    assert "image must be a whole number in 0…15" in panel._line.value and panel.state == kept
    panel.restore({"lr": 0.0})
    assert "learning rate must be above 0" in panel._line.value and panel.state == kept
    panel.save_projectors()
    assert "press Train first" in panel._line.value
    panel._controls["image"].value = 2
    assert panel.wait(60) and panel.state["label"] in panel.samples[2].labels
    assert panel._line.value == ""


@pytest.mark.slow
def test_what_is_on_screen_can_be_taken_away(panel, parts):
    panel.start()
    assert panel.wait(120)
    panel.save_figure(("png", "pdf"))
    panel.save_table()
    panel.save_projectors()
    files = {"captions.md", "unmixed"} | {f"unmix.{ending}" for ending in ("png", "pdf", "csv", "tex", "md")}
    assert {f.name for f in panel.out.iterdir()} == files
    again = unmix.Unmixed.load(panel.out / "unmixed", parts[0], parts[1].labels)
    assert again.clip.describe() == panel.unmixed.clip.describe()
    assert "image/png" in panel._repr_mimebundle_()
    assert "images = clipsx.datasets.load('sketchbook'" in panel.code()  # what was gathered knows its pictures
    panel.restore({"lr": 1e-4})  # dials for the next run do not change what was trained
    assert panel.wait(60) and panel.unmixed.config.lr == 1e-3 and set(panel.table()["lr"]) == {1e-3}
    panel.restore({"lr": 1e-3})
    assert panel.wait(60)
    assert repr(panel._state.config) in panel.code()
