"""load(): a Clip by name: built in, open_clip's names and tags, local directories and files."""

import contextlib
import json
import logging
import pickle
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.pretrained import get_pretrained_cfg, list_pretrained_tags_by_model
from open_clip.transform import PreprocessCfg, image_transform_v2
from safetensors import SafetensorError

from clipsx import paths
from clipsx.clip import Clip
from clipsx.messages import nearest
from clipsx.weights import file_digest

CONFIG = "open_clip_config.json"
WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")
PRECISIONS = ("fp32", "fp16", "bf16", "pure_fp16", "pure_bf16")
RANDOM = "random"


def built_in() -> dict[str, Path]:
    """The models that are shipped with the package, and their folders: the built-in ones, then the laboratory's."""
    places = ("", "laboratory/models/")
    found = [path.parent for place in places for path in sorted(paths.data().glob(f"{place}*/{CONFIG}"))]
    return {folder.name: folder for folder in found}


def load(
    name: str,
    pretrained: str | Path | None = None,
    device: str | torch.device | None = None,
    precision: str = "fp32",
    quickgelu: bool | None = None,
) -> Clip:
    """A Clip, in eval mode.

    name: a built-in model ("sketchbook", …; offline), an open_clip architecture ("ViT-B-16"), a directory in
    open_clip's format, or a weights file that lies in one. pretrained: for an architecture, one of its tags ("openai",
    downloaded once), a local weights file, or "random" for seeded random weights. device: CUDA, else the CPU.
    precision: "fp32", "fp16", "bf16", "pure_fp16", "pure_bf16". quickgelu: whether the weights were trained with
    QuickGELU; a tag and a directory say so themselves (a statement that contradicts them is an error), a local file of
    an architecture does not, so there it must be stated.
    Errors: ValueError for unknown names (with the nearest), contradictions, files that hold something else or weights
    that are not finite; FileNotFoundError; ConnectionError where a download fails.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"Unknown precision {precision!r}{nearest(precision, PRECISIONS)}.")
    given = {"name": name, "pretrained": None if pretrained is None else str(pretrained)}
    clip = _loaded(name, pretrained, device, precision, quickgelu)
    clip.recipe = {**given, "precision": precision, "quickgelu": quickgelu}
    return clip


def _loaded(name: str, pretrained: str | Path | None, device: Any, precision: str, quickgelu: bool | None) -> Clip:
    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    place = built_in().get(name) or Path(name).expanduser()
    if place.is_file() and (place.parent / CONFIG).is_file():
        return _directory(place.parent, place, device, precision, quickgelu, pretrained)
    if (place / CONFIG).is_file():
        return _directory(place, _weights_in(place), device, precision, quickgelu, pretrained)
    if place.is_dir():
        raise FileNotFoundError(f"{place} holds no {CONFIG}: it is not a model in open_clip's format.")
    if place.is_file():
        raise ValueError(
            f"{place.name} alone does not say its architecture: "
            f"load('ViT-B-16', pretrained='{place.name}', quickgelu=True or False)."
        )
    return _architecture(name, pretrained, device, precision, quickgelu)


def _directory(
    folder: Path, file: Path, device: torch.device, precision: str, quickgelu: bool | None, pretrained: Any
) -> Clip:
    if pretrained is not None:
        raise ValueError(f"{folder.name} brings its own weights; leave pretrained={str(pretrained)!r} out.")
    folder = folder.resolve()  # so that "." has a name as well
    try:
        config = json.loads((folder / CONFIG).read_text("utf-8"))
        cfg = dict(config["model_cfg"])
        text_cfg = cfg["text_cfg"] = dict(cfg["text_cfg"])
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{folder / CONFIG} is not a configuration of open_clip's ({error}).") from None
    stated = bool(cfg.get("quick_gelu", False))
    _agree(quickgelu, stated, f"{folder.name}'s {CONFIG} says quick_gelu={stated}")
    vocabulary = (text_cfg.get("tokenizer_kwargs") or {}).get("bpe_path")
    # A relative path would be looked for in the working directory.
    own: dict[str, Any] = {"bpe_path": str((folder / vocabulary).resolve())} if vocabulary else {}
    place = f"local-dir:{folder}"
    with _quiet():
        try:
            model = open_clip.create_model(place, **_plain(device, precision))
            tokenizer = open_clip.get_tokenizer(place, **own)
        except (TypeError, ValueError, AssertionError, OSError) as error:
            raise ValueError(f"{folder / CONFIG} is not understood by open_clip: {_brief(error)}") from None
    _fill(model, file)
    return _wrap(model, tokenizer, folder.name, f"{folder.name} sha256:{file_digest(file)[:8]}")


def _weights_in(folder: Path) -> Path:
    files = [folder / name for name in WEIGHTS if (folder / name).is_file()]
    files += sorted(f for f in folder.iterdir() if f.suffix in SUFFIXES)
    if not files:
        raise FileNotFoundError(f"{folder} holds a configuration but no weights ({', '.join(WEIGHTS)}).")
    return files[0]


def _architecture(
    name: str, pretrained: str | Path | None, device: torch.device, precision: str, quickgelu: bool | None
) -> Clip:
    name = name.replace("/", "-")
    if name not in open_clip.list_models():
        raise ValueError(f"Unknown model {name!r}{nearest(name, (*built_in(), *open_clip.list_models()))}.")
    named = bool((open_clip.get_model_config(name) or {}).get("quick_gelu", False))
    tags = list_pretrained_tags_by_model(name)
    tag = get_pretrained_cfg(name, str(pretrained)) if pretrained is not None else {}
    if tag:
        stated = bool(tag.get("quick_gelu", False))
        _agree(quickgelu, stated, f"the tag {str(pretrained)!r} of {name} was trained with quick_gelu={stated}")
        if named and not stated:
            other = name.removesuffix("-quickgelu")
            raise ValueError(f"{name} uses QuickGELU and the tag {str(pretrained)!r} does not: load {other!r}.")
        with _quiet(), _online(name, str(pretrained)):
            file = Path(open_clip.download_pretrained(tag))
            model = open_clip.create_model(
                name, force_quick_gelu=stated, force_preprocess_cfg=tag, **_plain(device, precision)
            )
            tokenizer = open_clip.get_tokenizer(name)
        _fill(model, file)
        return _wrap(model, tokenizer, name, str(pretrained))
    if pretrained is None:
        raise ValueError(
            f"Which weights of {name}? pretrained= one of its tags ({', '.join(tags) or 'none'}), a local file, "
            f'or "{RANDOM}" for seeded random weights.'
        )
    if quickgelu is False and named:
        raise ValueError(f"quickgelu=False contradicts the architecture {name}, which uses QuickGELU.")
    file = Path(pretrained).expanduser()
    if pretrained != RANDOM and not file.is_file():
        raise ValueError(f"{str(pretrained)!r} is neither a tag of {name} nor a file{nearest(str(pretrained), tags)}.")
    if pretrained != RANDOM and quickgelu is None and not named:
        raise ValueError(
            f"Whether {file.name} was trained with QuickGELU cannot be read from it: state quickgelu=True "
            "(OpenAI's and most early weights) or quickgelu=False. The wrong one gives wrong numbers without any error."
        )
    with _quiet(), _online(name, str(pretrained)), torch.random.fork_rng():
        torch.manual_seed(0)
        model = open_clip.create_model(name, force_quick_gelu=bool(quickgelu), **_plain(device, precision))
        tokenizer = open_clip.get_tokenizer(name)
    if pretrained == RANDOM:
        return _wrap(model, tokenizer, name, "random, seed 0")
    _fill(model, file)
    return _wrap(model, tokenizer, name, f"{file.name} sha256:{file_digest(file)[:8]}")


def _agree(given: bool | None, stated: bool, source: str) -> None:
    if given is not None and given != stated:
        raise ValueError(f"quickgelu={given} contradicts what is known: {source}.")


def _plain(device: torch.device, precision: str) -> dict[str, Any]:
    """What every model is made with: no weights yet, `_fill` puts them in and looks at them."""
    return {"device": device, "precision": precision, "load_weights": False, "pretrained_text": False}


def _wrap(model: Any, tokenizer: Any, name: str, weights: str) -> Clip:
    preprocess: Any = image_transform_v2(PreprocessCfg(**model.visual.preprocess_cfg), is_train=False)
    return Clip(model.eval(), preprocess, tokenizer, name, weights)


def _fill(model: Any, file: Path) -> None:
    """Put a file's weights into a model. Only tensors are read: never code out of a pickle."""
    if file.suffix not in SUFFIXES:
        raise ValueError(f"{file.name} is not a weights file ({', '.join(SUFFIXES)}).")
    if _is_torchscript(file):
        raise ValueError(
            f"{file.name} is a TorchScript archive, as OpenAI published them; only plain tensors are read here. "
            "The same weights have a tag: load('ViT-B-16', pretrained='openai'). Offline: open_clip.load_openai_model("
            "path) gives a model object for clipsx.Clip(model.eval(), preprocess, tokenizer)."
        )
    try:
        with _quiet():
            open_clip.load_checkpoint(model, str(file))
    except (pickle.UnpicklingError, AttributeError, StopIteration, TypeError, EOFError):
        raise ValueError(f"{file.name} holds something else than a model's named tensors.") from None
    except (SafetensorError, OSError, zipfile.BadZipFile) as error:
        raise ValueError(f"{file.name} is cut short or damaged: {_brief(error)}") from None
    except (RuntimeError, KeyError, AssertionError) as error:
        raise ValueError(f"{file.name} does not fit this model: {_brief(error)}") from None


def _is_torchscript(file: Path) -> bool:
    if not zipfile.is_zipfile(file):
        return False
    with zipfile.ZipFile(file) as archive:
        return any(entry.endswith("/constants.pkl") or "/code/" in entry for entry in archive.namelist())


def _brief(error: BaseException) -> str:
    words = " ".join(str(error).split())
    return words if len(words) <= 300 else words[:297] + "…"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """open_clip logs every step and each failure at length; what matters is said in our own errors."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


@contextlib.contextmanager
def _online(name: str, source: str) -> Iterator[None]:
    """One clear message where something cannot be downloaded, whatever the libraries below raise."""
    try:
        yield
    except ImportError as error:
        raise ImportError(f"{name} needs a package that is not installed: {_brief(error)}.") from None
    except OSError as error:
        raise ConnectionError(
            f"{name} ({source}) could not be downloaded: {_brief(error)} Check the network, or give a local file: "
            f"load({name!r}, pretrained='path/to/weights', quickgelu=True or False). "
            f"Offline there is: {', '.join(built_in()) or 'nothing built in'}."
        ) from None
