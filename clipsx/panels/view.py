"""One picture under one state: maps, attention, numbers, figure, table, code. What a panel shows, without a widget."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.figure import Figure

from clipsx import plots
from clipsx.analyses.attention import RAW
from clipsx.datasets import Sample
from clipsx.methods import PAIRS
from clipsx.metrics import coverage, iou, msc
from clipsx.panels.code import recipe
from clipsx.panels.session import Maps, Numbers, PictureView, at_pixels, measured
from clipsx.panels.state import RELATIONS, State

EMPTY = "(empty label)"


@dataclass(frozen=True, eq=False)
class View(PictureView):
    """A picture under a state whose `labels` and `shown` are filled in. All results are percent, or maps in 0 … 1."""

    state: State

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels, N of them."""
        assert self.state.labels is not None
        return self.state.labels

    @property
    def place(self) -> int:
        """Which of the labels is shown."""
        return self.labels.index(self.state.shown or "")

    @cached_property
    def raw(self) -> Maps:
        """The model's own maps."""
        return self.session.maps(self.picture, self.labels, RAW, self.state.size)

    @cached_property
    def repaired(self) -> Maps:
        """The maps that the state asks for."""
        return self.session.maps(self.picture, self.labels, self.reading, self.state.size)

    @cached_property
    def numbers(self) -> tuple[Numbers, Numbers]:
        """mSC and IoU of every raw and of every repaired map."""
        return measured(self.raw, self.picture, self.labels), measured(self.repaired, self.picture, self.labels)

    def number(self, numbers: Numbers, place: int) -> tuple[float, float]:
        """A label's mSC and its IoU at the threshold."""
        return float(numbers.msc[place]), float(numbers.iou[place, round(100 * self.state.threshold)])

    @property
    def scores(self) -> list[float]:
        """The model's softmax over the labels."""
        return self.session.scores(self.picture, self.labels, self.state.size)

    @property
    def anchor(self) -> tuple[int, int]:
        """The chosen patch (row, column), else the one most like the label shown, as in the paper's figure."""
        h, w = self.raw.values.shape[1:]
        if self.state.patch is not None:
            return min(max(self.state.patch[0], 0), h - 1), min(max(self.state.patch[1], 0), w - 1)
        best = int(self.raw.values[self.place].argmax())
        return best // w, best % w

    @cached_property
    def attention(self) -> Float[np.ndarray, "h w"]:
        """How the anchor's attention is spread over the patches; sums to 1."""
        (row, column), (h, w), s = self.anchor, self.raw.values.shape[1:], self.state
        return self.session.relation(self.picture, s.attention, s.block, s.size)[row * w + column].reshape(h, w)

    @cached_property
    def covered(self) -> Float[np.ndarray, "h w"] | None:
        """How much of each patch the true region of the label shown covers, 0 … 1; None where it is not known."""
        mask = self.picture.shown.masks.get(self.state.shown or "")
        return None if mask is None else coverage(mask, self.raw.values.shape[1:])

    @property
    def inside(self) -> str:
        """How much of the attention lies inside the true region of the label shown (`share_inside`)."""
        return share_inside(self.attention, self.covered)

    @property
    def titles(self) -> tuple[tuple[str, str], tuple[str, str], tuple[str, str]]:
        """What stands over the raw map, the repaired one and the attention: a title and what is under it."""
        s, reading, (row, column) = self.state, self.reading, self.anchor
        surgery = plots.in_words("surgery", reading.surgery)
        if reading.surgery != "none":
            surgery += " minus the empty label" if len(self.labels) == 1 else f", τ {reading.tau:g}"
        block = "last block" if s.block in (-1, self.session.clip.tower.blocks - 1) else f"block {s.block}"
        attention = (f"{PAIRS[s.attention]} attention", f"{block}, of patch {row}, {column}")
        if not self.attention.any():
            attention = ("no attention", "the tower has no transformer blocks")
        return (RAW.title, "raw cosine"), (reading.features.title, surgery), attention

    def scene(self) -> dict[str, Any]:
        """What the browser draws both maps of every label, and their numbers, from."""
        sample, panes = self.picture.sample, []
        columns = (("raw", "repaired"), self.titles[:2], (self.raw, self.repaired), self.numbers)
        for short, (title, under), maps, numbers in zip(*columns, strict=True):
            told = {"short": short, "title": title, "under": under, "constant": maps.constant.tolist()}
            told["msc"] = [None if np.isnan(score) else score for score in numbers.msc.tolist()]
            panes.append(told | {"maps": maps.values.tobytes(), "iou": numbers.iou.astype(np.float32).tobytes()})
        return {
            "title": sample.name or "picture",
            "under": ", ".join(sample.labels) or "true regions not known",
            "words": f"{sample.image.width} × {sample.image.height} pixels",
            "grid": list(self.raw.values.shape[1:]),
            "labels": list(self.labels),
            "panes": panes,
        }

    def looks(self) -> dict[str, Any]:
        """What the browser draws the anchor's attention from."""
        title, under = self.titles[2]
        about = {"title": title, "under": under, "words": self.inside, "anchor": list(self.anchor)}
        return about | {"map": stretched(self.attention).tobytes()}

    def provenance(self) -> dict[str, Any]:
        """What a figure and a table of this view print about themselves."""
        height, width = self.picture.size
        reduced = "" if self.picture.shown is self.picture.sample else f", reduced to {height}×{width}"
        protocol = f"min-max per map; mSC and IoU over the picture's pixels{reduced}"
        return self.about(protocol, self.raw.values.shape[1:], templates="clip-surgery")

    def table(self) -> pd.DataFrame:
        """A row per label and map (raw, repaired): softmax score, mSC, IoU at the threshold, with provenance."""
        about, tower, rows = self.provenance(), self.session.clip.tower, []
        kinds = (("raw", RAW, self.raw), ("repaired", self.reading, self.repaired))
        for (kind, reading, maps), numbers in zip(kinds, self.numbers, strict=True):
            for i, label in enumerate(self.labels):
                msc, iou = self.number(numbers, i)
                found = {"label": label, "present": label in self.picture.sample.labels, "kind": kind}
                found |= {"score": self.scores[i], "constant": bool(maps.constant[i])}
                found |= {"msc": msc, "threshold": self.state.threshold, "iou": iou}
                rows.append(about | reading.columns(tower) | found)
        return pd.DataFrame(rows)

    def figure(self) -> Figure:
        """The photo, the raw map, the repaired one and the attention (`draw_view`)."""
        s, sample = self.state, self.picture.shown
        both = np.stack([maps.values[self.place] for maps in (self.raw, self.repaired)])  # (2, h, w)
        both, titles = at_pixels(both, self.picture.size), self.titles
        figure = draw_view(sample, s.shown or "", both, self.attention, self.anchor, titles, s.threshold, s.opacity)
        return plots.closed(figure)

    def code(self) -> str:
        """Code that makes `raw`, `maps` (both (1, H, W, N)) and `attention` (h, w), and this figure."""
        return recipe("surgery", view=self, s=self.state)


def draw_view(
    sample: Sample,
    label: str,
    maps: Iterable[Float[np.ndarray, "H W"]],
    attention: Float[np.ndarray, "h w"],
    anchor: tuple[int, int],
    titles: Sequence[Sequence[str]],
    threshold: float,
    opacity: float,
) -> Figure:
    """The photo, a label's raw and its repaired map, 0 … 1, and its anchor's attention, the anchor ringed in white.

    Above the maps: how they meet the true region, where it is known; above the attention: how much of it lies inside.
    """
    grid, size = (attention.shape[0], attention.shape[1]), (sample.size[1], sample.size[0])
    mask, covered, scores = sample.masks.get(label), None, ["", ""]
    if mask is not None:
        covered = coverage(mask, grid)
        scores = [
            f"mSC {msc(m, mask, sample.ignore):.1f} %, IoU {iou(m, mask, threshold, sample.ignore):.1f} %" for m in maps
        ]
    spread = at_pixels(stretched(attention)[None], size)
    said = [*scores, share_inside(attention, covered)]
    about = [plots.short(words, 36) for words in (label or EMPTY, sample.name, ", ".join(sample.labels))]
    cells = [plots.Cell(sample.image, None, mask, "\n".join(about))]
    for title, shown, score in zip(titles, [*maps, *spread], said, strict=True):
        cells.append(plots.Cell(sample.image, shown, mask, "\n".join([*title, score]), opacity=opacity))
    cells[-1] = replace(cells[-1], ring=(anchor, grid))
    return plots.sheet([cells], side=2.75)


def stretched(attention: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """An attention stretched to 0 … 1; one that is the same everywhere becomes zeros."""
    low, high = attention.min(), attention.max()
    return ((attention - low) / (high - low if high > low else 1)).astype(np.float32)


def share_inside(attention: Float[np.ndarray, "h w"], covered: Float[np.ndarray, "h w"] | None) -> str:
    """In words, how much of an attention lies inside the true region, and chance; nothing where either is not known."""
    if covered is None or not attention.any():
        return ""
    return f"{100 * (attention * covered).sum():.0f} % inside (area {100 * covered.mean():.0f} %)"


def sentence(view: View) -> str:
    """Raw and repaired map of the label shown against its true region, and where its patch looks."""
    s, ((msc, iou), (msc_after, iou_after)) = view.state, [view.number(of, view.place) for of in view.numbers]
    where = f"{_where(view)}, {s.shown or EMPTY!r}: "
    if view.covered is None:
        return where + "no true region is known, so nothing is measured."
    if np.isnan(msc) or np.isnan(msc_after):
        return (
            where + "the true region, or what is around it, has no pixel that counts: which side a map prefers is open."
        )
    side = "prefers the background" if msc < 0 else "prefers the object" if msc > 0 else "prefers neither side"
    change = "higher" if msc_after > msc else "no higher"
    words = f"the raw map {side} (mSC {msc:.1f} %, IoU {iou:.1f} % at {s.threshold:g}); "
    words += f"{view.titles[1][0]} with {view.titles[1][1]} is {change} "
    words += f"(mSC {msc_after:.1f} %, IoU {iou_after:.1f} %). "
    looks = (replace(view, state=replace(s, attention=kind)) for kind in RELATIONS)
    shares = ", ".join(f"{look.titles[2][0]} {look.inside}" for look in looks)
    return where + words + f"Patch {view.anchor}: {shares}."


def likeness(view: View) -> str:
    """How alike the labels' maps are, raw and repaired: mean correlation with the empty label's, or with each other."""
    place = view.labels.index("") if "" in view.labels else None
    means = []
    for maps in (view.raw, view.repaired):
        kept = ~maps.constant
        table = np.corrcoef(maps.values[kept].reshape(kept.sum(), -1))  # (n, n)
        if place is None or not kept[place]:
            pairs = table[np.triu_indices(len(table), 1)]
        else:
            pairs = np.delete(table[kept[:place].sum()], kept[:place].sum())
        means.append(float(pairs.mean()) if pairs.size else float("nan"))
    other = "one another's" if place is None else "the empty label's"
    after = " with ".join(view.titles[1])
    words = f"the maps of {len(view.labels)} labels correlate with {other} at {means[0]:.2f} on average when raw"
    return f"{_where(view)}: {words}, at {means[1]:.2f} after {after}."


def _where(view: View) -> str:
    return f"{view.session.about['model']}, {view.picture.sample.name or 'this picture'}"
