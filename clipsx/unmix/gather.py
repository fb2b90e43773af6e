"""Features of a whole data set, computed once with CLIP frozen, and streamed from disk ever after."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Shaped

from clipsx import paths
from clipsx.clip import Clip
from clipsx.datasets.sample import Sample
from clipsx.evaluation.explain import queries
from clipsx.weights import digest


@dataclass(frozen=True, eq=False)
class Gathered:
    """What `fit` reads: (n, P, D) positions as a memory map of float16, (n, D) class features, (n, N) labels, names."""

    positions: np.ndarray
    cls: np.ndarray
    present: Shaped[np.ndarray, "n N"]
    labels: tuple[str, ...]
    about: dict[str, str]


def gather(
    clip: Clip,
    samples: Sequence[Sample],
    labels: Sequence[str] | None = None,
    size: int | None = None,
    folder: Path | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Gathered:
    """Every position's feature (method "clip": the last block's, unit length) and the class feature of every image.

    Squashed to one size and not augmented, unlike the paper's training. Kept under `folder` (the cache), named by
    the weights, the data and the size, and found again there; a file that was cut short is made anew. Memory does not
    grow with the data set. Errors: ValueError for no image, fewer than two labels, and what `Clip` refuses.
    """
    if not len(samples):
        raise ValueError("The split is empty: there is no image to take features from.")
    asked = queries(samples, labels)
    data = samples.describe() if hasattr(samples, "describe") else {}
    size = size or clip.image_size[0]
    key = hashlib.sha256(f"1|{digest(clip.model)}|{data}|{len(samples)}|{size}".encode()).hexdigest()[:20]
    folder = folder or paths.cache() / "features"
    file = folder / f"{key}.npy"
    rows, width = (
        int(np.prod(clip.tower.grid(*clip.prepare(samples[0].image, size=size).shape[2:]))) + 1,
        clip.embed_dim,
    )
    shape = (len(samples), rows, width)  # the class feature stands first
    shown = _known(file, shape) if data else None  # data that cannot say what they are cannot be found again
    if shown is None:
        shown = _compute(clip, samples, size, file, shape, on_progress)
    whole = np.load(file, mmap_mode="r")
    present = np.array([[label in names for label in asked] for names in shown], dtype=np.int64)
    about = {"positions": "method clip, computed once, no augmentation", "image_size": f"{size}×{size}"}
    return Gathered(whole[:, 1:], whole[:, 0], present, asked, clip.describe() | data | about)


def _known(file: Path, shape: tuple[int, ...]) -> list[list[str]] | None:
    """The labels of every image where a whole file of this shape is there; its list of labels is written last."""
    try:
        shown = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
        whole = np.load(file, mmap_mode="r")
    except (OSError, ValueError):
        return None
    return shown if whole.shape == shape and len(shown) == shape[0] else None


def _compute(
    clip: Clip, samples: Sequence[Sample], size: int, file: Path, shape: tuple[int, ...], on_progress: Any
) -> list[list[str]]:
    file.with_suffix(".json").unlink(missing_ok=True)
    shown: list[list[str]] = []
    with paths.whole(file) as part:
        out = np.lib.format.open_memmap(part, mode="w+", dtype=np.float16, shape=shape)
        for number in range(shape[0]):
            sample = samples[number]
            dense = clip.encode_dense(clip.prepare(sample.image, size=size), method="clip")
            out[number] = torch.cat([dense.cls, dense.patches[0].flatten(0, 1)]).half().cpu().numpy()  # (1 + P, D)
            shown.append(list(sample.labels))
            if on_progress:
                on_progress(number + 1, shape[0])
        out.flush()
    paths.write_whole(file.with_suffix(".json"), json.dumps(shown).encode())
    return shown
