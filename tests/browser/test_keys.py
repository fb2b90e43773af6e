"""Keys typed in a panel stay in the panel: no cell is cut, deleted or put in, whatever has the focus."""

from typing import Any

import pytest

SETUP = """
import warnings
import numpy as np
import clipsx
from clipsx import unmix
from clipsx.analyses import coactivation
from clipsx.datasets import Sketchbook
from clipsx.evaluation.stream import stream
from clipsx.panels import CompanionsPanel, MatrixPanel, PointsPanel, SurgeryPanel, UnmixPanel, WordsPanel

warnings.filterwarnings("ignore")
clip, world = clipsx.load("sketchbook-random"), Sketchbook(seed=3, length=10, size=64, objects=(2, 3))
labels = list(world.labels)
(rows,) = stream(clip, world, [coactivation.measure(clip, labels, "clip-surgery@1+code", templates="photo")], size=64)
got = unmix.gather(clip, world)
"""
PANELS = {
    "surgery": "SurgeryPanel(clip, world)",
    "matrices": "MatrixPanel({'a': clip}, labels='cat, dog, fish')",
    "companions": "CompanionsPanel(clip, world, rows, {'map': np.eye(len(labels))}, labels)",
    "points": "PointsPanel(clip, world)",
    "unmix": "UnmixPanel(clip, got, got, world, epochs=2)",
    "words": "WordsPanel(clip, world)",
    "laboratory": "from clipsx.sketchbook.laboratory.panel import LaboratoryPanel; LaboratoryPanel()",
}
FOCUSABLE = """panel => [...panel.querySelectorAll(
    "button, input, select, textarea, [tabindex], [contenteditable=true]")]
    .filter((part) => part.getClientRects().length && !part.disabled)"""
HARMFUL = ("x", "d", "d", "b", "a", "c", "v", "m", "Shift+M", "y", "z", "Control+Shift+ArrowUp")
CELLS = "() => window.jupyterapp.shell.currentWidget.model.toJSON().cells.map((cell) => cell.cell_type + cell.source)"


@pytest.fixture(scope="module")
def page(lab: Any) -> Any:
    return lab.opened("keys", [SETUP, *PANELS.values()])


@pytest.mark.parametrize("name", PANELS)
def test_no_key_reaches_the_notebook(page: Any, name: str) -> None:
    place = list(PANELS).index(name)
    panel = page.locator(".clipsx-panel").nth(place)
    panel.scroll_into_view_if_needed()
    page.evaluate("place => { window.jupyterapp.shell.currentWidget.content.activeCellIndex = place; }", place + 1)
    before, tried = page.evaluate(CELLS), set()
    for k in range(page.evaluate(f"panel => ({FOCUSABLE})(panel).length", panel.element_handle())):
        part = panel.evaluate_handle(f"(panel, k) => ({FOCUSABLE})(panel)[k]", k).as_element()
        if part is None:
            continue
        tag = part.evaluate("part => { part.focus(); return part.tagName + '.' + part.className; }")
        for key in HARMFUL:
            page.keyboard.press(key)
        assert page.evaluate(CELLS) == before, f"keys in {tag}"
        tried.add(tag)
    assert len(tried) > 3


def test_keys_of_the_panel_itself_still_work(page: Any) -> None:
    add = page.get_by_label("add a label").first
    add.focus()
    page.keyboard.type("box dx")
    assert add.input_value() == "box dx"
    page.keyboard.press("Enter")
    page.get_by_role("radio", name="box dx").wait_for()
    page.keyboard.press("Shift+Tab")
    assert page.evaluate("document.activeElement.getAttribute('role')") == "radio"
    page.keyboard.press("ArrowLeft")
    page.locator("[role=radio][aria-checked=true]:not(:has-text('box dx'))").first.wait_for()
    page.get_by_role("button", name="Copy code").first.focus()
    page.keyboard.press("Enter")
    page.locator(".clipsx-code pre:not([hidden])").wait_for()
    page.keyboard.press("Control+s")
    page.wait_for_function("() => !window.jupyterapp.shell.currentWidget.model.dirty")
    assert page.errors == []
