"""The picture to open on: the rule against the formula, the counter-example, data without masks."""

import numpy as np
import pytest

import clipsx
from clipsx.datasets import Sample, Sketchbook
from clipsx.evaluation.typical import typical
from clipsx.maps import minmax, similarity, upsample
from helpers import noise, tiny_clip


@pytest.fixture(scope="module")
def clip() -> clipsx.Clip:
    return tiny_clip(image_size=32, layers=2, width=32, patch_size=8)


@pytest.mark.slow
def test_the_most_typical_object_is_nearest_the_medians_and_the_counter_example_falls_most(clip: clipsx.Clip) -> None:
    world, scores = Sketchbook(seed=3, length=9, size=64), []
    found = typical(clip, world, "maskclip", first=6)
    for number in range(6):
        images, pixels = clip.prepare(world[number].image), world[number].size[::-1]
        for label, mask in world[number].masks.items():
            text, pair = clip.encode_labels([label]), []
            for method in ("clip", "maskclip"):
                map = upsample(minmax(similarity(clip.encode_dense(images, method), text)), pixels)[0, ..., 0].numpy()
                pair.append(100 * (map[mask].mean() - map[~mask].mean()))
            scores.append((number, label, *pair))
    before, after = np.array([row[2:] for row in scores]).T
    distance = abs(before - np.median(before)) + abs(after - before - np.median(after - before))
    for example, place in ((found.shown, distance.argmin()), (found.counter, (after - before).argmin())):
        assert (example.image, example.label) == scores[place][:2]
        assert (example.before, example.after) == pytest.approx(scores[place][2:], abs=1e-3)
    lower = int((after < before).sum())
    assert f"{lower} of {len(scores)} objects come out lower" in str(found) and "by MaskCLIP lie" in str(found)
    assert found.shown.state == {"image": found.shown.image, "shown": found.shown.label}


@pytest.mark.slow
def test_a_change_of_model_is_one_too(clip: clipsx.Clip) -> None:
    world = Sketchbook(seed=3, length=4, size=64)
    same = typical(clip, world, "clip", after=clip)
    assert same.counter is None and same.shown.before == same.shown.after
    assert "the projectors" in same.rule and "None of them comes out lower" in str(same)
    other = typical(clip, world, "clip", after=tiny_clip(image_size=32, layers=1, width=32, patch_size=8))
    assert other.table["before"].equals(same.table["before"]) and not other.table["after"].equals(same.table["after"])


PLAIN = [Sample(noise(8, 8)), Sample(noise(8, 8), ("cat", "dog"))]
WHOLE = Sample(noise(8, 8), ("cat", "dog"), {"cat": np.ones((8, 8), bool)})


@pytest.mark.parametrize(("samples", "why"), [(PLAIN, "No true region"), ([WHOLE], "No mask here has a background")])
def test_where_nothing_can_be_measured_the_first_picture_is_shown(clip, samples, why) -> None:
    found = typical(clip, samples)
    assert (found.shown.image, found.shown.label, found.counter) == (0, None, None)
    assert str(found).startswith(why) and "the first picture is shown" in str(found)
