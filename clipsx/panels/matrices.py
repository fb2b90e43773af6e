"""The live panel of similarity matrices: two readings of one label set side by side, and their difference."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
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
from clipsx.messages import require_known
from clipsx.panels.base import FigurePanel
from clipsx.panels.code import recipe
from clipsx.panels.state import Entries
from clipsx.panels.worker import Step
from clipsx.text import ENSEMBLES

OWN = "typed below"
MOST = 200  # labels: more cannot be read in a matrix


@dataclass(frozen=True)
class Matrices(Entries):
    """What the panel shows: labels as the name of a set or a text with commas, and how each side reads them."""

    labels: str = "sketchbook"
    left: str = ""
    left_templates: str = "clip-surgery"
    right: str = ""
    right_templates: str = "photo"


@dataclass(frozen=True, eq=False)
class MatrixView:
    """Both sides of a state, among models by name; `known` keeps matrices by label set, model and templates."""

    models: Mapping[str, Clip]
    state: Matrices
    known: dict[tuple[str, str, str], Float[np.ndarray, "N N"]]

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels, N of them."""
        return vocabulary(self.state.labels)

    @property
    def sides(self) -> dict[str, tuple[str, str]]:
        """Model and templates of either side."""
        s = self.state
        return {"left": (s.left, s.left_templates), "right": (s.right, s.right_templates)}

    def matrix(self, side: str = "left") -> pd.DataFrame:
        """A side's cosines, (N, N), by label. Side "left", "right", or "difference": right minus left."""
        if side == "difference":
            return self.matrix("right") - self.matrix("left")
        name, templates = self.sides[side]
        key = (self.state.labels, name, templates)
        if key not in self.known:
            text = self.models[name].encode_labels(self.labels, templates)  # (N, D)
            self.known[key] = mfi.similarity_matrix(text).cpu().float().numpy()
        return pd.DataFrame(self.known[key], self.labels, self.labels)

    def figure(self) -> Figure:
        """Left, right and difference, all in the clustered order of the left one (`draw_matrices`)."""
        return draw_matrices(self.matrix("left"), self.matrix("right"), *map(", templates ".join, self.sides.values()))

    def table(self) -> pd.DataFrame:
        """A row per pair of labels: both cosines and their difference, with what made them."""
        left, right = self.matrix("left").to_numpy(), self.matrix("right").to_numpy()
        a, b = np.triu_indices(len(left), 1)
        names = np.array(self.labels)
        table = pd.DataFrame({"a": names[a], "b": names[b], "left": left[a, b], "right": right[a, b]})
        return table.assign(difference=table["right"] - table["left"], **self.provenance())

    def provenance(self) -> dict[str, str]:
        """Model, weights and templates of both sides, and the label set."""
        about = {"labels": f"{self.state.labels} ({len(self.labels)})"}
        for side, (name, templates) in self.sides.items():
            made = self.models[name].describe() | {"templates": templates}
            about |= {f"{side} {key}": value for key, value in made.items()}
        return about

    def sentence(self) -> str:
        """The labels that are most alike on the left."""
        rows = mfi.pairs(self.matrix("left").to_numpy(), list(self.labels), 5)
        return f"Most alike on the left: {', '.join(f'{r.a}–{r.b} {r.similarity:.3f}' for r in rows.itertuples())}."

    def code(self) -> str:
        """Code that makes both matrices and the figure again."""
        matrices = {side: self.matrix(side).to_numpy().astype(float).round(8).tolist() for side in self.sides}
        return recipe("matrices", labels=list(self.labels), sides=self.sides, models=self.models, matrices=matrices)


class MatrixPanel(FigurePanel):
    """Cosines of class text features: any model × label set × templates, twice, and what lies between.

    Args:
        models: name → `Clip`.
        out, state: as of every panel (`FigurePanel`); entries of `Matrices`.
    """

    stem = "matrices"

    def __init__(self, models: Mapping[str, Clip], *, out: str | Path = "out", **state: Any) -> None:
        if not models:
            raise ValueError("Give at least one model: MatrixPanel({'sketchbook': clip}).")
        super().__init__(out)
        self.models = dict(models)
        first, last = next(iter(self.models)), list(self.models)[-1]
        self._known: dict[tuple[str, str, str], Float[np.ndarray, "N N"]] = {}
        self._state = self._checked(Matrices(left=first, right=last).updated(state))
        wide = {"layout": W.Layout(width="auto"), "style": {"description_width": "110px"}}
        self._set = W.Dropdown(description="labels", options=[*VOCABULARIES, OWN], **wide)
        self._typed = W.Textarea(description="typed", placeholder="cat, red boat, …", rows=3, **wide)
        self._typed.continuous_update = False
        choices = {"left": self.models, "left_templates": ENSEMBLES, "right": self.models, "right_templates": ENSEMBLES}
        self._controls = {
            name: W.Dropdown(description=name.replace("_", " "), options=list(known), **wide)
            for name, known in choices.items()
        }
        self._set.observe(lambda change: change["new"] == OWN or self._heard(labels=change["new"]), "value")
        self._typed.observe(lambda change: self._heard(labels=change["new"]), "value")
        sides = W.Box([*self._controls.values()]).add_class("clipsx-fours")
        self._begin("Similarity matrices", self._set, self._typed, sides, self._picture, self._words)

    @property
    def view(self) -> MatrixView:
        return MatrixView(self.models, self._state, self._known)

    def _checked(self, state: Matrices) -> Matrices:
        labels = vocabulary(state.labels)
        if len(labels) > MOST:
            raise ValueError(f"{len(labels)} labels: at most {MOST} can be read in a matrix.")
        for name, templates in MatrixView(self.models, state, self._known).sides.values():
            require_known("model", name, self.models)
            require_known("templates", templates, ENSEMBLES)
        return state

    def _put(self) -> None:
        super()._put()
        self._set.value = self._state.labels if self._state.labels in VOCABULARIES else OWN
        self._typed.value = ", ".join(self.view.labels)

    def _steps(self) -> list[Step]:
        sides = [(f"reading labels, {side}", partial(self.view.matrix, side)) for side in self.view.sides]
        return [*sides, *super()._steps()]


def draw_matrices(left: pd.DataFrame, right: pd.DataFrame, one: str, other: str) -> Figure:
    """Two class × class tables on one scale, and right minus left, all in the clustered order of the left.

    one, other: what both sides are called.
    """
    order = plots.leaf_order(left.to_numpy())
    figure, axes = plots.row(3, height=4.4)
    titles = (f"left: {one}", f"right: {other}", "difference")
    for ax, title, shown in zip(axes, titles, (left, right, right - left), strict=True):
        of: Any = {"centre": 0.0, "name": "right − left"}
        if title != "difference":
            of = {"among": (left, right), "beside": axes[:2].tolist() if ax is axes[1] else None}
        mean = f"mean off-diagonal {mfi.mean_off_diagonal(shown.to_numpy()):.3f}"
        plots.matrix(shown.iloc[order, order], ax, **of).set_title(f"{plots.short(title, 60)}\n{mean}", fontsize=9)
    plots.plain(figure)
    return figure
