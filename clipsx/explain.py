"""One picture explained: maps of labels as a figure and a table (`clipsx explain`)."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.figure import Figure
from PIL import Image

from clipsx import images, plots
from clipsx.clip import Clip
from clipsx.maps import feature_surgery, is_constant, minmax, similarity, upsample

COLUMNS = 4  # pictures in a row of the figure


def explain(
    clip: Clip,
    image: str | Path,
    labels: Sequence[str],
    *,
    method: str = "clip-surgery",
    depth: int = 6,
    surgery: bool = True,
    form: str = "code",
    tau: float = 2.0,
    templates: str = "clip-surgery",
    size: int | None = None,
    threshold: float = 0.5,
    opacity: float = 0.6,
) -> tuple[Figure, pd.DataFrame]:
    """A figure (the photo, then a map for each label) and a table with a row for each label, with its provenance.

    ``surgery`` repairs the maps by feature surgery; one label alone is compared with the empty label. The columns
    ``peak_x``, ``peak_y`` are pixels of the photo, ``area`` the share (0…1) of it where the map is at least
    ``threshold``; ``cosine`` is the class token's. Raises ValueError for blank labels and whatever `Clip` refuses.
    """
    photo = images.decode(image)
    batch = clip.prepare(photo, size=size)  # (1, 3, h', w')
    dense = clip.encode_dense(batch, method=method, depth=depth)
    text = clip.encode_labels(labels, templates=templates)  # (N, D)
    alone = clip.encode_labels([""], templates=templates) if len(labels) == 1 else None
    sim = feature_surgery(dense, text, tau=tau, form=form, redundant=alone) if surgery else similarity(dense, text)
    maps = upsample(minmax(sim), (photo.height, photo.width))[0].cpu().numpy()  # (H, W, N)
    flat = is_constant(sim)[0].tolist()
    cosine = (dense.cls @ text.T)[0].tolist()

    setting = (
        f"feature surgery ({form}{'' if alone is None else ', against the empty label'}), tau {tau:g}"
        if surgery
        else "none"
    )
    provenance = clip.describe() | {
        "data": Path(image).name,
        "image_size": "x".join(str(side) for side in batch.shape[-2:]),
        "templates": templates,
        "method": method,
        "depth": depth,
        "surgery": setting,
        "protocol": f"min-max per map; area at or above {threshold:g}",
    }
    rows = []
    for n, label in enumerate(labels):
        y, x = divmod(int(maps[..., n].argmax()), photo.width)
        area = float((maps[..., n] >= threshold).mean())
        row = {"label": label, "cosine": cosine[n], "peak_x": x, "peak_y": y, "area": area, "constant": flat[n]}
        rows.append(row | provenance)
    titles = [f"{label}{': constant map' if flat[n] else ''}" for n, label in enumerate(labels)]
    return _drawn(photo, maps, titles, opacity), pd.DataFrame(rows)


def _drawn(photo: Image.Image, maps: Float[np.ndarray, "H W N"], titles: Sequence[str], opacity: float) -> Figure:
    """The photo, then each map over it."""
    width = min(COLUMNS, 1 + len(titles))
    height = -(-(1 + len(titles)) // width)
    figure = Figure(layout="constrained", figsize=(2.6 * width, 2.6 * height * max(0.5, photo.height / photo.width)))
    axes = figure.subplots(height, width, squeeze=False).flat
    for ax in axes:
        ax.axis("off")
    axes[0].imshow(photo)
    axes[0].set_title("photo")
    for n, title in enumerate(titles):
        plots.overlay(photo, maps[..., n], axes[n + 1], opacity, title=title)
    return figure
