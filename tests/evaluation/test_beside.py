"""What stands beside mSC, against plain loops over the pixels of upsampled maps."""

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

import clipsx
from clipsx import metrics, minmax, similarity, upsample
from clipsx.datasets import Sample
from clipsx.evaluation import explain
from clipsx.evaluation.stream import stream
from clipsx.maps import region_weights
from helpers import masked, noise, tiny_clip

LABELS = ("cat", "dog", "sky", "sea")
SAMPLES = (masked(32, 40, ("cat", "dog"), 1), masked(16, 24, ("dog",), 2))


@pytest.fixture(scope="module")
def clip() -> clipsx.Clip:
    return tiny_clip(image_size=32, layers=2, width=32, patch_size=8)


def test_every_measure_equals_the_loop(clip: clipsx.Clip) -> None:
    (table,) = stream(clip, SAMPLES, [explain.measure(clip, LABELS, "clip", "photo")])
    text = clip.encode_labels(LABELS, "photo")
    for sample in SAMPLES:
        maps = minmax(similarity(clip.encode_dense(clip.prepare(sample.image), "clip"), text))  # (1, 4, 4, 4)
        pixels = upsample(maps, sample.image.size[::-1])[0].numpy()
        seen = ~sample.ignore
        for label, mask in sample.masks.items():
            row = table.query("image == @sample.name and label == @label").iloc[0]
            map, own = pixels[..., LABELS.index(label)], mask & seen
            others = np.zeros_like(mask)
            for name, other in sample.masks.items():
                others |= (other & seen & ~own) if name != label else others
            if others.any():
                assert row["others"] == pytest.approx(100 * (map[own].mean() - map[others].mean()), abs=1e-3)
            else:
                assert np.isnan(row["others"])
            absent = [n for n, name in enumerate(LABELS) if name not in sample.labels]
            rest = np.mean([metrics.msc(pixels[..., n], mask, sample.ignore) for n in absent])
            assert row["absent"] == pytest.approx(metrics.msc(map, mask, sample.ignore) - rest, abs=1e-3)
            # On whole patches, each pixel with the value of its patch.
            sides = (sample.size[1] // 4, sample.size[0] // 4)
            coarse = np.kron(maps[0, ..., LABELS.index(label)].numpy(), np.ones(sides))
            assert row["auc"] == pytest.approx(100 * roc_auc_score(own[seen], coarse[seen]), abs=1e-3)
            assert row["pointing"] == (100 if own.ravel()[np.where(seen, map, -1).argmax()] else 0)
            best = upsample(minmax(torch.from_numpy(metrics.coverage(own, (4, 4)))[None, ..., None]), mask.shape)
            ious = [metrics.iou(best[0, ..., 0].numpy(), mask, t, sample.ignore) for t in metrics.THRESHOLDS]
            assert row["oracle"] == pytest.approx(max(ious))


def test_where_there_is_nothing_else_there_is_no_number(clip: clipsx.Clip) -> None:
    everything = Sample(noise(16, 16), ("cat", "dog"), {"cat": np.ones((16, 16), bool)}, name="all")
    (table,) = stream(clip, [everything], [explain.measure(clip, ("cat", "dog"), "clip", "photo")])
    row = table.iloc[0]  # every label is there, no other object, no background
    assert np.isnan([row["others"], row["absent"], row["auc"], row["msc"]]).all()
    assert row["pointing"] == row["area"] == row["oracle"] == 100


@pytest.mark.parametrize("size", [(32, 40), (7, 5), (3, 2)])
def test_weights_of_a_region_give_the_mean_of_the_upsampled_map(size: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    maps, region = torch.rand(1, 4, 5, 1, generator=generator), torch.rand(1, *size, generator=generator) < 0.5
    weights = region_weights(torch.cat([region, torch.zeros_like(region)]), (4, 5))
    mean = float(upsample(maps, size)[0, ..., 0][region[0]].mean())
    assert float((weights[0] * maps[0, ..., 0]).sum()) == pytest.approx(mean)
    assert torch.isnan(weights[1]).all() and float(weights[0].sum()) == pytest.approx(1)


def test_ranks_and_pointing_of_maps_that_say_nothing_are_chance() -> None:
    mask = np.zeros((4, 4), bool)
    mask[0] = True
    assert metrics.pointing(np.zeros((4, 4)), mask) == 25 and np.isnan(metrics.pointing(np.zeros((4, 4)), ~mask & mask))
    inside = mask.ravel().astype(float)
    assert metrics.rank_score(np.zeros(16), inside, 1 - inside) == 50
    assert metrics.rank_score(inside, inside, 1 - inside) == 100
    assert np.isnan(metrics.rank_score(inside, inside, 0 * inside))
