"""Small data sets on disk."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers import noise


def write_mask(path: Path, values: np.ndarray) -> None:
    """An indexed mask."""
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = Image.fromarray(values)
    mask.putpalette([0] * 768)
    mask.save(path)


@pytest.fixture
def devkit(tmp_path: Path) -> Path:
    """Two photographs of different sizes in VOC's layout."""
    base = tmp_path / "VOC2012"
    (base / "ImageSets" / "Segmentation").mkdir(parents=True)
    (base / "ImageSets" / "Segmentation" / "val.txt").write_text("a\nb\n")
    (base / "JPEGImages").mkdir()
    for name, shape in {"a": (5, 8), "b": (7, 4)}.items():
        noise(*shape).save(base / "JPEGImages" / f"{name}.jpg")
        values = np.zeros(shape, np.uint8)
        values[:2], values[2], values[3, :2] = 15, 255, 11
        write_mask(base / "SegmentationClass" / f"{name}.png", values)
    return base


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Two pictures of one's own, the first with labels, a mask, and a mask that is all black."""
    root = tmp_path / "own"
    masks = root / "masks" / "boats" / "one"
    for folder in (root / "boats", masks):
        folder.mkdir(parents=True)
    noise(6, 9).save(root / "boats" / "one.jpg")
    noise(4, 4).save(root / "two.PNG")
    (root / "boats" / "one.txt").write_text("boat\n\n a bird \n", encoding="utf-8")
    grey = np.zeros((6, 9), np.uint8)
    Image.fromarray(grey).save(masks / "fish.png")
    grey[:2], grey[2] = 255, 128
    Image.fromarray(grey).save(masks / "boat.png")
    return root
