"""The image bootstrap against the loop that defines it, and draws that are paired by their seed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t

from clipsx import metrics, statistics


def test_bootstrap_resamples_images_not_pairs():
    """Pairs of one image that agree carry one image's worth of evidence."""
    rng = np.random.default_rng(0)
    per_image = rng.normal(size=40)
    alone = statistics.bootstrap(per_image, np.arange(40))[1].std()
    copies = statistics.bootstrap(per_image.repeat(25), np.arange(40).repeat(25))[1].std()
    assert copies == pytest.approx(alone, rel=0.01)
    assert alone == pytest.approx(per_image.std() / 40**0.5, rel=0.15)


@given(st.integers(2, 12), st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_bootstrap_equals_the_loop(images, seed):
    rng = np.random.default_rng(seed)
    pairs = int(rng.integers(1, 20))
    values, image, group = rng.normal(size=pairs), rng.integers(0, images, pairs), rng.integers(0, 3, pairs)
    values[rng.random(pairs) < 0.2] = np.nan
    point, draws = statistics.bootstrap(values, image, group, resamples=5, seed=seed)

    def loop(weight):
        means = []
        for g in set(group):
            rows = [r for r in range(pairs) if group[r] == g and np.isfinite(values[r])]
            rows = [r for r in rows for _ in range(weight[image[r]])]
            means += [sum(values[r] for r in rows) / len(rows)] if rows else []
        return sum(means) / len(means) if means else np.nan

    names = np.unique(image)
    np.testing.assert_allclose(point, loop(dict.fromkeys(names, 1)), atol=1e-9)
    if len(names) > 1:
        same = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), size=5)
        expected = [loop(dict(zip(names, w, strict=True))) for w in same]
        if np.isfinite(point):
            np.testing.assert_allclose(draws, expected, atol=1e-9)


def test_bootstrap_of_one_image_or_none_has_no_interval():
    assert statistics.bootstrap(np.ones(3), np.zeros(3))[0] == 1
    assert np.isnan(statistics.interval(statistics.bootstrap(np.ones(3), np.zeros(3))[1])).all()
    assert np.isnan(statistics.bootstrap(np.zeros(0), np.zeros(0))[0])
    low, high = statistics.interval(statistics.bootstrap(np.arange(50.0), np.arange(50))[1])
    assert low < 24.5 < high


def test_draws_are_the_statistic_of_images_drawn_with_replacement():
    rng = np.random.default_rng(0)
    values = rng.normal(size=7)
    found = statistics.draws(lambda w: w @ values / w.sum(axis=-1), 7, resamples=250, seed=3)
    weights = np.concatenate([np.random.default_rng(3).multinomial(7, np.full(7, 1 / 7), size=250)])
    assert (weights.sum(axis=1) == 7).all()
    np.testing.assert_allclose(found, weights @ values / 7)
    # Every image is drawn once on average, and a draw without an image is as likely as it should be.
    assert weights.mean() == 1 and (weights == 0).mean() == pytest.approx((6 / 7) ** 7, abs=0.05)


def test_draws_come_a_hundred_at_a_time_and_fewer_are_the_first_of_more():
    shapes = []

    def statistic(weights):
        shapes.append(weights.shape)
        return weights[:, 0].astype(float)

    many = statistics.draws(statistic, 5, resamples=230)
    assert shapes == [(100, 5), (100, 5), (30, 5)]
    assert (statistics.draws(statistic, 5, resamples=40) == many[:40]).all()
    assert len(statistics.draws(statistic, 5, resamples=0)) == 0


@given(st.integers(2, 9), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_one_seed_pairs_the_draws_of_two_tables(images, seed):
    """A difference of draws is the draw of the difference; another seed draws other images."""
    rng = np.random.default_rng(seed)
    image, group = np.arange(images).repeat(3), np.tile([0, 1, 2], images)
    one, other = rng.normal(size=(2, 3 * images))
    first, second, apart = (statistics.bootstrap(v, image, group, 20, seed) for v in (one, other, one - other))
    np.testing.assert_allclose(first[1] - second[1], apart[1], atol=1e-9)
    assert first[0] - second[0] == pytest.approx(apart[0])
    again = statistics.bootstrap(one, image, group, 20, seed)
    assert (again[1] == first[1]).all()
    assert (statistics.bootstrap(one, image, group, 20, seed + 1)[1] != first[1]).any()
    # A pair that is NaN in one table takes nothing from the pairing of the others.
    holed = other.copy()
    holed[:3] = np.nan
    assert len(statistics.bootstrap(holed, image, group, 20, seed)[1]) == 20
    scores, targets = rng.normal(size=(images, 2)), rng.random((images, 2)) < 0.6
    both = [statistics.draws(lambda w, s=s: metrics.mean_average_precision(s, targets, w), images, 20, seed)
            for s in (scores, scores.copy())]  # fmt: skip
    np.testing.assert_array_equal(*both)


def test_the_interval_is_that_of_percentiles():
    drawn = np.arange(101.0)
    assert statistics.interval(drawn) == pytest.approx((2.5, 97.5))
    assert statistics.interval(drawn, 0.8) == pytest.approx((10, 90))
    assert statistics.interval(np.append(drawn, np.nan)) == pytest.approx((2.5, 97.5))
    assert np.isnan(statistics.interval(np.full(3, np.nan))).all() and np.isnan(statistics.interval(np.zeros(0))).all()


def test_one_image_has_no_draws():
    assert np.isnan(statistics.draws(lambda w: w[:, 0] * 1.0, 1, 10)).all()
    assert np.isnan(statistics.draws(lambda w: w[:, 0] * 1.0, 0, 10)).all()


def test_a_band_is_over_what_is_known() -> None:
    found = statistics.band([1.0, 2.0, 6.0, float("nan")])
    assert found == {"mean": 3.0, "sd": pytest.approx(np.std([1, 2, 6], ddof=1)), "low": 1.0, "high": 6.0, "n": 3}
    one, none = statistics.band([4.0]), statistics.band([])
    assert one["mean"] == 4 and np.isnan(one["sd"]) and none["n"] == 0 and np.isnan(none["mean"])


def test_a_value_beyond_a_band_leaves_it_with_its_interval() -> None:
    chance = statistics.band(np.random.default_rng(0).normal(0, 2, 20))
    half = t.ppf(0.975, 19) * chance["sd"] * np.sqrt(1 + 1 / 20)
    exact = statistics.beyond(-9.0, -9.0, -9.0, chance)
    assert exact["high"] == pytest.approx(-9 - chance["mean"] + half) and exact["verdict"] == "lower"
    unsure = statistics.beyond(-9.0, -17.0, -1.0, chance)
    assert unsure["difference"] == exact["difference"] and unsure["verdict"] == "not apart"
    assert statistics.beyond(9.0, 9.0, 9.0, statistics.band([0.0]))["verdict"] == "not apart"  # one start is no band


def test_paired_differences_are_surer_than_two_intervals() -> None:
    rng = np.random.default_rng(0)
    one = rng.normal(0, 10, 200)
    other, images = one + 0.5 + rng.normal(0, 0.1, 200), np.arange(200)
    apart = [statistics.interval(statistics.bootstrap(values, images)[1]) for values in (one, other)]
    assert apart[0][1] > apart[1][0]  # they overlap
    found = statistics.difference(other - one, images)
    assert found["verdict"] == "higher" and found["pairs"] == 200 and found["low"] < 0.5 < found["high"]
    assert statistics.difference(np.array([1.0, np.nan]), np.array(["a", "b"]))["pairs"] == 1
