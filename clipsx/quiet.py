"""Calls of libraries with their warnings and log lines held back, and the process left as it was found."""

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch

_LOCK = threading.RLock()
_HELD = 0
_BEFORE: tuple[list[Any], logging.Handler, int] = ([], logging.NullHandler(), 0)


@contextmanager
def quiet() -> Iterator[None]:
    """No warning is shown and nothing is logged, in any number of threads: the last one out puts things back.

    `warnings.catch_warnings` and `logging.disable` alone leave the filters of another thread behind. The handler is
    there because the first `logging.info` of a library installs one for good where there is none.
    """
    global _HELD, _BEFORE
    root = logging.getLogger()
    with _LOCK:
        if not _HELD:
            _BEFORE = (list(warnings.filters), logging.NullHandler(), logging.root.manager.disable)
            warnings.simplefilter("ignore")
            root.addHandler(_BEFORE[1])
            logging.disable(logging.CRITICAL)
        _HELD += 1
    try:
        yield
    finally:
        with _LOCK:
            _HELD -= 1
            if not _HELD:
                cast(list, warnings.filters)[:] = _BEFORE[0]
                warnings._filters_mutated()  # type: ignore[attr-defined]
                root.removeHandler(_BEFORE[1])
                logging.disable(_BEFORE[2])


@contextmanager
def making(seed: int | None = None) -> Iterator[None]:
    """Where a model is made: quiet, one thread at a time, float32, no inference mode or autocast of the caller's.

    The global random generators are left as they were; seed: of the CPU's meanwhile.
    """
    dtype = torch.get_default_dtype()
    with _LOCK, quiet(), torch.random.fork_rng(), torch.inference_mode(False), plain("cpu"):
        torch.set_default_dtype(torch.float32)
        try:
            if seed is not None:
                torch.manual_seed(seed)
            yield
        finally:
            torch.set_default_dtype(dtype)


@contextmanager
def plain(device: str) -> Iterator[None]:
    """Numbers as the model computes them: no gradient, no autocast of the caller's, no inference tensors."""
    with torch.inference_mode(False), torch.no_grad(), torch.autocast(device, enabled=False):
        yield
