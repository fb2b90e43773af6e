"""CLIPModel and SiglipModel of transformers, from a folder or as objects: made open_clip models, and never changed.

A folder of a CLIPModel is read without transformers being installed, where its vocabulary is CLIP's own.
"""

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch

from clipsx import checkpoint, convert
from clipsx.clip import Clip
from clipsx.config import read_json
from clipsx.openclip import Wanted
from clipsx.preprocess import transform
from clipsx.quiet import quiet
from clipsx.tokenizer import tokenizer_of
from clipsx.weights import file_digest

CONFIG = "config.json"
ADAPTER = "adapter_config.json"
WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
RESAMPLE = {2: "bilinear", 3: "bicubic"}  # PIL's numbers, as processors state them


def fits(place: Path) -> bool:
    """Whether a folder is one of transformers, or an adapter's of PEFT."""
    return (place / CONFIG).is_file() or (place / ADAPTER).is_file()


def fetched(repository: str, revision: str | None) -> Path:
    """The folder of a repository of the hub, with what `folder` reads, downloaded once. Errors: those of the hub."""
    from huggingface_hub import hf_hub_download, snapshot_download
    from huggingface_hub.errors import EntryNotFoundError

    patterns = ["*.json", "*.txt", "*.model"]
    for name in WEIGHTS:
        with suppress(EntryNotFoundError):
            patterns += [name, *_parts(Path(hf_hub_download(repository, name, revision=revision)))]
            break
    return Path(snapshot_download(repository, revision=revision, allow_patterns=patterns, ignore_patterns="*/*"))


def folder(place: Path, wanted: Wanted, name: str = "") -> Clip:
    """A Clip of a folder of transformers, a Trainer's checkpoint included; its other files are not opened.

    name: of the hub repository that it is a copy of. Errors: as of `load`.
    """
    place = place.resolve()
    name = name or ("/".join(place.parts[-2:]) if place.name.startswith("checkpoint-") else place.name)
    wanted.leave(name)
    if not (place / CONFIG).is_file():
        raise ValueError(
            f"{name} is an adapter of PEFT, not a whole model: load it with peft onto its base model, and give "
            "clipsx.from_transformers(model, processor)."
        )
    config = read_json(place / CONFIG)
    family = convert.require_family(config, name)
    quick = convert.is_quick(config, family)
    wanted.agree(quick, f"{name}'s {CONFIG} says {quick}")
    files = _weights(place)
    tensors = {key: value for file in files for key, value in checkpoint.tensors(file).items()}
    image, text = convert.sections(config, family)
    preprocess = _preprocess(_processor(place), image["image_size"], name)
    tokenizer = tokenizer_of(place, family, text, name)
    model = convert.made(config, tensors, preprocess, wanted.device, wanted.precision, name)
    sha = hashlib.sha256("".join(map(file_digest, files)).encode()).hexdigest() if files[1:] else file_digest(files[0])
    return Clip(model, transform(model.visual), tokenizer, name, f"{name} sha256:{sha[:8]}")


def from_transformers(model: Any, processor: Any, name: str | None = None) -> Clip:
    """A Clip of a CLIPModel or SiglipModel that the user holds, on its device and in its dtype; it is not changed.

    model: the model, or a PEFT model around one, whose active adapters are merged in a copy; processor: its
    CLIPProcessor or SiglipProcessor; name: what tables call it, by default what it was loaded from. The middle that
    "crop" cuts out is open_clip's: at a quarter of the sizes a pixel beside the processor's, which always rounds down.
    Errors: TypeError for what is no model or processor of transformers; ValueError naming a model that is not served;
    ImportError where a tokenizer needs a package.
    """
    images, words = getattr(processor, "image_processor", None), getattr(processor, "tokenizer", None)
    if images is None or words is None:
        kind = type(processor).__name__
        raise TypeError(f"processor must have an image_processor and a tokenizer, as CLIPProcessor has; not {kind}.")
    if not isinstance(model, torch.nn.Module) or not hasattr(model, "config"):
        raise TypeError(f"model must be a CLIPModel or SiglipModel of transformers, not {type(model).__name__}.")
    whole, adapters = _merged(model)
    kind = type(whole).__name__
    config = {**whole.config.to_dict(), "architectures": [kind]}
    family = convert.require_family(config, "The model")
    image, text = convert.sections(config, family)
    preprocess = _preprocess(images.to_dict(), image["image_size"], "The processor")
    tokenizer = tokenizer_of(words, family, text, "the processor")
    first = next(whole.parameters())
    made = convert.made(config, whole.state_dict(), preprocess, first.device, "fp32", f"The {kind}").to(first.dtype)
    return Clip(made, transform(made.visual), tokenizer, name or " + ".join([_name(whole), *adapters]))


def _merged(model: Any) -> tuple[Any, list[str]]:
    """A PEFT model as it computes now, in a copy without adapters, and those that it had; any other model itself."""
    if not hasattr(model, "merge_and_unload"):
        return model, []
    off = any(getattr(module, "disable_adapters", False) is True for module in model.modules())
    with quiet():
        copy = deepcopy(model)
        return (copy.unload(), []) if off else (copy.merge_and_unload(), list(model.active_adapters))


def _name(model: Any) -> str:
    """What a model was loaded from, a folder by its last part; else its class."""
    stated = str(model.config._name_or_path or type(model).__name__)
    return Path(stated).name if Path(stated).is_dir() else stated


def _weights(place: Path) -> list[Path]:
    """The files of a folder's weights. Errors: FileNotFoundError where there are none, or a part is missing."""
    file = next((place / name for name in WEIGHTS if (place / name).is_file()), None)
    if file is None:
        raise FileNotFoundError(f"{place} holds a configuration but no weights ({', '.join(WEIGHTS)}).")
    parts = [place / part for part in _parts(file)]
    lost = next((part.name for part in parts if not part.is_file()), "" if parts else "every part")
    if lost:
        raise FileNotFoundError(f"{place} lacks {lost}, which {file.name} names.")
    return parts


def _parts(file: Path) -> list[str]:
    """The names of the files of weights: that file alone, or those that an index names."""
    if file.suffix != ".json":
        return [file.name]
    return [Path(part).name for part in sorted(set(read_json(file).get("weight_map", {}).values()))]


def _processor(place: Path) -> dict[str, Any]:
    """What an image processor's file says, whichever version of transformers wrote it."""
    whole, alone = place / "processor_config.json", place / "preprocessor_config.json"
    if whole.is_file() and "image_processor" in (found := read_json(whole)):
        return found["image_processor"]
    if alone.is_file():
        return read_json(alone)
    raise FileNotFoundError(
        f"{place} says nothing of how pictures are read (preprocessor_config.json): copy it from the model that this "
        "one was trained from (processor.save_pretrained(folder))."
    )


def _preprocess(settings: Mapping[str, Any], side: Any, where: str) -> dict[str, Any]:
    """An image processor's settings as open_clip's preprocess_cfg: mean and standard deviation of values in 0…1."""
    size, resample = settings.get("size"), int(settings.get("resample", 3))
    if resample not in RESAMPLE:
        raise ValueError(f"{where}: resample={resample} is not understood; known: 2 (bilinear) and 3 (bicubic).")
    mean, std = settings.get("image_mean"), settings.get("image_std")
    if not settings.get("do_normalize", True):
        mean, std = [0.0] * 3, [1.0] * 3
    if mean is None or std is None:
        raise ValueError(f"{where} says no image_mean and image_std: how pictures are normalised is not known.")
    factor = 255 * settings.get("rescale_factor", 1 / 255) if settings.get("do_rescale", True) else 255
    squash = isinstance(size, Mapping) and size.get("height") is not None
    return {
        "size": side,
        "mean": [value / factor for value in mean],
        "std": [value / factor for value in std],
        "interpolation": RESAMPLE[resample],
        "resize_mode": "squash" if squash else "shortest",
    }
