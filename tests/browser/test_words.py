"""Words on pictures, by pointer and by keys: what is hovered is shown, what is chosen reaches Python."""

import re
from typing import Any

import pytest


@pytest.fixture
def panel(page: Any) -> Any:
    panel = page.panel("worded")
    panel.scroll_into_view_if_needed()
    panel.locator("[data-drawn]").first.wait_for()
    panel.locator(".clipsx-sentence button").first.wait_for()
    return panel


def checked(panel: Any) -> str:
    return panel.locator(".clipsx-sentence [aria-checked=true]").inner_text()


def shows(panel: Any, word: str) -> None:
    """Wait until a word's map is drawn."""
    panel.locator(".clipsx-title").nth(1).and_(panel.get_by_text(word, exact=True)).wait_for()


def says(panel: Any, start: str) -> None:
    """Wait until the line under the pictures begins so."""
    panel.locator(".clipsx-sentence ~ .clipsx-words", has_text=re.compile(f"^{re.escape(start)}")).wait_for()


def test_hovering_a_word_shows_its_map_and_a_click_chooses_it(panel: Any) -> None:
    first = checked(panel)
    assert first.endswith(" ①")
    boat = panel.get_by_role("radio", name="boat")
    boat.hover()
    shows(panel, "boat")
    assert checked(panel) == first  # it was only looked at
    panel.locator("b").first.hover()
    shows(panel, first.removesuffix(" ①"))
    boat.click()
    panel.locator("[aria-checked=true]:text-is('boat')").wait_for()
    assert panel.locator(".clipsx-under").nth(1).inner_text().startswith("boat: highest value")


def test_words_are_reached_by_keys(panel: Any) -> None:
    panel.get_by_role("radio", name="boat").click()
    for key, word in {"": "boat", "ArrowRight": "on", "End": "the whole sentence", "Home": "start"}.items():
        if key:
            panel.page.keyboard.press(key)
        panel.locator(f"[aria-checked=true]:text-is('{word}')").wait_for()
        assert panel.page.evaluate("document.activeElement.textContent") == word
    panel.page.keyboard.press("ArrowLeft")  # round the end
    panel.locator("[aria-checked=true]:text-is('the whole sentence')").wait_for()


def test_pointing_at_the_picture_shows_which_words_fire(page: Any, panel: Any) -> None:
    says(panel, "point at the picture")
    panel.locator(".clipsx-frame").first.hover(position={"x": 3, "y": 3})
    says(panel, "patch 0, 0: ")
    style = "all => all.map(button => parseFloat(button.style.getPropertyValue('--fires')))"
    bars = panel.locator(".clipsx-sentence button").evaluate_all(style)
    assert 0 < max(bars) <= 100 and min(bars) >= 0
    panel.locator("b").first.hover()
    panel.get_by_role("application", name="the picture").focus()
    for key, start in {"ArrowRight": "patch 6, 6", "ArrowUp": "patch 5, 6", "Escape": "point"}.items():
        page.keyboard.press(key)
        says(panel, start)
    panel.locator(".clipsx-frame").nth(1).click(position={"x": 3, "y": 3})
    panel.locator("b").first.hover()
    says(panel, "patch 0, 0: ")
    assert page.errors == []
