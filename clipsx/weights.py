"""Weights as numbers: whether they are sound, and a name for what they hold."""

import hashlib
import math
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
NUMBERS = (*FLOATS, torch.int32, torch.int64)  # counters and positions are whole numbers
SCALES = (0.1, 1e4)  # of the factor on cosines: what training ever came to, and far beyond
_KNOWN: WeakKeyDictionary[nn.Module, dict[str, tuple[tuple, str]]] = WeakKeyDictionary()


def require_numbers(named: Iterable[tuple[str, Tensor]], where: str) -> None:
    """Raise a ValueError naming the first tensor of a type that a model's numbers cannot have."""
    for name, value in named:
        if value.dtype not in NUMBERS:
            kind = str(value.dtype).removeprefix("torch.")
            raise ValueError(
                f"{where}: {name} is of type {kind}, which is not computed with; take weights of 16 or 32 bits "
                "(quantised ones have to be brought back first)."
            )


def require_sound(model: nn.Module) -> None:
    """Raise a ValueError naming a parameter that is no plain number or not finite; and for a mad logit scale."""
    require_numbers(((n, p) for n, p in model.named_parameters()), "The model's weights")
    mask_like = {n for n, _ in model.named_buffers() if n.endswith("attn_mask")}  # causal masks hold −∞ by design
    for name, value in (*model.named_parameters(), *model.named_buffers()):
        if name not in mask_like and value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise ValueError(f"The model's weights are not finite: {name} holds NaN or infinity. The file is damaged.")
    scale = getattr(model, "logit_scale", None)
    if isinstance(scale, Tensor):
        given = float(scale.detach().reshape(-1)[0])
        if not math.log(SCALES[0]) <= given <= math.log(SCALES[1]):
            raise ValueError(
                f"logit_scale is {given:g}: a factor of exp({given:g}) on cosines is beyond reason ({SCALES[0]:g} … "
                f"{SCALES[1]:g}; CLIP's is 100, a logit_scale of 4.6). Was the logarithm forgotten?"
            )


def require_open_clip(model: Any, tokenizer: Any) -> None:
    """Raise a TypeError for what is mistaken for an open_clip model or its tokenizer, saying what to give."""
    if hasattr(tokenizer, "transforms"):
        raise TypeError(
            "The third part is a picture transform, not a tokenizer: create_model_and_transforms gives a model and two "
            "transforms. Write model, _, preprocess = create_model_and_transforms(name, …); "
            "Clip(model.eval(), preprocess, open_clip.get_tokenizer(name))."
        )
    wrapper, inside = type(model).__name__, next((n for n in ("_orig_mod", "module") if hasattr(model, n)), "")
    if inside:
        raise TypeError(f"The model is wrapped ({wrapper}): give Clip(model.{inside}, …), the model inside.")
    if isinstance(model, torch.jit.ScriptModule):
        raise TypeError(
            "A TorchScript model hides its parts: make it with jit=False, or clipsx.load(name, pretrained=…), instead."
        )
    if type(model).__module__.split(".")[0] in ("transformers", "peft"):
        raise TypeError(f"{wrapper} is a model of transformers: give clipsx.from_transformers(model, processor).")
    if not isinstance(model, nn.Module) or not hasattr(model, "visual") or not callable(tokenizer):
        what = f"{wrapper} as the model and {type(tokenizer).__name__} as the tokenizer"
        raise TypeError(
            f"Clip takes an open_clip model (with its .visual), its transform and its tokenizer, not {what}."
        )


def digest(model: nn.Module, without: str = "-") -> str:
    """SHA-256 (hex) of a model's parameters (names, types, shapes, bytes), save those whose name starts with `without`.

    Remembered per model, and computed again when an address, torch's version counter or the sum of a parameter moved.
    """
    named = [(n, p.detach()) for n, p in sorted(model.named_parameters()) if not n.startswith(without)]
    now = tuple((p.data_ptr(), _version(p), float(p.sum(dtype=torch.float32))) for _, p in named)
    known = _KNOWN.setdefault(model, {})
    if without not in known or known[without][0] != now:
        sha = hashlib.sha256()
        for name, value in named:
            sha.update(f"{name} {value.dtype} {tuple(value.shape)};".encode())
            sha.update(value.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        known[without] = (now, sha.hexdigest())
    return known[without][1]


def _version(parameter: Tensor) -> int:
    return 0 if parameter.is_inference() else parameter._version  # inference tensors count no versions


def unpickled(file: Path) -> Any:
    """What a file of torch's holds, tensors and plain values alone, on the CPU: never code out of a pickle.

    Errors: zipfile.BadZipFile where a checksum in it is wrong, which torch does not look at; else torch's own.
    """
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            if (bad := archive.testzip()) is not None:
                raise zipfile.BadZipFile(f"the checksum of {bad} is wrong")
    return torch.load(file, map_location="cpu", weights_only=True)


def file_digest(file: Path) -> str:
    """SHA-256 (hex) of a file's bytes."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
