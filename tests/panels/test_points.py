"""The panel of points: what it shows is what the functions give; points by hand, mistakes told, state kept."""

import json

import matplotlib.pyplot as plt
import numpy as np
import pytest

import clipsx
from clipsx import segmenters
from clipsx.datasets import Sample, Sketchbook
from clipsx.panels import PointsPanel
from clipsx.panels.elements import jpeg
from helpers import noise, tiny_clip, unchecked

pytestmark = pytest.mark.slow

WORLD = Sketchbook(seed=5, length=6, size=64, objects=(2, 3))


@pytest.fixture(scope="module")
def clip() -> clipsx.Clip:
    return clipsx.load("sketchbook-random")


@pytest.fixture
def panel(clip, tmp_path):
    panel = PointsPanel(clip, WORLD, out=tmp_path, image=1)
    assert panel.wait(60) and panel._line.value == ""
    yield panel
    plt.close("all")


@pytest.mark.parametrize("text", [WORLD[1].labels[0], " + ".join(WORLD[1].labels[:2])])
@pytest.mark.parametrize("reading", ["clip", "clip-surgery@2+code"])
def test_it_shows_what_the_functions_give(panel, clip, text, reading):
    panel.restore({"text": text, "reading": reading, "threshold": 0.7})
    assert panel.wait(60) and panel._line.value == ""
    sample = WORLD[1]
    found = segmenters.segment(clip, sample.image, text, reading, among=WORLD.labels, threshold=0.7)
    sent = np.array(panel._points.points)
    np.testing.assert_array_equal(sent[:, :2], found.points)
    np.testing.assert_array_equal(sent[:, 2], found.labels)
    np.testing.assert_array_equal(panel.view.found.mask, found.mask)
    truth = np.any([sample.masks[label] for label in segmenters.split(text)], axis=0)
    np.testing.assert_array_equal(panel.view.truth, truth)
    first, second = panel.table().to_dict("records")
    for row, mask in ((first, found.mask), (second, found.map >= 0.6)):
        assert row["iou"] == pytest.approx(100 * (mask & truth).sum() / (mask | truth).sum())
    assert first["mask"].startswith("random walker") and second["mask"] == "map >= 0.6"
    assert f"IoU {first['iou']:.1f} % from points, {second['iou']:.1f} % by the threshold 0.6" in panel._words.value
    assert panel._points.mask and panel._points.picture["truth"]


def test_points_are_moved_and_removed_and_come_back(panel, monkeypatch):
    of_map = panel._points.points
    assert len(of_map) > 2 and panel.state["points"] is None
    moved = [[10, 12, 1], *of_map[1:]]
    panel._points.points = moved  # as the browser does
    assert panel.wait(60) and panel.state["points"] == moved and "set by hand" in panel._words.value
    expected = segmenters.RandomWalker()(WORLD[1].image, [p[:2] for p in moved], [p[2] for p in moved])
    np.testing.assert_array_equal(panel.view.found.mask, expected)
    panel._controls["cut"].value = 0.5  # the plain mask moves, points stay
    assert panel.wait(60) and panel.state["points"] == moved
    panel._points.points = []
    assert panel.wait(60) and "No point lies on the object" in panel._words.value and panel._points.mask == ""
    assert panel.table()["why"].str.contains("No point").all() and panel.figure() is not None
    panel._points.points = None  # as Escape does
    assert panel.wait(60) and panel._points.points == of_map and panel.state["points"] is None
    panel._points.points = moved
    assert panel.wait(60)
    panel._controls["threshold"].value = 0.5  # chooses anew
    assert panel.wait(60) and panel.state["points"] is None and len(panel._points.points) > len(of_map)


@pytest.mark.parametrize(
    ("points", "words"),
    [
        ([[64, 3, 1]], "off the picture"),
        ([[3, 3, 1], [3, 3, 0]], "both on the object and beside"),
        ([[3, 3, 2]], "each 1"),
    ],
)
def test_points_that_cannot_be_are_told(panel, points, words):
    before = panel._points.points
    panel._points.points = points
    assert words in panel._line.value and panel._points.points == before and panel.state["points"] is None


def test_another_picture_brings_its_own_text_unless_one_was_typed(panel):
    assert panel.state["text"] == WORLD[1].labels[0]
    panel._gallery.chosen = 2
    assert panel.wait(60) and panel.state["text"] == WORLD[2].labels[0]
    panel._controls["text"].value = "cat+dog"
    panel._gallery.chosen = 3
    assert panel.wait(60) and panel.state["text"] == "cat+dog" and panel.state["image"] == 3


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"text": "cat++dog"}, "holds a blank one"),
        ({"segmenter": "random-walkr"}, "did you mean"),
        ({"segmenter": "/no/such/folder"}, "Unknown segmenter"),
        ({"reading": "clp"}, "clp"),
        ({"threshold": 1.5}, "threshold must be"),
        ({"image": 6}, "image must be"),
    ],
)
def test_mistakes_are_told_and_the_state_stays(panel, change, words):
    kept = panel.state
    panel.restore(change)
    assert panel.wait(60) and words in panel._line.value and panel.state == kept
    assert {name: control.value for name, control in panel._controls.items()} == {n: kept[n] for n in panel._controls}


def test_state_saving_and_a_static_picture(panel, clip):
    panel._points.points = [[10, 12, 1], [40, 50, 0]]
    assert panel.wait(60)
    kept = json.loads(json.dumps(panel.state))
    assert kept == panel.state
    again = PointsPanel(clip, WORLD, out=panel.out, **kept)
    assert again.wait(60) and again.state == kept
    np.testing.assert_array_equal(again.view.found.mask, panel.view.found.mask)
    panel.save_figure(("png",))
    panel.save_table()
    files = {"captions.md"} | {f"points.{ending}" for ending in ("png", "csv", "tex", "md")}
    assert {f.name for f in panel.out.iterdir()} == files
    assert "image/png" in panel._repr_mimebundle_()
    about = panel.provenance()
    assert about["segmenter"].startswith("random walker") and "64×64" in about["protocol"]


def test_a_picture_of_ones_own(panel, tmp_path):
    panel._points.points = [[10, 12, 1]]
    assert panel.wait(60)
    panel._on_message(panel._gallery, {"kind": "picture", "name": "x"}, [memoryview(jpeg(noise(30, 44), 640))])
    path = panel._gallery.chosen
    assert (
        panel.wait(60) and panel._line.value == "" and panel.state["image"] == path == panel._gallery.thumbs[0]["key"]
    )
    assert panel.state["points"] is None and panel.state["text"] == WORLD.labels[0]
    assert panel._points.picture["size"] == [44, 30] and "true region is not known" in panel._words.value
    assert panel.provenance()["data"] == "own picture" and f"clipsx.images.decode({path!r})" in panel.code()
    panel._gallery.chosen = 1
    assert panel.wait(60) and panel.state["text"] == WORLD[1].labels[0]
    panel._on_message(panel._gallery, {"kind": "picture", "name": "x"}, [memoryview(b"none")])
    assert 'role="alert"' in panel._line.value and panel.state["image"] == 1


def test_maps_that_say_nothing_and_regions_that_are_not_known(tmp_path):
    clip, plain = tiny_clip(image_size=32, layers=2, width=32, patch_size=16), Sample(noise(30, 40), ("cat",))
    panel = PointsPanel(clip, [plain], out=tmp_path, reading="clip", text="boat")  # a grid of 2 × 2
    assert panel.wait(60) and panel._line.value == "" and panel._points.points == []
    assert "a grid of 2 × 2 is too small" in panel._words.value and "iou" not in panel.table()
    panel._points.points = [[3, 3, 1], [30, 20, 0]]
    assert panel.wait(60) and "true region is not known" in panel._words.value and panel._points.mask
    with unchecked(), pytest.raises(ValueError, match="image must be"):
        PointsPanel(clip, [plain], out=tmp_path, image=1)
