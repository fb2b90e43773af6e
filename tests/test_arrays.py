"""Targets, scores and masks of every type: one result, or words that say how to convert."""

import numpy as np
import pandas as pd
import pytest
import torch

from clipsx import metrics
from clipsx.evaluation import recognise
from clipsx.metrics import coverage
from helpers import unchecked

RNG = np.random.default_rng(0)
SCORES, TARGETS = RNG.integers(0, 200, (30, 3)), RNG.random((30, 3)) < 0.4
YES = {
    "bool": TARGETS,
    "int": TARGETS.astype(int),
    "uint8": TARGETS.astype(np.uint8),
    "float": TARGETS.astype(np.float32),
    "objects": TARGETS.astype(object),
    "list": TARGETS.tolist(),
    "tensor": torch.from_numpy(TARGETS).to(torch.bfloat16).requires_grad_(),
    "frame": pd.DataFrame(TARGETS.astype(int)),
}
NO = {
    "±1": np.where(TARGETS, 1, -1),
    "unknown": np.where(TARGETS, -1, 0),
    "NaN": np.where(TARGETS, np.nan, 0),
    "soft": np.where(TARGETS, 0.7, 0.1),
    "0/255": TARGETS.astype(np.uint8) * 255,
    "counts": TARGETS * 2,
    "None": np.where(TARGETS, None, 0),
    "words": np.where(TARGETS, "yes", "no"),
    "tensor": torch.from_numpy(np.where(TARGETS, 1.0, -1.0)),
    "nullable frame": pd.DataFrame(TARGETS).astype("boolean").mask(TARGETS),
    "one row": TARGETS[:, 0],
    "ragged": [[1, 0], [1]],
}
RANKED = {
    "int": SCORES,
    "uint8": SCORES.astype(np.uint8),
    "uint64": SCORES.astype(np.uint64),
    "float16": SCORES.astype(np.float16),
    "list": SCORES.tolist(),
    "tensor": torch.from_numpy(SCORES.astype(np.float32)).requires_grad_(),
    "frame": pd.DataFrame(SCORES),
}


@pytest.mark.parametrize("targets", YES.values(), ids=list(YES))
def test_targets_of_every_type_are_one(targets):
    expected = metrics.mean_average_precision(SCORES, TARGETS)
    assert metrics.mean_average_precision(SCORES, targets) == expected
    assert metrics.f1_scores(SCORES > 90, targets) == metrics.f1_scores(SCORES > 90, TARGETS)
    assert metrics.f1_scores(targets, SCORES > 90)["OF1"] == metrics.f1_scores(TARGETS, SCORES > 90)["OF1"]
    assert recognise.best_threshold(SCORES, targets) == recognise.best_threshold(SCORES, TARGETS)
    told = recognise.summarise({"x": SCORES}, targets, ({"x": SCORES}, targets), resamples=3)
    assert told["mAP"].item() == expected


@pytest.mark.parametrize("targets", NO.values(), ids=list(NO))
def test_targets_that_are_not_yes_or_no_are_refused(targets):
    scores = SCORES[:, 0] if isinstance(targets, np.ndarray) and targets.ndim == 1 else SCORES
    for function in (metrics.average_precision, metrics.mean_average_precision, recognise.best_threshold):
        with pytest.raises(ValueError, match=r"(targets|scores) (hold|must be|are)|unlike lengths"):
            function(scores, targets)
    for wrong in ((scores > 9, targets), (targets, scores > 9)):
        with pytest.raises(ValueError, match=r"(targets|predictions) (hold|must be|are)|unlike lengths"):
            metrics.f1_scores(*wrong)
    with pytest.raises(ValueError, match=r"(targets|scores) (hold|must be|are)|unlike lengths"):
        recognise.summarise({"x": scores}, targets)


def test_the_words_name_the_entry_and_the_way():
    wrong = np.zeros((4, 3))
    wrong[2, 1] = -1
    with pytest.raises(ValueError, match=r"hold -1 \(image 2, label 1\).* targets > 0, .*>= 0\.5.*not known"):
        metrics.average_precision(np.zeros((4, 3)), wrong)


@pytest.mark.parametrize("scores", RANKED.values(), ids=list(RANKED))
def test_scores_of_every_type_rank_alike(scores):
    expected = metrics.average_precision(SCORES.astype(float), TARGETS)
    np.testing.assert_allclose(metrics.average_precision(scores, TARGETS), expected)
    assert recognise.best_threshold(scores, TARGETS) == recognise.best_threshold(SCORES.astype(float), TARGETS)
    weights = [[2] * 30, [1] * 30]
    np.testing.assert_allclose(metrics.average_precision(scores, TARGETS, torch.tensor(weights)), [expected] * 2)


def test_yes_or_no_scores_are_ranked():
    yes = SCORES > 90
    np.testing.assert_allclose(metrics.average_precision(yes, TARGETS), metrics.average_precision(yes * 1.0, TARGETS))


@pytest.mark.parametrize("scores", [SCORES.astype(str), SCORES * 1j, np.where(SCORES > 5, None, 1.0)])
def test_scores_that_are_no_numbers_are_refused(scores):
    with pytest.raises(ValueError, match=r"scores (must be numbers|hold NaN)"):
        metrics.average_precision(scores, TARGETS)


def test_frames_are_compared_by_their_names():
    scores, targets = pd.DataFrame(SCORES, columns=list("abc")), pd.DataFrame(TARGETS, columns=list("cab"))
    with pytest.raises(ValueError, match="columns of scores and targets are not the same"):
        metrics.mean_average_precision(scores, targets)
    with pytest.raises(ValueError, match="rows of predictions and targets"):
        metrics.f1_scores(pd.DataFrame(TARGETS), pd.DataFrame(TARGETS)[::-1])


@pytest.mark.parametrize("weights", [np.ones(29), -np.ones(30), np.full(30, np.nan)])
def test_weights_that_do_not_fit_are_refused(weights):
    with pytest.raises(ValueError, match="weights must be at least 0, one for each of 30 images"):
        metrics.average_precision(SCORES, TARGETS, weights)


MASK, IGNORE = RNG.random((6, 7)) < 0.4, RNG.random((6, 7)) < 0.3
MAP = RNG.random((6, 7)).astype(np.float32)
REGIONS = {
    "int": lambda m: m.astype(int),
    "uint8": lambda m: m.astype(np.uint8),
    "0/255": lambda m: m.astype(np.uint8) * 255,
    "float": lambda m: m * 0.8,
    "list": lambda m: m.tolist(),
    "tensor": torch.from_numpy,
    "tensor of ints": lambda m: torch.from_numpy(m).int(),
}


@pytest.mark.parametrize("given", REGIONS.values(), ids=list(REGIONS))
def test_masks_of_every_type_measure_alike(given):
    mask, ignore = given(MASK), given(IGNORE)
    for map in (MAP, torch.from_numpy(MAP), MAP.tolist()):
        assert metrics.msc(map, mask, ignore) == pytest.approx(metrics.msc(MAP, MASK, IGNORE))
        assert metrics.iou(map, mask, 0.5, ignore) == metrics.iou(MAP, MASK, 0.5, IGNORE)
        assert metrics.energy_outside(map, mask, ignore) == pytest.approx(metrics.energy_outside(MAP, MASK, IGNORE))
        np.testing.assert_allclose(metrics.exceedance(map, mask, ignore), metrics.exceedance(MAP, MASK, IGNORE))
    np.testing.assert_allclose(coverage(mask, (2, 3)), coverage(MASK, (2, 3)))


def test_maps_of_whole_numbers_meet_the_threshold_as_floats():
    assert metrics.iou(MASK.astype(np.uint8), MASK, 0.6) == metrics.iou(MASK, MASK, 0.6) == 100


@pytest.mark.parametrize("wrong", [MASK * 2, MASK * 255.0, np.where(MASK, np.nan, 0), MASK.astype(str)])
def test_what_is_no_mask_is_refused(wrong):
    with unchecked():
        for function in (metrics.msc, metrics.exceedance, metrics.energy_outside):
            with pytest.raises(ValueError, match="the mask holds"):
                function(MAP, wrong)
            with pytest.raises(ValueError, match="the mask `ignore` holds"):
                function(MAP, MASK, wrong)
    with pytest.raises(ValueError, match="mask `ignore` is"):
        metrics.msc(MAP, MASK, IGNORE[:3])
