"""A weights file into a model: tensors alone, whatever wrapper or prefix they were saved under."""

import pickle
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from clipsx.messages import brief
from clipsx.quiet import quiet
from clipsx.weights import require_numbers, unpickled

SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")
WRAPPERS = ("state_dict", "model", "model_state_dict", "module")  # of a checkpoint that holds more than weights
PREFIXES = ("module.", "model.", "clip.")  # of DataParallel and of trainers around a model
OTHERS = {
    b"version https://git-lfs": "is a pointer of Git LFS, not the weights: run `git lfs pull`, or download the file",
    b"<": "is a web page, not weights: its link led to a login or an error page; download it again",
    b"{": "is JSON text, not weights: take the file of the weights themselves",
}


def fill(model: Any, file: Path) -> None:
    """Put a file's weights into an open_clip model. Only tensors are read: never code out of a pickle.

    Wrappers ({"model": …}) and prefixes (`module.`, `_orig_mod.`, `model.`) are taken off.
    Errors: ValueError, naming the file, for one that is something else, damaged, of a type that weights cannot have, or
    does not fit the model.
    """
    with _in_words(file):
        raw = _read(file)
        found = _tensors(raw)
        require_numbers(found.items(), file.name)
        _put(model, file, found, found is raw)


def tensors(file: Path) -> dict[str, Tensor]:
    """The named tensors of a weights file, as `fill` reads them. Errors: as `fill`."""
    with _in_words(file):
        return _tensors(_read(file))


@contextmanager
def _in_words(file: Path) -> Iterator[None]:
    try:
        yield
    except (pickle.UnpicklingError, AttributeError, StopIteration, TypeError, EOFError):
        raise ValueError(f"{file.name} holds something else than a model's named tensors.") from None
    except (SafetensorError, OSError, zipfile.BadZipFile) as error:
        raise ValueError(f"{file.name} is cut short or damaged: {brief(error)}") from None
    except (RuntimeError, KeyError, AssertionError) as error:
        raise ValueError(f"{file.name} does not fit this model: {brief(error)}") from None


def _read(file: Path) -> Any:
    if file.suffix not in SUFFIXES:
        raise ValueError(f"{file.name} is not a weights file ({', '.join(SUFFIXES)}).")
    _refuse_others(file)
    with quiet():
        return load_file(file) if file.suffix == ".safetensors" else unpickled(file)


def _refuse_others(file: Path) -> None:
    """What is often found in the place of weights."""
    with file.open("rb") as stream:
        head = stream.read(512).lstrip(b"\xef\xbb\xbf \t\r\n")
    if not head:
        raise ValueError(f"{file.name} is empty: it was not downloaded whole.")
    for start, words in OTHERS.items():
        if head.startswith(start):
            raise ValueError(f"{file.name} {words}.")
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            if any(entry.endswith("/constants.pkl") or "/code/" in entry for entry in archive.namelist()):
                raise ValueError(
                    f"{file.name} is a TorchScript archive, as OpenAI published them; only plain tensors are read. "
                    "The same weights have a tag: load('ViT-B-16', pretrained='openai'). Offline: "
                    "open_clip.load_openai_model(path) gives a model object for "
                    "clipsx.Clip(model.eval(), preprocess, tokenizer)."
                )


def _tensors(found: Any) -> dict[str, Tensor]:
    """Names and tensors out of what a file holds; the very same object where nothing had to be taken off."""
    named = found if isinstance(found, dict) else {}
    inside = next((named[name] for name in WRAPPERS if isinstance(named.get(name), dict)), None)
    if inside is not None:
        return _tensors(inside)
    if not named or not all(isinstance(value, Tensor) for value in named.values()):
        raise TypeError
    prefix = next((p for p in PREFIXES if all(str(name).startswith(p) for name in found)), "")
    if not prefix and not any("_orig_mod." in name for name in found):
        return found
    return _tensors({name.removeprefix(prefix).replace("_orig_mod.", ""): value for name, value in found.items()})


def _put(model: Any, file: Path, tensors: dict[str, Tensor], as_it_is: bool) -> None:
    """By open_clip's own reader, which converts other layouts and resizes positions; it reads files alone."""
    import open_clip

    with quiet(), TemporaryDirectory() as folder:
        if not as_it_is:
            file = Path(folder) / "weights.safetensors"
            save_file({name: value.contiguous().clone() for name, value in tensors.items()}, file)
        open_clip.load_checkpoint(model, str(file))
