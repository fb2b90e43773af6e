"""Trees, lists and texts as people have them: what is read alike, and what is refused with its file."""

import unicodedata

import numpy as np
import pytest
import torch
from PIL import Image

from clipsx import datasets, mfi
from clipsx.analyses import coactivation, companions
from clipsx.datasets import VOC, VOCABULARIES, Folder, Sample, Vocabulary
from clipsx.evaluation import explain, recognise, segment
from clipsx.evaluation.explain import queries
from clipsx.text import _fill
from helpers import noise, tiny_clip, unchecked

LIST = "ImageSets/Segmentation/val.txt"
LISTS = {
    "names": "a\nb\n",
    "CRLF and blank lines": "\r\na\r\n\r\n b \r\n",
    "a mark": "\ufeffa\nb",
    "flags": "a 1\nb  0\n",
    "endings": "a.jpg\nb.JPG",
    "paths": "JPEGImages/a.jpg\n./JPEGImages/b.jpg\n",
    "backslashes": "VOC2012\\JPEGImages\\a.jpg\nVOC2012\\JPEGImages\\b.jpg\n",
    "pictures and masks": "/JPEGImages/a.jpg /SegmentationClass/a.png\n/JPEGImages/b.jpg /SegmentationClass/b.png\n",
    "flags of one class": "a  1\nnone -1\nb -1\nb  1\n",
}


@pytest.mark.parametrize("text", LISTS.values(), ids=list(LISTS))
def test_lists(devkit, text):
    (devkit / LIST).write_bytes(text.encode())
    voc = VOC(devkit)
    assert voc.names == ("a", "b") and [s.image.size for s in voc] == [(8, 5), (4, 7)]
    assert [s.labels for s in voc] == [("dining table", "person")] * 2


def test_endings_and_names(devkit):
    (devkit / "JPEGImages" / "a.jpg").rename(devkit / "JPEGImages" / "my photo 1.JPG")
    (devkit / "SegmentationClass" / "a.png").rename(devkit / "SegmentationClass" / "my photo 1.PNG")
    noise(7, 4).save(devkit / "JPEGImages" / "b.png")
    (devkit / "JPEGImages" / "b.jpg").rename(devkit / "JPEGImages" / "b.v2.jpeg")
    (devkit / "JPEGImages" / "._b.jpg").write_bytes(b"x")
    (devkit / LIST).write_text("my photo 1\nb\n")
    assert [s.image.size for s in VOC(devkit)] == [(8, 5), (4, 7)] and VOC(devkit)[0].masks["person"].any()
    (devkit / LIST).write_text("b.v2\nmy photo 1 1\n")
    assert VOC(devkit).names == ("b.v2", "my photo 1") and VOC(devkit)[0].image.size == (4, 7)


@pytest.mark.parametrize("place", ["VOC2007", "VOCdevkit/VOC2007"])
def test_another_year_alone(devkit, place):
    target = devkit.parent / "x" / place
    target.parent.mkdir(parents=True)
    devkit.rename(target)
    for root in (devkit.parent / "x", target):
        assert datasets.load("voc2012", root).describe() == {"data": "VOC2007 val n=2, words: voc-20"}


def test_what_is_lacking_is_said(devkit, pictures):
    for file in (devkit / "SegmentationClass").iterdir():
        file.unlink()
    assert VOC(devkit).describe() == {"data": "VOC2012 val n=2, words: voc-20, without masks"}
    assert VOC(devkit)[0].labels == () and not VOC(devkit)[0].masks and not VOC(devkit)[0].ignore.any()
    (devkit / LIST).unlink()
    assert VOC(devkit).describe() == {"data": "VOC2012 val n=2, words: voc-20, without masks or lists"}
    assert [s.name for s in VOC(devkit)] == ["a", "b"]
    assert Folder(devkit / "JPEGImages").describe() == {
        "data": "folder JPEGImages n=2, words: voc-20, without labels or masks"
    }
    assert Folder(devkit / "JPEGImages", ["cat"]).describe() == {
        "data": "folder JPEGImages n=2, words: given words, without masks"
    }


def test_a_list_of_another_kind(devkit):
    (devkit / "ImageSets" / "Main").mkdir()
    (devkit / "ImageSets" / "Main" / "cat_val.txt").write_text("a -1\nb  1\n")
    (devkit / "ImageSets" / "Main" / "val.txt").write_text("a\n")
    assert VOC(devkit, "cat_val").names == ("b",) and VOC(devkit).names == ("a", "b")


def test_what_is_no_picture_is_not_counted(pictures):
    for name in ("._two.PNG", ".hidden.jpg", "__MACOSX/one.jpg", ".ipynb_checkpoints/one-checkpoint.jpg",
                 "masks/boats/one/._boat.png", "masks/boats/one/.ipynb_checkpoints/x.png"):  # fmt: skip
        (pictures / name).parent.mkdir(exist_ok=True)
        (pictures / name).write_bytes(b"no picture")
    (pictures / "a.jpg").mkdir()
    (pictures / "masks" / "boats" / "one" / "bird.png").mkdir()
    folder = Folder(pictures)
    assert [f.as_posix() for f in folder.files] == ["boats/one.jpg", "two.PNG"]
    assert folder[0].labels == ("boat", "a bird", "fish") and folder.fingerprint()


CAT, DOG = ("cat", "traffic light"), ("dog",)
CLASSES = {
    "plain": "cat\ntraffic_light\ndog\n",
    "background": "background\ncat\ntraffic_light\ndog\n",
    "labelme": "__ignore__\n_background_\ncat\ntraffic_light\ndog\n",
    "numbered": "1 cat\n2 traffic_light\n3 dog\n",
    "numbered from the background": "0: background\n1: cat\n2: traffic_light\n3: dog",
    "marks and comments": "\ufeff# mine\r\n\r\nBackground\r\n1. cat".replace("1. ", "")
    + "\r\ntraffic light\r\ndog\r\n",
    "background words": "background: sky, wall\ncat\ntraffic_light\ndog\n",
}


@pytest.mark.parametrize("text", CLASSES.values(), ids=list(CLASSES))
def test_lists_of_classes(devkit, tmp_path, text):
    (devkit / "labels.txt").write_bytes(text.encode())
    assert VOC(devkit).labels == ("cat", "traffic light", "dog")
    found = Vocabulary.read(devkit / "labels.txt")
    assert found.names[-3:] == ("cat", "traffic light", "dog") and len(found.names) == 3
    with pytest.raises(ValueError, match="only 3 labels have names"):
        VOC(devkit)[0].labels  # noqa: B018


@pytest.mark.parametrize(
    ("text", "words"),
    [("1 cat\ndog\n", r"line 2: 'dog' is not numbered 2"), ("1 cat\n3 dog\n", "line 2: '3 dog' is not numbered 2"),
     ("0 cat\n1 dog\n", "calls value 0 'cat'"), ("0 0.5 0.5\n", "line 1: .* holds no name")],
)  # fmt: skip
def test_lists_that_can_be_read_in_two_ways_are_refused(devkit, text, words):
    (devkit / "labels.txt").write_text(text)
    with pytest.raises(ValueError, match=rf"labels\.txt.*{words}"):
        VOC(devkit)


def test_values_of_one_name_are_united(devkit):
    (devkit / "labels.txt").write_text("\n".join(f"thing {n if n not in (11, 15) else 0}" for n in range(1, 16)))
    sample = VOC(devkit)[0]
    assert sample.labels == ("thing 0",) and sample.masks["thing 0"].sum() == 18
    assert VOC(devkit, labels=["background", *VOCABULARIES["voc-20"]])[0].labels == ("dining table", "person")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "latin-1", "cp1252"])
@pytest.mark.parametrize("file", ["VOC2012/labels.txt", "VOC2012/" + LIST, "own/two.txt"])
def test_other_encodings_are_named_with_the_file(devkit, pictures, encoding, file):
    (devkit.parent / file).write_bytes("café\nnaïve\n".encode(encoding))
    with pytest.raises(ValueError, match=rf"{file[-7:]} is not UTF-8 but looks like (UTF-16|Latin-1)"):
        (Folder if "own" in file else VOC)(devkit.parent / file.split("/")[0])
    with pytest.raises(ValueError, match="is not UTF-8"):
        Vocabulary.read(devkit.parent / file)


def test_two_spellings_of_a_name_are_one(pictures):
    one, other = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    (pictures / "two.txt").write_text(one)
    (pictures / "masks" / "two").mkdir()
    Image.fromarray(np.eye(4, dtype=bool)).save(pictures / "masks" / "two" / f"{other}.png")
    sample = Folder(pictures)[1]
    assert sample.labels == tuple(sample.masks) == (one,)
    assert Sample(noise(4, 4), (other,), {other: np.eye(4)}).index_map([other])[0, 0] == 0
    assert queries([one, other, "dog"]) == (one, "dog") and companions.presence([sample], [other]).all()
    assert Folder(pictures, [other]).given == (one,)


def test_underscores_are_read_as_words():
    assert _fill("a photo of a {}.", "traffic_light") == "a photo of a traffic light."


def test_one_text_is_no_list_of_labels(devkit, pictures):
    clip = tiny_clip(layers=1)
    takes = [
        lambda text: VOC(devkit, labels=text), lambda text: Folder(pictures, text),
        lambda text: Sample(noise(4, 4), text), lambda text: Sample(noise(4, 4), lambda: text).labels,
        lambda text: Sample(noise(4, 4)).index_map(text), lambda text: companions.presence([], text), queries,
        lambda text: explain.measure(clip, text), lambda text: explain.measure(clip, {"a": text}),
        lambda text: segment.measure(clip, text), lambda text: segment.measure(clip, ["a", "b"], grounds=text),
        lambda text: recognise.measure(clip, text), lambda text: coactivation.measure(clip, text),
        lambda text: mfi.pairs(torch.eye(3), text), clip.encode_labels, lambda text: Vocabulary((text,)),
        lambda text: datasets.load("folder", pictures, labels=text),
    ]  # fmt: skip
    for take in takes:
        with unchecked(), pytest.raises((TypeError, ValueError), match="must be a list of texts"):
            take("cat")
    for wrong in ([1], ["cat", None], [" "]):
        with unchecked(), pytest.raises((TypeError, ValueError), match="label"):
            Folder(pictures, wrong)
