"""Label sets: their sizes are their names, and what is typed is read as a person means it."""

import numpy as np
import pytest

from clipsx.datasets import VOCABULARIES, vocabulary


@pytest.mark.parametrize(("name", "size"), [("voc-20", 20), ("coco-80", 80), ("context-59", 59), ("cityscapes-19", 19)])
def test_a_set_has_as_many_different_labels_as_its_name_says(name, size):
    assert len(vocabulary(name)) == len(set(vocabulary(name))) == size
    assert all(label == label.strip() and label for label in vocabulary(name))


def test_coco_is_in_the_order_of_the_real_features(clip_features):
    kept = np.load(clip_features / "coco80_text_vit_b_16_openai.npz")
    assert tuple(kept["label_names"].tolist()) == VOCABULARIES["coco-80"]


def test_typed_labels():
    assert vocabulary("cat, red boat\n cat,,dog") == ("cat", "red boat", "dog")
    for wrong in ("voc20", "cat", " , "):
        with pytest.raises(ValueError, match="is no label set"):
            vocabulary(wrong)
