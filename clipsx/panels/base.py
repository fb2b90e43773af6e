"""What the panels that show a figure share: a line of news, saving, the code, and the picture for static pages."""

import base64
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import ipywidgets as W
import pandas as pd
from IPython.display import display
from matplotlib.figure import Figure

from clipsx import captions, save
from clipsx.panels.elements import Code, image, line, png_of, spoken, still
from clipsx.panels.worker import Step, Worker

Made = TypeVar("Made")

_log = logging.getLogger(__name__)


class FigurePanel(W.VBox):
    """A panel around a figure.

    Args, after those of a panel's own:
        out: where figures, tables and pictures of one's own are written.
        state: entries of the dataclass that the panel shows; `Panel(…, **panel.state)` shows the same again.

    Errors: ValueError for a state that cannot be shown; later ones are told in the panel.

    Heirs hold a frozen dataclass in `_state` and a `view` of it, which knows no widget: `figure`, `table`,
    `provenance`, `code`, mostly a `sentence`. They name controls after the entries that they move, check a state
    (`_checked`), put their rows in place (`_begin`), and draw more than a picture and words in `_draw`.
    """

    view: Any
    _state: Any
    _checked: Callable[[Any], Any]
    _controls: Mapping[str, Any]
    stem: str = "figure"  # of what is saved
    doing: str = "drawing"  # in words

    def __init__(self, out: str | Path) -> None:
        super().__init__()
        self.out = Path(out)
        self._quiet = False
        self._ready: Any = None  # the last state that was shown
        self._worker = Worker(self._on_progress, self._on_failure, self._on_end)
        still = {"flex": "0 0 auto"}
        self._line, self._picture, self._words = W.HTML(), image(), W.HTML()
        self._format = W.Dropdown(
            options=[(f.upper(), f) for f in save.FORMATS],
            tooltip="format of the figure",
            layout=W.Layout(width="70px", **still),
        )
        self._figure = W.Button(description="Save figure", icon="image", layout=W.Layout(width="116px", **still))
        self._table = W.Button(description="Save table", icon="table", layout=W.Layout(width="110px", **still))
        told = captions.of(type(self).__name__)
        shows = told.alt if told else "the figure, as it was shown last"
        self._code = Code(alt=shows, layout=W.Layout(flex="1 1 0", margin="2px"))
        self._tools = W.HBox([self._format, self._figure, self._table, self._code])
        self._figure.on_click(lambda _: self.save_figure([str(self._format.value)]))
        self._table.on_click(lambda _: self.save_table())
        self.add_class("clipsx-panel")

    def _begin(self, title: str, *rows: W.Widget) -> None:
        """Put the rows between a title and the tools, and show the first state."""
        self.children = [W.HTML(f"<b>{title}</b>"), *rows, self._tools, self._line]
        self._listen()
        self._adopt(self._state)

    def figure(self) -> Figure:
        """What is on screen, for a page."""
        return self.view.figure()

    def table(self) -> pd.DataFrame:
        """The numbers behind it, with their provenance."""
        return self.view.table()

    def provenance(self) -> dict[str, Any]:
        """What made it."""
        return self.view.provenance()

    def code(self) -> str:
        """Code that makes it again, without a panel."""
        return self.view.code()

    @property
    def state(self) -> dict[str, Any]:
        """All that the panel shows, as plain values that JSON holds and a call takes."""
        return self._state.plain()

    def restore(self, state: dict[str, Any], news: str = "") -> None:
        """Show a saved state, then say `news`; entries left out keep their value.

        A state that cannot be shown is told in the panel.
        """
        with self._told():
            self._adopt(self._checked(self._state.updated(state)), news)

    def _adopt(self, state: Any, news: str = "") -> None:
        """Make a checked state the panel's own, controls and all, and show it."""
        self._state = state
        self._fill()
        if steps := self._steps():
            self._worker.start(steps, lambda: self._shown(state, news))
        else:
            self._worker.stop()
            self._shown(state, news)

    def _shown(self, state: Any, news: str) -> None:
        self._ready = state
        self._code.code = self.code()
        self._tell(news, "status")

    def _back(self) -> None:
        """Controls say what is on screen again: the last state that was shown, where there is one."""
        self._state = self._ready or self._state
        self._fill()

    def _steps(self) -> list[Step]:
        """What has to be done until the state is shown, in words and as calls."""
        return [(self.doing, self._draw)]

    def _draw(self) -> None:
        """Show what the view shows, and tell its sentence."""
        view = self.view
        self._picture.value, self._words.value = png_of(view.figure), spoken(view.sentence())

    def _listen(self) -> None:
        """Hear the controls: each moves the entry of its name."""
        for name, control in self._controls.items():
            control.observe(lambda change, name=name: self._heard(**{name: change["new"]}), "value")

    def _fill(self) -> None:
        """Put the state into the controls, without hearing them."""
        self._quiet = True
        try:
            self._put()
        finally:
            self._quiet = False

    def _put(self) -> None:
        for name, control in self._controls.items():
            control.value = getattr(self._state, name)

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until the present state is shown; False when `seconds` are over first. An interrupt stops the work."""
        try:
            return self._worker.wait(seconds)
        except KeyboardInterrupt:
            self._worker.stop()
            raise

    def save_figure(self, formats: Sequence[str] = save.FORMATS, name: str | None = None) -> list[Path] | None:
        """Write the figure under `out` in all `formats` ("pdf", "png", "svg"); None where that fails, as is told."""
        about, kind = (self.provenance(), formats), type(self).__name__
        return self._save(lambda: save.figure(self.figure(), self.out, name or self.stem, *about, kind))

    def save_table(self, name: str | None = None) -> Path | None:
        """Write the table as CSV under `out`; None where that fails, as is told."""
        return self._save(lambda: save.table(self.table(), self.out, name or self.stem))

    def _save(self, make: Callable[[], Made]) -> Made | None:
        with self._told():
            made = make()
            self._tell(f"Saved {', '.join(map(str, made if isinstance(made, list) else [made]))}", "status")
            return made
        return None

    def _heard(self, **change: Any) -> None:
        """A control was moved; not where `_fill` moves it."""
        if not self._quiet:
            self.restore(change)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Whatever goes wrong inside is told in the panel, which lives on with the state that it had."""
        self._tell("")
        try:
            yield
        except Exception as error:
            self._on_error(error)
            self._fill()

    def _on_progress(self, done: int, total: int, words: str) -> None:
        self._tell(f"{words} ({done + 1} of {total})" if total > 1 else f"{words} …", "status")

    def _on_error(self, error: Exception) -> None:
        expected = isinstance(error, ValueError | OSError | ImportError)
        if not expected:
            _log.error("in a panel", exc_info=error)
        self._tell(str(error) if expected else f"{type(error).__name__}: {error}")

    def _on_failure(self, error: Exception) -> None:
        self._on_error(error)
        self._back()

    def _on_end(self) -> None:
        """Nothing is under way any more."""

    def _tell(self, words: str, role: str = "alert") -> None:
        self._line.value = line(words, role)

    def _ipython_display_(self) -> None:
        """Show the panel, and behind it its picture: JupyterLab shows no picture of a widget whose kernel is gone."""
        bundle = self._repr_mimebundle_()
        display(bundle, raw=True)
        if picture := bundle.get("image/png"):
            display({"text/html": still(picture, self._code.alt)}, raw=True)

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        """The live view, and a picture of the state for pages without a kernel."""
        bundle: dict[str, Any] = {**(super()._repr_mimebundle_(**kwargs) or {})}
        with self._told():
            self._worker.wait()
            bundle["image/png"] = base64.b64encode(png_of(self.figure)).decode()
        return bundle
