"""The panel of points in JupyterLab: points set, moved, turned and removed by pointer and by keys."""

from typing import Any

import pytest


@pytest.fixture
def panel(page: Any) -> Any:
    panel = page.panel("pointed")
    panel.locator(".clipsx-points[data-drawn] canvas").wait_for()
    return panel


def told(panel: Any) -> str:
    return panel.locator(".clipsx-points [aria-live]").inner_text()


def words(panel: Any, part: str) -> None:
    """Wait until the panel's own sentence, which Python writes, holds these words."""
    panel.locator(".clipsx-words", has_text=part).wait_for()


def test_points_by_pointer_and_keys(page: Any, panel: Any) -> None:
    canvas = panel.locator(".clipsx-points canvas")
    canvas.scroll_into_view_if_needed()
    panel.locator(".clipsx-points [aria-live]", has_text="points on the object").wait_for()
    count = int(told(panel).split()[0])
    assert count and f"{count} points on the object, {count} beside it" in told(panel)
    panel.get_by_role("button", name="add a point on the object").click()
    words(panel, "set by hand")
    assert f"point {2 * count + 1} of {2 * count + 1}, on the object" in told(panel)
    canvas.focus()
    for key, part in (
        ("ArrowRight", "at x 33"),
        ("Shift+ArrowUp", "y 22"),
        (" ", ", beside it, at"),
        ("PageDown", "point 1 of"),
    ):
        page.keyboard.press(key)
        panel.locator(".clipsx-points [aria-live]", has_text=part).wait_for()
    page.keyboard.press("Delete")
    panel.locator(".clipsx-points [aria-live]", has_text=f"of {2 * count},").wait_for()
    page.keyboard.press("Escape")
    words(panel, "'s map")
    assert f"{count} points on the object, {count} beside it" in told(panel)
    box = canvas.bounding_box()
    canvas.click(position={"x": 3, "y": 3}, modifiers=["Shift"])
    words(panel, "set by hand")
    assert "beside it, at x 0, y 0" in told(panel)
    page.mouse.move(box["x"] + 3, box["y"] + 3)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 5, steps=4)
    page.mouse.up()
    panel.locator(".clipsx-points [aria-live]", has_text="at x 32, y 0").wait_for()
    assert panel.locator("[role=alert]").all_inner_texts() == [] and page.errors == []
