"""The panel of the laboratory: dials over the trained cells, one scene through the one they choose and another."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ipywidgets as W
import pandas as pd
from matplotlib.figure import Figure

from clipsx.messages import nearest
from clipsx.panels.base import FigurePanel, png_of
from clipsx.panels.state import updated
from clipsx.sketchbook.laboratory import answers
from clipsx.sketchbook.laboratory.answers import written
from clipsx.sketchbook.laboratory.measures import SHOWN
from clipsx.sketchbook.laboratory.plots import MAPS, TITLES, scene, side_by_side
from clipsx.sketchbook.laboratory.runs import Results, results, scenes
from clipsx.sketchbook.world import Sketchbook

DIALS = {
    "background_bias": "background bias", "co_occurrence": "co-occurrence", "named": "grounds named",
    "blocks": "blocks (0: ResNet)", "pooling": "pooling", "lifted": "last dropout", "largest_scale": "scale at most",
    "images": "images seen", "seed": "seed",
}  # fmt: skip
TOLD = {"top-1": "top-1", "mAP": "mAP"} | {f"mSC, {TITLES[name]}": measure for name, measure in MAPS.items()}


@dataclass(frozen=True)
class Cell:
    """What the panel shows: a run, the one beside it, a scene by number, the noun that is asked for ("": its first)."""

    run: str = "lab-centre-s7"
    beside: str = "sketchbook"
    scene: int = 4  # with its first noun the most typical of those shipped: `plots.typical`
    label: str = ""


class LaboratoryPanel(FigurePanel):
    """Turn a dial: the nearest trained cell, its numbers, and its maps of one scene beside another model's.

    Args:
        found: the laboratory's results; None for those that are shipped.
        out: where figures and tables are written.
        state: entries of `Cell`; `LaboratoryPanel(**panel.state)` shows the same again.

    Errors: ValueError for a state that cannot be shown; later ones are told in the panel.
    """

    stem = "laboratory"

    def __init__(self, found: Results | None = None, *, out: str | Path = "out", **state: Any) -> None:
        super().__init__(out)
        self.found = results() if found is None else found
        self._news = ""  # which dials moved along
        self._tidy, self._runs = answers.tidy(self.found), self.found.runs.set_index("run")
        self._grid = self._runs[self._runs["background_bias"].notna()]
        runs = list(self._runs.index)
        default = Cell(run=next(iter(self._grid.index)), beside=runs[-1])
        default = replace(default, **{k: v for k, v in vars(Cell()).items() if v in runs})
        self._centre, self._state = default.run, self._checked(updated(default, state))
        wide = W.Layout(width="auto")
        self._dials = {}
        for name, words in DIALS.items():
            values = [(written(value), value) for value in sorted(self._grid[name].unique())]
            style = {"description_width": "130px"}
            self._dials[name] = W.SelectionSlider(
                description=words, options=values, continuous_update=False, layout=wide, style=style
            )
        self._controls = {
            "beside": W.Dropdown(description="beside it", options=runs),
            "scene": W.IntSlider(description="scene", max=len(next(iter(scenes(runs[0]).values()))) - 1),
            "label": W.Dropdown(
                description="asked for", options=[("its first", ""), *((n, n) for n in Sketchbook.NOUNS)]
            ),
        }
        self._picture, self._words = W.Image(format="png", layout=W.Layout(max_width="100%")), W.HTML()
        self._words.layout = W.Layout(height="auto", flex="0 0 auto", overflow="auto")
        dials = W.GridBox(
            [*self._dials.values()], layout=W.Layout(grid_template_columns="repeat(3, 1fr)", grid_gap="0 22px")
        )
        rows = [W.HTML("<b>The laboratory: turn a dial</b>"), dials, W.HBox([*self._controls.values()])]
        self.children = [*rows, self._words, self._picture, self._tools, self._line]
        for name, dial in self._dials.items():
            dial.observe(lambda change, name=name: self._turned(name, change["new"]), "value")
        for name, control in self._controls.items():
            control.observe(lambda change, name=name: self._heard(**{name: change["new"]}), "value")
        self._adopt(self._state)

    def nearest(self, dial: str, value: Any) -> str:
        """The trained run with this value of a dial that keeps most of the others, then most of the centre's."""
        now, centre = self._grid.loc[self._state.run], self._grid.loc[self._centre]
        fitting = self._grid[self._grid[dial] == value]
        others = [name for name in DIALS if name != dial]
        kept = (fitting[others] == now[others]).sum(axis=1) + 0.01 * (fitting[others] == centre[others]).sum(axis=1)
        return str(kept.idxmax())

    def figure(self) -> Figure:
        """The scene through both models: the photo with the true region, raw and repaired maps."""
        s = self._state
        return side_by_side(list(dict.fromkeys([s.run, s.beside])), s.scene, s.label or None, side=1.9)

    def table(self) -> pd.DataFrame:
        """Every measure of both models, with intervals and settings."""
        rows = self._tidy[self._tidy["run"].isin([self._state.run, self._state.beside])]
        return rows.assign(**self.provenance())

    def provenance(self) -> dict[str, Any]:
        """The runs, the scene and the measures' protocol."""
        s, asked = self._state, self._state.label or next(iter(scene(self._state.scene, 32).masks))
        data = self.found.measures.loc[self.found.measures["run"] == s.run, "data"].iloc[0]
        return {"models": f"{s.run}, {s.beside}", "scene": f"{s.scene} of seed {SHOWN}", "label": asked, "data": data}

    def code(self) -> str:
        """Code that makes the figure again, without a panel."""
        s = self._state
        lines = ["from clipsx.sketchbook import laboratory"]
        lines += ["from clipsx.sketchbook.laboratory import answers, plots", ""]
        lines += [f"plots.side_by_side({[s.run, s.beside]!r}, {s.scene}, {s.label or None!r})"]
        lines += [f'answers.tidy(laboratory.results()).query("run in {[s.run, s.beside]!r}")']
        lines += [
            "",
            "# The live panel in this state:",
            "# from clipsx.sketchbook.laboratory.panel import LaboratoryPanel",
        ]
        return "\n".join([*lines, f"# LaboratoryPanel(**{self.state!r})", ""])

    def _checked(self, state: Cell) -> Cell:
        if state.run not in self._grid.index:
            raise ValueError(f"No trained cell is called {state.run!r}{nearest(state.run, self._grid.index)}.")
        if state.beside not in self._runs.index:
            raise ValueError(f"No model is called {state.beside!r}{nearest(state.beside, self._runs.index)}.")
        if state.label not in ("", *Sketchbook.NOUNS):
            raise ValueError(f"Unknown noun {state.label!r}{nearest(state.label, Sketchbook.NOUNS)}.")
        count = len(next(iter(scenes(state.run).values())))
        if not 0 <= state.scene < count:
            raise ValueError(f"scene must lie in 0…{count - 1}, not {state.scene}.")
        return state

    def _adopt(self, state: Cell) -> None:
        self._state = state
        self._fill()
        self._code.code = self.code()
        news, self._news = self._news, ""
        self._worker.start([("drawing the maps", self._draw)], lambda: self._tell(news, "status"))

    def _fill(self) -> None:
        """Put the state into the controls, without hearing them."""
        with self._unheard():
            for name, dial in self._dials.items():
                dial.value = self._grid.loc[self._state.run, name]
            for name, control in self._controls.items():
                control.value = getattr(self._state, name)

    def _turned(self, dial: str, value: Any) -> None:
        if self._quiet:
            return
        before, run = self._grid.loc[self._state.run], self.nearest(dial, value)
        after = self._grid.loc[run]
        moved = [words for name, words in DIALS.items() if name != dial and before[name] != after[name]]
        self._news = f"No cell was trained with just that: {', '.join(moved)} moved as well." if moved else ""
        self.restore({"run": run})

    def _draw(self) -> None:
        self._picture.value = png_of(self.figure())
        names = list(dict.fromkeys([self._state.run, self._state.beside]))
        wide = answers.wide(self.found, tuple(TOLD.values())).set_index("run").loc[names, list(TOLD.values())]
        table = wide.set_axis(list(TOLD), axis=1).rename_axis(None).to_html(border=0)
        words = "in %, [95 % image bootstrap]; FS: feature surgery"
        self._words.value = f'<div aria-live="polite" class="clipsx-words">{table}{words}</div>'
