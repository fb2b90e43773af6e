"""Every metric against the plain loop that defines it, and what must hold for any map."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import average_precision_score, f1_score

from clipsx import metrics
from helpers import unchecked

SIDES = st.tuples(st.integers(1, 7), st.integers(1, 7))


@st.composite
def cases(draw):
    """A map with values on and off the thresholds, a mask and ignored pixels, of one shape."""
    shape = draw(SIDES)
    values = st.sampled_from([0, 0.02, 0.6, 0.61, 0.999, 1]) | st.floats(0, 1, width=32)
    map = draw(hnp.arrays(np.float32, shape, elements=values))
    mask, ignore = (draw(hnp.arrays(bool, shape)) for _ in range(2))
    return map, mask, ignore


def loop(map, mask, ignore, threshold):
    """mSC and IoU, pixel by pixel."""
    inside, outside, both, either = [], [], 0, 0
    for y in range(map.shape[0]):
        for x in range(map.shape[1]):
            if ignore[y, x]:
                continue
            (inside if mask[y, x] else outside).append(float(map[y, x]))
            predicted = map[y, x] >= np.float32(threshold)
            both += bool(predicted and mask[y, x])
            either += bool(predicted or mask[y, x])
    gap = 100 * (sum(inside) / len(inside) - sum(outside) / len(outside)) if inside and outside else np.nan
    return gap, 100 * both / either if inside else np.nan


@given(cases(), st.sampled_from(metrics.THRESHOLDS.tolist()))
@settings(max_examples=150, deadline=None)
def test_msc_and_iou_equal_the_loop(case, threshold):
    map, mask, ignore = case
    gap, overlap = loop(*case, threshold)
    np.testing.assert_allclose(metrics.msc(map, mask, ignore), gap, atol=1e-4)
    np.testing.assert_allclose(metrics.iou(map, mask, threshold, ignore), overlap, atol=1e-9)


@pytest.mark.slow
@given(cases())
@settings(max_examples=100, deadline=None)
def test_curve_in_one_pass_equals_one_iou_per_threshold(case):
    map, mask, ignore = case
    inside, outside = metrics.exceedance(map, mask, ignore)
    kept = ~ignore
    area = mask[kept].mean() if kept.any() else np.nan
    expected = [metrics.iou(map, mask, t, ignore) for t in metrics.THRESHOLDS]
    np.testing.assert_allclose(metrics.iou_curve(inside, outside, area), expected, atol=1e-6)
    if mask[kept].any() and (~mask)[kept].any():
        assert (np.diff(inside) <= 0).all() and inside[0] == outside[0] == 1


@given(cases())
@settings(max_examples=100, deadline=None)
def test_msc_bounds_and_symmetry(case):
    map, mask, _ = case
    value = metrics.msc(map, mask)
    if np.isnan(value):
        assert mask.all() or not mask.any()
    else:
        assert -100 <= value <= 100
        assert metrics.msc(map, ~mask) == pytest.approx(-value, abs=1e-6)
        assert metrics.msc(1 - map, mask) == pytest.approx(-value, abs=1e-3)


@given(cases())
@settings(max_examples=60, deadline=None)
def test_ignored_pixels_count_nowhere(case):
    map, mask, ignore = case
    other, flipped = np.where(ignore, 1 - map, map), np.where(ignore, ~mask, mask)
    for score in (metrics.msc, metrics.energy_outside, lambda m, k, i: metrics.iou(m, k, 0.5, i)):
        np.testing.assert_equal(score(map, mask, ignore), score(other, flipped, ignore))


def test_energy_outside_equals_the_loop():
    rng = np.random.default_rng(0)
    map, mask = rng.random((5, 4)), rng.random((5, 4)) < 0.4
    outside = sum(map[y, x] ** 2 for y in range(5) for x in range(4) if not mask[y, x])
    assert metrics.energy_outside(map, mask) == pytest.approx(100 * outside / (map**2).sum())
    assert np.isnan(metrics.energy_outside(map * 0, mask)) and np.isnan(metrics.energy_outside(map, mask | True))
    assert metrics.energy_outside(np.ones((5, 4)), mask) == pytest.approx(100 * (~mask).mean())


def test_shapes_that_differ_are_named():
    with unchecked(), pytest.raises(ValueError, match="upsample the map"):
        metrics.msc(np.zeros((2, 2)), np.zeros((3, 3), bool))
    with unchecked(), pytest.raises(ValueError, match="images, labels"):
        metrics.average_precision(np.zeros((2, 3)), np.zeros((2, 2)))
    with pytest.raises(ValueError, match="NaN"):
        metrics.average_precision(np.full((2, 3), np.nan), np.ones((2, 3)))


@given(hnp.arrays(np.float32, (9, 4), elements=st.sampled_from([0, 0.25, 0.5, 1])), hnp.arrays(bool, (9, 4)))
@settings(max_examples=100, deadline=None)
def test_average_precision_is_scikit_learns_and_masks_absent_classes(scores, targets):
    ours = metrics.average_precision(scores, targets)
    present = targets.any(axis=0)
    theirs = [average_precision_score(targets[:, c], scores[:, c]) for c in np.flatnonzero(present)]
    np.testing.assert_allclose(ours[present], theirs, atol=1e-12)
    assert np.isnan(ours[~present]).all()
    mean = 100 * np.mean(theirs) if theirs else np.nan
    np.testing.assert_allclose(metrics.mean_average_precision(scores, targets), mean)


@st.composite
def weighted(draw):
    """Scores with ties, targets, and how often each image counts, some not at all; R draws of it."""
    images, labels, resamples = draw(st.integers(1, 9)), draw(st.integers(1, 3)), draw(st.integers(1, 4))
    scores = draw(
        hnp.arrays(np.float64, (images, labels), elements=st.sampled_from([0, 0.25, 0.5, 1]) | st.floats(-9, 9))
    )
    targets = draw(hnp.arrays(bool, (images, labels)))
    weights = draw(hnp.arrays(np.int64, (resamples, images), elements=st.integers(0, 4)))
    return scores, targets, weights


@pytest.mark.slow
@given(weighted())
@settings(max_examples=80, deadline=None)
def test_weighted_average_precision_is_scikit_learns(case):
    scores, targets, weights = case
    found = metrics.average_precision(scores, targets, weights)  # (R, N)
    assert found.shape == (len(weights), scores.shape[1])
    for r, weight in enumerate(weights):
        for c in range(scores.shape[1]):
            if not (weight * targets[:, c]).any():
                assert np.isnan(found[r, c])
            else:
                expected = average_precision_score(targets[:, c], scores[:, c], sample_weight=weight)
                assert found[r, c] == pytest.approx(expected, abs=1e-12)
        np.testing.assert_allclose(metrics.average_precision(scores, targets, weight), found[r], atol=1e-12)
    mean = metrics.mean_average_precision(scores, targets, weights)
    assert mean.shape == (len(weights),)
    for r in range(len(weights)):
        known = found[r][np.isfinite(found[r])]
        np.testing.assert_allclose(mean[r], 100 * known.mean() if len(known) else np.nan)
    np.testing.assert_allclose(metrics.average_precision(scores, targets, np.ones(len(scores))),
                               metrics.average_precision(scores, targets), atol=1e-12)  # fmt: skip


@given(weighted())
@settings(max_examples=60, deadline=None)
def test_an_image_that_counts_twice_is_that_image_twice(case):
    scores, targets, weights = case
    repeated = np.repeat(np.arange(len(scores)), weights[0])
    expected = metrics.average_precision(scores[repeated], targets[repeated])
    np.testing.assert_allclose(metrics.average_precision(scores, targets, weights[0]), expected, atol=1e-12)


def test_what_is_not_known_of_a_class_is_left_out_of_it():
    """A masked target is as if its image were not there for its class, in every score."""
    rng = np.random.default_rng(3)
    scores, targets, hidden = rng.random((30, 4)), rng.random((30, 4)) < 0.4, rng.random((30, 4)) < 0.3
    masked = np.ma.masked_array(targets, hidden)
    each = [average_precision_score(targets[k, c], scores[k, c]) for c in range(4) for k in [~hidden[:, c]]]
    assert metrics.average_precision(scores, masked) == pytest.approx(each)
    assert metrics.mean_average_precision(scores, masked) == pytest.approx(100 * np.mean(each))
    f1 = metrics.f1_scores(scores > 0.5, masked)
    kept = [f1_score(targets[k, c], scores[k, c] > 0.5) for c in range(4) for k in [~hidden[:, c]]]
    assert f1["CF1_per_class"] == pytest.approx(100 * np.mean(kept))
    assert f1["OF1"] == pytest.approx(100 * f1_score(targets[~hidden], scores[~hidden] > 0.5))


def test_sizes():
    assert [metrics.size_of(a) for a in (0.1, 5, 5.1, 20, 21, 100)] == ["small"] * 2 + ["medium"] * 2 + ["large"] * 2
