"""What the panels that show a figure share: a line of news, saving, the code, and the picture for static pages."""

import base64
import html
import io
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import ipywidgets as W
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from clipsx import plots
from clipsx.maps import minmax, upsample
from clipsx.panels.elements import Code
from clipsx.panels.worker import Worker

FORMATS = ("pdf", "png", "svg")


class FigurePanel(W.VBox):
    """A panel around a figure.

    Heirs hold a frozen dataclass in `_state`, give `figure`, `table`, `provenance` and `code`, put their rows in place,
    check a state (`_checked`), show it (`_adopt`), and put it into the controls unheard (`_fill`).
    """

    _state: Any
    _checked: Callable[[Any], Any]
    _adopt: Callable[[Any], None]
    _fill: Callable[[], None]
    stem = "figure"  # of what is saved
    patience: float | None = None  # seconds that showing the panel waits for the picture of static pages

    def __init__(self, out: str | Path) -> None:
        super().__init__()
        self.out = Path(out)
        self._quiet = False
        self._worker = Worker(self._on_progress, self._on_error, lambda: None)
        self._line = W.HTML()
        self._format = W.Dropdown(options=[(f.upper(), f) for f in FORMATS], layout={"width": "70px"})
        self._figure = W.Button(description="Save figure", icon="image")
        self._table = W.Button(description="Save table", icon="table")
        self._code = Code(layout=W.Layout(flex="1 1 0"))
        self._tools = W.HBox([self._format, self._figure, self._table, self._code])
        self._figure.on_click(lambda _: self.save_figure([self._format.value]))
        self._table.on_click(lambda _: self.save_table())
        self.add_class("clipsx-panel")

    @property
    def state(self) -> dict[str, Any]:
        """All that the panel shows, as plain values that JSON holds and a call takes."""
        return asdict(self._state)

    def restore(self, state: dict[str, Any]) -> None:
        """Show a saved state; entries left out keep their value. One that cannot be shown is told in the panel."""
        try:
            self._adopt(self._checked(replace(self._state, **state)))
        except (ValueError, TypeError) as error:
            self._on_error(error)
        self._fill()

    def figure(self) -> Figure:
        """What is on screen, as a figure for a page."""
        raise NotImplementedError

    def table(self) -> pd.DataFrame:
        """The numbers behind it, with their provenance."""
        raise NotImplementedError

    def provenance(self) -> dict[str, Any]:
        """What made it."""
        raise NotImplementedError

    def code(self) -> str:
        """Code that makes it again, without a panel."""
        raise NotImplementedError

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until the present state is shown; False when `seconds` are over first."""
        return self._worker.wait(seconds)

    def save_figure(self, formats: Sequence[str] = ("pdf", "png"), name: str | None = None) -> Any:
        """Write the figure under `out` in all formats; None where that fails, as is told."""
        return self._save(
            lambda: plots.save_figure(self.figure(), self.out, name or self.stem, self.provenance(), formats)
        )

    def save_table(self, name: str | None = None) -> Any:
        """Write the table as CSV under `out`; None where that fails, as is told."""
        return self._save(lambda: plots.save_table(self.table(), self.out, name or self.stem))

    def _save(self, make: Callable[[], Any]) -> Any:
        try:
            made = make()
            self._tell(f"Saved {', '.join(map(str, made if isinstance(made, list) else [made]))}", "status")
            return made
        except (ValueError, OSError) as error:
            return self._on_error(error)

    def _on_progress(self, done: int, total: int, words: str) -> None:
        self._tell(f"{words} ({done + 1} of {total})" if total > 1 else f"{words} …", "status")

    def _on_error(self, error: Exception) -> None:
        self._tell(str(error))

    def _tell(self, words: str, role: str = "alert") -> None:
        self._line.value = f'<div role="{role}" class="clipsx-{role}">{html.escape(words)}</div>' if words else ""

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        """The live view, and a picture of the state for pages without a kernel."""
        self._worker.wait(self.patience)
        bundle: dict[str, Any] = {**(super()._repr_mimebundle_(**kwargs) or {})}
        return bundle | {"image/png": base64.b64encode(png_of(self.figure())).decode()}


def png_of(figure: Figure) -> bytes:
    """A figure as PNG; it is closed."""
    buffer = io.BytesIO()
    try:
        figure.savefig(buffer, format="png", dpi=110)
    finally:
        plt.close(figure)
    return buffer.getvalue()


def map_at_pixels(sim: Float[Tensor, "1 h w 1"], size: tuple[int, int]) -> Float[np.ndarray, "H W"]:
    """One label's similarities stretched to 0 … 1, at an image's (H, W)."""
    return upsample(minmax(sim), size)[0, ..., 0].float().cpu().numpy()
