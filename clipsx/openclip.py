"""open_clip's models as it makes them, before anyone's weights are in them, and what it downloads for a tag."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from clipsx.checkpoint import fill
from clipsx.clip import Clip
from clipsx.preprocess import transform
from clipsx.quiet import making
from clipsx.weights import file_digest

RANDOM = "random"


@dataclass(frozen=True)
class Wanted:
    """What `load` is asked for beside a name."""

    pretrained: str | Path | None
    device: torch.device
    precision: str
    quickgelu: bool | None

    @property
    def seed(self) -> int | None:
        """That of "random" and "random:7"; None for other weights. Errors: ValueError for what is no seed."""
        word, colon, seed = str(self.pretrained).partition(":")
        if word != RANDOM:
            return None
        if colon and not (seed.isdecimal() and int(seed) < 2**32):
            raise ValueError(f'{str(self.pretrained)!r} names no seed: write "{RANDOM}:7", a whole number from 0 on.')
        return int(seed or 0)

    def agree(self, stated: bool, source: str) -> None:
        """Raise a ValueError where quickgelu was given, and the source states otherwise."""
        if self.quickgelu not in (None, stated):
            raise ValueError(f"quickgelu={self.quickgelu} contradicts what is known: {source}.")

    def leave(self, name: str) -> None:
        """Raise a ValueError where weights were given beside those that a folder brings."""
        if self.pretrained is not None:
            raise ValueError(f"{name} brings its own weights; leave pretrained={str(self.pretrained)!r} out.")


def made(name: str, wanted: Wanted, tokenizer: str = "", words: Any = None, **own: Any) -> tuple[Any, Any]:
    """open_clip's model with seeded random weights, and its tokenizer, by another name where one is given.

    words: options of the tokenizer; own: of the model. `filled` puts other weights in.
    """
    import open_clip

    plain = {"device": wanted.device, "precision": wanted.precision, "load_weights": False, "pretrained_text": False}
    with making(wanted.seed or 0):
        model = open_clip.create_model(name, **plain, **own)
        settle(model)
        return model, open_clip.get_tokenizer(tokenizer or name, **(words or {}))


def filled(model: Any, tokenizer: Any, name: str, wanted: Wanted, file: Path, called: str) -> Clip:
    """A Clip with a file's weights, which tables call so, or with the random ones that are wanted instead."""
    if wanted.seed is not None:
        return wrap(model, tokenizer, name, f"random, seed {wanted.seed}")
    fill(model, file)
    return wrap(model, tokenizer, name, f"{called} sha256:{file_digest(file)[:8]}")


def settle(model: Any) -> None:
    """Seeded values for what open_clip leaves as memory was: the projection of CoCa's text decoder."""
    projection = getattr(getattr(model, "text_decoder", None), "text_projection", None)
    if isinstance(projection, torch.Tensor):
        torch.nn.init.normal_(projection, std=projection.shape[0] ** -0.5)


def wrap(model: Any, tokenizer: Any, name: str, weights: str) -> Clip:
    return Clip(model.eval(), transform(model.visual), tokenizer, name, weights)


def downloaded(tag: dict[str, Any], answers: bool) -> Path:
    """The file of a tag's weights. Errors: OSError where it cannot be had."""
    from open_clip import download_pretrained

    file = Path("~/.cache/clip").expanduser() / Path(str(tag.get("url"))).name  # open_clip's place for what has a URL
    if not answers and tag.get("url") and not tag.get("hf_hub") and not file.is_file():
        raise OSError("the hub does not answer")
    return Path(download_pretrained(tag))
