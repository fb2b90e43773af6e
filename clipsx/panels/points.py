"""The panel of points: type a text, see its points and the mask they yield, set points by hand."""

from dataclasses import replace
from typing import Any

import ipywidgets as W
import numpy as np

from clipsx import datasets
from clipsx.messages import require
from clipsx.panels.elements import Points, outline
from clipsx.panels.gallery import PicturePanel
from clipsx.panels.pictures import Kept
from clipsx.panels.points_view import Pointing, PointsView
from clipsx.panels.worker import Step
from clipsx.reading import Reading, crossed
from clipsx.segmenters import NAMES, placed, split

AGAIN = ("image", "text", "reading", "threshold")  # entries that choose the points anew


class PointsPanel(PicturePanel):
    """Points of a text's map on a picture, and the mask that a segmenter makes of them.

    Args: as of `PicturePanel`; entries of `Pointing`.
    """

    stem, doing = "points", "finding the mask"
    entries = Pointing

    def _build(self) -> None:
        self._known, self._segmenters = Kept(16), Kept(4)
        self._sent: list[list[int]] = []
        wide = {"layout": W.Layout(width="auto"), "style": {"description_width": "84px"}}
        late = {"continuous_update": False, **wide}
        readings = [str(reading) for reading in crossed(self.clip.methods)]
        self._controls = {
            "text": W.Text(description="text", placeholder="cat, or cat+dog", **late),
            "reading": W.Combobox(description="reading", options=readings, **late),
            "threshold": W.FloatSlider(description="points from", max=1, step=0.01, **late),
            "segmenter": W.Combobox(description="segmenter", options=list(NAMES), **late),
            "cut": W.FloatSlider(description="plain from", max=1, step=0.01, **late),
        }
        self._points = Points(layout=W.Layout(flex="0 0 400px"))
        beside = W.Layout(flex="1 1 0", min_width="0", margin="0 0 0 12px")
        side = W.VBox([*self._controls.values(), self._words], layout=beside)
        self._points.observe(lambda change: self._moved(change["new"]), "points")
        rows = [self._gallery, W.HBox([self._points, side]), self._picture]
        self._begin("Points to masks: type a text, move its points", *rows)

    @property
    def view(self) -> PointsView:
        s = self._state
        return PointsView(self.session, self.samples, self.pictures.open(s.image), s, self._segmenters, self._known)

    def _usual(self, place: int | str) -> str:
        """The text that a picture starts with."""
        return next(iter([*self.pictures.open(place).sample.labels, *datasets.labels_of(self.samples)]), "object")

    def _checked(self, state: Pointing) -> Pointing:
        picture = self.pictures.open(state.image)
        for name in ("threshold", "cut"):
            require(name, getattr(state, name), 0, 1)
        reading = Reading.parse(state.reading)
        reading.plan(self.clip.tower)
        text = state.text.strip() or self._usual(state.image)
        split(text)
        points = None if state.points is None else tuple((int(x), int(y), int(on)) for x, y, on in state.points)
        if points is not None:
            placed(picture.shown.image, [p[:2] for p in points], [p[2] for p in points])
        return replace(state, text=text, reading=str(reading), points=points)

    def _heard(self, **change: Any) -> None:
        """What chooses points anew drops those set by hand; another picture brings its own text, if the last did."""
        if not self._quiet:
            new: dict[str, Any] = {"points": None} if change.keys() & set(AGAIN) else {}
            if "image" in change and self._state.text == self._usual(self._state.image):
                new["text"] = ""
            super()._heard(**change, **new)

    def _moved(self, points: list[list[int]] | None) -> None:
        if points != self._sent:
            self.restore({"points": points})

    def _put(self) -> None:
        super()._put()
        by_hand = self._state.points
        self._set_points(self._sent if by_hand is None else [list(point) for point in by_hand])

    def _set_points(self, points: list[list[int]]) -> None:
        self._sent = points
        self._points.points = points

    def _steps(self) -> list[Step]:
        return [("loading the segmenter", lambda: self.view.segmenter), *super()._steps()]

    def _draw(self) -> None:
        view = self.view
        found, truth = view.found, view.truth
        sent = {**view.picture.sent, "truth": "" if truth is None else outline(truth)}
        if self._points.picture != sent:
            self._points.picture = sent
        self._points.mask = outline(found.mask)
        if self._state.points is None:  # those set by hand are on screen, and may have been moved on since
            self._set_points(np.column_stack([found.points, found.labels]).tolist())
        super()._draw()
