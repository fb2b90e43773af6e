"""Patches of a high norm: what is read of every patch, and what is left when they are left out."""

import numpy as np
import pandas as pd
import pytest
import torch

import clipsx
from clipsx import metrics, similarity
from clipsx.analyses import high_norm
from clipsx.datasets import Sample
from clipsx.evaluation.stream import stream
from clipsx.maps import minmax
from helpers import masked, noise, tiny_clip, tiny_resnet


@pytest.fixture(scope="module")
def clip() -> clipsx.Clip:
    return tiny_clip(image_size=32, layers=2, width=32, patch_size=8)


def run(clip: clipsx.Clip, samples: object) -> pd.DataFrame:
    return stream(clip, samples, [high_norm.measure(clip, "photo")])[0]


def test_rows_are_the_patches_after_the_last_block(clip: clipsx.Clip) -> None:
    samples = [masked(20, 28, ("cat", "dog"), 1), Sample(noise(9, 9), ("dog",)), masked(17, 11, ("sky",), 2)]
    table = run(clip, samples)
    assert len(table) == 3 * 16 and set(table["image"]) == {"image 1", "image 2"}  # pairs with a mask × patches
    visual, seen = clip.model.visual, []
    hook = visual.transformer.register_forward_hook(lambda _, __, out: seen.append(out))
    for sample in (samples[0], samples[2]):
        images = clip.prepare(sample.image)
        clip.encode_image(images)
        norms = seen.pop()[0, 1:].norm(dim=-1).numpy()
        patches = similarity(clip.encode_dense(images, "clip"), clip.encode_labels(list(sample.masks), "photo"))
        objects = metrics.coverage(np.any(list(sample.masks.values()), axis=0), (4, 4)).ravel()
        for n, (label, mask) in enumerate(sample.masks.items()):
            rows = table[(table["image"] == sample.name) & (table["label"] == label)]
            np.testing.assert_allclose(rows["norm"], norms, rtol=1e-5)
            np.testing.assert_allclose(rows["score"], patches[0, ..., n].flatten(), atol=1e-6)
            np.testing.assert_allclose(rows["covered"], metrics.coverage(mask, (4, 4)).ravel())
            np.testing.assert_allclose(rows["objects"], objects)
    hook.remove()
    assert set(table["model"]) == {"tiny"} and set(table["templates"]) == {"photo"}


def test_patch_msc_is_the_maps_own() -> None:
    """With masks along patch borders, mSC on patches is mSC of the map without interpolation."""
    map, covered = np.random.default_rng(0).normal(size=16), np.array([1.0] * 4 + [0.0] * 12)
    stretched = minmax(torch.tensor(map)[None, :, None, None])[0, :, 0, 0].numpy()
    assert high_norm._msc(map, covered) == pytest.approx(100 * (stretched[:4].mean() - stretched[4:].mean()))
    assert np.isnan(high_norm._msc(np.ones(4), np.array([1.0, 0, 0, 0]))) and np.isnan(
        high_norm._msc(map, np.zeros(16))
    )


def crafted(norms: dict[str, list[float]], labels: tuple[str, ...] = ("cat",)) -> pd.DataFrame:
    """Rows of pictures of 4 × 4 patches: the object covers 0, 1, 4 and 5; one background patch outshines all."""
    on = np.isin(np.arange(16), [0, 1, 4, 5]).astype(float)
    score = np.linspace(0, 1, 16)
    score[15] = 30.0
    parts = [
        pd.DataFrame({"image": image, "label": label, "norm": norm, "score": score, "covered": on, "objects": on})
        for image, norm in norms.items()
        for label in labels
    ]
    return pd.concat(parts, ignore_index=True)


def test_high_norms_on_the_background_are_found_and_left_out() -> None:
    norm = np.array([1.0, 1.1, 0.9, 1.05] * 4)
    norm[[2, 15]] = 9.0
    table = crafted({"one": norm.tolist()})
    (row,) = high_norm.summarise(table).to_dict("records")
    assert row["background_share"] == pytest.approx(100 * 2 / 12)  # patches 2 and 15
    assert row["object_share"] == 0
    score, covered = table["score"].to_numpy(), table["covered"].to_numpy()
    kept = np.setdiff1d(np.arange(16), [2, 15])
    assert row["msc_without"] == pytest.approx(high_norm._msc(score[kept], covered[kept]))
    assert row["msc"] == pytest.approx(high_norm._msc(score, covered))
    assert row["msc_without"] < row["msc"] + 100 and (row["image"], row["label"]) == ("one", "cat")


def test_high_norms_on_an_object_stay() -> None:
    norm = np.array([1.0, 1.1, 0.9, 1.05] * 4)
    norm[0] = 9.0
    (row,) = high_norm.summarise(crafted({"one": norm.tolist()})).to_dict("records")
    assert row["object_share"] == 25 and row["background_share"] == 0 and row["msc"] == row["msc_without"]


def test_the_bound_is_robust_and_over_the_patches_of_all_pictures_once() -> None:
    """A picture with two labels has its patches twice in the table, and once in the bound."""
    rng = np.random.default_rng(3)
    norms = {name: rng.lognormal(sigma=0.8, size=16).tolist() for name in ("one", "two", "three")}
    table = pd.concat(
        [crafted({"one": norms["one"]}, ("cat", "dog", "sky")), crafted({n: norms[n] for n in ("two", "three")})]
    )
    found = high_norm.summarise(table)
    every = np.concatenate(list(norms.values()))
    middle = np.median(every)
    bound = middle + 3 * 1.4826 * np.median(abs(every - middle))
    on = np.isin(np.arange(16), [0, 1, 4, 5])
    assert len(found) == 5
    for row in found.to_dict("records"):
        high = np.array(norms[row["image"]]) > bound
        assert row["background_share"] == pytest.approx(100 * high[~on].mean())
        assert row["object_share"] == pytest.approx(100 * high[on].mean())
    assert found["background_share"].max() > 0


def test_a_real_run_is_summarised(clip: clipsx.Clip) -> None:
    found = high_norm.summarise(run(clip, [masked(20, 28, ("cat", "dog"), 1), masked(17, 11, ("sky",), 2)]))
    assert found["label"].tolist() == ["cat", "dog", "sky"] and found["msc"].between(-100, 100).all()


def test_norms_need_blocks_and_masks(clip: clipsx.Clip) -> None:
    with pytest.raises(ValueError, match="vision transformer"):
        high_norm.measure(tiny_resnet())
    with pytest.raises(ValueError, match="No sample has a mask"):
        run(clip, [Sample(noise(9, 9), ("cat",))])
