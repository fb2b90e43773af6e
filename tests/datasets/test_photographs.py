"""The photographs of installed packages: what is drawn on them, whose they are, and that they are the same ones."""

import shutil

import numpy as np
import pytest
from PIL import Image

from clipsx import datasets, metrics, minmax, paths, upsample
from clipsx.datasets import VOCABULARIES, photographs
from clipsx.datasets.photographs import Photographs, outlined, picture
from clipsx.reading import readings
from helpers import tiny_clip

NAMES = tuple(file.stem for file in sorted((paths.data() / "photographs").glob("*.toml")))


@pytest.fixture(scope="module")
def samples() -> Photographs:
    return Photographs()


def test_all_are_there(samples, capsys):
    assert samples.names == NAMES and len(samples) == 10 and not samples.left_out and not capsys.readouterr().out
    assert samples.describe() == {"data": "photographs n=10, words: names of photographs"}
    assert samples.labels == VOCABULARIES["photographs"]
    said = {label for sample in samples for label in sample.labels}
    absent = [label for label in samples.labels if label not in said]
    assert absent == list(samples.labels[-9:]) and "dog" in absent


@pytest.mark.parametrize("name", NAMES)
def test_masks_are_of_their_picture(samples, name):
    sample, about = samples[NAMES.index(name)], samples.about[name]
    assert sample.name == name and len(sample.captions) >= 2 and all(sample.captions)
    assert sample.image.mode == "RGB" and sample.image.size == sample.size == tuple(about["size"])
    assert tuple(sample.masks) == sample.labels and set(sample.labels) <= set(samples.labels)
    assert all(about[part] for part in ("author", "licence", "source"))
    names = {outline for outline, _ in about["outlines"]}
    assert names - {"background", "ignore"} == set(sample.labels)
    corners = [tuple(map(int, xy.split(","))) for _, line in about["outlines"] for xy in line.split()]
    assert all(0 <= x < sample.size[0] and 0 <= y < sample.size[1] for x, y in corners)
    layers = np.array([*sample.masks.values(), sample.ignore])  # (n + 1, H, W)
    assert layers.sum(0).max() == 1, "visible pixels do not overlap"
    assert all(0.003 < mask.mean() < 0.75 for mask in sample.masks.values()), "each can be seen, and leaves a ground"


def test_the_nearest_is_in_front_and_edges_belong():
    drawn = [("cup", "1,1 3,1 3,2 1,2"), ("background", "0,0 0,0"), ("table", "0,0 5,0 5,2 0,2")]
    names, places = outlined(drawn, (6, 4))
    assert names == ["cup", "background", "table"]
    assert places.tolist() == [[1, 2, 2, 2, 2, 2], [2, 0, 0, 0, 2, 2], [2, 0, 0, 0, 2, 2], [3] * 6]


@pytest.fixture
def packages(tmp_path, monkeypatch, samples):
    """A folder of all pictures, in the place of the installed packages."""
    for about in samples.about.values():
        (copy := tmp_path / about["package"] / about["file"]).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(picture(about), copy)
    monkeypatch.setattr(photographs, "picture", lambda about: tmp_path / about["package"] / about["file"])
    return tmp_path


def test_another_picture_is_noticed(packages, samples, capsys):
    assert Photographs().fingerprint() == samples.fingerprint() and not capsys.readouterr().out
    Image.new("RGB", (451, 300)).save(packages / "skimage" / "data" / "chelsea.png")
    (packages / "sklearn" / "datasets" / "images" / "china.jpg").unlink()
    less = Photographs()
    said = capsys.readouterr().out
    assert "cat, temple" in said and "missing in skimage, sklearn, or others" in said
    assert less.left_out == ("cat", "temple") and "cat" not in less.names
    assert [sample.name for sample in less] == list(less.names)
    assert less.describe() == {"data": "photographs n=8, words: names of photographs, without cat, temple"}
    assert less.fingerprint() != samples.fingerprint()
    for folder in ("skimage", "sklearn", "matplotlib"):
        shutil.rmtree(packages / folder)
    with pytest.raises(FileNotFoundError, match=r"All 10 photographs are missing in .*by pip"):
        Photographs()


def test_a_package_that_is_not_installed():
    assert not picture({"package": "no_such_package", "file": "a.png"}).is_file()


def test_by_name(samples):
    with pytest.raises(ValueError, match="'photographs' is built in and takes no root"):
        datasets.load("photographs", root=".")
    assert datasets.load("photographs").recipe() == {"dataset": "photographs"}


def test_few_pictures_are_said(capsys):
    tuning, test = datasets.tuning_and_test("photographs", images=150)
    assert "5 to tune or train on, 5 to report on" in capsys.readouterr().out
    assert [len(tuning), len(test)] == [5, 5] and {s.name for s in test} | {s.name for s in tuning} == set(NAMES)
    datasets.tuning_and_test("photographs", images=5)
    assert not capsys.readouterr().out


@pytest.mark.slow
def test_random_weights_show_nothing(samples):
    """The map of a label prefers its object no more than on average over models: no order or name leaks into it."""
    asked, starts = readings("clip, clip-surgery, clip-surgery+code"), 12
    found, pictures = np.zeros((len(asked), starts)), list(samples)  # each is opened once
    images = [tiny_clip(0).prepare(sample.image) for sample in pictures]  # (1, 3, H, W) each
    for start in range(starts):
        clip = tiny_clip(start)
        text = clip.encode_labels(samples.labels, templates="plain")  # (N, D)
        for image, sample in zip(images, pictures, strict=True):
            seen, places = clip.encode_readings(image, asked), [samples.labels.index(label) for label in sample.masks]
            for place, reading in enumerate(asked):
                sim = minmax(reading.similarities(seen[str(reading)], text))  # (1, h, w, N)
                maps = upsample(sim[..., places], sample.size[::-1])[0].unbind(-1)  # (H, W) each
                scores = [metrics.msc(*pair, sample.ignore) for pair in zip(maps, sample.masks.values(), strict=True)]
                found[place, start] += sum(scores) / sum(len(other.masks) for other in pictures)
    spread = found.std(axis=1, ddof=1)  # (readings,)
    assert (abs(found.mean(axis=1)) < 3 * spread / starts**0.5).all()
    assert (spread > 0.5).all(), "maps are not all alike"
