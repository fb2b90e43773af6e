"""The panel of the laboratory: dials over the trained cells, one scene through the one they choose and another."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ipywidgets as W
import pandas as pd
from matplotlib.figure import Figure

from clipsx.messages import require, require_known
from clipsx.panels.base import FigurePanel
from clipsx.panels.elements import png_of
from clipsx.panels.state import Entries
from clipsx.sketchbook.laboratory.measures import SHOWN
from clipsx.sketchbook.laboratory.plots import MAPS, TITLES, written
from clipsx.sketchbook.laboratory.runs import Results, results, scenes, tidy, wide
from clipsx.sketchbook.laboratory.sheets import scene, side_by_side
from clipsx.sketchbook.world import Sketchbook

DIALS = {
    "background_bias": "background bias", "co_occurrence": "co-occurrence", "named": "grounds named",
    "blocks": "blocks (0: ResNet)", "patch_size": "patch, px", "pooling": "pooling", "lifted": "last dropout",
    "largest_scale": "scale at most", "images": "images seen", "seed": "seed",
}  # fmt: skip
TOLD = {"top-1": "top-1", "mAP": "mAP"} | {f"mSC, {TITLES[name]}": measure for name, measure in MAPS.items()}


@dataclass(frozen=True)
class Cell(Entries):
    """What the panel shows: a run, the one beside it, a scene by number, the noun that is asked for ("": its first)."""

    run: str = "lab-centre-s7"
    beside: str = "sketchbook"
    scene: int = 4  # with its first noun the most typical of those shipped: `sheets.typical`
    label: str = ""


@dataclass(frozen=True, eq=False)
class SceneView:
    """A scene through a run and the one beside it."""

    found: Results
    state: Cell

    @property
    def runs(self) -> list[str]:
        """The names of both, or of the one."""
        return list(dict.fromkeys([self.state.run, self.state.beside]))

    def figure(self) -> Figure:
        """The scene through both models: the photo with the true region, raw and repaired maps."""
        return side_by_side(self.runs, self.state.scene, self.state.label or None, side=1.9)

    def table(self) -> pd.DataFrame:
        """Every measure of both models, with intervals and settings."""
        return tidy(self.found).query("run in @runs", local_dict={"runs": self.runs}).assign(**self.provenance())

    def provenance(self) -> dict[str, Any]:
        """The runs, the scene and the measures' protocol."""
        s, asked = self.state, self.state.label or next(iter(scene(self.state.scene, 32).masks))
        data = self.found.measures.set_index("run").loc[[s.run], "data"].iloc[0]
        return {"models": f"{s.run}, {s.beside}", "scene": f"{s.scene} of seed {SHOWN}", "label": asked, "data": data}

    def code(self) -> str:
        """Code that makes the figure again, without a panel."""
        s = self.state
        return f"""\
from clipsx.sketchbook import laboratory
from clipsx.sketchbook.laboratory import runs, sheets

sheets.side_by_side({self.runs!r}, {s.scene}, {s.label or None!r}, side=1.9)
runs.tidy(laboratory.results()).query("run in {self.runs!r}")

# The live panel in this state:
# from clipsx.sketchbook.laboratory.panel import LaboratoryPanel
# LaboratoryPanel(**{s.plain()!r})
"""

    def words(self) -> str:
        """What both score, as HTML."""
        table = wide(self.found, tuple(TOLD.values())).set_index("run").loc[self.runs, list(TOLD.values())]
        words = "in %, [95 % image bootstrap]"
        html = table.set_axis(list(TOLD), axis=1).T.rename_axis(columns=words).to_html(border=0)
        return f'<div aria-live="polite" class="clipsx-words">{html}</div>'


class LaboratoryPanel(FigurePanel):
    """Turn a dial: the nearest trained cell, its numbers, and its maps of one scene beside another model's.

    Args:
        found: the laboratory's results; None for those that are shipped.
        out, state: as of every panel (`FigurePanel`); entries of `Cell`.
    """

    stem, doing = "laboratory", "drawing the maps"

    def __init__(self, found: Results | None = None, *, out: str | Path = "out", **state: Any) -> None:
        super().__init__(out)
        self.found = results() if found is None else found
        self._runs = self.found.runs.set_index("run")
        self._grid = self._runs[self._runs["background_bias"].notna()]
        runs = list(self._runs.index)
        self._state = self._checked(Cell().updated(state))
        look = {"layout": W.Layout(width="auto"), "style": {"description_width": "124px"}}
        self._dials = {}
        for name, words in DIALS.items():
            values = [(written(value), value) for value in sorted(self._grid[name].unique())]
            self._dials[name] = W.SelectionSlider(description=words, options=values, continuous_update=False, **look)
        nouns = [("its first", ""), *((noun, noun) for noun in Sketchbook.NOUNS)]
        self._controls = {
            "beside": W.Dropdown(description="beside it", options=runs),
            "scene": W.IntSlider(description="scene", max=len(next(iter(scenes(runs[0]).values()))) - 1),
            "label": W.Dropdown(description="asked for", options=nouns),
        }
        self._words.layout = W.Layout(height="auto", flex="0 0 auto", overflow="auto")
        dials = W.Box([*self._dials.values()]).add_class("clipsx-thirds")
        for name, dial in self._dials.items():
            dial.observe(lambda change, name=name: self._turned(name, change["new"]), "value")
        rows = [dials, W.HBox([*self._controls.values()]), self._words, self._picture]
        self._begin("The laboratory: turn a dial", *rows)

    def nearest(self, dial: str, value: Any) -> str:
        """The trained run with this value of a dial that keeps most of the others, then most of the centre's."""
        now, centre = self._grid.loc[self._state.run], self._grid.loc[Cell.run]
        fitting = self._grid[self._grid[dial] == value]
        others = [name for name in DIALS if name != dial]
        kept = (fitting[others] == now[others]).sum(axis=1) + 0.01 * (fitting[others] == centre[others]).sum(axis=1)
        return str(kept.idxmax())

    @property
    def view(self) -> SceneView:
        """The scene and the two runs that are chosen."""
        return SceneView(self.found, self._state)

    def _checked(self, state: Cell) -> Cell:
        require_known("trained cell", state.run, self._grid.index)
        require_known("model", state.beside, self._runs.index)
        require_known("noun", state.label, ("", *Sketchbook.NOUNS))
        count = len(next(iter(scenes(state.run).values())))
        require("scene", state.scene, 0, count - 1, whole=True)
        return state

    def _draw(self) -> None:
        view = self.view
        self._picture.value, self._words.value = png_of(view.figure), view.words()

    def _put(self) -> None:
        super()._put()
        for name, dial in self._dials.items():
            dial.value = self._grid.loc[self._state.run, name]

    def _turned(self, dial: str, value: Any) -> None:
        if self._quiet:
            return
        before, run = self._grid.loc[self._state.run], self.nearest(dial, value)
        after = self._grid.loc[run]
        moved = ", ".join(words for name, words in DIALS.items() if name != dial and before[name] != after[name])
        self.restore({"run": run}, f"No cell was trained with just that: {moved} moved as well." if moved else "")
