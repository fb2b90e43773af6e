"""Mutual feature information: matrices against their literal form, and on real features."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clipsx import mfi
from clipsx.datasets import vocabulary
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


def test_summaries_of_a_matrix():
    matrix = np.array([[1.0, 0.2, 0.4], [0.2, 1.0, 0.9], [0.6, 0.9, 1.0]])
    off = [0.2, 0.4, 0.2, 0.9, 0.6, 0.9]
    assert mfi.off_diagonal(matrix).tolist() == off
    expected = {"classes": 3, "mean": np.mean(off), "std": np.std(off), "min": 0.2, "max": 0.9}
    assert mfi.summarise(torch.from_numpy(matrix)) == pytest.approx(expected)
    alike = mfi.pairs(matrix, ["cat", "dog", "boat"], 2)
    assert alike.to_dict("records") == [
        {"a": "dog", "b": "boat", "similarity": 0.9},
        {"a": "cat", "b": "boat", "similarity": pytest.approx(0.5)},  # the mean of both directions
    ]


def test_before_and_after():
    before, after = torch.full((3, 3), 0.8), torch.full((3, 3), 0.6)
    assert mfi.difference(before, after) == pytest.approx(
        {"before": 0.8, "after": 0.6, "absolute": -0.2, "relative": -25.0}, abs=1e-5
    )


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
        with pytest.raises(ValueError, match="2 labels for 3 classes"):
            mfi.pairs(np.eye(3), ["cat", "dog"])
        with pytest.raises(ValueError, match="same labels"):
            mfi.difference(np.eye(3), np.eye(2))
    assert len(vocabulary("sketchbook")) == 18
