"""Data sets on disk: VOC's layout, one's own folder, and what is wrong with them, in words."""

import numpy as np
import pytest
from PIL import Image

from clipsx import datasets
from clipsx.datasets import VOC, Folder, Sample, Subset
from clipsx.datasets.export import export_voc
from helpers import noise


def write_mask(path, values):
    """An indexed mask."""
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = Image.fromarray(values)
    mask.putpalette([0] * 768)
    mask.save(path)


@pytest.fixture
def devkit(tmp_path):
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


def test_voc(devkit):
    voc = datasets.load("voc2012", root=devkit.parent)
    assert len(voc) == 2 and len(voc.labels) == 20 and voc.describe() == {"data": "VOC2012 val n=2"}
    sample = voc[1]
    assert sample.name == "b" and sample.labels == ("dining table", "person") and sample.image.size == (4, 7)
    assert sample.masks["person"].sum() == 8 and sample.masks["dining table"].sum() == 2 and sample.ignore.sum() == 4
    assert [s.name for s in voc] == ["a", "b"] and voc[-1].name == "b"
    (devkit / "labels.txt").write_text("\n".join(f"thing {i}" for i in range(1, 16)))
    assert VOC(devkit)[0].labels == ("thing 11", "thing 15")


def test_voc_errors_name_the_culprit(devkit):
    with pytest.raises(ValueError, match="did you mean 'val'"):
        VOC(devkit, split="vall")
    with pytest.raises(FileNotFoundError, match="JPEGImages"):
        VOC(devkit / "JPEGImages")
    with pytest.raises(ValueError, match="holds the value 15, but only 2"):
        VOC(devkit, labels=["x", "y"])[0]
    noise(5, 8).save(devkit / "SegmentationClass" / "a.png")
    with pytest.raises(ValueError, match="mode RGB"):
        VOC(devkit)[0]
    write_mask(devkit / "SegmentationClass" / "a.png", np.zeros((3, 3), np.uint8))
    with pytest.raises(ValueError, match=r"a\.png is \(3, 3\)"):
        VOC(devkit)[0]
    (devkit / "SegmentationClass" / "a.png").unlink()
    with pytest.raises(FileNotFoundError, match="has no mask"):
        VOC(devkit)[0]


def test_folder(tmp_path):
    (tmp_path / "boats").mkdir()
    noise(6, 9).save(tmp_path / "boats" / "one.jpg")
    noise(4, 4).save(tmp_path / "two.PNG")
    (tmp_path / "boats" / "one.txt").write_text("boat\n\n a bird \n", encoding="utf-8")
    (tmp_path / "masks" / "boats" / "one").mkdir(parents=True)
    grey = np.zeros((6, 9), np.uint8)
    grey[:2], grey[2] = 255, 128
    Image.fromarray(grey).save(tmp_path / "masks" / "boats" / "one" / "boat.png")
    folder = datasets.load("folder", root=tmp_path, labels=["cat"])
    assert folder.labels == ("cat", "a bird", "boat") and folder.describe()["data"].endswith("n=2")
    one, two = folder
    assert one.labels == ("boat", "a bird") and one.masks["boat"].sum() == 18 and one.ignore.sum() == 9
    assert two.labels == ("cat",) and not two.masks and two.name == "two.PNG"
    Image.fromarray(grey[:3]).save(tmp_path / "masks" / "boats" / "one" / "boat.png")
    with pytest.raises(ValueError, match="its picture"):
        folder[0]


def test_folder_errors(tmp_path):
    with pytest.raises(FileNotFoundError, match="not a folder"):
        Folder(tmp_path / "none")
    with pytest.raises(ValueError, match="holds no pictures"):
        Folder(tmp_path)
    (tmp_path / "x.jpg").write_bytes(b"not a picture")
    with pytest.raises(ValueError, match="not a picture"):
        Folder(tmp_path)[0]


def test_load_errors():
    with pytest.raises(ValueError, match="did you mean 'voc2012'"):
        datasets.load("voc2011")
    with pytest.raises(ValueError, match="say where"):
        datasets.load("folder")
    with pytest.raises(ValueError, match="built in"):
        datasets.load("sketchbook", root=".")
    with pytest.raises(ValueError, match="length_"):
        datasets.load("sketchbook", length_=3)
    assert len(datasets.load("sketchbook", length=3)) == 3


def test_two_parts_share_no_sample(devkit):
    tuning, test = datasets.tuning_and_test("voc2012", devkit, images=5)
    assert [s.name for s in tuning] == ["a"] and [s.name for s in test] == ["b"] and test.labels == VOC(devkit).labels
    assert test.describe() == {"data": "VOC2012 val n=2, odd samples: 1"}
    (devkit / "ImageSets" / "Segmentation" / "val.txt").write_text("a\n")
    with pytest.raises(ValueError, match="has 1 samples"):
        datasets.tuning_and_test("voc2012", devkit)
    tuning, test = datasets.tuning_and_test("sketchbook", images=3, size=16)
    assert len(tuning) == len(test) == 3 and not {s.name for s in tuning} & {s.name for s in test}


def test_part_of_a_plain_list():
    samples = [Sample(noise(4, 4, n), (), name=str(n)) for n in range(4)]
    part = Subset(samples, [3, 1], "some")
    assert [s.name for s in part] == ["3", "1"] and part[-1].name == "1" and part.labels == ()
    assert part.describe() == {"data": "given samples, some: 2"}
    with pytest.raises(IndexError):
        part[2]


def test_export_writes_what_voc_reads(tmp_path):
    masks = {"cat": np.eye(4, 6) > 0, "dog": np.arange(24).reshape(4, 6) > 20}
    ignore = np.zeros((4, 6), bool)
    ignore[0] = True
    names = ["boats/my own.jpg", ""]
    back = VOC(export_voc([Sample(noise(4, 6), (), masks, (), ignore, n) for n in names], ["cat", "dog"], tmp_path))
    assert [s.name for s in back] == ["boats_my_own.jpg", "000001"] and back.labels == ("cat", "dog")
    for sample in back:
        assert sample.labels == ("cat", "dog") and (sample.ignore == ignore).all()
        assert (sample.masks["dog"] == masks["dog"]).all()
        assert (sample.masks["cat"] == (masks["cat"] & ~ignore & ~masks["dog"])).all()
    with pytest.raises(ValueError, match="at most 254"):
        export_voc([], [str(n) for n in range(255)], tmp_path)
