"""A notebook that was saved and is opened again without its kernel shows the panels' pictures."""

from typing import Any

PANELS = (
    """
import clipsx
from clipsx.datasets import Sketchbook
from clipsx.panels import MatrixPanel, SurgeryPanel

clip, world = clipsx.load("sketchbook-random"), Sketchbook(seed=3, length=10, size=64)
SurgeryPanel(clip, world)
""",
    "display(MatrixPanel({'a': clip}, labels='cat, dog, fish'))",
)
SAVE = "() => window.jupyterapp.commands.execute('docmanager:save')"


def test_pictures_stay_when_the_kernel_is_gone(lab: Any) -> None:
    page = lab.opened("still", list(PANELS))
    page.locator(".clipsx-panel canvas").first.wait_for()
    page.locator(".clipsx-panel img").last.wait_for()
    assert page.locator(".clipsx-still img:visible").count() == 0  # the live panel alone
    page.evaluate(SAVE)
    for session in lab.ask("sessions"):
        if session["path"] == "still.ipynb":
            lab.ask(f"sessions/{session['id']}", "DELETE")
    page.close()
    page = lab.page("still")
    page.locator(".clipsx-still img:visible").nth(1).wait_for(timeout=60_000)
    sizes = page.locator(".clipsx-still img:visible").evaluate_all("all => all.map((image) => image.naturalWidth)")
    assert len(sizes) == 2 and min(sizes) > 500
    assert "model not found" not in page.inner_text(".jp-Notebook")
    assert page.locator(".clipsx-panel").count() == 0
