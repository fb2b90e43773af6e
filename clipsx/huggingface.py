"""CLIPModel and SiglipModel of transformers, from a folder or as objects: made open_clip models, and never changed.

A folder of a CLIPModel is read without transformers being installed, where its vocabulary is CLIP's own.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from clipsx import checkpoint, convert
from clipsx.clip import Clip
from clipsx.messages import brief, require_package
from clipsx.preprocess import transform
from clipsx.quiet import quiet
from clipsx.weights import file_digest

CONFIG = "config.json"
ADAPTER = "adapter_config.json"
WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
VOCABULARIES = ("tokenizer.json", "vocab.json", "spiece.model", "tokenizer.model")
RESAMPLE = {2: "bilinear", 3: "bicubic"}  # PIL's numbers, as processors state them
SPECIALS = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}  # open_clip's, and transformers'


class Tokenizer:
    """A tokenizer of transformers, called as open_clip's are: texts to ids (T, L), padded at the right.

    inner: the tokenizer, not changed; context_length: L; clean: what is done to a text first.
    """

    def __init__(self, inner: Any, context_length: int, clean: Callable[[str], str]) -> None:
        self.inner, self.context_length, self.clean = inner, context_length, clean

    def __call__(self, texts: str | Sequence[str], context_length: int | None = None) -> Int[Tensor, "T L"]:
        given = [self.clean(text) for text in ([texts] if isinstance(texts, str) else texts)]
        length = context_length or self.context_length
        options = {"padding": "max_length", "padding_side": "right", "truncation": True, "max_length": length}
        return torch.tensor(self.inner(given, **options)["input_ids"], dtype=torch.long)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids."""
        return self.inner.decode(ids)


def fits(place: Path) -> bool:
    """Whether a folder is one of transformers, or an adapter's of PEFT."""
    return (place / CONFIG).is_file() or (place / ADAPTER).is_file()


def folder(
    place: Path, pretrained: str | Path | None, device: torch.device, precision: str, quickgelu: bool | None
) -> Clip:
    """A Clip of a folder of transformers, a Trainer's checkpoint included; its other files are not opened.

    Arguments and errors: as `load`.
    """
    place = place.resolve()
    name = "/".join(place.parts[-2:]) if place.name.startswith("checkpoint-") else place.name
    if pretrained is not None:
        raise ValueError(f"{name} brings its own weights; leave pretrained={str(pretrained)!r} out.")
    if not (place / CONFIG).is_file():
        raise ValueError(
            f"{name} is an adapter of PEFT, not a whole model: load it with peft onto its base model, and give "
            "clipsx.from_transformers(model, processor)."
        )
    config = _json(place / CONFIG)
    family = convert.require_family(config, name)
    stated = convert.is_quick(config, family)
    if quickgelu not in (None, stated):
        raise ValueError(f"quickgelu={quickgelu} contradicts what is known: {name}'s {CONFIG} says {stated}.")
    files = _weights(place)
    tensors = {key: value for file in files for key, value in checkpoint.tensors(file).items()}
    image, text = convert.sections(config, family)
    preprocess = _preprocess(_processor(place), image["image_size"], name)
    tokenizer = _tokenizer(place, family, text, name)
    model = convert.made(config, tensors, preprocess, device, precision, name)
    sha = hashlib.sha256("".join(map(file_digest, files)).encode()).hexdigest() if files[1:] else file_digest(files[0])
    return Clip(model, transform(model.visual), tokenizer, name, f"{name} sha256:{sha[:8]}")


def from_transformers(model: Any, processor: Any, name: str | None = None) -> Clip:
    """A Clip of a CLIPModel or SiglipModel that the user holds, on its device and in its dtype; it is not changed.

    model: the model, or a PEFT model around one, whose active adapters are merged in a copy; processor: its
    CLIPProcessor or SiglipProcessor; name: what tables call it, by default what it was loaded from.
    Errors: TypeError for what is no model or processor of transformers; ValueError naming a model that is not served;
    ImportError where a tokenizer needs a package.
    """
    images, words = getattr(processor, "image_processor", None), getattr(processor, "tokenizer", None)
    if images is None or words is None:
        kind = type(processor).__name__
        raise TypeError(f"processor must have an image_processor and a tokenizer, as CLIPProcessor has; not {kind}.")
    if not isinstance(model, torch.nn.Module) or not hasattr(model, "config"):
        raise TypeError(f"model must be a CLIPModel or SiglipModel of transformers, not {type(model).__name__}.")
    given: Any = model
    with quiet():
        whole: Any = deepcopy(given).merge_and_unload() if hasattr(given, "merge_and_unload") else given
    kind = type(whole).__name__
    config = {**whole.config.to_dict(), "architectures": [kind]}
    family = convert.require_family(config, "The model")
    image, text = convert.sections(config, family)
    first = next(whole.parameters())
    preprocess = _preprocess(images.to_dict(), image["image_size"], "The processor")
    made = convert.made(config, whole.state_dict(), preprocess, first.device, "fp32", f"The {kind}").to(first.dtype)
    tokenizer = _tokenizer(words, family, text, "the processor")
    return Clip(made, transform(made.visual), tokenizer, name or str(whole.config._name_or_path or kind))


def _json(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise ValueError(f"{file} is no JSON: {brief(error)}") from None
    if not isinstance(found, dict):
        raise ValueError(f"{file} is not a configuration: it holds no {{…}}.")
    return found


def _weights(place: Path) -> list[Path]:
    """The files of a folder's weights. Errors: FileNotFoundError where there are none, or a part is missing."""
    file = next((place / name for name in WEIGHTS if (place / name).is_file()), None)
    if file is None:
        raise FileNotFoundError(f"{place} holds a configuration but no weights ({', '.join(WEIGHTS)}).")
    if file.suffix != ".json":
        return [file]
    parts = [place / Path(part).name for part in sorted(set(_json(file).get("weight_map", {}).values()))]
    lost = next((part.name for part in parts if not part.is_file()), "" if parts else "every part")
    if lost:
        raise FileNotFoundError(f"{place} lacks {lost}, which {file.name} names.")
    return parts


def _processor(place: Path) -> dict[str, Any]:
    """What an image processor's file says, whichever version of transformers wrote it."""
    for name in ("processor_config.json", "preprocessor_config.json"):
        found = _json(place / name) if (place / name).is_file() else {}
        if found := found.get("image_processor", found if name.startswith("pre") else None):
            return found
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


def _tokenizer(source: Any, family: str, text: Mapping[str, Any], where: str) -> Any:
    """open_clip's own tokenizer where a CLIP's is the same, else that of transformers.

    source: a folder, or a tokenizer of transformers; text: what the text tower is made of.
    Errors: ImportError, FileNotFoundError; ValueError for a tokenizer that cannot be read, or is another model's.
    """
    from open_clip.tokenizer import SimpleTokenizer, get_clean_fn

    length, known = text["max_position_embeddings"], text["vocab_size"]
    simple = SimpleTokenizer(context_length=length) if family == "clip" else None
    if simple and _is_simple(_stated(source), simple):
        inner, count = simple, len(simple.encoder)
    else:
        inner = _loaded(source, where) if isinstance(source, Path) else source
        count = len(inner)
    if count > known:
        raise ValueError(
            f"The tokenizer of {where} has {count} tokens, the model {known}: they do not belong together."
        )
    clean = get_clean_fn("canonicalize" if family == "siglip" else "whitespace")
    return simple if inner is simple else Tokenizer(inner, length, clean)


def _loaded(place: Path, where: str) -> Any:
    if not any((place / name).is_file() for name in VOCABULARIES):  # transformers would make an empty one
        raise FileNotFoundError(
            f"{place} holds no tokenizer ({', '.join(VOCABULARIES)}): copy it from the model that this one was trained "
            "from (processor.save_pretrained(folder))."
        )
    require_package("transformers", "hf", f"The tokenizer of {where}")
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(place, local_files_only=True)
    except ImportError as error:
        raise ImportError(f"The tokenizer of {where} needs more: pip install 'clipsx[hf]'. {brief(error)}") from None
    except Exception as error:  # whatever broken files lead to
        raise ValueError(f"{where} holds no tokenizer that transformers can read: {brief(error)}") from None


def _stated(source: Any) -> dict[str, Any]:
    """What a tokenizer is made of, as a tokenizer.json has it; {} where that is not known."""
    if not isinstance(source, Path):
        backend = getattr(source, "backend_tokenizer", None)
        return json.loads(backend.to_str()) if backend is not None else {}
    if (source / "tokenizer.json").is_file():
        return _json(source / "tokenizer.json")
    if not (source / "vocab.json").is_file() or not (source / "merges.txt").is_file():
        return {}
    lines = (source / "merges.txt").read_text(encoding="utf-8").splitlines()
    merges = [line for line in lines if line and not line.startswith("#version")]
    added = _json(source / "added_tokens.json") if (source / "added_tokens.json").is_file() else {}
    model = {"vocab": _json(source / "vocab.json"), "merges": merges}
    return {"model": model, "added_tokens": [{"id": number} for number in added.values()]}


def _is_simple(stated: Mapping[str, Any], simple: Any) -> bool:
    """Whether a tokenizer has CLIP's own vocabulary, merges and special tokens, and no others."""
    model = stated.get("model", {})
    vocabulary = {SPECIALS.get(token, token): number for token, number in simple.encoder.items()}
    merges = [tuple(pair.split(" ") if isinstance(pair, str) else pair) for pair in model.get("merges", ())]
    added = {token["id"] for token in stated.get("added_tokens", ())}
    own = added <= {vocabulary[name] for name in SPECIALS.values()}
    return own and model.get("vocab") == vocabulary and merges == list(simple.bpe_ranks)
