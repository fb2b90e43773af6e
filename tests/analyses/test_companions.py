"""Classes that keep company: found where they are, and not where they are not."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from clipsx.analyses import companions
from clipsx.datasets import Sample, Sketchbook
from helpers import noise, unchecked


def test_co_occurrence_is_the_share_of_a_class_s_images() -> None:
    present = np.array([[1, 1, 0, 0], [1, 0, 0, 0], [1, 1, 1, 0]], bool)
    co = companions.co_occurrence(present)
    assert np.allclose(co[0], [1, 2 / 3, 1 / 3, 0]) and np.allclose(co[2], [1, 1, 1, 0]) and np.isnan(co[3]).all()


@given(st.integers(0, 99), st.integers(1, 12), st.integers(1, 5))
@settings(max_examples=30, deadline=None)
def test_co_occurrence_equals_the_loop(seed: int, images: int, labels: int) -> None:
    present = np.random.default_rng(seed).random((images, labels)) < 0.4
    found = companions.co_occurrence(present)
    for a, b in np.ndindex(labels, labels):
        of_a = [row for row in present if row[a]]
        expected = sum(row[b] for row in of_a) / len(of_a) if of_a else np.nan
        np.testing.assert_allclose(found[a, b], expected)


def test_presence_reads_labels_with_a_mask_or_without() -> None:
    world = Sketchbook(seed=5, length=4, objects=(2, 3), size=32)
    present = companions.presence(world, world.labels)
    assert present.shape == (4, len(world.labels)) and present.dtype == bool
    assert present.sum() == sum(len(s.labels) for s in world)
    asked = companions.presence([Sample(noise(3, 3), ("cat", "boat")), Sample(noise(3, 3))], ["dog", "cat"])
    assert asked.tolist() == [[False, True], [False, False]]


def test_presence_opens_no_picture() -> None:
    def fail() -> object:
        raise AssertionError("a picture was opened")

    lazy = [Sample(fail, lambda: ("cat",)), Sample(fail, ("dog",))]
    assert companions.presence(lazy, ["cat", "dog"]).tolist() == [[True, False], [False, True]]


def test_company_is_found_where_it_is_and_not_where_it_is_not() -> None:
    rng, count = np.random.default_rng(0), 12
    mates = np.zeros((count, count), bool)
    mates[np.arange(0, count, 2), np.arange(1, count, 2)] = True
    co = 0.1 + 0.5 * mates + 0.05 * rng.random((count, count))
    alike = co + co.T + 0.01 * rng.random((count, count))
    found = companions.follow(co, alike, mates, 200)
    assert found["auc"] == 1 and found["rank"] > 0.8 and found["p"] < 0.01 and found["rank_low"] > 0
    assert (found["classes"], found["pairs"]) == (12, 6) and found["companions"] > found["rest"]
    upper = np.triu_indices(count, 1)
    assert found["rank"] == pytest.approx(spearmanr((co + co.T)[upper], (alike + alike.T)[upper]).statistic)
    noisy = rng.random((count, count))
    chance = companions.follow(co, noisy, mates, 200)
    assert chance["auc"] == pytest.approx(roc_auc_score((mates | mates.T)[upper], (noisy + noisy.T)[upper]))
    assert chance["p"] > 0.05 and chance == companions.follow(co, noisy, mates, 200)
    assert np.isnan(companions.follow(co, np.ones((count, count)), mates, 8)["rank"])
    assert (companions.often_together(co) == (mates | mates.T)).all()


def test_pairs_that_were_never_measured_are_left_out() -> None:
    rng, count = np.random.default_rng(1), 8
    mates = np.zeros((count, count), bool)
    mates[0, 1] = mates[2, 3] = True
    co, measured = rng.random((count, count)), rng.random((count, count))
    measured[4], measured[:, 4] = np.nan, np.nan
    found = companions.follow(co, measured, mates, 50)
    upper = np.triu_indices(count, 1)
    x, y = (co + co.T)[upper], (measured + measured.T)[upper]
    kept = np.isfinite(y)
    assert found["rank"] == pytest.approx(spearmanr(x[kept], y[kept]).statistic)
    assert found["auc"] == pytest.approx(roc_auc_score((mates | mates.T)[upper][kept], y[kept]))
    assert 0 < found["p"] <= 1 and found["rank_low"] <= found["rank_high"]


def test_often_together_reads_either_direction() -> None:
    co = np.array([[1, 0.9, 0.1], [0.1, 1, 0.1], [0.1, 0.1, 1]])
    assert companions.often_together(co).tolist() == [[False, True, False], [True, False, False], [False] * 3]
    co[2] = np.nan  # a class that is nowhere keeps no company
    assert not companions.often_together(co)[2, 0]


def test_bad_input_is_told_in_words() -> None:
    with unchecked():
        with pytest.raises(ValueError, match="four classes"):
            companions.follow(np.eye(3), np.eye(3), np.eye(3, dtype=bool))
        with pytest.raises(ValueError, match=r"co-occurrence \(5, 5\), measure \(4, 4\)"):
            companions.follow(np.eye(5), np.eye(4), np.eye(5, dtype=bool))
