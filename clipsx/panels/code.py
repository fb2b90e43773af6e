"""The code that makes a panel's picture again, with the package's functions and no widget."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING

from clipsx.clip import Clip
from clipsx.datasets import Sample, code_of
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


def samples_code(samples: Sequence[Sample], name: str = "samples") -> str:
    """The call that opens samples under a name; for a sequence of the user's, a line that says so."""
    return code_of(samples).replace("samples", name, 1)


def recipe(view: View) -> str:
    """Code that makes a view's `raw`, `maps` (both (1, H, W, N)) and `attention` (1, H, W, 1), and their figure."""
    clip, s, labels, (row, column) = view.session.clip, view.state, list(view.labels), view.anchor
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
import textwrap
import matplotlib.pyplot as plt
import torch
import clipsx
from clipsx import metrics, plots
from clipsx.analyses.attention import coverage, relation

{clip_code(clip)}
{samples_code(view.samples)}
sample = {view.picture.code or f"samples[{s.image}]"}
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

figure, axes = plt.subplots(1, 4, figsize=(11, 0.8 + 2.6 * min(pixels[0] / pixels[1], 3)), layout="constrained")
axes[0].imshow(sample.image)
axes[0].set(xticks=[], yticks=[], xlabel=textwrap.shorten(", ".join(sample.labels), 36, placeholder=" …"))
axes[0].set_title(f"{{labels[shown] or '(empty label)'}}\\n{{sample.name}}", fontsize=10)
for ax, title, values, under in zip(axes[1:], {titles!r}, shows, words):
    plots.overlay(sample.image, values, ax=ax, opacity={s.opacity}, outline=mask, title=title)
    ax.set_xlabel(under)
plots.ring(({row}, {column}), (h, w), pixels, ax=axes[3])

# The live panel in this state:
# from clipsx.panels import SurgeryPanel
# SurgeryPanel(clip, samples, **{plain(s)!r})
"""
