"""A folder of one's own: what is read, when it is read, and what is wrong with it, in words."""

import numpy as np
import pytest
from PIL import Image

from clipsx import datasets
from clipsx.analyses import companions
from clipsx.datasets import Folder


def test_folder(pictures):
    folder = datasets.load("folder", root=pictures, labels=["cat"])
    assert folder.labels == ("cat", "a bird", "boat", "fish")
    assert folder.describe() == {"data": "folder own n=2, words: given words and its own"}
    assert Folder(pictures).describe() == {"data": "folder own n=2, words: its own"}
    one, two = folder
    assert one.labels == ("boat", "a bird", "fish") and set(one.masks) == {"boat"}  # fish: a mask that is all black
    assert one.masks["boat"].sum() == 18 and one.ignore.sum() == 9 and one.name == "boats/one.jpg"
    assert two.labels == ("cat",) and not two.masks and two.name == "two.PNG" and not two.ignore.any()


def test_labels_open_neither_pictures_nor_masks(pictures):
    for file in (*pictures.rglob("*.jpg"), *pictures.rglob("*.PNG"), *pictures.rglob("*.png")):
        file.write_bytes(b"not a picture")
    folder = Folder(pictures, labels=["cat"])
    assert [sample.labels for sample in folder] == [("boat", "a bird", "fish"), ("cat",)]
    assert companions.presence(folder, ["boat", "cat"]).tolist() == [[True, False], [False, True]]
    for part in ("image", "masks", "ignore", "size"):
        with pytest.raises(ValueError, match="not a picture"):
            getattr(folder[0], part)


def test_a_picture_opens_no_mask(pictures):
    (pictures / "masks" / "boats" / "one" / "boat.png").write_bytes(b"not a picture")
    assert Folder(pictures)[0].image.size == (9, 6)


def test_errors(tmp_path, pictures):
    with pytest.raises(FileNotFoundError, match="not a folder"):
        Folder(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no pictures"):
        Folder(tmp_path / "empty")
    masks = pictures / "masks" / "boats" / "one"
    small = Image.fromarray(np.full((3, 9), 255, np.uint8))
    small.save(masks / "boat.png")
    with pytest.raises(ValueError, match=r"fish\.png is \(6, 9\), another mask of its picture \(3, 9\)"):
        Folder(pictures)[0].masks  # noqa: B018
    small.save(masks / "fish.png")
    for part in ("masks", "ignore"):
        with pytest.raises(ValueError, match=r"boats/one\.jpg: the mask .* is \(3, 9\), its picture \(6, 9\)"):
            getattr(Folder(pictures)[0], part)
