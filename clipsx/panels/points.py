"""The panel of points: type a text, see its points and the mask they yield, set points by hand."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import ipywidgets as W
import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool
from matplotlib.figure import Figure

from clipsx import datasets, plots
from clipsx.datasets import Sample
from clipsx.evaluation.points import scored
from clipsx.evaluation.summary import FIXED
from clipsx.metrics import iou, msc
from clipsx.panels.code import recipe
from clipsx.panels.elements import Points, outline
from clipsx.panels.gallery import PicturePanel
from clipsx.panels.pictures import Kept
from clipsx.panels.session import PictureView
from clipsx.panels.state import Entries, offered
from clipsx.panels.worker import Step
from clipsx.segmenters import NAMES, Segmented, Segmenter, load, placed, segmented, split


@dataclass(frozen=True)
class Pointing(Entries):
    """What the panel shows.

    `image`: a place in the samples, or the path of a picture; `text`: one, or several joined by "+" ("": the sample's
    first label); `threshold`: of the points; `cut`: of the plain mask beside; `segmenter`: a name as `segmenters.load`
    takes it; `points`: those set by hand, (x, y, 1 or 0) each, in pixels of the picture as it is shown; None for the
    map's.
    """

    image: int | str = 0
    text: str = ""
    reading: str = "clip-surgery+code"
    threshold: float = 0.8
    segmenter: str = NAMES[0]
    cut: float = FIXED
    points: tuple[tuple[int, int, int], ...] | None = None


@dataclass(frozen=True, eq=False)
class PointsView(PictureView):
    """A picture under a state whose text is filled in; `segmenters` keeps them by name, `known` their masks."""

    state: Pointing
    segmenters: Kept
    known: Kept

    @property
    def segmenter(self) -> Segmenter:
        """What makes the mask, loaded the first time only."""
        return self.segmenters.made(self.state.segmenter, lambda: load(self.state.segmenter))

    @property
    def among(self) -> list[str]:
        """The labels that feature surgery compares the text with."""
        return list(datasets.labels_of(self.samples))

    @property
    def by_hand(self) -> tuple[list[list[int]], list[int]] | None:
        """The points set by hand, (x, y), and on the object or not."""
        points = self.state.points
        return None if points is None else ([list(p[:2]) for p in points], [p[2] for p in points])

    @cached_property
    def found(self) -> Segmented:
        """Map, points and mask."""
        return self.known.made((self.picture.key, self.segmenter.name, replace(self.state, cut=0)), self._segmented)

    def _segmented(self) -> Segmented:
        texts, s = split(self.state.text), self.state
        names = list(dict.fromkeys([*texts, *self.among]))
        values = self.session.maps(self.picture, names, self.reading).values[: len(texts)]  # (n, h, w)
        sim = torch.from_numpy(values).permute(1, 2, 0)  # (h, w, n)
        return segmented(self.picture.shown.image, sim, self.segmenter, s.threshold, self.by_hand)

    @property
    def truth(self) -> Bool[np.ndarray, "H W"] | None:
        """The true region of what the text names, None where it is not known."""
        return truth_of(self.picture.shown, self.state.text)

    def figure(self) -> Figure:
        """Photo and points, map, the mask from points, the mask of a threshold (`draw_points`)."""
        s, shown = self.state, self.picture.shown
        title, name = self.reading.title, self.segmenter.name
        return plots.closed(draw_points(shown, self.found, s.text, title, name, s.cut))

    def table(self) -> pd.DataFrame:
        """A row per mask, from points and by a threshold: IoU, how many points and where they lie, in %."""
        found, s, truth, about = self.found, self.state, self.truth, self.provenance()
        row = {"text": s.text, "positives": int(found.labels.sum()), "negatives": int((found.labels == 0).sum())}
        row |= {"by_hand": s.points is not None, "threshold": s.threshold, "why": found.why}
        masks = {self.segmenter.name: found.mask, f"map >= {s.cut:g}": found.map >= s.cut}
        rows = [row | {"mask": name, "area": 100 * float(mask.mean())} for name, mask in masks.items()]
        if truth is not None and truth[~self.picture.shown.ignore].any():
            ignore = self.picture.shown.ignore
            where = scored(found, truth, ignore)
            kept = {name: where[name] for name in ("accuracy", "chance", "outside")}
            ious = [iou(mask.astype(float), truth, 0.5, ignore) for mask in masks.values()]
            rows = [one | kept | {"iou": score} for one, score in zip(rows, ious, strict=True)]
        return pd.DataFrame(rows).assign(**about)

    def provenance(self) -> dict[str, Any]:
        """What a figure and a table of this view print about themselves."""
        height, width = self.picture.size
        protocol = f"points of the halved map, or by hand; masks at {height}×{width} pixels"
        return self.about(protocol, segmenter=self.segmenter.name, templates="clip-surgery")

    def code(self) -> str:
        """Code that makes map, points, mask and this figure."""
        return recipe("points", view=self, s=self.state)

    def sentence(self) -> str:
        """How many points there are, where they lie, and what both masks score."""
        found, s, rows = self.found, self.state, self.table().to_dict("records")
        if found.why:
            return f"{s.text}: {found.why} The mask is empty."
        whose = "set by hand" if s.points is not None else f"of {self.reading.title}'s map"
        words = f"{s.text}: points on the object: {rows[0]['positives']}, beside it: {rows[0]['negatives']}, {whose}"
        if "iou" not in rows[0]:
            return f"{words}; its true region is not known here, so nothing is measured."
        words += f"; {rows[0]['accuracy']:.0f} % of the former are right (its area: {rows[0]['chance']:.1f} %). "
        return words + f"IoU {rows[0]['iou']:.1f} % from points, {rows[1]['iou']:.1f} % by the threshold {s.cut:g}."


def truth_of(sample: Sample, text: str) -> Bool[np.ndarray, "H W"] | None:
    """The masks of the texts that are there, united; None where none is."""
    masks = [sample.masks[part] for part in split(text) if part in sample.masks]
    return np.any(masks, axis=0) if masks else None


def draw_points(sample: Sample, found: Segmented, text: str, title: str, segmenter: str, cut: float = FIXED) -> Figure:
    """The photo and its points, the map, the segmenter's mask, and the mask of the map from `cut` on.

    The true region, where it is known, is outlined in white; then the map has its mSC above it, a mask its IoU.
    """
    truth, plain = truth_of(sample, text), found.map >= cut
    masks, scores = [found.mask.astype(float), plain.astype(float)], [""] * 3
    if truth is not None and truth[~sample.ignore].any():
        ious = [iou(mask, truth, 0.5, sample.ignore) for mask in masks]
        scores = [f"mSC {msc(found.map, truth, sample.ignore):.1f} %", *(f"IoU {score:.1f} %" for score in ious)]
    titles = [title, segmenter.partition(" (")[0], f"the map, from {cut:g} on"]
    points, cells = (found.points, found.labels), [plots.Cell(sample.image, None, truth, plots.short(text, 34))]
    for layer, words, score in zip([found.map, *masks], titles, scores, strict=True):
        cells.append(plots.Cell(sample.image, layer, truth, f"{plots.short(words, 34)}\n{score}", opacity=0.6))
    return plots.sheet([[*(replace(cell, points=points) for cell in cells[:3]), cells[3]]], side=2.75)


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
        readings = [str(reading) for reading in offered(self.clip)]
        self._controls = {
            "text": W.Text(description="text", placeholder="cat, or cat+dog", **late),
            "reading": W.Combobox(description="reading", options=readings, **late),
            "threshold": W.FloatSlider(description="points from", max=1, step=0.01, **late),
            "segmenter": W.Combobox(description="segmenter", options=list(NAMES), **late),
            "cut": W.FloatSlider(description="plain from", max=1, step=0.01, **late),
        }
        self._points = Points(layout=W.Layout(flex="0 1 400px"))
        beside = W.Layout(flex="1 1 320px", min_width="0")
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
        state, picture = state.checked(self.clip), self.pictures.open(state.image)
        text = state.text.strip() or self._usual(state.image)
        split(text)
        points = None if state.points is None else tuple((int(x), int(y), int(on)) for x, y, on in state.points)
        if points is not None:
            placed(picture.shown.image, [p[:2] for p in points], [p[2] for p in points])
        return replace(state, text=text, points=points)

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
