"""Official layouts: what is read from each, in which order of ids, and what is missing, in words."""

import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import official
from clipsx import datasets
from clipsx.datasets import BUILT_IN, LAYOUTS, Vocabulary, layouts
from clipsx.datasets.places import decoded
from clipsx.evaluation import segment
from clipsx.evaluation.stream import keep
from helpers import noise, tiny_clip

NUS = BUILT_IN["nus-wide"].names
MAKERS = {
    "voc2012": official.voc2012, "voc20": official.voc2012, "voc21": official.voc2012, "voc2007": official.voc2007,
    "coco2014": official.coco, "coco2017": lambda root: official.coco(root, 2017), "coco-stuff": official.stuff,
    "coco-object": official.stuff, "context59": official.context, "context60": official.context,
    "cityscapes": official.cityscapes, "ade20k": official.ade20k, "sbd": official.sbd,
    "voc21-aug": official.voc2012_aug, "voc20-aug": official.voc2012_aug,
    **{f"imagenet-s{n}": partial(official.imagenet_s, count=n) for n in (50, 300, 919)},
    "nus-wide": lambda root: official.nus_wide(root, NUS),
}  # fmt: skip

# What index_map says of the first pixels: −1 counts nowhere, N is the background.
MASKS = {
    "voc21": (20, 3, 19, -1, 3),
    "voc20": (-1, 3, 19, -1, 3),
    "coco-stuff": (0, 79, 80, 170, -1),
    "coco-object": (0, 79, 80, 80, 80),  # nothing is ignored: unlabelled pixels are background
    "context60": (59, 0, 1, 58, 58),
    "context59": (-1, 0, 1, 58, 58),
    "cityscapes": (0, 18, -1, -1, -1),
    "ade20k": (-1, 0, 149, 149, 149),
    **{f"imagenet-s{n}": (n, 0, n - 1, -1, n) for n in (50, 300, 919)},
    "voc21-aug": (20, 3, 19, 20, 3),
    "voc20-aug": (-1, 3, 19, -1, 3),
    "sbd": (20, 3, 19, 20, 3),
}


@pytest.mark.parametrize("name", MASKS)
def test_masks(name, tmp_path):
    samples = datasets.load(name, MAKERS[name](tmp_path))
    assert len(samples) == 2 and (list(samples.names) == sorted(samples.names)) == (not name.endswith("aug"))
    sample, expected = samples[0], MASKS[name]
    assert sample.index_map(samples.labels).ravel()[:5].tolist() == list(expected)
    assert sample.labels == tuple(samples.labels[k] for k in sorted({*expected} - {-1, len(samples.labels)}))
    assert sample.image.size == sample.size == (official.W, official.H)
    assert tuple(sample.masks) == sample.labels and sample.masks[sample.labels[0]].sum() > 0
    assert samples.describe() == {"data": f"{name} {LAYOUTS[name].split} n=2, words: {LAYOUTS[name].vocabulary}"}


@pytest.mark.parametrize("name", MAKERS)
def test_what_every_layout_can_do(name, tmp_path, monkeypatch):
    root = MAKERS[name](tmp_path / "data")
    monkeypatch.setenv("CLIPSX_DATA", str(root))
    samples = datasets.load(name)
    assert isinstance(samples, datasets.Dataset) and samples.labels
    for again in (datasets.load(name, samples.recipe()["root"]), datasets.open(samples.recipe())):
        assert again.names == samples.names and again.fingerprint() == samples.fingerprint()
        assert again.describe() == samples.describe()
    assert all(sample.opened().labels == sample.labels for sample in samples)
    moved = shutil.copytree(root, tmp_path / "elsewhere")
    assert datasets.load(name, moved).fingerprint() == samples.fingerprint()
    pictures = [file for file in moved.rglob("*") if Path(samples.names[0]).stem in file.stem]
    for file in pictures:
        file.write_bytes(file.read_bytes() + b" ")
    assert datasets.load(name, moved).fingerprint() != samples.fingerprint()
    assert layouts.status(root)[name][1].startswith("found in ")
    with pytest.raises(ValueError, match="no split 'vall'"):
        datasets.load(name, split="vall")


@pytest.mark.parametrize("name", LAYOUTS)
def test_one_message_says_what_is_missing_and_where_to_get_it(name, tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        datasets.load(name, tmp_path)
    words, row = str(error.value), LAYOUTS[name]
    assert row.get in words and str(tmp_path / row.at[0]) in words and "put it there" in words
    assert name == "voc2012" or words.partition(": ")[2] == layouts.status(tmp_path)[name][1]


def test_a_part_that_is_missing_is_named(tmp_path, monkeypatch):
    monkeypatch.delenv("CLIPSX_DATA", raising=False)
    root = official.ade20k(tmp_path)
    shutil.rmtree(root / "ADEChallengeData2016" / "annotations")
    with pytest.raises(FileNotFoundError, match=r"ADEChallengeData2016 has no annotations/validation\. Get ADE"):
        datasets.load("ade20k", root)
    official.voc2007(tmp_path)
    (tmp_path / "VOCdevkit/VOC2007/ImageSets/Main/test.txt").write_text("\n")
    with pytest.raises(ValueError, match=r"voc2007, split 'test': .*test\.txt holds no picture"):
        datasets.load("voc2007", tmp_path)
    with pytest.raises(ValueError, match="did you mean 'cityscapes'"):
        datasets.load("cityscape")
    with pytest.raises(ValueError, match=r"say where, root=… \(or CLIPSX_DATA"):
        datasets.load("cityscapes")


def test_the_official_masks_of_context_are_those_that_are_converted(tmp_path):
    converted, original = (
        datasets.load("context60", official.context(tmp_path / str(made), made))[1] for made in (False, True)
    )
    assert (converted.index_map(BUILT_IN["context60"].names) == original.index_map(BUILT_IN["context60"].names)).all()
    file = tmp_path / "True/VOCdevkit/VOC2010/trainval/2008_000003.mat"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"2008_000003\.mat is no MATLAB file"):
        datasets.load("context60", tmp_path / "True")[1].labels  # noqa: B018


def test_a_list_may_name_paths(tmp_path):
    """As the lists of ten thousand that go round do: the picture's path, then the mask's."""
    base = official.voc2012_aug(tmp_path) / "VOCdevkit" / "VOC2012"
    paths = [f"/JPEGImages/{n}.jpg /SegmentationClassAug/{n}.png\n" for n in ("2008_000019", "2007_000042")]
    names = datasets.load("voc21-aug", tmp_path).names
    (base / "ImageSets/Segmentation/trainaug.txt").write_text("".join(paths))
    assert datasets.load("voc21-aug", tmp_path).names == names == ("2008_000019", "2007_000042")


@pytest.mark.parametrize("name", ["voc20", "voc21", "voc2012"])
def test_a_split_whose_masks_lie_elsewhere_is_led_there(name, tmp_path):
    """trainaug is listed beside train and val, but its masks are SBD's."""
    base = official.voc2012_aug(tmp_path) / "VOCdevkit/VOC2012"
    other = "voc20-aug" if name == "voc20" else "voc21-aug"
    with pytest.raises(
        ValueError, match=rf"'trainaug': they lie in SegmentationClassAug\. Take the data set '{other}'"
    ):
        datasets.load(name, tmp_path, split="trainaug")
    assert datasets.load(other, tmp_path).names and datasets.load(name, tmp_path).names
    with pytest.raises(ValueError, match=r"no split 'val'.* Known: trainaug, aug"):
        datasets.load(other, tmp_path, split="val")
    shutil.copytree(base / "SegmentationClassAug", base / "SegmentationClass", dirs_exist_ok=True)
    assert datasets.load("voc2012", tmp_path, split="trainaug").names  # a folder of one's own, which has them all


def test_another_year_is_told(tmp_path):
    """The masks of VOC 2007 lie as those of 2012 do."""
    base = official.voc2012(tmp_path) / "VOCdevkit" / "VOC2012"
    other = base.rename(base.with_name("VOC2007"))
    assert datasets.load("voc20", other).describe() == {"data": "voc20 val n=2, words: voc-20, of VOC2007"}


def test_ids_of_the_table():
    assert layouts.numbers("0-2 5") == [0, 1, 2, 5] and layouts.numbers("") == []
    for name, row in LAYOUTS.items():
        count, masks = len(BUILT_IN[row.vocabulary].names), layouts.numbers(row.values)
        assert len(masks) in (0, count) and len(set(masks)) == len(masks), name
        assert not set(masks) & {*layouts.numbers(row.ground), *layouts.numbers(row.ignored)}, name
    assert len(layouts.numbers(LAYOUTS["context60"].mat)) == 59


# The traps of the layouts: each gives other numbers in silence.


def test_trap_glued_words(tmp_path):
    """What the released codes feed differs from what a reader would write, and tables say which it was."""
    differ = {"coco-stuff": 15, "ade20k": 15, "cityscapes": 2, "context59": 2}
    for name, count in differ.items():
        plain, glued = BUILT_IN[LAYOUTS[name].vocabulary].names, BUILT_IN[f"{name}.sclip"].names
        assert sum(a != b for a, b in zip(plain, glued, strict=True)) == count
        assert {a.replace(" ", "") for a in plain} == {b.replace(" ", "") for b in glued}
    assert BUILT_IN["context60.sclip"] == Vocabulary(BUILT_IN["context59.sclip"].queries, ("background",))
    samples = datasets.load("voc21", official.voc2012(tmp_path), vocabulary="voc21.sclip")
    assert samples[0].labels == ("ship", "television monitor")
    assert samples.vocabulary.queries[14][1] == "person in shirt" and len(samples.vocabulary.background) == 26
    assert samples.describe() == {"data": "voc21 val n=2, words: voc21.sclip"}
    assert samples.fingerprint() != datasets.load("voc21", tmp_path).fingerprint()


def test_trap_context_has_two_orders(tmp_path):
    """Id 2 is a bag in the alphabetical order, a bicycle in VOC's."""
    official.context(tmp_path)
    assert datasets.load("context59", tmp_path)[0].labels == ("aeroplane", "bag", "wood")
    older = datasets.load("context59", tmp_path, vocabulary="context59.voc-first")
    assert older[0].labels == ("airplane", "bicycle", "wood") and "voc-first" in older.describe()["data"]
    assert sorted(older.labels) == sorted(BUILT_IN["context59.maskclip"].names)


def test_trap_object_has_no_ignored_pixel_and_stuff_has(tmp_path):
    official.stuff(tmp_path)
    things, stuff = (datasets.load(name, tmp_path)[0] for name in ("coco-object", "coco-stuff"))
    assert not things.ignore.any() and stuff.ignore.sum() == 20
    assert things.labels == ("person", "toothbrush")


@pytest.mark.parametrize("name", ["ade20k", "voc20", "context59"])
def test_trap_ignored_stays_ignored(name, tmp_path):
    """0 does not become 255 − 1, and 255 does not become 254."""
    root = MAKERS[name](tmp_path)
    file = next(file for file in sorted(root.rglob("*.png")) if "JPEG" not in str(file))
    official.mask(file, official.values(0, 255, 1))
    assert datasets.load(name, root)[0].index_map(["any"])[0, :2].tolist() == [-1, -1]
    assert datasets.load(name, root)[0].ignore.sum() == 2


def test_trap_red_and_green_are_added_as_integers():
    colours = np.array([[[232, 3, 0], [50, 0, 0]]], np.uint8)
    assert decoded(colours).tolist() == [[1000, 50]]


# Files that are damaged or odd.


def test_masks_of_every_kind_that_is_indexed(tmp_path):
    root = official.ade20k(tmp_path)
    file = sorted(root.rglob("*.png"))[0]
    expected = datasets.load("ade20k", root)[0].index_map(BUILT_IN["ade20k"].names)
    values = official.values(0, 1, 150)
    for kind, palette in ((np.uint16, False), (np.uint8, True)):
        official.mask(file, values.astype(kind), palette)
        assert (datasets.load("ade20k", root)[0].index_map(BUILT_IN["ade20k"].names) == expected).all()
    official.mask(file, official.values(7, 151))
    with pytest.raises(ValueError, match=r"ADE_val_00000001\.png holds the value 151, but only 150 labels have names"):
        datasets.load("ade20k", root)[0].labels  # noqa: B018
    Image.fromarray(values).convert("RGB").save(file)
    with pytest.raises(ValueError, match="mode RGB; an indexed mask"):
        datasets.load("ade20k", root)[0].labels  # noqa: B018


def test_a_vocabulary_of_another_size(tmp_path):
    official.voc2012(tmp_path)
    with pytest.raises(ValueError, match=r"'ade20k' names 150 classes, but voc21 has 20"):
        datasets.load("voc21", tmp_path, vocabulary="ade20k")
    with pytest.raises(ValueError, match=r"'voc21\.slip' is no vocabulary and no file; did you mean 'voc21\.sclip'"):
        datasets.load("voc21", tmp_path, vocabulary="voc21.slip")
    (tmp_path / "mine.txt").write_text("\n".join(f"thing {n}, thing" for n in range(20)) + "\nbackground: wall\n")
    mine = datasets.load("voc21", tmp_path, vocabulary=tmp_path / "mine.txt")
    assert mine[0].labels == ("thing 3", "thing 19") and mine.describe()["data"].endswith("words: mine")
    assert datasets.open(mine.recipe()).vocabulary == mine.vocabulary == Vocabulary.of(tmp_path / "mine.txt")
    listed = datasets.load("voc21", tmp_path, vocabulary=["background", *BUILT_IN["voc-20"].names])
    assert listed.vocabulary.background == ("background",) and listed.labels == BUILT_IN["voc-20"].names
    with pytest.raises(ValueError, match="The class 'a' is there twice"):
        Vocabulary.of(["a", "b", "a"])


@pytest.mark.parametrize("workers", [0, 1])
def test_a_run_counts_and_names_what_it_cannot_read(tmp_path, workers):
    """Seven photographs, of which three cannot be used; CMYK, 16 bits and a mask without objects can."""
    root, base = tmp_path, tmp_path / "ADEChallengeData2016"
    picture, mask = "images/validation/{}.jpg", "annotations/validation/{}.png"
    for name in ("a_cut", "b_cmyk", "c_wide", "d_none", "e_size", "f_no_mask", "g_no_picture"):
        official.picture(base / picture.format(name))
        official.mask(base / mask.format(name), official.values(0, 1, 255, 2))
    cut = base / picture.format("a_cut")
    cut.write_bytes(cut.read_bytes()[:200])
    noise(official.H, official.W).convert("CMYK").save(base / picture.format("b_cmyk"))
    official.mask(base / mask.format("c_wide"), official.values(0, 1, 255, 2, dtype=np.uint16))
    official.mask(base / mask.format("d_none"), official.values(0))
    official.mask(base / mask.format("e_size"), np.ones((9, 9), np.uint8))
    (base / mask.format("f_no_mask")).unlink()
    (base / picture.format("g_no_picture")).unlink()
    samples, clip = datasets.load("ade20k", root), tiny_clip(layers=1)
    measure = segment.measure(clip, samples.labels[:3], "clip", templates="photo")
    words = "4 of 7 pictures cannot be read and are left out: a_cut .*; e_size .*; f_no_mask .*; and 1 more"
    bare = r"1 of 7 pictures cannot be measured and is left out: d_none \(nothing in it"
    with pytest.warns(UserWarning, match=words), pytest.warns(UserWarning, match=bare):
        table = keep(clip, samples, [measure], workers=workers).by_reading()["clip"]()
    left = "4 of 7 left out (cannot be read), 1 of 7 left out (cannot be measured)"
    assert table["data"].iloc[0] == f"ade20k val n=7, words: ade20k, {left}"
    assert set(table["image"]) == {"b_cmyk", "c_wide"}


def test_the_real_photographs(voc):
    """Labels from masks where there is no XML, by three wordings of one set of masks."""
    samples = {name: datasets.load(name, voc) for name in ("voc2012", "voc20", "voc21")}
    assert {len(some) for some in samples.values()} == {16}
    for one, other, third in zip(*samples.values(), strict=True):
        assert set(one.labels) == set(other.labels) and len(third.labels) == len(one.labels) > 0
        assert (third.index_map(samples["voc21"].labels) == one.index_map(samples["voc2012"].labels)).all()
        places = one.index_map(samples["voc2012"].labels)  # (H, W), 20 for the background
        assert (other.ignore == ((places == 20) | one.ignore)).all()
    with pytest.raises(FileNotFoundError, match="no ImageSets/Main"):
        datasets.load("voc2012-objects", voc)
