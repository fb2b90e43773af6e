"""Features of a whole data set, computed once with CLIP frozen, and streamed from disk ever after."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Shaped
from PIL import Image
from tqdm.auto import tqdm

from clipsx import datasets
from clipsx.cache import Entry, entry, trim
from clipsx.clip import Clip
from clipsx.datasets import Sample, Subset
from clipsx.evaluation.asked import queries
from clipsx.evaluation.parts import made_by
from clipsx.evaluation.stream import Measure, left_out, looks
from clipsx.paths import reserve
from clipsx.reading import Reading, require_features

POOLED = {"ModifiedResNet": "maskclip"}  # by family: value → output projection, where the pooling is all there is


def own_positions(clip: Clip) -> Reading:
    """Which positions are the paper's: value → output projection of a ResNet, else the last block's own path."""
    return Reading(POOLED.get(clip.tower.family, "clip"))


@dataclass(frozen=True, eq=False)
class Gathered:
    """Images as training and scoring read them, and what tables say of them.

    positions: (n, P, D), from `gather` a memory map of float16; cls: class features (n, D); present: labels 0 / 1;
    samples: the images, where they are known; reading: which positions they are.
    """

    positions: Shaped[np.ndarray, "n P D"]
    cls: Shaped[np.ndarray, "n D"]
    present: Shaped[np.ndarray, "n N"]
    labels: tuple[str, ...] = ()
    about: dict[str, str] = field(default_factory=dict)
    samples: Sequence[Sample] | None = None
    reading: Reading = field(default_factory=Reading)

    @property
    def trained(self) -> dict[str, Any]:
        """What projectors that learn from these keep of them: the `data`, a line, its `recipe`, and the `count`."""
        recipe = None if self.samples is None else datasets.recipe_of(self.samples)
        return {"data": self.about.get("data", "given features"), "recipe": recipe, "count": len(self.present)}


def gather(
    clip: Clip,
    samples: Sequence[Sample],
    labels: Sequence[str] | None = None,
    size: int | None = None,
    folder: Path | None = None,
    words: str | None = None,
    reading: str | Reading | None = None,
) -> Gathered:
    """Every position's feature (unit length) and the class feature of every image.

    labels: those of the data set by default. reading: which positions, `own_positions` by default; which they are
    decides what comes of training. Squashed to one size and not augmented, unlike the paper's training. Kept
    under `folder` (the cache), found by the model, the content of the data, the size and the reading; what is damaged
    is made anew. Memory does not grow with the data set. Pictures that cannot be read are left out, with a warning.
    words: of a line of progress.
    Errors: ValueError for no image, fewer than two labels, a reading with feature surgery, and what `Clip` refuses.
    Source: Unmix-CLIP, the last pooling removed, every position kept.
    """
    if not len(samples):
        raise ValueError("The split is empty: there is no image to take features from.")
    asked = queries(datasets.labels_of(samples) if labels is None else labels)
    size, reading = size or clip.image_size[0], own_positions(clip) if reading is None else Reading.parse(reading)
    if reading != reading.features:
        raise ValueError(f"Positions are features, not maps: say {str(reading.features)!r}, not {str(reading)!r}.")
    require_features([reading])
    key = f"{made_by(clip)}|{datasets.fingerprint_of(samples)}|{size}|{reading}|read"
    place = entry("features", key, ".npy", folder)
    about = place.read()
    if about is None:
        about = _compute(clip, samples, size, reading, place, words)
    read = about["read"]
    left = left_out(about["unread"], len(samples))
    whole = np.load(place.file, mmap_mode="r")[: len(read)]  # (n, 1 + P, D): the class feature stands first
    present = np.array([[label in names for label in asked] for names in about["labels"]], dtype=np.int64)
    told = {"reading": str(reading), "authority": reading.columns(clip.tower)["authority"]}
    told |= {"features": "computed once, not augmented", "image_size": f"{size}×{size}"}
    about = clip.describe() | datasets.described(samples) | told
    about["data"] += left
    kept = Subset(samples, read, "those that can be read") if left else samples
    return Gathered(whole[:, 1:], whole[:, 0], present, asked, about, kept, reading)


def same_positions(train: Gathered, test: Gathered) -> None:
    """Errors: ValueError where projectors would be tested on other positions than they learn from."""
    if train.reading != test.reading:
        raise ValueError(f"Positions to train on are {train.reading}, to test on {test.reading}: gather both alike.")


def _compute(
    clip: Clip, samples: Sequence[Sample], size: int, reading: Reading, place: Entry, words: str | None
) -> dict[str, Any]:
    """Write the features of every image that can be read; what the entry says: which, and the labels of each."""
    height, width = clip.tower.grid(*clip.pixels(Image.new("RGB", (1, 1)), size=size).shape[2:])
    shape = (len(samples), 1 + height * width, clip.embed_dim)
    about: dict[str, Any] = {"labels": [], "read": [], "unread": []}
    needs = Measure("features", lambda look: (), (reading,))
    with place.write(about) as part:
        out = np.lib.format.open_memmap(part, mode="w+", dtype=np.float16, shape=shape)
        reserve(part)
        seen = looks(clip, samples, [needs], size=size, unread=about["unread"])
        for look in tqdm(seen, words, total=shape[0], unit="picture", leave=False, disable=words is None, delay=1):
            dense = look.dense(reading)
            rows = torch.cat([dense.cls, dense.patches[0].flatten(0, 1)])  # (1 + P, D)
            out[len(about["read"])] = rows.half().cpu().numpy()
            about["labels"].append(list(look.sample.labels))
            about["read"].append(look.number)
        out.flush()
    trim()
    return about
