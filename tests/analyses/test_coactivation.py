"""What a label's map does inside another label's object, against plain loops over pixels."""

import numpy as np
import pandas as pd
import pytest

import clipsx
from clipsx.analyses import coactivation
from clipsx.datasets import Sample, Sketchbook
from clipsx.evaluation.stream import stream
from helpers import masked, noise, tiny_clip, unchecked

LABELS = ("cat", "dog", "sky")


@pytest.fixture(scope="module")
def clip() -> clipsx.Clip:
    return tiny_clip(image_size=32, layers=2, width=32, patch_size=8)


def run(clip: clipsx.Clip, samples: object, labels: object = LABELS, **options: object) -> pd.DataFrame:
    return stream(clip, samples, [coactivation.measure(clip, labels, templates="photo", **options)])[0]


def maps_of(clip: clipsx.Clip, sample: Sample, labels: object, method: str = "clip") -> np.ndarray:
    dense = clip.encode_dense(clip.prepare(sample.image), method)
    sim = clipsx.similarity(dense, clip.encode_labels(labels, "photo"))
    return clipsx.upsample(clipsx.minmax(sim), sample.size[::-1])[0].numpy()  # (H, W, N)


@pytest.mark.parametrize("region", coactivation.REGIONS)
def test_every_row_equals_the_loop(clip: clipsx.Clip, region: str) -> None:
    samples = (masked(20, 28, ("cat", "dog"), 1), masked(17, 11, ("dog", "boat"), 2))
    table = run(clip, samples, threshold=0.5, region=region)
    expected = []
    for sample in samples:
        maps = maps_of(clip, sample, LABELS)
        known = [a for a in sample.labels if a in LABELS]
        for a in known:
            for b in [b for b in LABELS if b != a]:
                score, fires, others, whole, count = 0.0, 0, 0.0, 0.0, 0
                for y, x in np.ndindex(sample.size[::-1]):
                    if sample.ignore[y, x]:
                        continue
                    value = float(maps[y, x, LABELS.index(b)])
                    own = sample.masks[a][y, x] if region == "mask" else maps[y, x, LABELS.index(a)] >= 0.5
                    whole += value
                    if own:
                        count, score, fires = count + 1, score + value, fires + (value >= 0.5)
                        others += value if b in sample.masks and not sample.masks[b][y, x] else 0
                known_others = region == "mask" and b in known
                expected.append(
                    {"image": sample.name, "a": a, "b": b, "score": score / count, "fires": 100 * fires / count,
                     "others": 100 * others / whole if known_others else np.nan, "companion": b in known}
                )  # fmt: skip
    frame = pd.DataFrame(expected)
    pd.testing.assert_frame_equal(table[frame.columns], frame, atol=1e-3, rtol=0)
    assert table["number"].tolist() == [0] * 4 + [1] * 2
    assert set(table["reading"]) == {"clip"} and set(table["surgery"]) == {"none"}
    assert table["protocol"].str.contains(f"object a by its {region}; fires at 0.5").all()


def test_any_reading_can_be_asked(clip: clipsx.Clip) -> None:
    sample = masked(20, 28, ("cat", "dog"), 1)
    table = run(clip, [sample], asked="clip-surgery@1+code")
    dense = clip.encode_dense(clip.prepare(sample.image), "clip-surgery", 1)
    sim = clipsx.feature_surgery(dense, clip.encode_labels(LABELS, "photo"))
    maps = clipsx.upsample(clipsx.minmax(sim), sample.size[::-1])[0].numpy()
    on = maps[..., 2][sample.masks["cat"] & ~sample.ignore]
    assert table.query("a == 'cat' and b == 'sky'")["score"].item() == pytest.approx(on.mean(), abs=1e-5)
    assert set(table["depth"]) == {1} and set(table["tau"]) == {2.0}


@pytest.mark.slow
def test_a_built_in_model_on_the_built_in_world() -> None:
    clip, world = clipsx.load("sketchbook-random"), Sketchbook(seed=5, length=4, objects=(2, 3))
    table = stream(clip, world, [coactivation.measure(clip, world.labels, threshold=0.5)])[0]
    assert not (table["a"] == table["b"]).any() and table["score"].between(0, 1).all()
    sample = world[0]
    text = clip.encode_labels(world.labels)
    sim = clipsx.similarity(clip.encode_dense(clip.prepare(sample.image), method="clip"), text)
    maps = clipsx.upsample(clipsx.minmax(sim), sample.image.size[::-1])[0].numpy()  # (H, W, N)
    a, b = sample.labels[:2]
    row = table[(table["image"] == sample.name) & (table["a"] == a) & (table["b"] == b)].iloc[0]
    on = maps[..., world.labels.index(b)]
    assert row["companion"] and row["score"] == pytest.approx(on[sample.masks[a]].mean(), abs=1e-5)
    assert row["fires"] == pytest.approx(100 * (on[sample.masks[a]] >= 0.5).mean(), abs=1e-4)
    assert row["others"] == pytest.approx(100 * on[sample.masks[a]].sum() / on.sum(), abs=1e-3)
    wide = coactivation.as_matrix(table, world.labels)
    assert wide.shape == (len(world.labels),) * 2 and np.isnan(np.diag(wide)).all()


def test_as_matrix_is_the_mean_over_images_in_the_order_of_the_labels() -> None:
    rows = [("cat", "dog", 0.2, 10), ("cat", "dog", 0.4, 30), ("dog", "cat", 0.9, 50)]
    table = pd.DataFrame(rows, columns=["a", "b", "score", "fires"])
    wide = coactivation.as_matrix(table, ["sky", "dog", "cat"])
    nan = float("nan")
    np.testing.assert_allclose(wide.to_numpy(), [[nan] * 3, [nan, nan, 0.9], [nan, 0.3, nan]])
    assert list(wide.index) == list(wide.columns) == ["sky", "dog", "cat"]
    assert coactivation.as_matrix(table, ["cat", "dog"], "fires").loc["cat", "dog"] == 20


def test_without_masks_the_models_own_idea_of_the_object_is_read(clip: clipsx.Clip) -> None:
    plain = Sample(noise(20, 28, 1), ("cat", "boat"), name="plain")
    table = run(clip, [plain], threshold=0.5, region="map")  # no mask is read
    maps = maps_of(clip, plain, LABELS)
    own = maps[..., 0] >= 0.5
    row = table.query("b == 'sky'")
    assert set(table["a"]) == {"cat"} and not table["companion"].any() and table["others"].isna().all()
    assert row["score"].item() == pytest.approx(maps[..., 2][own].mean(), abs=1e-5)


def test_what_cannot_be_measured_is_told(clip: clipsx.Clip) -> None:
    plain = Sample(noise(20, 28, 1), ("cat",), name="plain")
    with pytest.raises(ValueError, match="No image has a mask"):
        run(clip, [plain])
    hidden = masked(9, 9, ("cat",), 1)
    with pytest.raises(ValueError, match="No image has a mask"):
        run(clip, [hidden.replace(masks={"cat": hidden.ignore})])
    with pytest.raises(ValueError, match="at least two different"):
        run(clip, [plain], ("cat", "cat"))
    with unchecked(), pytest.raises(ValueError, match="Unknown region 'mas'; did you mean 'mask'"):
        run(clip, [plain], region="mas")
