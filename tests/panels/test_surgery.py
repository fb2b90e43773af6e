"""The surgery panel without a browser: every control, every bad input, saving, code, the static picture."""

import base64
import html
import io
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import clipsx
from clipsx import images
from clipsx.datasets import Folder, Sample, Sketchbook, Subset
from clipsx.panels import SurgeryPanel
from clipsx.panels.elements import UPLOAD_LIMIT
from clipsx.panels.pictures import Pictures
from clipsx.panels.session import at_pixels
from clipsx.panels.surgery import PARTS
from helpers import noise, png, tiny_clip, tiny_resnet, unchecked

SAMPLES = Sketchbook(seed=3, length=20, size=64)


def floats(data: bytes) -> np.ndarray:
    return np.frombuffer(data, np.float32)


@pytest.fixture
def panel(tmp_path: Path) -> Iterator[SurgeryPanel]:
    panel = SurgeryPanel(tiny_clip(layers=4), SAMPLES, out=tmp_path)
    assert panel.wait(60)
    yield panel
    panel.wait(60)


def move(panel: SurgeryPanel, name: str, value: Any) -> None:
    panel._ui.controls[name].value = value
    assert panel.wait(60)


def said(panel: SurgeryPanel, role: str = "alert") -> str:
    shown = {"alert": panel._line, "status": panel._ui.status}[role].value
    return html.unescape(shown.partition(">")[2].removesuffix("</div>"))


def scene(panel: SurgeryPanel) -> dict[str, Any]:
    return panel._ui.pictures.scene


def test_it_shows_its_first_state(panel: SurgeryPanel) -> None:
    ui = panel._ui
    assert said(panel) == ""
    assert ui.pictures.picture["size"] == [64, 64]
    assert set(ui.pictures.picture["outlines"]) == set(SAMPLES[0].masks)
    assert scene(panel)["grid"] == [4, 4]
    assert scene(panel)["labels"] == list(panel.state["labels"]) == ui.chips.labels
    for pane, maps in zip(scene(panel)["panes"], (panel.view.raw, panel.view.repaired), strict=True):
        np.testing.assert_array_equal(floats(pane["maps"]), maps.values.ravel())
        assert len(floats(pane["iou"])) == 101 * len(ui.chips.labels)
    assert len(floats(ui.pictures.attention["map"])) == 16
    assert len(ui.gallery.thumbs) == 8
    assert ui.gallery.pages == 3
    assert sum(ui.chips.scores) == pytest.approx(1)
    assert SAMPLES[0].labels == tuple(ui.chips.labels[: len(SAMPLES[0].labels)])


@pytest.mark.slow
def test_sliders_never_encode(panel: SurgeryPanel, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Counter[str]()
    for name in ("look", "encode_labels", "encode_image", "prepare"):
        whole = getattr(clipsx.Clip, name)
        monkeypatch.setattr(clipsx.Clip, name, lambda *a, _n=name, _w=whole, **k: (calls.update([_n]), _w(*a, **k))[1])
    before = scene(panel)
    for name, value in (("tau", 5.0), ("threshold", 0.3), ("opacity", 0.9), ("surgery", "paper"), ("surgery", "none")):
        move(panel, name, value)
    panel._ui.pictures.patch = [1, 2]
    panel._ui.chips.shown = 1
    assert not calls
    assert scene(panel) != before
    move(panel, "depth", 2)
    assert calls["look"] == 1
    move(panel, "depth", 4)
    assert calls["look"] == 1  # kept


@pytest.mark.slow
def test_threshold_and_opacity_send_no_picture(panel: SurgeryPanel) -> None:
    sent = (scene(panel), panel._ui.pictures.picture)
    move(panel, "threshold", 0.25)
    move(panel, "opacity", 0.1)
    assert (scene(panel), panel._ui.pictures.picture) == sent
    assert scene(panel) is sent[0]
    assert panel.state["threshold"] == 0.25
    links = {(link.source[1], link.target[1]) for link in panel._ui.links}
    assert links == {("value", "threshold"), ("value", "opacity"), ("shown", "shown")}


@pytest.mark.slow
def test_every_control_changes_what_it_should(panel: SurgeryPanel) -> None:
    for name, value, reading in (
        ("method", "maskclip", "maskclip+code"),
        ("surgery", "none", "maskclip"),
        ("method", "clip-surgery", "clip-surgery"),
        ("depth", 1, "clip-surgery@1"),
        ("surgery", "paper", "clip-surgery@1+paper"),
        ("tau", 7.0, "clip-surgery@1+paper(tau=7)"),
    ):
        before = scene(panel)["panes"][1]["maps"]
        move(panel, name, value)
        assert scene(panel)["panes"][1]["maps"] != before, name
        assert panel.state["reading"] == reading
    for name, value in (("attention", "qk"), ("block", 0)):
        before = panel._ui.pictures.attention["map"]
        move(panel, name, value)
        assert panel._ui.pictures.attention["map"] != before, name
        assert panel.state[name] == value
    move(panel, "method", "maskclip")
    assert panel._ui.controls["depth"].disabled and not panel._ui.controls["surgery"].disabled
    move(panel, "method", "legrad")  # has maps alone
    assert panel.state["reading"] == "legrad" and panel._ui.controls["surgery"].disabled
    assert said(panel) == ""


def test_controls_show_the_reading(panel: SurgeryPanel) -> None:
    controls = panel._ui.controls
    shown = {name: controls[name].value for name in PARTS}
    assert shown == {"method": "clip-surgery", "depth": 4, "surgery": "code", "tau": 2.0}  # the depth it came to
    panel.restore({"reading": "clip-surgery@2+paper(tau=50)"})
    assert panel.wait(60)
    shown = {name: controls[name].value for name in PARTS}
    assert shown == {"method": "clip-surgery", "depth": 2, "surgery": "paper", "tau": 50.0}
    move(panel, "surgery", "none")
    assert panel.state["reading"] == "clip-surgery@2" and controls["tau"].disabled
    assert controls["surgery"].get_interact_value() == "none" and controls["surgery"].label == "off"
    move(panel, "surgery", "code")  # with the τ that the slider kept
    assert panel.state["reading"] == "clip-surgery@2+code(tau=50)"
    panel.restore({"reading": "free(kk, blocks=2)"})
    assert panel.wait(60) and said(panel) == ""
    assert controls["method"].value == "free(kk,blocks=2)" and controls["depth"].value == 2
    assert scene(panel)["panes"][1]["title"] == "free(kk,blocks=2)"


def test_tau_starts_at_its_default(panel: SurgeryPanel, tmp_path: Path) -> None:
    plain = SurgeryPanel(panel.clip, SAMPLES, out=tmp_path, reading="maskclip")
    assert plain.wait(60)
    move(plain, "surgery", "code")
    assert plain.state["reading"] == "maskclip+code"


def test_a_patch_shows_its_attention(panel: SurgeryPanel) -> None:
    panel._ui.pictures.patch = [3, 1]
    row = panel.session.relation(panel.view.picture, "vv", -1)[3 * 4 + 1]
    shown = floats(panel._ui.pictures.attention["map"])
    np.testing.assert_allclose(shown, (row - row.min()) / (row.max() - row.min()), atol=1e-6)
    assert panel._ui.pictures.attention["anchor"] == [3, 1]
    panel._ui.pictures.patch = [99, -5]  # a grid of other size
    assert panel._ui.pictures.attention["anchor"] == [3, 0]
    panel._ui.pictures.patch = None
    best = panel.view.raw.values[panel.view.place].argmax()
    assert panel._ui.pictures.attention["anchor"] == [best // 4, best % 4]


@pytest.mark.slow
def test_another_sample_brings_its_labels_unless_edited(panel: SurgeryPanel) -> None:
    panel._ui.gallery.chosen = 5
    assert panel.wait(60)
    assert tuple(panel.state["labels"][: len(SAMPLES[5].labels)]) == SAMPLES[5].labels
    panel._ui.chips.labels = ["sun", "moon"]
    assert panel.wait(60)
    panel._ui.gallery.chosen = 6
    assert panel.wait(60)
    assert panel.state["labels"] == ["sun", "moon"]
    assert panel._ui.pictures.scene["title"] == SAMPLES[6].name


def test_edited_labels_stay_with_their_picture(panel: SurgeryPanel) -> None:
    own = panel.state["labels"]
    panel._ui.gallery.chosen = 5
    panel._ui.chips.labels = ["sun", "moon"]
    panel._ui.chips.shown = 1
    for place, labels, shown in ((0, own, own[0]), (5, ["sun", "moon"], "moon")):
        panel._ui.gallery.chosen = place
        assert panel.wait(60) and panel.state["labels"] == labels and panel.state["shown"] == shown


def test_a_bad_picture_is_named_and_gone_round(tmp_path: Path) -> None:
    def broken() -> Image.Image:
        raise ValueError("b.png is cut short.")

    samples = [Sample(broken, ("cat",), name="b.png"), *(SAMPLES[i] for i in range(3))]
    panel = SurgeryPanel(tiny_clip(layers=4), samples, out=tmp_path)
    assert panel.wait(60) and panel.state["image"] == 1
    assert "1 of its pictures" in said(panel) and "b.png cannot be shown" in said(panel)
    assert [entry["key"] for entry in panel._ui.gallery.thumbs] == [1, 2, 3]
    panel._ui.gallery.chosen = 0
    assert "b.png cannot be shown" in said(panel) and panel.state["image"] == panel._ui.gallery.chosen == 1
    panel._ui.gallery.chosen = 2
    assert panel.wait(60) and said(panel) == "" and panel.state["image"] == 2


def test_gallery_pages(panel: SurgeryPanel) -> None:
    panel._ui.gallery.page = 2
    assert [entry["key"] for entry in panel._ui.gallery.thumbs] == [16, 17, 18, 19]


def test_labels_refused_in_words(panel: SurgeryPanel) -> None:
    chips, usual = panel._ui.chips, list(panel.state["labels"])
    chips.labels = [*usual, "   "]
    assert "blanks" in said(panel)
    assert chips.labels == usual
    chips.labels = [*usual, f" {usual[0]} "]
    assert "is there already" in said(panel)
    assert chips.labels == usual
    chips.set_state({"labels": [*usual, usual[0]], "shown": len(usual)})  # as the browser sends it: both at once
    assert "is there already" in said(panel)
    chips.labels = []
    assert "one label at least" in said(panel)
    assert chips.labels == usual
    chips.labels = [*usual, "moon "]
    assert panel.wait(60)
    assert said(panel) == ""
    assert panel.state["labels"] == [*usual, "moon"]


def test_one_label_and_the_empty_label(panel: SurgeryPanel) -> None:
    panel._ui.chips.labels = ["cat"]
    assert panel.wait(60)
    assert said(panel) == ""
    assert "empty label" in scene(panel)["panes"][1]["under"]
    assert panel._ui.controls["tau"].disabled
    for labels in ([""], ["", "cat"]):
        panel._ui.chips.labels = labels
        assert panel.wait(60)
        assert said(panel) == ""
        assert panel.state["labels"] == labels
    assert scene(panel)["panes"][0]["constant"] == [False, False]


def test_the_empty_label_alone_says_nothing_and_says_so(panel: SurgeryPanel) -> None:
    panel.restore({"labels": [""], "reading": "clip-surgery+code"})
    assert panel.wait(60)
    assert scene(panel)["panes"][1]["constant"] == [True]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "not a picture"),
        (b"GIF89a no", "."),
        (b"<html>", "not a picture"),
        (png(noise(40, 40))[:700], "cut short"),
        (b"x" * (UPLOAD_LIMIT + 1), "at most 8 MB"),
        (png(Image.new("L", (9000, 9000))), "at most 64,000,000"),
    ],
    ids=["empty", "broken", "html", "truncated", "large", "huge"],
)
def test_bad_uploads(panel: SurgeryPanel, data: bytes, words: str) -> None:
    before = panel.state
    panel._on_message(panel._ui.gallery, {"kind": "picture", "name": "x"}, [memoryview(data)])
    assert words in said(panel)
    assert panel.state == before
    move(panel, "tau", 3.0)
    assert said(panel) == ""  # it lives on


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "CMYK", "1"])
def test_uploads_of_any_kind(panel: SurgeryPanel, mode: str, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    noise(30, 50).convert(mode).save(buffer, "TIFF")
    panel._on_message(panel._ui.gallery, {"kind": "picture", "name": "x.tif"}, [memoryview(buffer.getvalue())])
    assert panel.wait(60)
    assert said(panel) == ""
    path = panel.state["image"]
    assert Path(path).parent == tmp_path / "pictures"
    assert panel._ui.gallery.thumbs[0]["key"] == path == panel._ui.gallery.chosen
    assert panel._ui.pictures.picture["size"] == [50, 30]
    assert all(value is None for value in scene(panel)["panes"][0]["msc"])
    again = SurgeryPanel(panel.clip, SAMPLES, out=tmp_path, **panel.state)
    assert again.wait(60)
    np.testing.assert_array_equal(again.view.repaired.values, panel.view.repaired.values)


def test_an_upload_is_kept_as_it_is_and_shown_reduced(panel: SurgeryPanel) -> None:
    data = png(Image.new("RGB", (3000, 100), "red"))
    panel.take(data)
    assert Path(panel.state["image"]).read_bytes() == data
    assert panel.view.picture.sample.image.size == (3000, 100) and panel.view.picture.size == (27, 800)


def test_an_upload_is_decoded_once_and_opens_no_sample(panel: SurgeryPanel, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, decode = [], images.decode
    monkeypatch.setattr(images, "decode", lambda given: (asked.append(type(given)), decode(given))[1])
    opened, whole = [], Pictures._opened
    monkeypatch.setattr(Pictures, "_opened", lambda self, image: (opened.append(image), whole(self, image))[1])
    panel.take(png(noise(40, 60)))
    assert panel.wait(60) and said(panel) == "" and len(panel._ui.gallery.thumbs) == 9
    assert asked.count(bytes) == 1 and str not in asked and opened == []


def test_refusals_from_the_browser(panel: SurgeryPanel) -> None:
    panel._on_message(panel._ui.gallery, {"kind": "refused", "words": "<b>too large</b>"}, [])
    assert said(panel) == "<b>too large</b>"
    assert "<b>" not in panel._ui.rows[-1].value
    assert 'role="alert"' in panel._ui.rows[-1].value


def test_state_is_small_saved_and_restored(panel: SurgeryPanel, tmp_path: Path) -> None:
    panel.restore(
        {
            "image": 2,
            "labels": ["boat", "cat", "fish"],
            "shown": "cat",
            "patch": [1, 1],
            "reading": "clip-surgery@2+code(tau=50)",
        }
    )
    assert panel.wait(60)
    words = json.dumps(panel.state)
    assert len(words) < 500
    again = SurgeryPanel(panel.clip, SAMPLES, out=tmp_path, **json.loads(words))
    assert again.wait(60)
    assert again.state == panel.state
    assert again._ui.controls["tau"].value == 50.0
    np.testing.assert_array_equal(again.view.repaired.values, panel.view.repaired.values)
    np.testing.assert_array_equal(again.view.attention, panel.view.attention)


def test_a_state_that_cannot_be_shown(panel: SurgeryPanel) -> None:
    before = panel.state
    for state, words in (
        ({"reading": "maskclp+code"}, "did you mean 'maskclip'"),
        ({"reading": "clip+cod"}, "'code'"),
        ({"reading": "clip-surgery@"}, "a whole number of blocks"),
        ({"reading": "clip-surgery@5"}, "1…4"),
        ({"reading": "clip-surgery-released"}, "its class token has a path of its own"),
        ({"nonsense": 1}, "no 'nonsense'"),
        ({"image": "no.png"}, "does not exist"),
        ({"image": 20}, "image must be a whole number in 0…19"),
        ({"image": -1}, "image must be a whole number in 0…19"),
    ):
        panel.restore(state)
        assert words in said(panel)
        assert panel.state == before
    move(panel, "depth", 1)
    assert said(panel) == "" and panel.state["reading"] == "clip-surgery@1+code"
    with pytest.raises(ValueError, match=r"1…4 .*not 9"):
        SurgeryPanel(panel.clip, SAMPLES, reading="clip-surgery@9")
    assert SurgeryPanel(panel.clip, SAMPLES, reading=clipsx.Reading("clip")).state["reading"] == "clip"


@pytest.mark.slow
def test_resnet(tmp_path: Path) -> None:
    panel = SurgeryPanel(tiny_resnet(), SAMPLES, out=tmp_path, size=128)
    assert panel.wait(60)
    assert panel._ui.controls["depth"].disabled
    panel.restore({"reading": "maskclip2"})
    assert "did you mean 'maskclip'" in said(panel)
    assert panel._ui.pictures.attention["title"] == "no attention"
    assert scene(panel)["grid"] == [4, 4]
    for method in panel.clip.methods:
        move(panel, "method", method)
        assert said(panel) == ""
    assert panel.table().image_size[0] == "128×128"


def test_samples_without_masks_labels_or_names(tmp_path: Path) -> None:
    panel = SurgeryPanel(tiny_clip(), [Sample(noise(20, 40), ()), Sample(noise(40, 20), ())], out=tmp_path)
    assert panel.wait(60)
    assert said(panel) == ""
    assert panel.state["labels"] == [""]
    panel._ui.chips.labels = ["cat", "dog"]
    panel._ui.gallery.chosen = 1
    assert panel.wait(60)
    assert panel.table().msc.isna().all()
    assert panel.save_table().is_file()


def test_an_error_while_encoding_is_told(panel: SurgeryPanel, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(clipsx.Clip, "look", fail)
        move(panel, "depth", 1)
        assert said(panel) == "RuntimeError: out of memory"
        assert panel._ui.busy.layout.display == "none"
    move(panel, "depth", 2)
    assert said(panel) == ""


def test_stop_keeps_the_last_picture(panel: SurgeryPanel, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on, whole = Event(), Event(), clipsx.Clip.look

    def slow(*args: Any, **options: Any) -> Any:
        begun.set()
        assert go_on.wait(30)
        return whole(*args, **options)

    monkeypatch.setattr(clipsx.Clip, "look", slow)
    panel._worker._patience = 0.01
    before = scene(panel)
    panel._ui.controls["depth"].value = 1
    assert begun.wait(30)
    while panel._ui.busy.layout.display == "none":
        Event().wait(0.01)
    assert "encoding the picture" in said(panel, "status")
    panel._ui.stop.click()
    go_on.set()
    assert panel.wait(60)
    assert said(panel, "status").startswith("Stopped")
    assert scene(panel) is before
    assert panel._ui.busy.layout.display == "none"


def test_a_stale_result_is_dropped(panel: SurgeryPanel, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on, whole = Event(), Event(), clipsx.Clip.look

    def slow(self: clipsx.Clip, images: Any, given: Any, keep: bool = False) -> Any:
        if clipsx.Reading("clip-surgery", 1) in [reading.features for reading in given]:
            begun.set()
            assert go_on.wait(30)
        return whole(self, images, given, keep)

    monkeypatch.setattr(clipsx.Clip, "look", slow)
    panel._ui.controls["depth"].value = 1
    assert begun.wait(30)
    panel._ui.controls["depth"].value = 4  # kept: shown at once, while depth 1 is still under way
    want = panel.view.repaired.values.tobytes()
    go_on.set()
    assert panel.wait(60)
    assert scene(panel)["panes"][1]["maps"] == want
    assert panel.state["reading"] == "clip-surgery@4+code"


def test_table(panel: SurgeryPanel) -> None:
    table, labels = panel.table(), panel.state["labels"]
    assert len(table) == 2 * len(labels)
    assert {"model", "weights", "data", "image_size", "templates", "reading", "method", "depth", "protocol"} <= set(
        table
    )
    assert set(table[table.kind == "raw"].reading) == {"clip"}
    assert set(table[table.kind == "repaired"].reading) == {"clip-surgery+code"}
    assert set(table[table.kind == "repaired"].depth) == {4}  # that it came to
    there = table[table.present]
    assert there.msc.notna().all()
    at = floats(scene(panel)["panes"][1]["iou"]).reshape(len(labels), 101)[0, 60]
    assert table[(table.kind == "repaired")].iou.iloc[0] == pytest.approx(at, abs=1e-4)


@pytest.mark.slow
def test_save_table_and_figures(panel: SurgeryPanel, tmp_path: Path) -> None:
    panel._table.click()
    path = panel.save_table()
    assert str(path) in said(panel, "status")
    pd.testing.assert_frame_equal(
        pd.read_csv(path).dropna(axis=1, how="all"), panel.table().dropna(axis=1, how="all"), check_dtype=False
    )
    for kind, start in (("pdf", b"%PDF"), ("png", b"\x89PNG"), ("svg", b"<?xml")):
        panel._format.value = kind
        panel._figure.click()
        assert said(panel) == ""
        (file,) = tmp_path.glob(f"*.{kind}")
        assert file.read_bytes().startswith(start)
        assert b"tiny" in file.read_bytes() or kind == "pdf"
    files = {"captions.md", *(f"{path.stem}.{ending}" for ending in ("csv", "tex", "md", "pdf", "png", "svg"))}
    assert {p.name for p in tmp_path.iterdir()} == files


@pytest.mark.slow
def test_saving_where_nothing_can_be_written(panel: SurgeryPanel, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    panel.out = tmp_path / "file"
    assert panel.save_table() is None
    assert said(panel) != ""
    assert panel.save_figure() is None
    panel.take(png(noise(8, 8)))
    assert "file" in said(panel)
    move(panel, "tau", 1.0)
    assert said(panel) == ""


@pytest.mark.slow
@pytest.mark.parametrize(
    "state",
    [
        {},
        {"image": 4, "reading": "clip-surgery@2+paper(tau=7.5)", "attention": "qk", "block": 1, "patch": [0, 3]},
        {"labels": ["cat"], "reading": "clip-surgery+code"},
        {"labels": ["it's", 'a "cat"', ""], "reading": "maskclip", "size": 96},
        {"reading": "clip"},
    ],
    ids=["default", "all", "one-label", "quotes", "raw"],
)
def test_code_makes_the_same_maps(panel: SurgeryPanel, state: dict[str, Any]) -> None:
    panel.restore(state)
    assert panel.wait(60)
    assert said(panel) == ""
    code = panel.code()
    assert code == panel._code.code
    names: dict[str, Any] = {"clip": panel.clip}
    with unchecked():
        exec(code, names)
    view = panel.view
    for name, maps in (("raw", view.raw), ("maps", view.repaired)):
        np.testing.assert_array_equal(
            names[name][0].permute(2, 0, 1).numpy(), at_pixels(maps.values, view.picture.size)
        )
    assert names["shown"] == view.place
    assert len(names["figure"].axes) >= 4
    assert names["attention"].shape == view.attention.shape


@pytest.mark.slow
def test_code_of_own_pictures(panel: SurgeryPanel) -> None:
    panel.take(png(noise(33, 21)))
    assert panel.wait(60)
    names: dict[str, Any] = {"clip": panel.clip}
    exec(panel.code(), names)
    np.testing.assert_array_equal(
        names["maps"][0].permute(2, 0, 1).numpy(), at_pixels(panel.view.repaired.values, panel.view.picture.size)
    )


@pytest.mark.slow
def test_a_static_picture_is_left_beside_the_view(panel: SurgeryPanel) -> None:
    bundle = panel._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle
    image = Image.open(io.BytesIO(base64.b64decode(bundle["image/png"])))
    assert image.width > 1000
    assert len(np.unique(np.asarray(image.convert("L")))) > 50


@pytest.mark.slow
def test_defaults_are_the_built_in_world() -> None:
    if "sketchbook" not in __import__("clipsx.load", fromlist=["load"]).built_in():
        pytest.skip("no built-in model")
    panel = SurgeryPanel()
    assert panel.wait(60)
    assert said(panel) == ""
    assert "clipsx.load('sketchbook')" in panel.code()


@pytest.mark.slow
def test_code_of_a_part_of_a_data_set(panel: SurgeryPanel, tmp_path: Path) -> None:
    part = SurgeryPanel(panel.clip, Subset(SAMPLES, [9, 4, 2], "three"), out=tmp_path, image=1)
    assert part.wait(60)
    assert len(part._ui.gallery.thumbs) == 3
    assert "three" in part.table().data[0]
    names: dict[str, Any] = {"clip": panel.clip}
    exec(part.code(), names)
    assert names["sample"].name == SAMPLES[4].name == part.view.picture.sample.name


@pytest.mark.slow
def test_code_of_samples_on_disk(panel: SurgeryPanel, tmp_path: Path) -> None:
    noise(20, 30).save(tmp_path / "one.png")
    own = SurgeryPanel(panel.clip, Folder(tmp_path, labels=["cat", "dog"]), out=tmp_path)
    assert own.wait(60)
    names: dict[str, Any] = {"clip": panel.clip}
    exec(own.code(), names)
    assert names["sample"].image.size == (30, 20)
