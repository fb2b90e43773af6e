"""How far a training has come, on disk: written whole, read back, and named where it is damaged."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from clipsx import paths
from clipsx.messages import brief
from clipsx.weights import unpickled


def write(file: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint, whole or not at all. Errors: OSError in words where the disk is full."""
    buffer = io.BytesIO()  # torch's own writer says nothing of a full disk
    torch.save(state, buffer)
    paths.write_whole(file, buffer.getvalue())


def read(file: Path) -> dict[str, Any]:
    """What `write` wrote. Errors: ValueError naming a file that is damaged or something else."""
    if not file.is_file():
        raise FileNotFoundError(f"{file} does not exist.")
    try:
        state = unpickled(file)
    except Exception as error:
        told = f"{file} is not a whole checkpoint ({type(error).__name__}): delete it to start anew."
        raise ValueError(told) from None
    if not isinstance(state, dict):
        raise ValueError(f"{file} is not a checkpoint, but a {type(state).__name__}: take another file, or delete it.")
    return state


@contextmanager
def adopting(file: Path) -> Iterator[None]:
    """Where a checkpoint's state is put into place. Errors: ValueError naming one that does not fit."""
    try:
        yield
    except (KeyError, RuntimeError, TypeError, AttributeError, ValueError, IndexError) as error:
        words = f"{file} does not fit this training ({brief(error, 100)})"
        raise ValueError(f"{words}: delete it to start anew, or take another file.") from None
