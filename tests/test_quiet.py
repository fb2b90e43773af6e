"""Loading and encoding leave the process as they found it, also in several threads at once."""

import logging
import threading
import warnings
from collections.abc import Callable

import pytest
import torch

import clipsx
from clipsx.quiet import making, quiet
from helpers import random_images, tiny_clip


def state() -> tuple:
    root = logging.getLogger()
    return (
        list(warnings.filters), list(root.handlers), root.level, logging.root.manager.disable,
        torch.get_rng_state().tolist(), torch.get_default_dtype(), torch.is_inference_mode_enabled(),
    )  # fmt: skip


def at_once(work: Callable[[int], None], count: int) -> None:
    start = threading.Barrier(count)

    def begin(number: int) -> None:
        start.wait()
        work(number)

    threads = [threading.Thread(target=begin, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_threads_that_overlap_leave_filters_and_logging() -> None:
    before = state()
    inside = threading.Barrier(8)

    def work(number: int) -> None:
        with quiet():
            inside.wait()  # all are in; they leave in any order
            warnings.warn("not heard", stacklevel=1)
            logging.info("not heard")

    at_once(work, 8)
    assert state() == before


def test_loading_in_threads_leaves_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])  # where a library's first word would install one
    before = state()
    at_once(lambda number: clipsx.load("sketchbook", device="cpu") and None, 3)
    assert state() == before


def test_an_error_inside_leaves_everything() -> None:
    before = state()

    def make() -> None:
        with making(seed=3):
            torch.rand(3)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        make()
    assert state() == before


def encoded(clip: clipsx.Clip, images: torch.Tensor) -> list[torch.Tensor]:
    dense = clip.encode_dense(images)
    return [
        dense.cls,
        dense.patches,
        clip.encode_image(images),
        clip.encode_text(["a cat"]),
        clip.encode_labels(["cat"]),
    ]


@pytest.mark.parametrize("mode", ["autocast", "inference", "float64", "grad"])
def test_numbers_do_not_depend_on_the_callers_modes(mode: str) -> None:
    clip, images = tiny_clip(), random_images(1, 64, 64)
    expected = encoded(tiny_clip(), images)
    contexts = {
        "autocast": torch.autocast("cpu", dtype=torch.bfloat16),
        "inference": torch.inference_mode(),
        "grad": torch.enable_grad(),
    }
    if mode == "float64":
        torch.set_default_dtype(torch.float64)
    try:
        with contexts.get(mode, torch.enable_grad()):
            loaded = clipsx.load("sketchbook", device="cpu")
            found = encoded(clip, images)
            pixels = loaded.prepare(torch.rand(8, 8).numpy())
            features = loaded.encode_image(pixels)
    finally:
        torch.set_default_dtype(torch.float32)
    for a, b in zip(found, expected, strict=True):
        assert torch.equal(a, b)
        assert not a.is_inference()
        assert not a.requires_grad
    assert loaded.dtype == pixels.dtype == features.dtype == torch.float32
    assert not any(p.is_inference() for p in loaded.model.parameters())


def test_a_model_that_was_made_in_inference_mode_works() -> None:
    with torch.inference_mode():
        clip = tiny_clip()
    assert clip.encode_labels(["cat"]).shape == (1, 32)
    assert clip.weights
