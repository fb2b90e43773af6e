"""Any data set with masks, written to disk in PASCAL VOC's layout, where `VOC` and other people's tools read it."""

from collections.abc import Sequence
from os import PathLike
from pathlib import Path

import numpy as np
from PIL import Image

from clipsx.datasets.sample import Sample

IGNORE = 255
PALETTE = [(64 * i % 256, 37 * i % 256, 151 * i % 256) for i in range(255)] + [(224, 224, 192)]


def export_voc(samples: Sequence[Sample], labels: Sequence[str], root: str | PathLike[str], split: str = "val") -> Path:
    """Write JPEGImages, SegmentationClass (mode P, 0 = background, 255 = ignore), the split's list and labels.txt.

    labels: the names of mask values 1, 2, …; where masks overlap, the later label of a sample wins.
    Returns the folder. Errors: ValueError for more than 254 labels, or a sample with a label that is not in them.
    """
    if len(labels) >= IGNORE:
        raise ValueError(f"{len(labels)} labels do not fit into VOC's masks of one byte; give at most {IGNORE - 1}.")
    base = Path(root).expanduser()
    pictures, masks, lists = base / "JPEGImages", base / "SegmentationClass", base / "ImageSets" / "Segmentation"
    for folder in (pictures, masks, lists):
        folder.mkdir(parents=True, exist_ok=True)
    names = []
    for number, sample in enumerate(samples[i] for i in range(len(samples))):
        name = "_".join(sample.name.replace("/", " ").split()) or f"{number:06d}"  # a line of the list, a file's name
        unknown = [label for label in sample.masks if label not in labels]
        if unknown:
            raise ValueError(f"{sample.name} has the label {unknown[0]!r}, which is not among the labels.")
        places = sample.index_map(labels)  # (H, W)
        values = np.where(places < 0, IGNORE, (places + 1) % (len(labels) + 1))  # background is the last place
        indexed = Image.fromarray(values.astype(np.uint8))
        indexed.putpalette([channel for colour in PALETTE for channel in colour])
        indexed.save(masks / f"{name}.png")
        sample.image.save(pictures / f"{name}.jpg", quality=95)
        names.append(name)
    (base / "labels.txt").write_text("".join(f"{label}\n" for label in labels), encoding="utf-8")
    (lists / f"{split}.txt").write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    return base
