"""Weights as bytes: whether they are finite, and a name for what they hold."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor, nn

_KNOWN: dict[tuple[tuple[int, int], ...], str] = {}


def require_finite(model: nn.Module) -> None:
    """Raise a ValueError naming the first parameter or buffer in use that holds NaN or infinity."""
    mask_like = {n for n, _ in model.named_buffers() if n.endswith("attn_mask")}  # causal masks hold −∞ by design
    for name, value in (*model.named_parameters(), *model.named_buffers()):
        if name not in mask_like and value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise ValueError(f"The model's weights are not finite: {name} holds NaN or infinity. The file is damaged.")


def digest(tensors: Iterable[tuple[str, Tensor]]) -> str:
    """SHA-256 (hex) of named tensors: names, types, shapes and bytes.

    Remembered within the process by storage address and torch's version counter, which every in-place change moves.
    """
    named = sorted(tensors, key=lambda item: item[0])
    seen = tuple((value.data_ptr(), value._version) for _, value in named)
    if seen not in _KNOWN:
        sha = hashlib.sha256()
        for name, value in named:
            sha.update(f"{name} {value.dtype} {tuple(value.shape)};".encode())
            flat = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
            sha.update(memoryview(flat.numpy()))
        _KNOWN[seen] = sha.hexdigest()
    return _KNOWN[seen]


def file_digest(file: Path) -> str:
    """SHA-256 (hex) of a file's bytes."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
