"""The panel of CLIP Surgery in JupyterLab: what a person does with it, and how fast it answers."""

import statistics
from pathlib import Path
from typing import Any

import pytest

from helpers import noise

# Presses a key on an element and gives the milliseconds until the pictures are drawn anew.
PRESS = """([element, root, key]) => new Promise((resolve) => {
    const start = performance.now();
    const seen = new MutationObserver(() => { seen.disconnect(); resolve(performance.now() - start); });
    seen.observe(root, { attributes: true, attributeFilter: ["data-drawn"] });
    element.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
})"""
# Puts a file on an element as a paste from the clipboard does.
PASTE = """([element, bytes, type]) => {
    const data = new DataTransfer();
    data.items.add(new File([new Uint8Array(bytes)], "pasted.png", { type }));
    element.dispatchEvent(new ClipboardEvent("paste", { clipboardData: data, bubbles: true }));
}"""


@pytest.fixture
def panel(page: Any) -> Any:
    """A panel of the trained built-in model."""
    panel = page.panel("live")
    panel.scroll_into_view_if_needed()
    panel.locator(".clipsx-strip canvas").first.wait_for()
    yield panel
    assert panel.locator("[role=alert]").all_inner_texts() == []
    assert page.errors == []


def root(panel: Any) -> Any:
    return panel.locator("[data-drawn]")


def pixels(panel: Any, place: int) -> str:
    """What a pane's canvas shows now, as a data URL."""
    return panel.locator(".clipsx-frame canvas").nth(place).evaluate("canvas => canvas.toDataURL()")


def handle(panel: Any, name: str) -> Any:
    return panel.locator(".widget-slider", has_text=name).locator(".noUi-handle")


def changed(panel: Any, place: int, before: str) -> str:
    """The pane's pixels once they differ from `before`."""
    for _ in range(1200):
        now = pixels(panel, place)
        if now != before:
            return now
        panel.page.wait_for_timeout(50)
    return pytest.fail(f"pane {place} did not change")


def press(panel: Any, name: str, key: str) -> float:
    """Seconds from a key on a slider to the new picture."""
    pair = [handle(panel, name).element_handle(), root(panel).element_handle(), key]
    return panel.page.awaited(PRESS, pair) / 1000


def test_a_slider_changes_the_picture(panel: Any) -> None:
    shown = [pixels(panel, k) for k in range(4)]
    for name in ("threshold", "opacity", "τ", "depth"):
        before = pixels(panel, 2)
        press(panel, name, "ArrowLeft")
        changed(panel, 2, before)
    assert pixels(panel, 0) == shown[0]  # the photo itself stays


def test_the_picture_follows_every_key(panel: Any, record_property: Any) -> None:
    # One way: back and forth may fall together on a busy machine, and what is drawn already is not drawn anew.
    for name, key in {"opacity": "ArrowLeft", "threshold": "ArrowLeft", "τ": "ArrowRight"}.items():
        times = [press(panel, name, key) for _ in range(12)]
        panel.page.wait_for_timeout(300)
        record_property(f"slider {name}", times)
        print(f"{name}: median {1000 * statistics.median(times):.0f} ms, least {1000 * min(times):.0f} ms")
        assert len(times) == 12  # each key was answered by a new picture; how fast is for `make bench` and this print


def test_a_click_shows_the_patch(panel: Any) -> None:
    before = pixels(panel, 3)
    panel.locator(".clipsx-frame").nth(1).click(position={"x": 12, "y": 12})
    after = changed(panel, 3, before)
    panel.locator(".clipsx-under", has_text="of patch 0, 0").wait_for()
    panel.page.keyboard.press("ArrowDown")
    panel.page.keyboard.press("ArrowRight")
    panel.locator(".clipsx-under", has_text="of patch 1, 1").wait_for()
    changed(panel, 3, after)
    assert panel.locator(".clipsx-ring").first.is_visible()


def test_hovering_reads_values(panel: Any) -> None:
    panel.locator(".clipsx-frame").nth(2).hover(position={"x": 5, "y": 5})
    assert panel.locator(".clipsx-here").inner_text().startswith("patch 0, 0: raw ")
    assert panel.locator(".clipsx-cell").nth(3).is_visible()


def test_another_label_without_the_kernel(panel: Any) -> None:
    panel.page.wait_for_timeout(300)
    before = pixels(panel, 1)
    panel.locator("[role=radio]").nth(1).click()
    changed(panel, 1, before)
    panel.page.keyboard.press("ArrowLeft")
    panel.locator("[role=radio][aria-checked=true]").first.wait_for()
    assert panel.locator("[role=radio]").first.get_attribute("aria-checked") == "true"


def test_labels_are_added_refused_and_removed(panel: Any) -> None:
    count = panel.locator("[role=radio]").count()
    add = panel.get_by_label("add a label")
    add.fill("sun hat")
    add.press("Enter")
    panel.get_by_role("radio", name="sun hat").wait_for()
    add.fill("sun hat")
    add.press("Enter")
    panel.get_by_text("The label 'sun hat' is there already.").wait_for()
    panel.get_by_role("radio", name="sun hat").press("Delete")
    panel.page.wait_for_function(
        "([panel, count]) => panel.querySelectorAll('[role=radio]').length === count",
        arg=[panel.element_handle(), count],
    )
    panel.locator("[role=alert]").wait_for(state="detached")


def test_pictures_from_the_gallery_and_the_clipboard(panel: Any, tmp_path: Path) -> None:
    before = pixels(panel, 0)
    panel.locator(".clipsx-thumb").nth(3).click()
    before = changed(panel, 0, before)
    noise(40, 60).save(tmp_path / "own.png")
    panel.page.evaluate(
        PASTE, [panel.locator(".clipsx-paste").element_handle(), list((tmp_path / "own.png").read_bytes()), "image/png"]
    )
    before = changed(panel, 0, before)
    (tmp_path / "not.png").write_text("not a picture")
    panel.locator("input[type=file]").set_input_files(tmp_path / "not.png")
    panel.get_by_text("is not a picture that can be read").wait_for()
    panel.locator("input[type=file]").set_input_files(
        {"name": "large.png", "mimeType": "image/png", "buffer": b"0" * 8_100_000}
    )
    panel.get_by_text("large.png is 8.1 MB; at most 8.0 MB can be sent").wait_for()
    panel.locator(".clipsx-thumb").nth(1).click()
    changed(panel, 0, before)
    panel.locator("[role=alert]").wait_for(state="detached")


def test_code_is_copied(panel: Any) -> None:
    panel.get_by_text("Copy code").click()
    panel.get_by_text("copied", exact=True).wait_for()
    code = panel.page.awaited("() => navigator.clipboard.readText()")
    compile(code, "copied", "exec")
    assert "clipsx.upsample" in code
