"""load(): a Clip by name: built in, open_clip's names and tags, hub repositories, local directories and files."""

import difflib
import re
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

from clipsx import config, huggingface, paths
from clipsx.checkpoint import SUFFIXES, fill
from clipsx.clip import Clip
from clipsx.hub import looking, reaching
from clipsx.messages import brief, nearest, require_known, require_package
from clipsx.openclip import RANDOM, Wanted, downloaded, filled, made, wrap
from clipsx.towers import POSITIONS

WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
PRECISIONS = ("fp32", "fp16", "bf16", "pure_fp16", "pure_bf16")


def built_in() -> dict[str, Path]:
    """The models that are shipped with the package, and their folders: the built-in ones, then the laboratory's."""
    places = ("", "laboratory/models/")
    found = [path.parent for place in places for path in sorted(paths.data().glob(f"{place}*/{config.NAME}"))]
    return {folder.name: folder for folder in found}


def load(
    name: str | Path,
    pretrained: str | Path | None = None,
    device: str | torch.device | None = None,
    precision: str = "fp32",
    quickgelu: bool | None = None,
    positions: str | None = None,
) -> Clip:
    """A Clip, in eval mode.

    name: a built-in model ("sketchbook", …; offline), an open_clip architecture ("ViT-B-16"), a directory in
    open_clip's format or of transformers (CLIPModel, SiglipModel; a Trainer's checkpoint too), or a weights file that
    lies in one; "hf-hub:owner/name", or "owner/name" alone, and "local-dir:folder" as in open_clip. pretrained: for an
    architecture, one of its tags ("openai", downloaded once), or a local weights file; for it and for a directory in
    open_clip's format also "random", random weights of seed 0, or "random:7", of another. device: CUDA, else the CPU.
    precision: "fp32", "fp16", "bf16", "pure_fp16", "pure_bf16". quickgelu: whether the weights were trained with
    QuickGELU; a tag and a directory say so themselves (a statement that contradicts them is an error), a local file of
    an architecture does not, so there it must be stated. positions: how they are interpolated at another size, one of
    `towers.POSITIONS` (None: "bicubic-antialias", or the model's own rule where it has one).
    Errors: ValueError for unknown names (with the nearest), contradictions, files that hold something else or weights
    that are not finite; FileNotFoundError; ConnectionError where a download fails; ImportError naming a package that
    the model needs.
    """
    require_known("precision", precision, PRECISIONS)
    if positions is not None:
        require_known("rule for positions", positions, POSITIONS)
    given = {"name": str(name), "pretrained": None if pretrained is None else str(pretrained)}
    on = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    clip = _loaded(str(name).removeprefix("local-dir:"), Wanted(pretrained, on, precision, quickgelu))
    clip.recipe = {**given, "precision": precision, "quickgelu": quickgelu}
    return clip if positions is None else clip.with_positions(positions)


def _loaded(name: str, wanted: Wanted) -> Clip:
    if name.startswith("hf-hub:"):
        return _hub(name, wanted)
    place = built_in().get(name) or Path(name).expanduser()
    if place.is_file() and (place.parent / config.NAME).is_file():
        return _directory(place.parent, place, wanted)
    if (place / config.NAME).is_file():
        return _directory(place, _weights_in(place), wanted)
    folder = place.parent if place.name in huggingface.WEIGHTS else place
    if huggingface.fits(folder):
        return huggingface.folder(folder, wanted)
    if place.is_dir():
        raise FileNotFoundError(
            f"{place} holds neither {config.NAME} (of open_clip) nor {huggingface.CONFIG} (of transformers): "
            "it is not a model's folder."
        )
    if place.is_file():
        raise ValueError(
            f"{place.name} alone does not say its architecture: "
            f"load('ViT-B-16', pretrained='{place.name}', quickgelu=True or False)."
        )
    return _architecture(name, wanted)


def _directory(folder: Path, file: Path, wanted: Wanted, name: str = "") -> Clip:
    """A folder in open_clip's format; name: of the hub repository that it is a copy of."""
    if wanted.seed is None:
        wanted.leave(name or folder.name)
    folder = folder.resolve()  # so that "." has a name as well
    cfg = config.read(folder)["model_cfg"]
    _require_transformers(cfg, name or folder.name)
    stated = bool(cfg.get("quick_gelu", False))
    wanted.agree(stated, f"{name or folder.name}'s {config.NAME} says quick_gelu={stated}")
    vocabulary = (cfg["text_cfg"].get("tokenizer_kwargs") or {}).get("bpe_path")
    # A relative path would be looked for in the working directory.
    own = {"bpe_path": str((folder / vocabulary).resolve())} if vocabulary else {}
    try:
        place = f"local-dir:{folder}"
        model, tokenizer = made(place, wanted, name or place, own)
    except (TypeError, ValueError, AssertionError, OSError, RuntimeError) as error:
        raise ValueError(f"{folder / config.NAME} is not understood by open_clip: {brief(error)}") from None
    name = name.removeprefix("hf-hub:") or folder.name
    return filled(model, tokenizer, name, wanted, file, name)


def _hub(name: str, wanted: Wanted) -> Clip:
    """A repository of the Hugging Face hub, "hf-hub:owner/name", of open_clip or of transformers, downloaded once."""
    looking(name, "its configuration and weights")
    with reaching(name, "its configuration and weights", f"give a local folder: {_offline()}"):
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError
        from open_clip.pretrained import download_pretrained_from_hf

        short = name.removeprefix("hf-hub:")
        repository, _, revision = short.partition("@")
        try:
            folder = Path(hf_hub_download(repository, config.NAME, revision=revision or None)).parent
        except EntryNotFoundError:  # no folder of open_clip's, or no network
            folder = huggingface.fetched(repository, revision or None)
        else:
            file = Path(download_pretrained_from_hf(repository, revision=revision or None))
            return _directory(folder, file, wanted, name)
    return huggingface.folder(folder, wanted, short)


def _weights_in(folder: Path) -> Path:
    files = [folder / name for name in WEIGHTS if (folder / name).is_file()]
    files += sorted(f for f in folder.iterdir() if f.suffix in SUFFIXES)
    if not files:
        raise FileNotFoundError(f"{folder} holds a configuration but no weights ({', '.join(WEIGHTS)}).")
    return files[0]


def _architecture(name: str, wanted: Wanted) -> Clip:
    seed, pretrained, quickgelu = wanted.seed, wanted.pretrained, wanted.quickgelu
    if pretrained is not None and seed is None and not Path(str(pretrained)).expanduser().is_file():
        looking(name, pretrained)
    import open_clip
    from open_clip.pretrained import get_pretrained_cfg, list_pretrained_tags_by_model

    asked, name, known = name, name.replace("/", "-"), open_clip.list_models()
    if name not in known:
        repository = re.fullmatch(r"[\w-][\w.-]*/[\w.-]+(@[\w./-]+)?", asked)
        if repository and not difflib.get_close_matches(name, known, 1, 0.8):
            return _hub(f"hf-hub:{asked}", wanted)
        raise ValueError(f"Unknown model {name!r}{nearest(name, (*built_in(), *known))}.")
    cfg = open_clip.get_model_config(name) or {}
    if "vision_cfg" not in cfg:
        parts = ", ".join(key for key in cfg if key.endswith("_cfg"))
        raise ValueError(f"{name} has no image tower: it is made of {parts}.")
    _require_transformers(cfg, name)
    named = bool(cfg.get("quick_gelu", False))
    tags = list_pretrained_tags_by_model(name)
    tag = get_pretrained_cfg(name, str(pretrained)) if pretrained is not None else {}
    if tag:
        # Where an architecture has no sibling without QuickGELU, its own configuration says how it was trained.
        only = named and not name.endswith("-quickgelu")
        stated = only or bool(tag.get("quick_gelu", False))
        wanted.agree(stated, f"the tag {str(pretrained)!r} of {name} was trained with quick_gelu={stated}")
        if named and not stated:
            other = name.removesuffix("-quickgelu")
            raise ValueError(f"{name} uses QuickGELU and the tag {str(pretrained)!r} does not: load {other!r}.")
        with reaching(name, str(pretrained), f"give a local file: {_offline(name)}") as answers:
            file = downloaded(tag, answers)
            model, tokenizer = made(name, wanted, force_quick_gelu=stated, force_preprocess_cfg=tag)
        fill(model, file)
        return wrap(model, tokenizer, name, str(pretrained))
    if pretrained is None:
        raise ValueError(
            f"Which weights of {name}? pretrained= one of its tags ({', '.join(tags) or 'none'}), a local file, "
            f'or "{RANDOM}" for random weights ("{RANDOM}:7": of another seed).'
        )
    if quickgelu is False and named:
        raise ValueError(f"quickgelu=False contradicts the architecture {name}, which uses QuickGELU.")
    file = Path(pretrained).expanduser()
    if seed is None and not file.is_file():
        raise ValueError(f"{str(pretrained)!r} is neither a tag of {name} nor a file{nearest(str(pretrained), tags)}.")
    if seed is None and quickgelu is None and not named:
        raise ValueError(
            f"Whether {file.name} was trained with QuickGELU cannot be read from it: state quickgelu=True "
            "(OpenAI's and most early weights) or quickgelu=False. The wrong one gives wrong numbers without any error."
        )
    text_cfg = cfg.get("text_cfg", {})
    downloads = {"hf_model_name", "hf_tokenizer_name"} & text_cfg.keys() or "siglip" in name.lower()
    with reaching(name, "its tokenizer", _offline(name)) if downloads else nullcontext():
        model, tokenizer = made(name, wanted, force_quick_gelu=bool(quickgelu))
    return filled(model, tokenizer, name, wanted, file, file.name)


def _require_transformers(cfg: dict[str, Any], name: str) -> None:
    """Raise an ImportError where a model's text tower or tokenizer is of transformers, which is not installed."""
    if {"hf_model_name", "hf_tokenizer_name"} & cfg.get("text_cfg", {}).keys():
        require_package("transformers", "hf", name)


def _offline(name: str = "") -> str:
    own = f"load({name!r}, pretrained='path/to/weights', quickgelu=True or False)" if name else "load('path/to/folder')"
    return f"{own}. Offline there is: {', '.join(built_in()) or 'nothing built in'}."
