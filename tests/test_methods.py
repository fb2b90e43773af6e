"""The table of methods, and the words about unknown names."""

from collections.abc import Callable

import pytest

import clipsx
from clipsx import methods
from clipsx.messages import nearest
from helpers import random_images, tiny_clip, tiny_resnet


def test_every_row_says_whose_it_is_and_who_can_do_it() -> None:
    for name, row in methods.METHODS.items():
        assert row.name == name
        assert row.title
        assert row.source
        assert row.vit is not None or row.resnet is not None


@pytest.mark.parametrize("make", [tiny_clip, tiny_resnet])
def test_every_method_of_a_tower_gives_features_of_its_own(make: Callable[[], clipsx.Clip]) -> None:
    clip = make()
    images = random_images(1, *clip.image_size)
    found = [clip.encode_dense(images, method).patches for method in clip.methods]
    assert all(float((a - b).abs().max()) > 1e-4 for i, a in enumerate(found) for b in found[:i])


def test_depth_reaches_further_back() -> None:
    clip = tiny_clip()
    images = random_images(1, *clip.image_size)
    one, two, six = (clip.encode_dense(images, "clip-surgery", depth).patches for depth in (1, 2, 6))
    assert float((one - two).abs().max()) > 1e-3
    assert float((two - six).abs().max()) > 1e-3


def test_plan() -> None:
    assert methods.plan("clip", "vit").blocks == 0
    with pytest.raises(ValueError, match="did you mean 'maskclip'"):
        methods.plan("maskclp", "vit")
    with pytest.raises(ValueError, match="does not apply to this kind of image tower"):
        methods.plan("clip-surgery-released", "vit")


def test_nearest() -> None:
    assert nearest("Clip", ["clip", "boat"]) == "; did you mean 'clip'? Known: clip, boat"
    assert nearest("zzz", ["a", "b", "c"], show=2) == ". Known: a, b and 1 more"
    assert nearest("zzz", []) == ". None is known"
