"""A sample: opened when asked, masks of any type alike, and the index map against a plain loop."""

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from clipsx.datasets import Sample
from helpers import noise

MASK = np.random.default_rng(0).random((4, 6)) < 0.5
SAME = {
    "bool": MASK,
    "list": MASK.tolist(),
    "int64": MASK.astype(int),
    "uint8 0/1": MASK.astype(np.uint8),
    "uint8 0/255": MASK.astype(np.uint8) * 255,
    "float": np.where(MASK, 0.5, 0.4999),
    "float16": MASK.astype(np.float16),
    "PIL": Image.fromarray(MASK),
    "tensor of bool": torch.from_numpy(MASK),
    "tensor of bfloat16": torch.from_numpy(MASK).to(torch.bfloat16),
    "tensor with gradient": torch.from_numpy(MASK).double().requires_grad_(),
}
WRONG = {
    "floats over 1": MASK * 255.0,
    "negative": MASK * -0.5,
    "NaN": np.where(MASK, np.nan, 0),
    "int64 0/255": MASK * 255,
    "0, 1 and 255": np.where(MASK, np.arange(24).reshape(4, 6) % 2 * 254 + 1, 0).astype(np.uint8),
    "words": MASK.astype(str),
    "objects": MASK.astype(object),
}


def fail() -> None:
    raise AssertionError("opened, though nobody asked")


class Counted:
    """A function that opens something, and how often it was called."""

    def __init__(self, value: object) -> None:
        self.value, self.calls = value, 0

    def __call__(self) -> object:
        self.calls += 1
        return self.value


@pytest.mark.parametrize("mask", SAME.values(), ids=list(SAME))
def test_every_type_of_mask_is_one_mask(mask):
    for sample in (Sample(noise(4, 6), (), {"a": mask}, (), mask), Sample(noise(4, 6), (), lambda: {"a": mask})):
        found = sample.masks["a"]
        assert found.dtype == bool and np.array_equal(found, MASK)
    assert np.array_equal(Sample(noise(4, 6), ignore=lambda: mask).ignore, MASK)


@pytest.mark.parametrize("mask", WRONG.values(), ids=list(WRONG))
def test_what_is_no_mask_is_refused_by_name(mask):
    with pytest.raises(ValueError, match="harbour: the mask of 'boat' holds"):
        Sample(noise(4, 6), (), {"boat": mask}, name="harbour")
    sample = Sample(noise(4, 6), (), lambda: {"boat": mask}, ignore=lambda: mask, name="harbour")
    with pytest.raises(ValueError, match="harbour: the mask of 'boat' holds"):
        sample.masks  # noqa: B018
    with pytest.raises(ValueError, match="harbour: the mask `ignore` holds"):
        sample.ignore  # noqa: B018


def test_another_size_than_the_picture_is_refused():
    with pytest.raises(ValueError, match=r"x: the mask of 'a' is \(6, 4\), its picture \(4, 6\) \(H, W\)"):
        Sample(noise(4, 6), (), {"a": MASK.T}, name="x")
    with pytest.raises(ValueError, match=r"the mask `ignore` is \(4, 6, 1\)"):
        Sample(fail, ignore=MASK[..., None], size=(6, 4))
    with pytest.raises(ValueError, match=r"the picture is \(6, 4\) \(W, H\), but its size was given as \(4, 6\)"):
        Sample(noise(4, 6), size=(4, 6))
    late = Sample(lambda: noise(4, 6), (), lambda: {"a": MASK.T}, size=lambda: (4, 6), name="x")
    assert late.size == (4, 6) and late.masks["a"].shape == (6, 4)
    with pytest.raises(ValueError, match="its size was given as"):
        late.image  # noqa: B018
    late = late.closed()
    assert late.image.size == late.size == (6, 4)  # the picture's own, where it is open
    with pytest.raises(ValueError, match="x: the mask of 'a'"):
        late.masks  # noqa: B018


def test_nothing_is_opened_before_it_is_asked_for():
    sample = Sample(fail, fail, fail, ("a cat",), fail, "x", fail)
    assert (sample.name, sample.captions, repr(sample)) == ("x", ("a cat",), "Sample('x')")
    assert sample.replace(name="y").closed().name == "y"
    known = Sample(fail, ("a",), {"a": MASK}, size=(6, 4))
    assert known.size == (6, 4) and known.labels == ("a",) and not known.ignore.any()
    assert np.array_equal(known.index_map(["a"]), np.where(MASK, 0, 1))
    assert Sample(fail, lambda: ["a", "b"], fail).labels == ("a", "b")


def test_what_is_opened_is_opened_once_and_can_be_let_go():
    picture, masks, labels = Counted(noise(4, 6)), Counted({"a": MASK}), Counted(["a"])
    sample = Sample(picture, labels, masks)
    for _ in range(2):
        assert sample.image is sample.image and sample.masks["a"] is sample.masks["a"]
        assert sample.size == (6, 4) and sample.labels == ("a",)
    assert (picture.calls, masks.calls, labels.calls) == (1, 1, 1)
    again = sample.closed()
    assert again.image is sample.image and again.labels == ("a",)
    assert (picture.calls, masks.calls, labels.calls) == (2, 1, 2)


def test_every_picture_is_rgb():
    for picture in (noise(4, 6).convert("L"), noise(4, 6).convert("P"), noise(4, 6).convert("RGBA")):
        assert Sample(picture).image.mode == Sample(lambda picture=picture: picture).image.mode == "RGB"
    picture = noise(4, 6)
    assert Sample(picture).image is picture


def test_a_sample_does_not_change():
    own, labels, captions = {"a": MASK.copy()}, ["a"], ["a cat"]
    sample = Sample(noise(4, 6), labels, own, captions)
    own["a"][:] = True
    own["b"] = labels[0] = captions[0] = "changed"
    for same in (sample, sample.replace(name="x"), sample.closed(), sample.opened()):
        assert np.array_equal(same.masks["a"], MASK) and set(same.masks) == {"a"}
        assert same.labels == ("a",) and same.captions == ("a cat",)
    with pytest.raises(AttributeError):
        sample.name = "y"
    with pytest.raises(AttributeError):
        sample.colour = "red"
    with pytest.raises(TypeError):
        sample.masks["b"] = MASK
    with pytest.raises(ValueError, match="read-only"):
        sample.masks["a"][:] = True
    with pytest.raises(ValueError, match="read-only"):
        sample.ignore[:] = True


def test_replace():
    sample = Sample(noise(4, 6), ("a",), {"a": MASK}, ("a cat",), ~MASK, "x", (6, 4))
    other = sample.replace(masks={"b": ~MASK}, labels=("b",))
    assert set(other.masks) == {"b"} and other.labels == ("b",) and other.image is sample.image
    assert (other.name, other.captions) == ("x", ("a cat",)) and np.array_equal(other.ignore, ~MASK)
    assert set(sample.masks) == {"a"}
    larger = sample.replace(image=noise(8, 9), masks=None, ignore=None)
    assert larger.size == (9, 8) and larger.ignore.shape == (8, 9) and not larger.masks
    with pytest.raises(ValueError, match="the mask of 'a'"):
        sample.replace(image=noise(8, 9))
    with pytest.raises(TypeError):
        sample.replace(colour="red")


def test_a_sample_goes_to_another_process():
    lazy = Sample(lambda: noise(4, 6), lambda: ("a",), lambda: {"a": MASK}, ("a cat",), lambda: ~MASK, "x")
    for sample in (pickle.loads(pickle.dumps(each)) for each in (lazy, lazy.opened())):
        assert sample.image.tobytes() == noise(4, 6).tobytes() and sample.size == (6, 4)
        assert (sample.name, sample.labels, sample.captions) == ("x", ("a",), ("a cat",))
        assert np.array_equal(sample.masks["a"], MASK) and np.array_equal(sample.ignore, ~MASK)
        with pytest.raises(ValueError, match="read-only"):
            sample.masks["a"][:] = True
    opened = Sample(Counted(noise(4, 6)), fail, {}).replace(labels=()).opened()
    assert opened.closed().image is opened.image  # nothing is left that could be opened again


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), asked=st.lists(st.sampled_from("abcdef"), unique=True))
def test_index_map(seed, asked):
    """Against a loop over pixels and masks; masks overlap, and some labels are not asked for."""
    rng = np.random.default_rng(seed)
    masks = {label: rng.random((3, 5)) < 0.4 for label in "abcd"}
    ignore = rng.random((3, 5)) < 0.2
    found = Sample(noise(3, 5), (), masks, (), ignore).index_map(asked)
    assert found.shape == (3, 5) and found.dtype.kind == "i"
    for y in range(3):
        for x in range(5):
            place = len(asked)
            for label, mask in masks.items():
                if mask[y, x]:
                    place = asked.index(label) if label in asked else -1
            assert found[y, x] == (-1 if ignore[y, x] else place)
