"""Weights as bytes: whether they are finite, and a name for what they hold."""

import hashlib
from pathlib import Path
from weakref import WeakKeyDictionary

import torch
from torch import nn

_KNOWN: WeakKeyDictionary[nn.Module, dict[str, tuple[tuple, str]]] = WeakKeyDictionary()


def require_finite(model: nn.Module) -> None:
    """Raise a ValueError naming the first parameter or buffer in use that holds NaN or infinity."""
    mask_like = {n for n, _ in model.named_buffers() if n.endswith("attn_mask")}  # causal masks hold −∞ by design
    for name, value in (*model.named_parameters(), *model.named_buffers()):
        if name not in mask_like and value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise ValueError(f"The model's weights are not finite: {name} holds NaN or infinity. The file is damaged.")


def digest(model: nn.Module, without: str = "-") -> str:
    """SHA-256 (hex) of a model's parameters (names, types, shapes, bytes), save those whose name starts with `without`.

    Remembered per model, and computed again when an address, torch's version counter or the sum of a parameter moved.
    """
    named = [(n, p.detach()) for n, p in sorted(model.named_parameters()) if not n.startswith(without)]
    now = tuple((p.data_ptr(), p._version, float(p.sum(dtype=torch.float32))) for _, p in named)
    known = _KNOWN.setdefault(model, {})
    if without not in known or known[without][0] != now:
        sha = hashlib.sha256()
        for name, value in named:
            sha.update(f"{name} {value.dtype} {tuple(value.shape)};".encode())
            sha.update(value.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        known[without] = (now, sha.hexdigest())
    return known[without][1]


def file_digest(file: Path) -> str:
    """SHA-256 (hex) of a file's bytes."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
