"""The code that makes a panel's picture again, with the package's functions and no widget."""

from __future__ import annotations

import inspect
from os import PathLike
from typing import TYPE_CHECKING, Any

from clipsx import datasets
from clipsx.clip import Clip
from clipsx.load import load
from clipsx.panels.state import plain

if TYPE_CHECKING:
    from clipsx.panels.view import View


def clip_code(clip: Clip) -> str:
    """The call that loads a model; for a model object of the user's, a line that says so."""
    if clip.recipe is None:
        return f"# clip: the model given to the panel, {clip.name} ({clip.weights})"
    usual = inspect.signature(load).parameters
    own = [f"{name}={value!r}" for name, value in clip.recipe.items() if value != usual[name].default]
    return f"clip = clipsx.load({', '.join(own).removeprefix('name=')})"


def samples_code(samples: Any) -> str:
    """The call that opens these samples; for a sequence of the user's, a line that says so."""
    kind, options = type(samples), inspect.signature(type(samples)).parameters
    if getattr(datasets, kind.__name__, None) is not kind:
        return "# samples: the sequence given to the panel"
    if isinstance(samples, datasets.Subset):
        part = f"samples = clipsx.datasets.Subset(samples, {list(samples.indices)}, {samples.part!r})"
        return f"{samples_code(samples.samples)}\n{part}"
    values = {name: getattr(samples, name) for name in options}
    words = (f"{name}={(str(value) if isinstance(value, PathLike) else value)!r}" for name, value in values.items())
    return f"samples = clipsx.datasets.{kind.__name__}({', '.join(words)})"


def recipe(view: View) -> str:
    """Code that makes a view's `raw`, `maps` (both (1, H, W, N)) and `attention` (1, H, W, 1), and their figure."""
    clip, s, labels, (row, column) = view.session.clip, view.state, list(view.labels), view.anchor
    samples, place = view.samples, s.image
    while isinstance(samples, datasets.Subset) and isinstance(place, int):
        samples, place = samples.samples, samples.indices[place]
    size = "" if s.size is None else f", size={s.size}"
    alone = ', clip.encode_labels([""])' if len(labels) == 1 and view.reading.surgery != "none" else ""
    rows = "rows = torch.zeros(h * w, h * w)  # the tower has no transformer blocks"
    if view.attention.any():
        rows = f"""\
start = clip.tower.prefix
rows = relation(clip, images, {s.block}, {s.attention!r})[0, start:, start:]
rows = rows / rows.sum(-1, keepdim=True)"""
    words = 'words = ["", "", ""]'
    if s.shown in view.picture.sample.masks:
        words = f"""\
known = [(metrics.msc(m, mask, sample.ignore), metrics.iou(m, mask, {s.threshold}, sample.ignore)) for m in shows[:2]]
words = [f"mSC {{msc:.1f}} %, IoU {{iou:.1f}} %" for msc, iou in known] + [""]"""
    if view.inside:
        words += """
covered = coverage(mask, (h, w))
share = (spread.cpu().numpy().reshape(h, w) * covered).sum()
words[2] = f"{100 * share:.0f} % inside (area {100 * covered.mean():.0f} %)\""""
    titles = ["\n".join(title) for title in view.titles]
    return f"""\
import matplotlib.pyplot as plt
import torch
import clipsx, clipsx.datasets, clipsx.images
from clipsx import metrics, plots
from clipsx.analyses.attention import coverage, relation

{clip_code(clip)}
{samples_code(samples)}
sample = {view.picture.code or f"samples[{place}]"}
labels, shown = {labels!r}, {view.place}

images = clip.prepare(sample.image{size})
text = clip.encode_labels(labels)
reading = clipsx.Reading.parse({s.reading!r})
seen = clip.encode_readings(images, ["clip", reading])
sim = reading.similarities(seen[str(reading)], text{alone})
h, w = seen["clip"].grid
{rows}
spread = rows[{row} * w + {column}]

pixels, mask = sample.image.size[::-1], sample.masks.get(labels[shown])
raw = clipsx.upsample(clipsx.minmax(clipsx.similarity(seen["clip"], text)), pixels)
maps = clipsx.upsample(clipsx.minmax(sim), pixels)
attention = clipsx.upsample(clipsx.minmax(spread.reshape(1, h, w, 1)), pixels)
shows = [m.float().cpu().numpy() for m in (raw[0, :, :, shown], maps[0, :, :, shown], attention[0, :, :, 0])]
{words}

figure, axes = plt.subplots(1, 4, figsize={view.inches}, layout="constrained")
axes[0].imshow(sample.image)
axes[0].set(xticks=[], yticks=[], xlabel={view.heading[1]!r})
axes[0].set_title({view.heading[0]!r}, fontsize=10)
for ax, title, values, under in zip(axes[1:], {titles!r}, shows, words):
    plots.overlay(sample.image, values, ax=ax, opacity={s.opacity}, outline=mask, title=title)
    ax.set_xlabel(under)
plots.ring(({row}, {column}), (h, w), pixels, ax=axes[3])

# The live panel in this state:
# from clipsx.panels import SurgeryPanel
# SurgeryPanel(clip, samples, **{plain(s) | {"image": place}!r})
"""
