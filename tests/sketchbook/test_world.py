"""The sketchbook: a pure function of seed, index and dials; exact masks; dials that do what they say."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipsx.datasets import VOC, Sketchbook
from clipsx.sketchbook import world as module
from clipsx.sketchbook.drawings import COLOURS, MATES, NOUNS, TABLE
from clipsx.sketchbook.grounds import GROUNDS
from clipsx.sketchbook.scene import picture, visible
from helpers import export_voc


def test_the_world_is_as_large_as_promised():
    assert len(NOUNS) >= 16
    assert len(COLOURS) == 8
    assert len(GROUNDS) == 6
    assert all(MATES[MATES[noun]] == noun != MATES[noun] for noun in NOUNS)
    assert {ground for _, ground in TABLE.values()} <= set(GROUNDS)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**31), index=st.integers(0, 999), size=st.sampled_from([8, 33, 96]))
def test_a_scene_is_a_pure_function_of_seed_and_index(seed, index, size):
    here, there = (Sketchbook(seed=seed, length=1000, size=size) for _ in range(2))
    for i in (3, 999 - index):  # reading others first must change nothing
        there[i]
    a, b = here[index], there[index]
    assert a.image.tobytes() == b.image.tobytes()
    assert a.labels == b.labels
    assert a.captions == b.captions
    assert all(np.array_equal(a.masks[label], b.masks[label]) for label in a.labels)


@settings(max_examples=15, deadline=None)
@given(index=st.integers(0, 99))
def test_masks_are_disjoint_visible_and_at_the_picture_size(index):
    world = Sketchbook(seed=3, length=100, size=64)
    sample = world[index]
    shown = visible(world.scene(index), 64)
    assert sample.image.mode == "RGB"
    assert sample.image.size == (64, 64)
    assert not sample.ignore.any()
    assert shown.sum(axis=0).max() <= 1  # a pixel belongs to one object at most
    assert set(sample.labels) == set(sample.masks) <= set(NOUNS)
    assert np.array_equal(np.any(list(sample.masks.values()), axis=0), shown.any(axis=0))


def test_every_object_is_where_its_mask_says():
    """Inside a mask the picture differs from the same scene without its objects; far from all masks it does not."""
    world = Sketchbook(seed=5, length=20, size=96)
    for index in range(20):
        scene = world.scene(index)
        shown, nothing = visible(scene, 96).any(axis=0), replace(scene, things=())
        change = np.abs(np.asarray(picture(scene, 96), int) - np.asarray(picture(nothing, 96), int)).max(axis=2) > 12
        assert visible(nothing, 96).shape == (0, 96, 96)
        assert change[shown].mean() > 0.8
        rows, columns = np.nonzero(shown)
        outside = np.ones((96, 96), bool)
        outside[max(0, rows.min() - 9) : rows.max() + 10, max(0, columns.min() - 9) : columns.max() + 10] = False
        assert not change[outside].any()


def test_labels_and_masks_paint_nothing(monkeypatch):
    whole = [(sample.labels, sample.masks) for sample in Sketchbook(seed=4, length=6, size=32)]
    monkeypatch.setattr(module, "picture", lambda *_: pytest.fail("a picture was painted"))
    for sample, (labels, masks) in zip(Sketchbook(seed=4, length=6, size=32), whole, strict=True):
        assert sample.labels == labels == tuple(sample.masks) and sample.size == (32, 32)
        assert all(np.array_equal(sample.masks[label], masks[label]) for label in labels)
        assert sample.index_map(labels).shape == (32, 32)


def test_the_gallery_is_what_is_drawn(repo):
    """Drawings with other pixels are another version: raise `DRAWN`, and export the gallery again."""
    gallery, world = VOC(repo / "data" / "gallery"), Sketchbook(seed=12, length=40, size=288)
    assert module.DRAWN == 1
    for shown, index in zip(gallery, (9, 10, 2, 19, 23, 20, 4, 27, 5, 35, 22, 39), strict=True):
        drawn = world[index]
        assert shown.name == drawn.name and set(shown.labels) == set(drawn.labels)
        assert all(np.array_equal(shown.masks[label], drawn.masks[label]) for label in drawn.labels)
        assert np.abs(np.asarray(shown.image, int) - np.asarray(drawn.image, int)).mean() < 4  # a JPEG


def test_a_scene_looks_the_same_at_every_size():
    small, large = (Sketchbook(seed=11, length=12, size=size) for size in (48, 192))
    for index in range(12):
        a = np.asarray(small[index].image, float)
        b = np.asarray(large[index].image.reduce(4), float)
        assert np.abs(a - b).mean() < 16
        assert small[index].labels == large[index].labels


@pytest.mark.slow
def test_dials_do_what_they_say():
    def companions(dial):
        world = Sketchbook(length=600, co_occurrence=dial, objects=(2, 2))
        return np.mean([MATES[s.things[0].noun] == s.things[1].noun for s in map(world.scene, range(600))])

    def at_home(dial):
        world = Sketchbook(length=600, background_bias=dial, objects=(1, 1))
        return np.mean([TABLE[s.things[0].noun][1] == s.ground for s in map(world.scene, range(600))])

    assert companions(0) < 0.12
    assert abs(companions(0.6) - 0.62) < 0.08
    assert companions(1) == 1
    assert at_home(0) < 0.25
    assert abs(at_home(0.6) - 0.67) < 0.08
    assert at_home(1) == 1
    counts = [len(Sketchbook(length=300).scene(i).things) for i in range(300)]
    assert set(counts) == {1, 2, 3, 4}


def test_captions_name_what_is_there():
    world = Sketchbook(seed=1, length=30)
    for index in range(30):
        sample, scene = world[index], world.scene(index)
        assert len(set(sample.captions)) >= 3
        assert all(noun in sample.captions[0] for noun in sample.labels)
        assert all(thing.colour in sample.captions[0] for thing in scene.things)
        assert scene.ground in sample.captions[0]
        assert scene.ground in sample.captions[2]
        assert " a a" not in sample.captions[0]
        assert " a o" not in sample.captions[0]


@pytest.mark.parametrize(
    ("options", "culprit"),
    [
        ({"co_occurrence": 1.5}, "co_occurrence"),
        ({"background_bias": -1}, "background_bias"),
        ({"objects": (0, 2)}, "objects"),
        ({"objects": (2, 5)}, "objects"),
        ({"size": 4}, "size"),
        ({"seed": -1}, "seed"),
    ],
)
def test_a_dial_out_of_range_is_named(options, culprit):
    with pytest.raises(ValueError, match=culprit):
        Sketchbook(**options)


def test_an_index_beyond_the_end_ends_the_sequence():
    world = Sketchbook(length=3, size=16)
    assert len(list(world)) == 3
    assert world[-1].name == world[2].name
    with pytest.raises(IndexError):
        world[3]


def test_export_reads_back_as_voc(tmp_path):
    world = Sketchbook(seed=2, length=5, size=48)
    back = VOC(export_voc(world, world.labels, tmp_path))
    assert len(back) == 5
    for original, read in zip(world, back, strict=True):
        assert set(read.labels) == set(original.labels)
        assert read.name == original.name
        assert all(np.array_equal(read.masks[label], original.masks[label]) for label in original.labels)
