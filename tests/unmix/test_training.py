"""Training of the projectors: it learns, goes on where it was cut off, stops when asked, says what is wrong."""

import io

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from clipsx.mfi import mean_off_diagonal
from clipsx.unmix import Config, fit
from clipsx.unmix.training import projected_matrix
from helpers import full_disk, unchecked

NAMES = ["cat", "dog", "boat", "tree"]
CONFIG = Config(epochs=4, batch=8, lr=0.05, alpha=0.01)


def toy(n=48, width=16):
    """Features that hold their classes, and texts that are nearly alike."""
    rng = np.random.default_rng(0)
    labels = (rng.random((n, 4)) < 0.4).astype(np.int64)
    labels[0] = 1
    classes = rng.normal(size=(4, width))
    features = labels @ classes + 0.3 * rng.normal(size=(n, width))
    text = F.normalize(torch.from_numpy(np.stack([classes + 4, classes + 5])).float(), dim=-1)  # (2, N, D)
    return features[:, None].repeat(3, 1).astype(np.float32), labels, text


def weights(projectors):
    return torch.cat([value.flatten().double() for value in projectors.state_dict().values()])


def off_diagonal(projectors):
    return mean_off_diagonal(projected_matrix(projectors, toy()[2][1]))


@pytest.mark.slow
def test_it_learns_and_classes_come_apart():
    features, labels, text = toy()
    rows = []
    projectors, log = fit(
        features, labels, text, NAMES, Config(epochs=25, batch=8, lr=5e-4, alpha=0.3), lambda row, _: rows.append(row)
    )
    assert rows == log and [row["epoch"] for row in log] == list(range(1, 26)) and not projectors.training
    assert log[-1]["asymmetric"] < log[0]["asymmetric"] and log[-1]["mAP"] > log[0]["mAP"]
    without, other = fit(features, labels, text, NAMES, Config(epochs=25, batch=8, lr=5e-4, alpha=0.0))
    assert log[-1]["mfi"] < other[-1]["mfi"]
    assert off_diagonal(projectors) == log[-1]["off_diagonal"] < off_diagonal(without)


def test_a_run_that_was_cut_off_ends_in_the_same_weights(tmp_path):
    features, labels, text = toy()
    whole, log = fit(features, labels, text, NAMES, CONFIG)
    np.save(tmp_path / "features.npy", features)
    streamed = np.load(tmp_path / "features.npy", mmap_mode="r")

    def cut(row, projectors):
        if row["epoch"] == 2:
            raise KeyboardInterrupt

    half, short = fit(streamed, labels, text, NAMES, CONFIG, cut, checkpoint=tmp_path / "run.pt")
    assert len(short) == 2 and not half.training
    rest, again = fit(streamed, labels, text, NAMES, CONFIG, checkpoint=tmp_path / "run.pt")
    assert torch.equal(weights(rest), weights(whole)) and again == log
    with pytest.raises(ValueError, match="another labels"):
        fit(features, labels, text, NAMES[::-1], CONFIG, checkpoint=tmp_path / "run.pt")
    with pytest.raises(ValueError, match="another text"):
        fit(features, labels, text.flip(0), NAMES, CONFIG, checkpoint=tmp_path / "run.pt")


DAMAGES = {
    "cut": lambda raw: raw[:400],
    "empty": lambda raw: b"",
    "noise": lambda raw: b"x" * len(raw),
    "flipped bits": lambda raw: bytes(byte ^ (4 if 1000 < n < 1100 else 0) for n, byte in enumerate(raw)),
    "a list": lambda raw: pickled([1]),
    "lacking a part": lambda raw: pickled({k: v for k, v in loaded(raw).items() if k != "optimizer"}),
}


def pickled(content):
    torch.save(content, buffer := io.BytesIO())
    return buffer.getvalue()


def loaded(raw):
    return torch.load(io.BytesIO(raw), weights_only=True)


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_named_and_can_be_deleted(damage, tmp_path):
    features, labels, text = toy()
    file = tmp_path / "run.pt"
    fit(features, labels, text, NAMES, CONFIG, checkpoint=file)
    file.write_bytes(DAMAGES[damage](file.read_bytes()))
    with pytest.raises(ValueError, match=r"run\.pt .*delete it"):
        fit(features, labels, text, NAMES, CONFIG, checkpoint=file)
    file.unlink()
    assert len(fit(features, labels, text, NAMES, CONFIG, checkpoint=file)[1]) == CONFIG.epochs


def test_a_full_disk_leaves_no_half_checkpoint(tmp_path):
    features, labels, text = toy()
    with full_disk(500), pytest.raises(OSError, match=r"is full: run\.pt was not written. Free space"):
        fit(features, labels, text, NAMES, CONFIG, checkpoint=tmp_path / "run.pt")
    assert list(tmp_path.iterdir()) == []


def test_stop_is_heard_at_the_next_batch():
    features, labels, text = toy()
    asked = []
    _, log = fit(features, labels, text, NAMES, CONFIG, stop=lambda: asked.append(1) or len(asked) > 8)
    assert len(log) == 1 and len(asked) == 9


def test_a_label_without_a_positive_is_named_and_masked():
    features, labels, text = toy()
    labels[:, 2] = 0
    with pytest.warns(UserWarning, match="left out of the asymmetric loss: boat"):
        _, log = fit(features, labels, text, NAMES, CONFIG)
    assert np.isfinite(log[-1]["loss"]) and np.isfinite(log[-1]["mAP"])


def test_bad_input_is_told_in_words():
    features, labels, text = toy()
    broken = features.copy()
    broken[7, 1, 2] = np.nan
    wrong = {
        "at least two": (features, labels, text, ["cat"]),
        "twice: cat": (features, labels, text, ["cat", "dog", "cat", "tree"]),
        "split is empty": (features[:0], labels[:0], text, NAMES),
        "No label has a positive": (features, 0 * labels, text, NAMES),
        "as the features ask": (features[..., :8], labels, text, NAMES),
        "image 7 hold": (broken, labels, text, NAMES),
        "for 48 images": (features[1:], labels, text, NAMES),
    }
    with unchecked():
        for words, arguments in wrong.items():
            with pytest.raises(ValueError, match=words):
                fit(*arguments, CONFIG)


@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), "1", None])
@pytest.mark.parametrize("name", ["epochs", "batch", "lr", "momentum", "alpha", "weight", "seed"])
def test_a_configuration_out_of_range(name, value):
    with unchecked(), pytest.raises(ValueError, match=f"{name} must be"):
        Config(**{name: value})
