"""open_clip's models as it makes them, before anyone's weights are in them, and what it downloads for a tag."""

from pathlib import Path
from typing import Any

import torch

from clipsx.clip import Clip
from clipsx.preprocess import transform
from clipsx.quiet import making


def made(
    name: str,
    device: torch.device,
    precision: str,
    seed: int = 0,
    tokenizer: tuple[str, dict[str, str]] | None = None,
    **own: Any,
) -> tuple[Any, Any]:
    """open_clip's model with seeded random weights (`fill` puts others in and looks at them), and its tokenizer."""
    import open_clip

    plain = {"device": device, "precision": precision, "load_weights": False, "pretrained_text": False}
    place, options = tokenizer or (name, {})
    options = dict[str, Any](options)
    with making(seed):
        model = open_clip.create_model(name, **plain, **own)
        settle(model)
        return model, open_clip.get_tokenizer(place, **options)


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
