"""A notebook that was saved and is opened again without its kernel shows the panels' pictures."""

import shutil
from typing import Any

SAVE = "() => window.jupyterapp.commands.execute('docmanager:save')"


def test_pictures_stay_when_the_kernel_is_gone(lab: Any, page: Any) -> None:
    assert page.locator(".clipsx-still img:visible").count() == 0  # the live panels alone
    count = page.locator(".clipsx-panel").count()
    page.awaited(SAVE)
    shutil.copy(lab.folder / "panels.ipynb", lab.folder / "still.ipynb")  # of which no kernel knows
    again = lab.page("still")
    again.locator(".clipsx-still img:visible").nth(count - 1).wait_for(timeout=60_000)
    sizes = again.locator(".clipsx-still img:visible").evaluate_all("all => all.map((image) => image.naturalWidth)")
    assert len(sizes) == count > 5 and min(sizes) > 500
    assert "model not found" not in again.inner_text(".jp-Notebook")
    assert again.locator(".clipsx-panel").count() == 0
    again.close()
