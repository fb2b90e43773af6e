"""From a text to points and a mask, step by step as the formulas say."""

import numpy as np
import pytest
import torch

import clipsx
from clipsx import segmenters
from clipsx.maps import points_from_maps
from clipsx.segmenters import RandomWalker, segment, segmented, split
from helpers import noise, tiny_clip, unchecked

PICTURE = noise(40, 56)


@pytest.fixture(scope="module")
def clip() -> clipsx.Clip:
    return tiny_clip(image_size=32, layers=2, width=32, patch_size=4)


@pytest.mark.parametrize(
    ("text", "parts"), [("cat", ("cat",)), (" cat + red dog+cat ", ("cat", "red dog")), ("a-b", ("a-b",))]
)
def test_texts_are_joined_by_plus(text: str, parts: tuple[str, ...]) -> None:
    assert split(text) == parts


@pytest.mark.parametrize("text", ["", " ", "cat+", "+", "cat++dog"])
def test_a_blank_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="blank"):
        split(text)


@pytest.mark.parametrize("reading", ["clip", "clip-surgery@1+code"])
@pytest.mark.parametrize(("text", "among"), [("cat", ()), ("cat", ("dog", "sky")), ("cat+dog", ("dog", "sky"))])
def test_map_points_and_mask(clip: clipsx.Clip, text: str, among: tuple[str, ...], reading: str) -> None:
    found = segment(clip, PICTURE, text, reading, RandomWalker(50), among=among, threshold=0.7, templates=["{}"])
    names = list(dict.fromkeys([*text.split("+"), *among]))
    dense = clip.encode_dense(clip.prepare(PICTURE), reading.partition("@")[0], depth=1 if "@" in reading else None)
    labels = clip.encode_labels(names, ["{}"])
    if reading == "clip":
        sim = clipsx.similarity(dense, labels)
    else:
        alone = clip.encode_labels([""], ["{}"]) if len(names) == 1 else None
        sim = clipsx.feature_surgery(dense, labels, redundant=alone)
    sim = sim[0, ..., : text.count("+") + 1]
    points, signs = points_from_maps(sim, (40, 56), 0.7)
    np.testing.assert_array_equal(found.points, points)
    np.testing.assert_array_equal(found.labels, signs)
    each = clipsx.upsample(clipsx.minmax(sim[None]), (40, 56))[0]
    np.testing.assert_allclose(found.map, each.amax(-1), atol=1e-6)
    np.testing.assert_array_equal(found.mask, RandomWalker(50)(PICTURE, points, signs))
    assert found.why == "" and 0 < found.labels.sum() < len(found.labels)


@pytest.mark.parametrize(
    ("sim", "by_hand", "why"),
    [
        (torch.ones(6, 6, 1), None, "the map is the same everywhere"),
        (torch.rand(3, 2, 1), None, "a grid of 3 × 2 is too small"),
        (torch.eye(2).repeat(3, 3)[..., None], None, "the map is the same everywhere"),  # once it is halved
        (torch.rand(6, 6, 1), ([], []), "No point lies on the object"),
        (torch.rand(6, 6, 1), ([(3, 3)], [0]), "No point lies on the object"),
    ],
)
def test_nothing_to_go_by_is_an_empty_mask_with_its_reason(sim: torch.Tensor, by_hand: object, why: str) -> None:
    found = segmented(PICTURE, sim, RandomWalker(), by_hand=by_hand)
    assert why in found.why and not found.mask.any() and found.mask.shape == (40, 56)


def test_points_by_hand_are_taken_as_they_are() -> None:
    found = segmented(PICTURE, torch.ones(6, 6, 1), RandomWalker(), by_hand=([(3, 3), (50, 30)], [1, 0]))
    assert found.points.tolist() == [[3, 3], [50, 30]] and found.mask[3, 3] and not found.mask[30, 50]
    assert found.why == "" and not found.map.any()


def test_half_precision(clip: clipsx.Clip) -> None:
    sim = torch.rand(8, 8, 2, generator=torch.Generator().manual_seed(0))
    one, other = (segmented(PICTURE, s, RandomWalker()) for s in (sim.bfloat16().float(), sim.bfloat16()))
    assert one.map.dtype == other.map.dtype == np.float32 and other.mask.any()


def test_bad_input(clip: clipsx.Clip) -> None:
    with pytest.raises(ValueError, match="threshold"):
        segment(clip, PICTURE, "cat", threshold=1.5)
    with unchecked(), pytest.raises(ValueError, match="Unknown segmenter"):
        segment(clip, PICTURE, "cat", segmenter="walker")
    assert clipsx.segmenters is segmenters
