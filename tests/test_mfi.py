"""Mutual feature information: matrices against their literal form, real features, company that is there and is not."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

import clipsx
from clipsx import mfi
from clipsx.datasets import Sketchbook, vocabulary
from helpers import unchecked


def features(count=5, width=8, seed=0):
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


def test_the_matrix_is_cosines_pair_by_pair():
    text = features()
    literal = [[float(torch.cosine_similarity(a, b, dim=0)) for b in text] for a in text]
    assert torch.allclose(mfi.similarity_matrix(text), torch.tensor(literal), atol=1e-6)
    pairs = [literal[i][j] for i in range(5) for j in range(5) if i != j]
    assert mfi.mean_off_diagonal(mfi.similarity_matrix(text)) == pytest.approx(np.mean(pairs), abs=1e-6)
    assert mfi.similarity_matrix(text, features(3)).shape == (5, 3)


@given(st.integers(2, 9), st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_order_of_labels_does_not_matter(count, seed):
    text, order = features(count, seed=seed), np.random.default_rng(seed).permutation(count)
    matrix, other = mfi.similarity_matrix(text), mfi.similarity_matrix(3 * text[order])
    assert torch.allclose(matrix, matrix.T, atol=1e-6)
    assert torch.allclose(matrix[order][:, order], other, atol=1e-5)
    assert mfi.mean_off_diagonal(matrix) == pytest.approx(mfi.mean_off_diagonal(other), abs=1e-5)


@pytest.mark.parametrize(
    ("file", "mean", "std", "least", "most"),
    [("coco80_text", 0.7635, 0.0504, 0.579, 0.935), ("voc20_text", 0.8062, 0.0488, 0.694, 0.929)],
)
def test_real_features_give_the_known_numbers(clip_features, file, mean, std, least, most):
    kept = np.load(next(clip_features.glob(f"{file}*.npz")))
    matrix = mfi.similarity_matrix(torch.from_numpy(kept["text_features"]).float())
    found = mfi.summarise(matrix)
    assert [round(found[k], 4) for k in ("mean", "std")] == [mean, std]
    assert [round(found[k], 3) for k in ("min", "max")] == [least, most]
    if file == "coco80_text":
        alike = mfi.pairs(matrix, kept["label_names"].tolist(), 5)
        assert {frozenset(row) for row in zip(alike["a"], alike["b"], strict=True)} == {
            frozenset(p)
            for p in (
                ("bicycle", "motorcycle"),
                ("bear", "teddy bear"),
                ("car", "truck"),
                ("cat", "dog"),
                ("horse", "cow"),
            )
        }
        assert alike["similarity"].round(3).tolist() == [0.935, 0.928, 0.924, 0.915, 0.913]


def test_before_and_after():
    before, after = torch.full((3, 3), 0.8), torch.full((3, 3), 0.6)
    assert mfi.difference(before, after) == pytest.approx(
        {"before": 0.8, "after": 0.6, "absolute": -0.2, "relative": -25.0}, abs=1e-5
    )


def test_class_means_and_co_occurrence():
    present = np.array([[1, 1, 0, 0], [1, 0, 0, 0], [1, 1, 1, 0]], bool)
    co = mfi.co_occurrence(present)
    assert np.allclose(co[0], [1, 2 / 3, 1 / 3, 0]) and np.allclose(co[2], [1, 1, 1, 0]) and np.isnan(co[3]).all()
    means, kept = mfi.class_means(torch.eye(3), present)
    assert kept == [0, 1, 2] and torch.allclose(means[2], torch.tensor([0.0, 0, 1]))
    assert torch.allclose(means[0], torch.full((3,), 3**-0.5))


def test_company_is_found_where_it_is_and_not_where_it_is_not():
    rng, count = np.random.default_rng(0), 12
    mates = np.zeros((count, count), bool)
    mates[np.arange(0, count, 2), np.arange(1, count, 2)] = True
    co = 0.1 + 0.5 * mates + 0.05 * rng.random((count, count))
    found = mfi.company(co, co + co.T + 0.01 * rng.random((count, count)), mates, 400)
    assert found["auc"] == 1 and found["rank"] > 0.8 and found["p"] < 0.01 and found["rank_low"] > 0
    noise = rng.random((count, count))
    chance = mfi.company(co, noise, mates, 400)
    upper = np.triu_indices(count, 1)
    assert chance["auc"] == pytest.approx(roc_auc_score((mates | mates.T)[upper], (noise + noise.T)[upper]))
    assert chance["p"] > 0.05 and chance == mfi.company(co, noise, mates, 400)
    assert np.isnan(mfi.company(co, np.ones((count, count)), mates, 8)["rank"])
    assert (mfi.often_together(co) == (mates | mates.T)).all()


def test_coactivation_reads_maps_inside_masks():
    clip, world = clipsx.load("sketchbook-random"), Sketchbook(seed=5, length=4, objects=(2, 3))
    table = mfi.coactivation(clip, world, threshold=0.5)
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
    wide = mfi.as_matrix(table, world.labels)
    assert wide.shape == (len(world.labels),) * 2 and np.isnan(np.diag(wide)).all()
    alone = mfi.coactivation(clip, world, threshold=0.5, region="map")  # no mask is read
    row = alone[(alone["image"] == sample.name) & (alone["a"] == a) & (alone["b"] == b)].iloc[0]
    own = maps[..., world.labels.index(a)] >= 0.5
    assert row["companion"] and row["score"] == pytest.approx(on[own].mean(), abs=1e-5)
    assert alone["others"].isna().all() and alone["protocol"].str.contains("by its map").all()
    with unchecked(), pytest.raises(ValueError, match="Unknown region 'mas'"):
        mfi.coactivation(clip, world, region="mas")
    assert mfi.presence(world, world.labels).sum() == sum(len(s.labels) for s in world)


def test_bad_input_is_told_in_words():
    with unchecked():
        with pytest.raises(ValueError, match="at least two"):
            mfi.mean_off_diagonal(np.ones((1, 1)))
        with pytest.raises(ValueError, match="class × class"):
            mfi.mean_off_diagonal(np.ones((2, 3)))
        with pytest.raises(ValueError, match="class 2 holds NaN"):
            mfi.similarity_matrix(torch.cat([features(2), torch.full((1, 8), float("nan"))]))
        with pytest.raises(ValueError, match="8 and 9 wide"):
            mfi.similarity_matrix(features(), features(2, 9))
        with pytest.raises(ValueError, match="twice: cat"):
            mfi.pairs(np.eye(3), ["cat", "dog", "cat"])
        with pytest.raises(ValueError, match="No label has a positive"):
            mfi.class_means(features(2), np.zeros((2, 3), bool))
        with pytest.raises(ValueError, match="four classes"):
            mfi.company(np.eye(3), np.eye(3), np.eye(3, dtype=bool))
        with pytest.raises(ValueError, match="same labels"):
            mfi.difference(np.eye(3), np.eye(2))
    assert len(vocabulary("sketchbook")) == 18
