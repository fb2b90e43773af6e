"""Vocabularies: the built-in ones are what their names say, files are read as written, typed labels as meant."""

import numpy as np
import pytest

from clipsx.datasets import BUILT_IN, VOCABULARIES, Sketchbook, Vocabulary, vocabulary


@pytest.mark.parametrize(("name", "size"), [("voc-20", 20), ("coco-80", 80), ("context-59", 59), ("cityscapes-19", 19)])
def test_a_set_has_as_many_different_labels_as_its_name_says(name, size):
    assert len(vocabulary(name)) == len(set(vocabulary(name))) == size
    assert all(label == label.strip() and label for label in vocabulary(name))
    assert not BUILT_IN[name].background


def test_the_sets_are_those_of_the_files(repo):
    files = {file.stem: file for file in (repo / "data" / "vocabularies").glob("*.txt")}
    assert set(VOCABULARIES) == set(files) and next(iter(VOCABULARIES)) == "sketchbook"
    for name, file in files.items():
        assert Vocabulary.read(file) == BUILT_IN[name]
        assert VOCABULARIES[name] == vocabulary(name) == BUILT_IN[name].names


def test_the_sketchbook_has_the_words_of_its_world():
    assert vocabulary("sketchbook") == tuple(Sketchbook.NOUNS)
    assert BUILT_IN["sketchbook"].background == Sketchbook.BACKGROUNDS


def test_the_wording_is_that_of_text():
    voc = vocabulary("voc-20")
    assert (
        voc[0] == "aeroplane"
        and voc[10] == "dining table"
        and voc[15:]
        == (
            "potted plant",
            "sheep",
            "sofa",
            "train",
            "tv monitor",
        )
    )
    assert vocabulary("context-59")[:3] == ("aeroplane", "bag", "bed") == tuple(sorted(vocabulary("context-59")))[:3]
    assert vocabulary("cityscapes-19")[6:8] == ("traffic light", "traffic sign")


def test_coco_is_in_the_order_of_the_real_features(clip_features):
    kept = np.load(clip_features / "coco80_text_vit_b_16_openai.npz")
    assert tuple(kept["label_names"].tolist()) == VOCABULARIES["coco-80"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_read(tmp_path, encoding):
    lines = (
        "# a comment\n\nsofa, couch, settee\nbackground: sky, wall\n  naïve art \r\n#cat\nbackground:tree\nbackground\n"
    )
    (tmp_path / "own.txt").write_text(lines, encoding=encoding, newline="")
    found = Vocabulary.read(tmp_path / "own.txt")
    assert found.names == ("sofa", "naïve art", "background")
    assert found.queries == (("sofa", "couch", "settee"), ("naïve art",), ("background",))
    assert found.background == ("sky", "wall", "tree")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", r"own\.txt holds no class"),
        ("# nothing\nbackground: sky\n", r"own\.txt holds no class"),
        ("cat\n# dog\ncat, kitten\n", r"own\.txt, line 3: the class 'cat' is there twice"),
        ("cat, , kitten\n", r"own\.txt, line 1: .* without words"),
        ("cat\nbackground:\n", r"own\.txt, line 2: .* without words"),
    ],
)
def test_errors_name_file_and_line(tmp_path, text, words):
    (tmp_path / "own.txt").write_text(text)
    with pytest.raises(ValueError, match=words):
        Vocabulary.read(tmp_path / "own.txt")


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        Vocabulary.read(tmp_path / "none.txt")


def test_typed_labels():
    assert vocabulary("cat, red boat\n cat,,dog") == ("cat", "red boat", "dog")
    for wrong in ("voc20", "cat", " , "):
        with pytest.raises(ValueError, match="is no label set"):
            vocabulary(wrong)
