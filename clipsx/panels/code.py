"""The code that makes a panel's picture again, with the package's functions and no widget."""

from __future__ import annotations

import inspect
from os import PathLike
from typing import TYPE_CHECKING, Any

import open_clip

from clipsx import datasets
from clipsx.load import RANDOM, built_in
from clipsx.panels.state import plain, takes_depth

if TYPE_CHECKING:
    from clipsx.panels.view import View


def clip_code(model: str, weights: str) -> str:
    """The call that loads a model by what tables call it; for a model object of the user's, a line that says so."""
    if model in built_in():
        return f"clip = clipsx.load({model!r})"
    tag = weights.partition(",")[0]  # "random, seed 0"
    if tag in (RANDOM, *open_clip.list_pretrained_tags_by_model(model)):
        return f"clip = clipsx.load({model!r}, pretrained={tag!r})"
    return f"# clip: the model given to the panel, {model} ({weights})"


def samples_code(samples: Any) -> str:
    """The call that opens these samples; for a sequence of the user's, a line that says so."""
    kind, options = type(samples), inspect.signature(type(samples)).parameters
    if getattr(datasets, kind.__name__, None) is not kind:
        return "# samples: the sequence given to the panel"
    values = {name: getattr(samples, name) for name in options}
    words = (f"{name}={(str(value) if isinstance(value, PathLike) else value)!r}" for name, value in values.items())
    return f"samples = clipsx.datasets.{kind.__name__}({', '.join(words)})"


def recipe(view: View) -> str:
    """Code that makes a view's `raw`, `maps` (both (1, H, W, N)) and `attention` (1, H, W, 1), and their figure."""
    clip, s, labels, (row, column) = view.session.clip, view.state, list(view.labels), view.anchor
    samples, place = view.samples, s.image
    while isinstance(samples, datasets.Subset) and isinstance(place, int):
        samples, place = samples.samples, samples.indices[place]
    sample = view.picture.code or f"samples[{place}]"
    size = "" if s.size is None else f", size={s.size}"
    depth = f", depth={s.depth}" if takes_depth(clip, s.method) else ""
    alone = ', redundant=clip.encode_labels([""])' if len(labels) == 1 else ""
    surgery = f"clipsx.feature_surgery(dense, text, tau={s.tau}, form={s.surgery!r}{alone})"
    rows = "rows = plain.patches.new_zeros([plain.patches[0, :, :, 0].numel()] * 2)  # no transformer blocks"
    if view.attention.any():
        rows = f"rows = relation(clip, images, block={s.block}, kind={s.attention!r})[0, 1:, 1:]\n"
        rows += "rows = rows / rows.sum(-1, keepdim=True)"
    return f"""\
import clipsx, clipsx.datasets, clipsx.images
import matplotlib.pyplot as plt
from clipsx.analyses.attention import relation
from clipsx.plots import overlay

{clip_code(**view.session.about)}
{samples_code(samples)}
sample = {sample}
labels, shown = {labels!r}, {view.place}

images = clip.prepare(sample.image{size})
text = clip.encode_labels(labels)
plain = clip.encode_dense(images, method="clip")
dense = clip.encode_dense(images, method={s.method!r}{depth})
sim = {"clipsx.similarity(dense, text)" if s.surgery == "off" else surgery}
{rows}

(h, w), pixels = dense.grid, sample.image.size[::-1]
raw = clipsx.upsample(clipsx.minmax(clipsx.similarity(plain, text)), pixels)
maps = clipsx.upsample(clipsx.minmax(sim), pixels)
attention = clipsx.upsample(clipsx.minmax(rows[{row} * w + {column}].reshape(1, h, w, 1)), pixels)

figure, axes = plt.subplots(1, 4, figsize=(11, 3.3), layout="constrained")
axes[0].imshow(sample.image)
axes[0].set(title=labels[shown] or "(empty label)", xticks=[], yticks=[])
shows = [raw[0, :, :, shown], maps[0, :, :, shown], attention[0, :, :, 0]]
for ax, title, values in zip(axes[1:], {[": ".join(title) for title in view.titles]!r}, shows):
    outline = sample.masks.get(labels[shown])
    overlay(sample.image, values.cpu().numpy(), ax=ax, opacity={s.opacity}, outline=outline, title=title)

# The live panel in this state:
# from clipsx.panels import SurgeryPanel
# SurgeryPanel(clip, samples, **{plain(s) | {"image": place}!r})
"""
