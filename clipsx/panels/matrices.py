"""The live panel of similarity matrices: two readings of one label set side by side, and their difference."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ipywidgets as W
import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.figure import Figure

from clipsx import mfi, plots
from clipsx.clip import Clip
from clipsx.datasets import VOCABULARIES, vocabulary
from clipsx.panels.base import FigurePanel, png_of
from clipsx.panels.code import clip_code
from clipsx.panels.elements import spoken
from clipsx.panels.state import require, updated
from clipsx.text import ENSEMBLES

OWN = "typed below"
MOST = 200  # labels: more cannot be read in a matrix


@dataclass(frozen=True)
class Matrices:
    """What the panel shows: labels as the name of a set or a text with commas, and how each side reads them."""

    labels: str = "sketchbook"
    left: str = ""
    left_templates: str = "clip-surgery"
    right: str = ""
    right_templates: str = "photo"


class MatrixPanel(FigurePanel):
    """Cosines of class text features: any model × label set × templates, twice, and what lies between.

    Args:
        models: name → `Clip`.
        out: where figures and tables are written.
        state: entries of `Matrices`; `MatrixPanel(models, **panel.state)` shows the same again.

    Errors: ValueError for no model, and for a state that cannot be shown; later ones are told in the panel.
    """

    stem = "matrices"

    def __init__(self, models: Mapping[str, Clip], *, out: str | Path = "out", **state: Any) -> None:
        if not models:
            raise ValueError("Give at least one model: MatrixPanel({'sketchbook': clip}).")
        super().__init__(out)
        self.models = dict(models)
        first, last = next(iter(self.models)), list(self.models)[-1]
        self._state = self._checked(updated(Matrices(left=first, right=last), state))
        self._known: dict[tuple[str, str, str], Float[np.ndarray, "N N"]] = {}
        layout = W.Layout(width="300px")
        self._set = W.Dropdown(description="labels", options=[*VOCABULARIES, OWN], layout=layout)
        self._typed = W.Textarea(description="typed", placeholder="cat, red boat, …", continuous_update=False)
        self._typed.layout = W.Layout(width="620px", height="54px")
        choices = {"left": self.models, "left_templates": ENSEMBLES, "right": self.models, "right_templates": ENSEMBLES}
        self._sides = {
            name: W.Dropdown(description=name.replace("_", " "), options=list(known), layout=layout)
            for name, known in choices.items()
        }
        for control in self._sides.values():
            control.style.description_width = "110px"
        self._picture = W.Image(format="png", layout=W.Layout(max_width="100%"))
        self._words = W.HTML()
        sides = [W.HBox([self._sides[f"{side}"], self._sides[f"{side}_templates"]]) for side in ("left", "right")]
        rows = [W.HTML("<b>Similarity matrices</b>"), self._set, self._typed, *sides]
        self.children = [*rows, self._picture, self._words, self._tools, self._line]
        for control in (self._set, self._typed, *self._sides.values()):
            control.observe(self._on_change, "value")
        self._adopt(self._state)

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of the present state."""
        return vocabulary(self._state.labels)

    def matrix(self, side: str = "left") -> pd.DataFrame:
        """A side's cosines, (N, N), by label. Side "left", "right", or "difference": right minus left."""
        if side == "difference":
            return self.matrix("right") - self.matrix("left")
        name, templates = getattr(self._state, side), getattr(self._state, f"{side}_templates")
        key = (self._state.labels, name, templates)
        if key not in self._known:
            text = self.models[name].encode_labels(self.labels, templates)  # (N, D)
            self._known[key] = np.asarray(mfi.similarity_matrix(text).cpu().float())
        return pd.DataFrame(self._known[key], self.labels, self.labels)

    def figure(self) -> Figure:
        """Left, right and difference, all in the clustered order of the left one (`draw_matrices`)."""
        return draw_matrices(self.matrix("left"), self.matrix("right"), self._state.left, self._state.right)

    def table(self) -> pd.DataFrame:
        """A row per pair of labels: both cosines and their difference, with what made them."""
        left, right = self.matrix("left").to_numpy(), self.matrix("right").to_numpy()
        a, b = np.triu_indices(len(left), 1)
        names = np.array(self.labels)
        table = pd.DataFrame({"a": names[a], "b": names[b], "left": left[a, b], "right": right[a, b]})
        return table.assign(difference=table["right"] - table["left"], **self.provenance())

    def provenance(self) -> dict[str, str]:
        """Model, weights and templates of both sides, and the label set."""
        about = {"labels": f"{self._state.labels} ({len(self.labels)})"}
        for side in ("left", "right"):
            made = self.models[getattr(self._state, side)].describe()
            made |= {"templates": getattr(self._state, f"{side}_templates")}
            about |= {f"{side} {key}": value for key, value in made.items()}
        return about

    def code(self) -> str:
        """Code that makes both matrices and the figure again, without a panel."""
        sides = ""
        for side in ("left", "right"):
            name = getattr(self._state, side)
            own = f"clip = models[{name!r}]  # given to the panel"
            sides += f"""\
{own if self.models[name].recipe is None else clip_code(self.models[name])}
text = clip.encode_labels(labels, templates={getattr(self._state, f"{side}_templates")!r})
{side} = pd.DataFrame(clipsx.mfi.similarity_matrix(text).cpu().float().numpy(), labels, labels)
"""
        return f"""\
import pandas as pd
import clipsx
from clipsx.panels.matrices import draw_matrices

labels = {list(self.labels)!r}
{sides}
figure = draw_matrices(left, right, {self._state.left!r}, {self._state.right!r})
"""

    def _checked(self, state: Matrices) -> Matrices:
        labels = vocabulary(state.labels)
        if len(labels) > MOST:
            raise ValueError(f"{len(labels)} labels: at most {MOST} can be read in a matrix.")
        for side in ("left", "right"):
            require("model", getattr(state, side), self.models)
            require("templates", getattr(state, f"{side}_templates"), ENSEMBLES)
        return state

    def _adopt(self, state: Matrices) -> None:
        self._state = state
        self._fill()
        steps = [(f"reading labels, {side}", lambda side=side: self.matrix(side)) for side in ("left", "right")]
        self._worker.start(steps, self._show)

    def _show(self) -> None:
        self._picture.value = png_of(self.figure())
        rows = mfi.pairs(self.matrix("left").to_numpy(), list(self.labels), 5)
        alike = ", ".join(f"{row.a}–{row.b} {row.similarity:.3f}" for row in rows.itertuples())
        self._words.value = spoken(f"Most alike on the left: {alike}.")
        self._code.code = self.code()
        self._tell("")

    def _fill(self) -> None:
        """Put the state into the controls, without hearing them."""
        with self._unheard():
            known = self._state.labels in VOCABULARIES
            self._set.value = self._state.labels if known else OWN
            self._typed.value = ", ".join(self.labels)
            for name, control in self._sides.items():
                control.value = getattr(self._state, name)

    def _on_change(self, change: dict[str, Any]) -> None:
        moved, labels = change["owner"], self._state.labels
        if self._quiet or (moved is self._set and change["new"] == OWN):
            return
        if moved in (self._set, self._typed):
            labels = change["new"]
        self.restore({"labels": labels, **{name: control.value for name, control in self._sides.items()}})


def draw_matrices(left: pd.DataFrame, right: pd.DataFrame, one: str, other: str) -> Figure:
    """Two class × class tables and right minus left, all in the clustered order of the left; names of both sides."""
    order = plots.leaf_order(left.to_numpy())
    figure, axes = plots.row(3, height=4.4)
    titles = (f"left: {one}", f"right: {other}", "difference")
    for ax, title, shown in zip(axes, titles, (left, right, right - left), strict=True):
        of = (0.0, "right − left") if title == "difference" else (None, "cosine")
        plots.matrix(shown.iloc[order, order], ax, *of)
        ax.set_title(f"{title}\nmean off-diagonal {mfi.mean_off_diagonal(shown.to_numpy()):.3f}", fontsize=9)
    return figure
