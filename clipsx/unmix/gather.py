"""Features of a whole data set, computed once with CLIP frozen, and streamed from disk ever after."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Shaped
from tqdm.auto import tqdm

from clipsx import datasets, paths
from clipsx.clip import Clip
from clipsx.datasets import Sample
from clipsx.evaluation.explain import queries
from clipsx.evaluation.stream import Measure, looks, made_by
from clipsx.reading import Reading

POSITIONS = Reading("clip")


@dataclass(frozen=True, eq=False)
class Gathered:
    """Images as training and scoring read them, and what tables say of them.

    positions: (n, P, D), from `gather` a memory map of float16; cls: class features (n, D); present: labels 0 / 1.
    """

    positions: Shaped[np.ndarray, "n P D"]
    cls: Shaped[np.ndarray, "n D"]
    present: Shaped[np.ndarray, "n N"]
    labels: tuple[str, ...] = ()
    about: dict[str, str] = field(default_factory=dict)


def gather(
    clip: Clip,
    samples: Sequence[Sample],
    labels: Sequence[str] | None = None,
    size: int | None = None,
    folder: Path | None = None,
    words: str | None = None,
) -> Gathered:
    """Every position's feature (method "clip": the last block's, unit length) and the class feature of every image.

    labels: those of the data set by default. Squashed to one size and not augmented, unlike the paper's training. Kept
    under `folder` (the cache), named by the model, the content of the data and the size, and found again there; a
    file that was cut short is made anew. Memory does not grow with the data set. words: of a line of progress.
    Errors: ValueError for no image, fewer than two labels, and what `Clip` refuses.
    """
    if not len(samples):
        raise ValueError("The split is empty: there is no image to take features from.")
    asked = queries(datasets.labels_of(samples) if labels is None else labels)
    size = size or clip.image_size[0]
    made = f"3|{made_by(clip)}|{datasets.fingerprint_of(samples)}|{size}"
    file = (folder or paths.cache() / "features") / f"{hashlib.sha256(made.encode()).hexdigest()[:20]}.npy"
    height, width = clip.tower.grid(*clip.pixels(samples[0].image, size=size).shape[2:])
    shape = (len(samples), 1 + height * width, clip.embed_dim)  # the class feature stands first
    shown = _known(file, shape) or _compute(clip, samples, size, file, shape, words)
    whole = np.load(file, mmap_mode="r")
    present = np.array([[label in names for label in asked] for names in shown], dtype=np.int64)
    about = {"positions": "method clip, computed once, no augmentation", "image_size": f"{size}×{size}"}
    return Gathered(whole[:, 1:], whole[:, 0], present, asked, clip.describe() | datasets.described(samples) | about)


def _known(file: Path, shape: tuple[int, ...]) -> list[list[str]]:
    """The labels of every image where a whole file of this shape is there; its list of labels is written last."""
    try:
        shown = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
        whole = np.load(file, mmap_mode="r")
    except (OSError, ValueError):
        return []
    return shown if whole.shape == shape and len(shown) == shape[0] else []


def _compute(
    clip: Clip, samples: Sequence[Sample], size: int, file: Path, shape: tuple[int, ...], words: str | None
) -> list[list[str]]:
    file.with_suffix(".json").unlink(missing_ok=True)
    shown: list[list[str]] = []
    needs = Measure("features", lambda look: (), (POSITIONS,))
    with paths.whole(file) as part:
        out = np.lib.format.open_memmap(part, mode="w+", dtype=np.float16, shape=shape)
        seen = looks(clip, samples, [needs], size=size)
        for look in tqdm(seen, words, total=shape[0], unit="picture", leave=False, disable=words is None, delay=1):
            dense = look.dense(POSITIONS)
            rows = torch.cat([dense.cls, dense.patches[0].flatten(0, 1)])  # (1 + P, D)
            out[look.number] = rows.half().cpu().numpy()
            shown.append(list(look.sample.labels))
        out.flush()
    paths.write_whole(file.with_suffix(".json"), json.dumps(shown).encode())
    return shown
