"""The panel of companions: a class × class matrix, and behind every cell the scenes and maps that made its number."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ipywidgets as W
import numpy as np
import pandas as pd
from jaxtyping import Num
from matplotlib.figure import Figure

from clipsx import plots
from clipsx.clip import Clip
from clipsx.datasets import Sample
from clipsx.evaluation.summary import constants
from clipsx.messages import require_known
from clipsx.metrics import msc
from clipsx.panels.base import FigurePanel
from clipsx.panels.code import recipe
from clipsx.panels.elements import Cells, colours
from clipsx.panels.session import label_map
from clipsx.panels.state import Entries
from clipsx.text import check_labels

SCENES = 4  # behind a cell


@dataclass(frozen=True)
class Companions(Entries):
    """What the panel shows: a measure and a cell, what b's map does inside a."""

    measure: str = ""
    a: str = ""
    b: str = ""


@dataclass(frozen=True, eq=False)
class CellView:
    """A cell and the scenes behind it."""

    clip: Clip
    samples: Sequence[Sample]
    rows: pd.DataFrame
    labels: Sequence[str]
    state: Companions

    def figure(self) -> Figure:
        """The brightest scenes behind the cell (`draw_behind`)."""
        return plots.closed(draw_behind(self.clip, self.samples, self.rows, self.labels, self.state.a, self.state.b))

    def table(self) -> pd.DataFrame:
        """The rows of `coactivation.measure` behind the cell, brightest first."""
        return behind(self.rows, self.state.a, self.state.b)

    def provenance(self) -> dict[str, Any]:
        """Model, data, method and protocol of the rows."""
        return constants(self.rows)

    def code(self) -> str:
        """Code that measures the rows again and draws what is behind the cell."""
        about = self.provenance()
        return recipe("companions", view=self, about=about, size=_pixels(about["image_size"]))

    def sentence(self) -> str:
        """How often a and b are there, and how bright b's map is inside a."""
        rows, a, b = self.table(), self.state.a, self.state.b
        if not len(rows):
            return f"{a} × {b}: no scene has it, or it is one class with itself."
        both, mean = int(rows["companion"].sum()), rows["score"].mean()
        words = f"{len(rows)} scenes with {a}, in {both} of them {b} as well"
        return f"{a} × {b}: {words}; {b}'s map has a mean of {mean:.2f} inside {a}. The brightest:"


class CompanionsPanel(FigurePanel):
    """Click a cell: the scenes with a in them where b's map is brightest inside a.

    It opens on the typical cell: among pairs that are in one picture, the median of the mean of b's map inside a.

    Args:
        clip, samples: what `rows` was measured with.
        rows: the table of `coactivation.measure`, whose `number` is a scene's place in `samples`; masks known.
        matrices: measure → (N, N), rows a, columns b, in the order of `labels`.
        labels: of the matrices.
        out, state: as of every panel (`FigurePanel`); entries of `Companions`.
    """

    stem, doing = "companions", "reading the scenes"

    def __init__(
        self,
        clip: Clip,
        samples: Sequence[Sample],
        rows: pd.DataFrame,
        matrices: Mapping[str, Num[np.ndarray, "N N"]],
        labels: Sequence[str],
        *,
        out: str | Path = "out",
        **state: Any,
    ) -> None:
        super().__init__(out)
        self.clip, self.samples, self.rows, self.matrices = clip, samples, rows, dict(matrices)
        first = next(iter(self.matrices))
        self._order = plots.leaf_order(np.nan_to_num(np.asarray(self.matrices[first], dtype=float)))
        self.labels = [check_labels(labels)[k] for k in self._order]
        pairs = rows[rows["companion"]].groupby(["a", "b"])["score"].mean().sort_values(kind="stable")
        a, b = pairs.index.tolist()[len(pairs) // 2] if len(pairs) else self.labels[:2]  # the typical one
        self._state = self._checked(Companions(first, a, b).updated(state))
        self._measure = W.Dropdown(description="measure", options=list(self.matrices))
        self._controls = {"measure": self._measure}
        self._cells = Cells(labels=self.labels, colours=colours(), layout=W.Layout(flex="0 1 430px"))
        self._cells.observe(lambda change: self._heard(**self._named(change["new"])), "chosen")
        right = W.VBox([self._words, self._picture], layout=W.Layout(flex="1 1 340px", min_width="0"))
        self._begin("Companions: click a cell", self._measure, W.HBox([self._cells, right]))

    @property
    def view(self) -> CellView:
        return CellView(self.clip, self.samples, self.rows, self.labels, self._state)

    def _checked(self, state: Companions) -> Companions:
        require_known("measure", state.measure, self.matrices)
        for label in (state.a, state.b):
            require_known("label", label, self.labels)
        return state

    def _put(self) -> None:
        super()._put()
        values = np.asarray(self.matrices[self._state.measure], dtype=np.float32)[np.ix_(self._order, self._order)]
        self._cells.name, self._cells.values = self._state.measure, np.ascontiguousarray(values).tobytes()
        self._cells.chosen = [self.labels.index(self._state.a), self.labels.index(self._state.b)]

    def _named(self, cell: Sequence[int]) -> dict[str, str]:
        return dict(zip("ab", (self.labels[place] for place in cell), strict=True))


def behind(rows: pd.DataFrame, a: str, b: str) -> pd.DataFrame:
    """The rows of a cell, what b's map does inside a, brightest first."""
    return rows[(rows["a"] == a) & (rows["b"] == b)].sort_values("score", ascending=False, kind="stable")


def draw_behind(
    clip: Clip, samples: Sequence[Sample], rows: pd.DataFrame, labels: Sequence[str], a: str, b: str
) -> Figure:
    """The brightest scenes of a cell of `coactivation.measure`, at most four: b's map over each, a outlined.

    Maps are made as `rows` say they were measured, among the same labels; no other sample is opened.
    """
    cells = []
    for row in behind(rows, a, b).head(SCENES).to_dict("records"):
        sample = samples[row["number"]]
        text, place = clip.encode_labels(labels, row["templates"]), list(labels).index(b)
        shown = label_map(clip, sample, row["reading"], text, place, _pixels(row["image_size"]))
        small, title = plots.reduced(sample), f"{plots.short(b)} inside {plots.short(a)}: {row['score']:.2f}"
        if row["companion"]:
            title += f"\n{plots.short(b)} is there"
        if b in small.masks:
            title += f", mSC {msc(shown, small.masks[b], small.ignore):.1f} %"
        cells.append(plots.Cell(small.image, shown, small.masks.get(a), title))
    if not cells:  # one class with itself, or never in one picture
        return Figure(figsize=(6.4, 0.4))
    return plots.sheet([cells[:2], cells[2:]] if cells[2:] else [cells], side=3.2)


def _pixels(text: str) -> tuple[int, int]:
    """(H, W) from what tables print."""
    height, width = map(int, text.split("×"))
    return height, width
