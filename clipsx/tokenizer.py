"""The tokenizer of a model of transformers: open_clip's own where it is the same, else that of transformers."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from clipsx.config import read_json
from clipsx.messages import brief, require_package
from clipsx.quiet import quiet

VOCABULARIES = ("tokenizer.json", "vocab.json", "spiece.model", "tokenizer.model")
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


def tokenizer_of(source: Any, family: str, text: Mapping[str, Any], where: str) -> Any:
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
        with quiet():
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
        return read_json(source / "tokenizer.json")
    if not (source / "vocab.json").is_file() or not (source / "merges.txt").is_file():
        return {}
    lines = (source / "merges.txt").read_text(encoding="utf-8").splitlines()
    merges = [line for line in lines if line and not line.startswith("#version")]
    added = read_json(source / "added_tokens.json") if (source / "added_tokens.json").is_file() else {}
    model = {"vocab": read_json(source / "vocab.json"), "merges": merges}
    return {"model": model, "added_tokens": [{"id": number} for number in added.values()]}


def _is_simple(stated: Mapping[str, Any], simple: Any) -> bool:
    """Whether a tokenizer has CLIP's own vocabulary, merges and special tokens, and no others."""
    model = stated.get("model", {})
    vocabulary = {SPECIALS.get(token, token): number for token, number in simple.encoder.items()}
    merges = [tuple(pair.split(" ") if isinstance(pair, str) else pair) for pair in model.get("merges", ())]
    added = {token["id"] for token in stated.get("added_tokens", ())}
    own = added <= {vocabulary[name] for name in SPECIALS.values()}
    return own and model.get("vocab") == vocabulary and merges == list(simple.bpe_ranks)
