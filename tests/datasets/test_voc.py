"""VOC's layout: what is read, when it is read, and what is wrong with it, in words."""

import numpy as np
import pytest
from PIL import Image

from clipsx import datasets
from clipsx.analyses import companions
from clipsx.datasets import VOC, VOCABULARIES
from helpers import noise


def test_voc(devkit):
    voc = datasets.load("voc2012", root=devkit.parent)
    assert len(voc) == 2 and voc.labels == VOCABULARIES["voc-20"] and voc.vocabulary.name == "voc-20"
    assert voc.describe() == {"data": "VOC2012 val n=2, words: voc-20"}
    sample = voc[1]
    assert sample.name == "b" and sample.labels == ("dining table", "person") and sample.image.size == (4, 7)
    assert sample.masks["person"].sum() == 8 and sample.masks["dining table"].sum() == 2 and sample.ignore.sum() == 4
    assert [s.name for s in voc] == ["a", "b"] and voc[-1].name == "b"
    (devkit / "labels.txt").write_text("\n".join(f"thing {i}" for i in range(1, 16)))
    assert VOC(devkit)[0].labels == ("thing 11", "thing 15")
    for labels, words in ((None, "labels.txt"), ([str(n) for n in range(15)], "given words")):
        assert VOC(devkit, labels=labels).describe()["data"] == f"VOC2012 val n=2, words: {words}"


def test_other_words(devkit):
    own, glued = VOC(devkit), datasets.load("voc2012", devkit, vocabulary="voc20.sclip")
    assert glued[1].labels == ("table", "person") and glued.describe()["data"].endswith("words: voc20.sclip")
    assert (glued[1].index_map(glued.labels) == own[1].index_map(own.labels)).all()
    assert datasets.open(glued.recipe()).fingerprint() == glued.fingerprint() != own.fingerprint()
    with pytest.raises(ValueError, match="'coco-80' names 80 classes, but VOC2012 has 20"):
        VOC(devkit, vocabulary="coco-80")
    with pytest.raises(ValueError, match="The data set 'voc2012' has no option 'nonsense'"):
        datasets.load("voc2012", devkit, nonsense=1)
    with pytest.raises(FileNotFoundError, match="nowhere is not a folder: the root is where"):
        VOC(devkit / "nowhere")
    (devkit / "ImageSets/Segmentation/val.txt").write_text("\n")
    with pytest.raises(ValueError, match=r"VOC2012 val: .*val\.txt holds no picture"):
        VOC(devkit)


def test_labels_and_masks_open_no_picture(devkit):
    for name in "ab":
        (devkit / "JPEGImages" / f"{name}.jpg").write_bytes(b"not a picture")
    sample = VOC(devkit)[0]
    assert sample.labels == ("dining table", "person") and sample.size == (8, 5)
    assert sample.index_map(["person"])[0, 0] == 0 and sample.ignore.sum() == 8
    assert companions.presence(VOC(devkit), ["person", "cat"]).tolist() == [[True, False]] * 2
    with pytest.raises(ValueError, match="not a picture"):
        sample.image  # noqa: B018


def test_a_picture_opens_no_mask(devkit):
    for name in "ab":
        (devkit / "SegmentationClass" / f"{name}.png").unlink()
    assert [sample.image.size for sample in VOC(devkit)] == [(8, 5), (4, 7)]


def test_errors_name_the_culprit(devkit):
    mask = devkit / "SegmentationClass" / "a.png"
    with pytest.raises(ValueError, match="did you mean 'val'"):
        VOC(devkit, split="vall")
    with pytest.raises(FileNotFoundError, match="JPEGImages"):
        VOC(devkit / "JPEGImages")
    with pytest.raises(ValueError, match="holds the value 15, but only 2"):
        VOC(devkit, labels=["x", "y"])[0].labels  # noqa: B018
    noise(5, 8).save(mask)
    with pytest.raises(ValueError, match="mode RGB"):
        VOC(devkit)[0].masks  # noqa: B018
    Image.fromarray(np.full((3, 3), 15, np.uint8)).save(mask)
    with pytest.raises(ValueError, match=r"a: the mask is \(3, 3\), its picture \(5, 8\) \(H, W\)"):
        VOC(devkit)[0].opened()
    sample = VOC(devkit)[0]
    assert sample.masks["person"].all()  # not compared with a picture that nobody has asked for
    with pytest.raises(ValueError, match=r"a: the picture is \(8, 5\) \(W, H\), but its size was given as \(3, 3\)"):
        sample.image  # noqa: B018
    mask.unlink()
    with pytest.raises(FileNotFoundError, match="has no mask"):
        VOC(devkit)[0].ignore  # noqa: B018
