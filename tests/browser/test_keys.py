"""Keys typed in a panel stay in the panel: no cell is cut, deleted or put in, whatever has the focus."""

from typing import Any

import pytest

PANELS = ("surgery", "matrices", "companions", "points", "unmix", "words", "laboratory")
FOCUSABLE = """panel => [...panel.querySelectorAll(
    "button, input, select, textarea, [tabindex], [contenteditable=true]")]
    .filter((part) => part.getClientRects().length && !part.disabled)"""
HARMFUL = ("x", "d", "d", "b", "a", "c", "v", "m", "Shift+M", "y", "z", "Control+Shift+ArrowUp")
CELLS = "() => window.jupyterapp.shell.currentWidget.model.toJSON().cells.map((cell) => cell.cell_type + cell.source)"


@pytest.mark.parametrize("name", PANELS)
def test_no_key_reaches_the_notebook(page: Any, name: str) -> None:
    panel = page.panel(name)
    panel.scroll_into_view_if_needed()
    page.evaluate("() => { window.jupyterapp.shell.currentWidget.content.activeCellIndex = 3; }")
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
    panel = page.panel("surgery")
    add = panel.get_by_label("add a label")
    add.focus()
    page.keyboard.type("box dx")
    assert add.input_value() == "box dx"
    page.keyboard.press("Enter")
    panel.get_by_role("radio", name="box dx").wait_for()
    page.keyboard.press("Shift+Tab")
    assert page.evaluate("document.activeElement.getAttribute('role')") == "radio"
    page.keyboard.press("ArrowLeft")
    panel.locator("[role=radio][aria-checked=true]:not(:has-text('box dx'))").wait_for()
    panel.get_by_role("button", name="Copy code").focus()
    page.keyboard.press("Enter")
    panel.locator(".clipsx-code pre:not([hidden])").wait_for()
    page.keyboard.press("Control+s")
    page.wait_for_function("() => !window.jupyterapp.shell.currentWidget.model.dirty")
    assert page.errors == []
