"""Objects by annotation: COCO's files and VOC's, what is unclear in them, and files that are not whole."""

import json
import re
import sys

import numpy as np
import pytest
import torchvision
from pycocotools.coco import COCO

import official
from clipsx import datasets
from clipsx.datasets import BUILT_IN, annotated

SQUARE = [[0, 0, 4, 0, 4, 4, 0, 4]]


@pytest.fixture
def own(tmp_path):
    """A file of one's own, and its pictures: gaps in the ids, polygons, run lengths, a box alone."""
    images = [{"id": n, "file_name": f"in/{name}.jpg", "height": 4, "width": 6} for n, name in ((70, "b"), (5, "a"))]
    found = {
        "images": images,
        "categories": [{"id": 900, "name": "tea pot"}, {"id": 3, "name": "cup"}],
        "annotations": [
            official.annotated(1, 5, 900, (0, 0, 4, 4), SQUARE),
            official.annotated(2, 5, 3, (4, 0, 2, 4), {"counts": [16, 8], "size": [4, 6]}, crowd=1),
            official.annotated(3, 70, 3, (1, 1, 3, 2), []),
        ],
    }
    for image in images:
        official.picture(tmp_path / image["file_name"])
    (tmp_path / "my.json").write_text(json.dumps(found))
    return tmp_path


def opened(own, change=None, **options):
    """The data set of `own`, its annotations changed first."""
    found = json.loads((own / "my.json").read_text())
    if change:
        change(found)
    (own / "changed.json").write_text(json.dumps(found))
    return datasets.load("coco-json", own, annotations=own / "changed.json", **options)


def test_a_file_of_ones_own(own):
    samples = datasets.load("coco-json", root=own, annotations=own / "my.json")
    assert samples.labels == ("cup", "tea pot") and samples.names == ("in/a.jpg", "in/b.jpg")
    first, second = samples
    assert first.labels == ("cup", "tea pot") and first.image.size == first.size == (6, 4)
    assert first.masks["tea pot"].sum() == 16 and first.masks["cup"].tolist() == [[False] * 4 + [True] * 2] * 4
    assert second.labels == ("cup",) and not second.masks and second.ignore.sum() == 6  # a box without a mask
    assert samples.describe()["data"] == "coco-json n=2, words: the file's own, crowds positive"
    again = datasets.open(json.loads(json.dumps(samples.recipe())))
    assert again.describe() == samples.describe() and again.fingerprint() == samples.fingerprint()
    renamed = datasets.load("coco-json", own, annotations=own / "my.json", vocabulary=["mug", "pot"])
    assert renamed[0].labels == ("mug", "pot") and renamed.fingerprint() != samples.fingerprint()


def test_boxes_alone(own):
    """They serve recognition, and pointing where they are asked for in place of masks; tables say so."""
    keys = ("segmentation", "iscrowd", "area")
    bare = lambda found: [object.pop(key) for object in found["annotations"] for key in keys]  # noqa: E731
    samples = opened(own, bare)
    assert samples[0].labels == ("cup", "tea pot") and not samples[0].masks and not samples[1].ignore.any()
    assert samples.describe()["data"].endswith("boxes without masks")
    boxes = opened(own, bare, regions="boxes")
    assert boxes.describe()["data"].endswith("boxes in place of masks")
    assert boxes[1].masks["cup"].tolist() == [[0 < y < 3 and 0 < x < 4 for x in range(6)] for y in range(4)]
    assert boxes[0].masks["tea pot"].sum() == 16


BOXES = [((0, 0, 6, 4), 24), ((0.4, 0.4, 1, 1), 1), ((-5, -5, 6, 6), 1), ((5, 3, 9, 9), 1), ((2, 2, 0, 0), 0)]


@pytest.mark.parametrize(("box", "count"), BOXES)
def test_a_box_is_the_pixels_whose_centres_it_holds(box, count):
    x, y, width, height = box
    centres = [(a + 0.5, b + 0.5) for b in range(4) for a in range(6)]
    inside = [x <= a < x + width and y <= b < y + height for a, b in centres]
    assert annotated.boxed(box, (6, 4)).ravel().tolist() == inside and sum(inside) == count


CROWDS = {"positive": (("cup", "tea pot"), (), 8, 0), "negative": (("tea pot",), (), 0, 0),
          "excluded": (("tea pot",), ("cup",), 0, 8)}  # fmt: skip


@pytest.mark.parametrize("crowd", CROWDS)
def test_crowds(own, crowd):
    labels, unsure, pixels, ignored = CROWDS[crowd]
    sample = opened(own, crowd=crowd)[0]
    assert sample.labels == labels and sample.unsure == sample.opened().unsure == unsure
    assert sample.masks.get("cup", np.zeros(1)).sum() == pixels and sample.ignore.sum() == ignored
    assert f"crowds {crowd}" in opened(own, crowd=crowd).describe()["data"]


@pytest.mark.filterwarnings("ignore:__array__ implementation")  # pycocotools'
def test_in_front_is_the_smaller(tmp_path):
    """A dog over a toaster; pycocotools draws the same masks, and torchvision's reader lists the same objects."""
    root = official.coco(tmp_path, names=BUILT_IN["coco-80"].names)
    samples = datasets.load("coco2014", root)
    assert samples.names == ("COCO_val2014_000000000009.jpg", "COCO_val2014_000000000042.jpg")
    sample = samples[1]
    assert sample.labels == ("dog", "toaster") and tuple(sample.masks) == ("toaster", "dog")
    assert sample.index_map(["dog", "toaster"])[1].tolist() == [1, 0, 0, 1, 2, 2]
    file, folder = root / "coco/annotations/instances_val2014.json", root / "coco/val2014"
    api, pairs = COCO(file), torchvision.datasets.CocoDetection(folder, str(file))
    assert len(pairs) == 3  # also the picture without an object
    names = {entry["id"]: entry["name"] for entry in api.dataset["categories"]}
    for image, found in pairs:
        if not found:
            continue
        ours = samples[samples.names.index(api.imgs[found[0]["image_id"]]["file_name"])]
        assert set(ours.labels) == {names[one["category_id"]] for one in found} and ours.image.size == image.size
        for one in found:
            if not one["iscrowd"]:
                assert (ours.masks[names[one["category_id"]]] == api.annToMask(one).astype(bool)).all()


def test_pictures_without_an_object_are_counted(tmp_path):
    root = official.coco(tmp_path)
    some, every = (datasets.load("coco2014", root, images=which) for which in ("annotated", "all"))
    assert (len(some), len(every)) == (2, 3) and some.empty == every.empty == ("COCO_val2014_000000000007.jpg",)
    assert some.describe()["data"].endswith("crowds positive, 1 images without objects left out")
    assert every.describe()["data"].endswith("1 images without objects among them")
    assert every[0].labels == () and not every[0].masks


def test_trap_labels_by_the_order_of_ids_and_from_objects_that_masks_hide(own, tmp_path):
    """Ids have gaps; and a label that another object covers is in the annotations, but in no picture of masks."""
    samples = datasets.load("coco2017", official.coco(tmp_path / "coco", 2017, BUILT_IN["coco-80"].names))
    assert samples[0].labels == ("person", "toaster")  # ids 1 and 80, of which the second is the 71st
    assert samples.labels.index("toaster") == 70
    both = [official.annotated(n, 70, category, (0, 0, 4, 4), SQUARE) for n, category in ((8, 3), (9, 900))]
    covered = opened(own, lambda found: found["annotations"].extend(both))[1]
    seen = {covered.index_map(("cup", "tea pot"))[y, x] for y in range(4) for x in range(4)} - {-1}
    assert covered.labels == ("cup", "tea pot") and len(seen) == 1


def cut(found):
    found["annotations"][0]["segmentation"] = [[1, 2, 3, 4]]


DAMAGED = {
    "no list of categories": lambda found: found.pop("categories"),
    "entry 0 of images has no file_name": lambda found: found["images"][0].pop("file_name"),
    "annotation 1 has the category 900, which has no name": lambda found: found["categories"].pop(0),
    "entry 1 of categories has no name": lambda found: found["categories"][1].pop("name"),
    "lists an image twice": lambda found: found["images"].append(found["images"][0]),
    "holds no image": lambda found: found["images"].clear(),
}


@pytest.mark.parametrize("words", DAMAGED)
def test_a_file_that_lacks_something(own, words):
    with pytest.raises(ValueError, match=rf"changed\.json.*{words}"):
        opened(own, DAMAGED[words])


@pytest.mark.parametrize(
    ("wrong", "words"),
    [([[1, 2, 3, 4]], "three corners"), ({"counts": [1, 2], "size": [4, 6]}, "cannot be drawn"),
     ({"counts": "nonsense", "size": [6, 4]}, r"of \(6, 4\)"), ([[0, 0, 1, 1, "x", 2]], "cannot be drawn")],
)  # fmt: skip
def test_a_mask_that_cannot_be_drawn_is_named(own, wrong, words):
    sample = opened(own, lambda found: found["annotations"][0].update(segmentation=wrong))[0]
    assert sample.labels == ("cup", "tea pot")
    with pytest.raises(ValueError, match=f"in/a.jpg, annotation 1: .*{words}"):
        sample.masks  # noqa: B018


def test_other_errors(own):
    with pytest.raises(ValueError, match="How unclear objects count cannot be 'positiv'; did you mean 'positive'"):
        opened(own, crowd="positiv")
    with pytest.raises(ValueError, match="regions cannot be 'box'; did you mean 'boxes'"):
        opened(own, regions="box")
    with pytest.raises(ValueError, match=r"'voc-20' names 20 classes, but .*changed\.json has 2"):
        opened(own, vocabulary="voc-20")
    with pytest.raises(FileNotFoundError, match=r"is not a folder: root is where the pictures of my\.json lie"):
        datasets.load("coco-json", own / "none", annotations=own / "my.json")
    with pytest.raises(ValueError, match="coco-json needs annotations: a JSON file"):
        datasets.load("coco-json", own)
    strays = opened(own, lambda found: found["images"].pop(0))
    assert strays.describe()["data"].endswith("1 annotations of images that are not listed")
    text = (own / "my.json").read_text()
    (own / "my.json").write_text(text[: len(text) // 2])
    with pytest.raises(ValueError, match=r"my\.json is cut short or no JSON"):
        datasets.load("coco-json", own, annotations=own / "my.json")


def test_without_pycocotools(own, monkeypatch):
    monkeypatch.setattr("clipsx.messages.find_spec", lambda package: None)
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    assert opened(own)[0].labels == ("cup", "tea pot") and opened(own, regions="boxes")[0].masks["cup"].any()
    with pytest.raises(ImportError, match=re.escape("pycocotools, which is not installed: pip install 'clipsx[data]'")):
        opened(own)[0].masks  # noqa: B018


DIFFICULT = {
    "negative": (("person",), ()),
    "positive": (("chair", "person"), ()),
    "excluded": (("person",), ("chair",)),
}


@pytest.mark.parametrize("source", ["Annotations", "files of classes"])
@pytest.mark.parametrize("difficult", DIFFICULT)
def test_trap_difficult_has_three_treatments(tmp_path, difficult, source):
    """The devkit leaves a picture out for a class of which it holds difficult objects only; papers on CLIP do not."""
    root = official.voc2007(tmp_path)
    if source != "Annotations":
        (root / "VOCdevkit/VOC2007/Annotations").rename(root / "aside")
    samples = datasets.load("voc2007", root, difficult=difficult)
    assert (samples[0].labels, samples[0].unsure) == DIFFICULT[difficult] and samples[1].labels == ("dining table",)
    assert f"difficult {difficult}" in samples.describe()["data"]
    assert samples[0].image.size == (6, 4) and not samples[0].masks


def test_objects_of_voc(tmp_path):
    root = official.voc2007(tmp_path)
    sample = datasets.load("voc2007", root, regions="boxes", difficult="excluded")[0]
    assert sample.masks["person"].sum() == 4 and sample.masks["person"][:2, :2].all()  # from 1, ends included
    assert sample.ignore.sum() == 4 + 4 and "chair" not in sample.masks
    both = datasets.load("voc2007", root, regions="boxes", difficult="positive")[0]
    assert both.masks["person"].sum() == 8 and both.masks["chair"].sum() == 4 and not both.ignore.any()
    pairs = torchvision.datasets.VOCDetection(str(root), year="2007", image_set="test")
    for (image, found), ours in zip(pairs, datasets.load("voc2007", root, vocabulary="voc20.mmseg"), strict=True):
        clear = {one["name"] for one in found["annotation"]["object"] if one["difficult"] == "0"}
        assert set(ours.labels) == clear and ours.image.tobytes() == image.convert("RGB").tobytes()
    with pytest.raises(ValueError, match="How unclear objects count cannot be 'no'"):
        datasets.load("voc2007", root, difficult="no")
    xml = root / "VOCdevkit/VOC2007/Annotations/000001.xml"
    whole = xml.read_text()
    other = whole.replace("chair", "stool")
    for text, words in ((whole[:80], "is cut short or damaged"), (other, "class 'stool', which is")):
        xml.write_text(text)
        with pytest.raises(ValueError, match=f"000001.xml .*{words}"):
            datasets.load("voc2007", root)[0].labels  # noqa: B018


def test_concepts(tmp_path):
    names = BUILT_IN["nus-wide"].names
    root = official.nus_wide(tmp_path, names)
    samples = datasets.load("nus-wide", root)
    assert samples.names == ("actor/0001_2124494179.jpg", "zoo/0002_174174086.jpg") and len(samples.labels) == 81
    assert [sample.labels for sample in samples] == [("animal", "bear"), ()] and samples[0].image.size == (6, 4)
    assert samples.describe()["data"] == "nus-wide test n=2, words: nus-wide, 1 without a label"
    file = root / "NUS-WIDE/Groundtruth/TrainTestLabels/Labels_zebra_Test.txt"
    for text in ("0\n", "0\n2\n"):
        file.write_text(text)
        with pytest.raises(ValueError, match=r"Labels_zebra_Test\.txt must hold a 0 or 1 for each of the 2"):
            datasets.load("nus-wide", root)
    file.unlink()
    with pytest.raises(FileNotFoundError, match="zebra"):
        datasets.load("nus-wide", root)


def test_torchvision_reads_the_same_masks(tmp_path):
    root = str(official.voc2012(tmp_path))
    masks = [np.asarray(mask) for _, mask in torchvision.datasets.VOCSegmentation(root, image_set="val")]
    for mask, sample in zip(masks, datasets.load("voc21", tmp_path), strict=True):
        assert ((mask == 4) == sample.masks.get("boat", mask == 4)).all()
        assert ((mask == 255) == sample.ignore).all()
    base = official.sbd(tmp_path) / "benchmark_RELEASE" / "dataset"
    pairs = torchvision.datasets.SBDataset(str(base), image_set="val", mode="segmentation")
    for (image, mask), sample in zip(pairs, datasets.load("sbd", tmp_path), strict=True):
        places = sample.index_map(BUILT_IN["voc21"].names)  # (H, W), 20 for the background
        assert (places == (np.asarray(mask).astype(int) - 1) % 21).all() and sample.image.size == image.size
    root = official.cityscapes(tmp_path) / "cityscapes"
    theirs = torchvision.datasets.Cityscapes(str(root), split="val", mode="fine", target_type="semantic")
    train = {one.id: one.train_id for one in theirs.classes}
    samples = datasets.load("cityscapes", root)
    ours = {sample.name.rpartition("/")[2]: sample for sample in samples}
    for path, (image, ids) in zip(theirs.images, theirs, strict=True):
        sample = ours[path.rpartition("/")[2].removesuffix("_leftImg8bit.png")]
        expected = np.vectorize(lambda id: train[id] if 0 <= train[id] < 19 else -1)(np.asarray(ids))
        assert (sample.index_map(BUILT_IN["cityscapes-19"].names) == expected).all() and sample.image.size == image.size
