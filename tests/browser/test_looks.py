"""Every panel, on a wide page and on a narrow one: each control has a name, nothing is cut off, words can be read."""

import re
from contextlib import suppress
from typing import Any

import pytest
from playwright.sync_api import TimeoutError

CONTROLS = "application|button|checkbox|combobox|group|img|radio|radiogroup|slider|textbox"
CUT = """panel => [...panel.querySelectorAll(".widget-label, .widget-readout, .jupyter-button, .clipsx-numbers")]
    .filter((part) => part.scrollWidth > part.clientWidth + 1).map((part) => part.textContent)"""
OUTSIDE = """panel => [...panel.querySelectorAll("button, canvas, img, input, select, textarea, .widget-slider")]
    .filter((part) => part.getClientRects().length && part.type !== "file").filter((part) => {
        const [own, whole] = [part.getBoundingClientRect(), panel.getBoundingClientRect()];
        return own.left < whole.left || own.right > whole.right + 1;
    }).map((part) => part.outerHTML.slice(0, 200))"""
WRITTEN = """canvas => { // of the names left of a matrix, the channels of the pixel that is drawn most darkly
    const side = canvas.height, data = canvas.getContext("2d").getImageData(0, 0, side / 5, side).data, found = [];
    for (let i = 0; i < data.length; i += 4) if (data[i + 3] > 100) found.push([...data.slice(i, i + 3)]);
    return found.sort((a, b) => a[0] - b[0])[0];
}"""


@pytest.fixture(scope="module")
def page(lab: Any) -> Any:
    """Its own: elsewhere nonsense is typed into every control, and here the page changes its width."""
    return lab.panels("looks")


@pytest.fixture(params=[1280, 800])
def sized(page: Any, request: Any) -> Any:
    """The page at a width."""
    page.set_viewport_size({"width": request.param, "height": 900})
    narrow = (
        "wide => { const panel = document.querySelector('.clipsx-panel'); return (panel.clientWidth > 700) === wide; }"
    )
    page.wait_for_function(narrow, arg=request.param == 1280)
    yield page
    page.set_viewport_size({"width": 1280, "height": 900})


def test_every_control_has_a_name(page: Any) -> None:
    for name in page.kinds:
        panel = page.panel(name)
        panel.scroll_into_view_if_needed()
        panel.locator("select[aria-label]").first.wait_for()
        told = panel.aria_snapshot()
        assert re.findall(rf"^ *- (?:{CONTROLS})(?! [\"'])\b.*", told, re.MULTILINE) == [], name


def test_nothing_is_cut_off(sized: Any) -> None:
    for name in sized.kinds:
        panel = sized.panel(name)
        panel.scroll_into_view_if_needed()
        for found in (OUTSIDE, CUT):
            with suppress(TimeoutError):  # JupyterLab measures words by probes of its own
                sized.wait_for_function(f"panel => !({found})(panel).length", arg=panel.element_handle())
            assert panel.evaluate(found) == [], name


def test_names_beside_a_matrix_have_the_colour_of_the_page(page: Any) -> None:
    canvas = page.panel("companions").locator("canvas")
    canvas.scroll_into_view_if_needed()
    page.wait_for_function(WRITTEN, arg=canvas.element_handle())  # until it is drawn
    assert max(canvas.evaluate(WRITTEN)) < 90  # dark, in the light theme
