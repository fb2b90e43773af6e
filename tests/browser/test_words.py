"""Words on pictures, by pointer and by keys: what is hovered is shown, what is chosen reaches Python."""

from typing import Any

import pytest

SETUP = """
import clipsx
from clipsx.datasets import Sketchbook
from clipsx.panels import WordsPanel

panel = WordsPanel(clipsx.load("sketchbook"), Sketchbook(seed=102, length=4, size=192), image=1)
panel"""


@pytest.fixture(scope="module")
def page(lab: Any) -> Any:
    page = lab.opened("words", [SETUP])
    page.locator(".clipsx-sentence button").first.wait_for()
    page.locator("[data-drawn]").first.wait_for()
    return page


def checked(page: Any) -> str:
    return page.locator(".clipsx-sentence [aria-checked=true]").inner_text()


def shows(page: Any, word: str) -> None:
    """Wait until a word's map is drawn."""
    page.wait_for_function("word => document.querySelectorAll('.clipsx-title')[1].textContent === word", arg=word)


def says(page: Any, start: str) -> None:
    """Wait until the line under the pictures begins so."""
    line = "document.querySelector('.clipsx-sentence ~ .clipsx-words')"
    page.wait_for_function(f"start => {line}.textContent.startsWith(start)", arg=start)


def test_hovering_a_word_shows_its_map_and_a_click_chooses_it(page: Any) -> None:
    first = checked(page)
    assert first.endswith(" ①")
    boat = page.get_by_role("radio", name="boat")
    boat.hover()
    shows(page, "boat")
    assert checked(page) == first  # it was only looked at
    page.locator(".clipsx-panel b").hover()
    shows(page, first.removesuffix(" ①"))
    boat.click()
    page.locator("[aria-checked=true]:text-is('boat')").wait_for()
    assert page.locator(".clipsx-under").nth(1).inner_text().startswith("boat: highest value")


def test_words_are_reached_by_keys(page: Any) -> None:
    page.get_by_role("radio", name="boat").click()
    for key, word in {"": "boat", "ArrowRight": "on", "End": "the whole sentence", "Home": "start"}.items():
        if key:
            page.keyboard.press(key)
        page.locator(f"[aria-checked=true]:text-is('{word}')").wait_for()
        assert page.evaluate("document.activeElement.textContent") == word
    page.keyboard.press("ArrowLeft")  # round the end
    page.locator("[aria-checked=true]:text-is('the whole sentence')").wait_for()


def test_pointing_at_the_picture_shows_which_words_fire(page: Any) -> None:
    says(page, "point at the picture")
    page.locator(".clipsx-frame").first.hover(position={"x": 3, "y": 3})
    says(page, "patch 0, 0: ")
    style = "all => all.map(button => parseFloat(button.style.getPropertyValue('--fires')))"
    bars = page.locator(".clipsx-sentence button").evaluate_all(style)
    assert 0 < max(bars) <= 100 and min(bars) >= 0
    page.locator(".clipsx-panel b").hover()
    page.get_by_role("application", name="the picture").focus()
    for key, start in {"ArrowRight": "patch 6, 6", "ArrowUp": "patch 5, 6", "Escape": "point"}.items():
        page.keyboard.press(key)
        says(page, start)
    page.locator(".clipsx-frame").nth(1).click(position={"x": 3, "y": 3})
    page.locator(".clipsx-panel b").hover()
    says(page, "patch 0, 0: ")
    assert page.errors == []
