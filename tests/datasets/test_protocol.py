"""What data sets say about themselves, and what is said of a plain list."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipsx import datasets
from clipsx.datasets import VOC, Dataset, Folder, Sample, Sketchbook, Subset
from helpers import noise, unchecked

MASK = np.eye(4, 6) > 0


def one_bit(file):
    """Change the last byte of a file."""
    data = file.read_bytes()
    file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


def test_all_data_sets_can_say_what_they_are(devkit, pictures):
    world = Sketchbook(length=2, size=16)
    for samples in (world, VOC(devkit), Folder(pictures), Subset(world, [1], "one")):
        assert isinstance(samples, Dataset)
        assert datasets.labels_of(samples) == samples.labels and datasets.described(samples) == samples.describe()
        assert datasets.fingerprint_of(samples) == samples.fingerprint()
        assert len(samples.fingerprint()) == 64 and int(samples.fingerprint(), 16)
    assert not isinstance(list(world), Dataset)


@pytest.mark.parametrize("name", ["JPEGImages/b.jpg", "SegmentationClass/a.png"])
def test_fingerprint_of_voc(devkit, tmp_path, name):
    print = VOC(devkit).fingerprint()
    moved = shutil.copytree(devkit, tmp_path / "elsewhere" / "renamed")
    assert VOC(moved).fingerprint() == print
    one_bit(moved / name)
    assert VOC(moved).fingerprint() != print == VOC(devkit).fingerprint()
    (devkit / "JPEGImages" / "unlisted.jpg").write_bytes(b"in no list")
    assert VOC(devkit).fingerprint() == print
    (devkit / "labels.txt").write_text("\n".join(f"thing {i}" for i in range(1, 16)))
    assert VOC(devkit).fingerprint() != print
    (devkit / "ImageSets" / "Segmentation" / "turned.txt").write_text("b\na\n")
    assert VOC(devkit).fingerprint() != VOC(devkit, "turned").fingerprint()


@pytest.mark.parametrize("name", ["two.PNG", "boats/one.jpg", "boats/one.txt", "masks/boats/one/fish.png"])
def test_fingerprint_of_a_folder(pictures, tmp_path, name):
    print = Folder(pictures, ["cat"]).fingerprint()
    moved = shutil.copytree(pictures, tmp_path / "elsewhere" / "renamed")
    assert Folder(moved, ["cat"]).fingerprint() == print != Folder(moved, ["dog"]).fingerprint()
    one_bit(moved / name)
    assert Folder(moved, ["cat"]).fingerprint() != print
    (pictures / "two.PNG").rename(pictures / "three.PNG")
    assert Folder(pictures, ["cat"]).fingerprint() != print


def test_fingerprint_of_the_sketchbook():
    changes = [{}, {"seed": 8}, {"length": 5}, {"size": 32}, {"co_occurrence": 0}, {"background_bias": 1}]
    changes.append({"objects": (1, 3)})
    assert len({Sketchbook(**change).fingerprint() for change in changes}) == len(changes)
    same = {"seed": np.int64(7), "length": np.int32(400), "co_occurrence": np.float64(0.6), "objects": [1, 4]}
    with unchecked():
        assert Sketchbook(**same).fingerprint() == Sketchbook().fingerprint()
    assert Sketchbook(co_occurrence=0).fingerprint() == Sketchbook(co_occurrence=0.0).fingerprint()


def test_fingerprint_of_a_part():
    world = Sketchbook(length=4, size=16)
    parts = [(world, [0, 1]), (world, [1, 0]), (Sketchbook(seed=1, length=4, size=16), [0, 1])]
    assert len({Subset(samples, indices, "two").fingerprint() for samples, indices in parts}) == 3
    with unchecked():
        assert Subset(world, np.arange(2), "two").fingerprint() == Subset(world, range(2), "first").fingerprint()


def test_a_plain_list():
    samples = [Sample(noise(4, 6, n), ("cat",), {"cat": MASK}, (), ~MASK, f"image {n}") for n in range(3)]
    assert datasets.labels_of(samples) == () and datasets.recipe_of(samples) is None
    assert datasets.described(samples) == {"data": "3 given samples"}
    assert datasets.code_of(samples).startswith("# samples:")
    assert datasets.code_of(Subset(samples, [0], "one")).startswith("# samples:")
    others = [
        samples[:2],
        samples[::-1],
        *(
            [samples[0].replace(**change), *samples[1:]]
            for change in (
                {"name": "x"},
                {"labels": ("dog",)},
                {"image": noise(4, 6, 9)},
                {"masks": {"dog": MASK}},
                {"masks": {"cat": ~MASK}},
                {"ignore": None},
            )
        ),
    ]
    assert len({datasets.fingerprint_of(other) for other in [samples, *others]}) == 1 + len(others)
    lazy = [Sample(lambda s=s: s.image, s.labels, lambda s=s: s.masks, (), s.ignore, s.name) for s in samples]
    assert datasets.fingerprint_of(lazy) == datasets.fingerprint_of(samples)
    assert not any("image" in vars(sample) for sample in lazy)  # nothing is kept


def test_a_sequence_that_says_part_of_it():
    class Named(list):
        labels = ("cat", "dog")

    assert datasets.labels_of(Named()) == ("cat", "dog") and datasets.described(Named()) == {"data": "0 given samples"}


def test_what_a_data_set_lacks_is_said_once_it_is_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "one.png")
    folder = datasets.Folder(tmp_path)
    assert not datasets.has(folder, "masks")
    assert not datasets.has(folder, "labels")
    assert capsys.readouterr().out.count("Left out: it needs") == 2
    assert folder.labels == datasets.VOCABULARIES["voc-20"]  # what it is asked for
    assert folder[0].labels == ()
    (tmp_path / "one.txt").write_text("cat")
    named = datasets.Folder(tmp_path)
    assert datasets.has(named, "labels") and named.labels == ("cat",)
    assert datasets.has(datasets.Sketchbook(length=2), "masks")
    assert capsys.readouterr().out == ""
    with pytest.raises(ValueError, match="'labels' or 'masks', not 'mask'"):
        datasets.has(named, "mask")


def test_part_of_a_plain_list():
    samples = [Sample(noise(4, 4, n), (), name=str(n)) for n in range(4)]
    part = Subset(samples, [3, 1], "some")
    assert [s.name for s in part] == ["3", "1"] and part[-1].name == "1" and part.labels == ()
    assert part.describe() == {"data": "4 given samples, some: 2"} and part.recipe() is None
    assert part.fingerprint() != Subset(samples, [1, 3], "some").fingerprint()
    with pytest.raises(IndexError):
        part[2]
