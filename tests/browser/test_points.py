"""The panel of points in JupyterLab: points set, moved, turned and removed by pointer and by keys."""

from typing import Any

import pytest

SETUP = """
import clipsx
from clipsx.datasets import Sketchbook
from clipsx.panels import PointsPanel

panel = PointsPanel(clipsx.load("sketchbook-random"), Sketchbook(seed=3, length=4, size=64, objects=(2, 3)))
panel
"""
DRAWN = "([part, before]) => part.getAttribute('data-drawn') !== before"


@pytest.fixture(scope="module")
def page(lab: Any) -> Any:
    page = lab.opened("points", [SETUP])
    page.locator(".clipsx-points[data-drawn] canvas").wait_for()
    return page


def told(page: Any) -> str:
    return page.locator(".clipsx-points [aria-live]").inner_text()


def words(page: Any, part: str) -> None:
    """Wait until the panel's own sentence, which Python writes, holds these words."""
    page.locator(".clipsx-panel .clipsx-words", has_text=part).wait_for()


def test_points_by_pointer_and_keys(page: Any) -> None:
    canvas = page.locator(".clipsx-points canvas")
    canvas.scroll_into_view_if_needed()
    count = int(told(page).split()[0])
    assert count and f"{count} points on the object, {count} beside it" in told(page)
    page.get_by_role("button", name="add a point on the object").click()
    words(page, "set by hand")
    assert f"point {2 * count + 1} of {2 * count + 1}, on the object" in told(page)
    canvas.focus()
    for key, part in (
        ("ArrowRight", "at x 33"),
        ("Shift+ArrowUp", "y 22"),
        (" ", ", beside it, at"),
        ("PageDown", "point 1 of"),
    ):
        page.keyboard.press(key)
        page.locator(".clipsx-points [aria-live]", has_text=part).wait_for()
    page.keyboard.press("Delete")
    page.locator(".clipsx-points [aria-live]", has_text=f"of {2 * count},").wait_for()
    page.keyboard.press("Escape")
    words(page, "'s map")
    assert f"{count} points on the object, {count} beside it" in told(page)
    box = canvas.bounding_box()
    canvas.click(position={"x": 3, "y": 3}, modifiers=["Shift"])
    words(page, "set by hand")
    assert "beside it, at x 0, y 0" in told(page)
    page.mouse.move(box["x"] + 3, box["y"] + 3)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 5, steps=4)
    page.mouse.up()
    page.locator(".clipsx-points [aria-live]", has_text="at x 32, y 0").wait_for()
    assert page.locator(".clipsx-panel [role=alert]").all_inner_texts() == [] and page.errors == []
