"""A notebook that trains: its panel answers while its own cells wait for the training."""

from typing import Any

SETUP = """
import warnings
import numpy as np
import clipsx
from clipsx import unmix
from clipsx.datasets import Sketchbook
from clipsx.panels import UnmixPanel

warnings.filterwarnings("ignore")
clip, world = clipsx.load("sketchbook-random"), Sketchbook(seed=3, length=10, size=64, objects=(2, 3))
small = unmix.gather(clip, world)
times = 20
long = unmix.Gathered(np.tile(small.positions, (times, 1, 1)), np.tile(small.cls, (times, 1)),
                      np.tile(small.present, (times, 1)), small.labels, small.about)
panel = UnmixPanel(clip, long, small, world, epochs=200, batch=1)
panel
"""
LATER = ["panel.start()\nawait panel.finished()", "print('later', 'cells saw', len(panel.rows), 'epochs')"]


def test_stop_is_heard_while_a_cell_waits_and_controls_while_it_trains(lab: Any) -> None:
    page = lab.opened("training", [SETUP, *LATER], whole=False)
    panel = page.locator(".clipsx-panel").first
    panel.wait_for()
    stop = panel.get_by_role("button", name="Stop")
    page.wait_for_function("stop => !stop.disabled", arg=stop.element_handle())
    panel.get_by_text("epoch 2 of 200").wait_for()
    stop.click()
    panel.get_by_text("of 200 epochs").wait_for()
    page.get_by_text("later cells saw").wait_for()
    before = panel.locator("img").nth(1).get_attribute("src")
    panel.get_by_role("button", name="Resume").click()
    panel.get_by_text("s to go").wait_for()
    panel.locator("select").first.select_option(index=5)
    page.wait_for_function(
        "([image, src]) => image.src !== src", arg=[panel.locator("img").nth(1).element_handle(), before]
    )
    assert panel.get_by_text("s to go").is_visible()  # it trains on
    panel.get_by_role("button", name="Stop").click()
    panel.get_by_text("of 200 epochs").wait_for()
    assert panel.locator("[role=alert]").count() == 0
