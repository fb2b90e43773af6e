"""The panel of company: a class × class matrix, and behind every cell the scenes and maps that made its number."""

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ipywidgets as W
import numpy as np
import pandas as pd
from jaxtyping import Float, Num
from matplotlib.figure import Figure

from clipsx import plots
from clipsx.clip import Clip
from clipsx.datasets import Sample
from clipsx.evaluation.explain import deep, named, similarities
from clipsx.messages import nearest
from clipsx.panels.base import FigurePanel, map_at_pixels, png_of
from clipsx.panels.code import clip_code, samples_code
from clipsx.panels.elements import Cells, colours
from clipsx.panels.state import updated

SCENES = 4  # behind a cell


@dataclass(frozen=True)
class Company:
    """What the panel shows: a measure and a cell, what b's map does inside a."""

    measure: str = ""
    a: str = ""
    b: str = ""


class CompanionsPanel(FigurePanel):
    """Click a cell: the scenes with a in them where b's map is brightest inside a.

    Args:
        clip, samples: what `rows` was measured with.
        rows: the table of `mfi.coactivation`, masks known.
        matrices: measure → (N, N), rows a, columns b, in the order of `labels`.
        labels: of the matrices.
        out: where figures and tables are written.
        state: entries of `Company`; `CompanionsPanel(…, **panel.state)` shows the same again.

    Errors: ValueError for a state that cannot be shown; later ones are told in the panel.
    """

    stem = "company"

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
        order = plots.leaf_order(np.nan_to_num(np.asarray(self.matrices[first], dtype=float)))
        self.labels = [list(labels)[k] for k in order]
        self._order, self._text = order, clip.encode_labels(self.labels)  # (N, D)
        best = rows[rows["companion"]].groupby(["a", "b"])["score"].mean()
        a, b = best.idxmax() if len(best) else self.labels[:2]
        self._state = self._checked(updated(Company(first, str(a), str(b)), state))
        self._measure = W.Dropdown(description="measure", options=list(self.matrices))
        self._cells = Cells(labels=self.labels, colours=colours(), layout=W.Layout(flex="0 0 430px"))
        self._picture = W.Image(format="png", layout=W.Layout(max_width="100%"))
        self._words = W.HTML()
        right = W.VBox([self._words, self._picture], layout=W.Layout(flex="1 1 0", min_width="0"))
        title = W.HTML("<b>Company: click a cell</b>")
        self.children = [title, self._measure, W.HBox([self._cells, right]), self._tools, self._line]
        self._measure.observe(lambda change: self._heard(measure=change["new"]), "value")
        self._cells.observe(self._on_cell, "chosen")
        self._adopt(self._state)

    def behind(self) -> pd.DataFrame:
        """The rows of `mfi.coactivation` behind the cell, brightest first."""
        mine = self.rows[(self.rows["a"] == self._state.a) & (self.rows["b"] == self._state.b)]
        return mine.sort_values("score", ascending=False, kind="stable")

    def figure(self) -> Figure:
        """The scenes of `behind`, at most four: b's map over each, a outlined."""
        s, shown = self._state, self.behind().head(SCENES)
        figure, grid = plots.row(SCENES // 2, 2, height=6.4, width=6.4)
        axes = grid.ravel()
        for ax in axes:
            ax.set_axis_off()
        known = {named(sample, number): sample for number, sample in enumerate(self.samples)} if len(shown) else {}
        for ax, (_, row) in zip(axes, shown.iterrows(), strict=False):
            sample = known[row["image"]]
            title = f"{s.b} inside {s.a}: {row['score']:.2f}" + (f"\n{s.b} is there" if row["companion"] else "")
            plots.overlay(sample.image, self._map(sample), ax, outline=sample.masks[s.a], title=title)
        return figure

    def table(self) -> pd.DataFrame:
        """The rows behind the cell."""
        return self.behind()

    def provenance(self) -> dict[str, Any]:
        """Model, data, method and protocol of the rows."""
        names = ("model", "weights", "data", "image_size", "templates", "method", "surgery", "protocol")
        return {name: self.rows[name].iloc[0] for name in names if name in self.rows}

    def code(self) -> str:
        """Code that measures the cell again, without a panel."""
        about, s = self.clip.describe(), self._state
        lines = ["import clipsx", "from clipsx import mfi", "import clipsx.datasets", ""]
        lines += [clip_code(about["model"], about["weights"]), samples_code(self.samples)]
        options = f"method={self.rows['method'].iloc[0]!r}, surgery={self.rows['surgery'].iloc[0]!r}"
        lines += [f"rows = mfi.coactivation(clip, samples, {sorted(self.labels)!r}, {options})"]
        lines += [f"rows[(rows['a'] == {s.a!r}) & (rows['b'] == {s.b!r})].sort_values('score', ascending=False)", ""]
        return "\n".join(lines)

    def _checked(self, state: Company) -> Company:
        if state.measure not in self.matrices:
            raise ValueError(f"Unknown measure {state.measure!r}{nearest(state.measure, self.matrices)}.")
        for label in (state.a, state.b):
            if label not in self.labels:
                raise ValueError(f"Unknown label {label!r}{nearest(label, self.labels)}.")
        return state

    def _adopt(self, state: Company) -> None:
        self._state = state
        self._fill()
        self._code.code = self.code()
        self._worker.start([("reading the scenes", self._draw)], lambda: self._tell(""))

    def _fill(self) -> None:
        """Put the state into the controls, without hearing them."""
        values = np.asarray(self.matrices[self._state.measure], dtype=np.float32)[np.ix_(self._order, self._order)]
        with self._unheard():
            self._measure.value = self._cells.name = self._state.measure
            self._cells.values = np.ascontiguousarray(values).tobytes()
            self._cells.chosen = [self.labels.index(self._state.a), self.labels.index(self._state.b)]

    def _draw(self) -> None:
        self._picture.value = png_of(self.figure())
        rows, s = self.behind(), self._state
        words = f"{s.a} × {s.b}: " + (
            f"{len(rows)} scenes with {s.a}, in {int(rows['companion'].sum())} of them {s.b} as well; "
            f"{s.b}'s map has a mean of {rows['score'].mean():.2f} inside {s.a}. The brightest:"
            if len(rows)
            else "no scene has it, or it is one class with itself."
        )
        self._words.value = f'<div aria-live="polite" class="clipsx-words">{html.escape(words)}</div>'

    def _on_cell(self, change: dict[str, Any]) -> None:
        a, b = change["new"]
        self._heard(a=self.labels[a], b=self.labels[b])

    def _map(self, sample: Sample) -> Float[np.ndarray, "H W"]:
        about = self.provenance()
        height, width = map(int, about["image_size"].split("×"))
        images = self.clip.prepare(sample.image, size=(height, width))  # (1, 3, H, W)
        dense = self.clip.encode_dense(images, about["method"], **deep(self.clip, about["method"]))
        sim = similarities(dense, self._text, about["surgery"], 2.0)[..., [self.labels.index(self._state.b)]]
        return map_at_pixels(sim, sample.image.size[::-1])
