"""Label features: prompt templates, ensembles, and the cache on disk."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import cache

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.nn import functional as F

from clipsx import paths
from clipsx.cache import Entry, entry, trim
from clipsx.messages import require_known
from clipsx.prompts import Tower, encode_prompts, token_ids
from clipsx.weights import digest

_SCENE = (
    "there is a {} in the scene.",
    "there is the {} in the scene.",
    "this is a {} in the scene.",
    "this is the {} in the scene.",
    "this is one {} in the scene.",
)
ENSEMBLES = ("clip-surgery", "imagenet", "photo", "plain")
"""Named prompt ensembles: CLIP Surgery's 85, CLIP's 80 for ImageNet, the usual single prompt, the label itself."""


@cache
def _ensembles() -> dict[str, tuple[str, ...]]:
    from open_clip import OPENAI_IMAGENET_TEMPLATES

    imagenet = tuple(template("{}") for template in OPENAI_IMAGENET_TEMPLATES)
    return dict(zip(ENSEMBLES, (imagenet + _SCENE, imagenet, ("a photo of a {}.",), ("{}",)), strict=True))


def templates_of(templates: str | Sequence[str]) -> tuple[str, ...]:
    """A named ensemble, or one's own templates, each with a {} for the label.

    Errors: ValueError for an unknown name, for no template, for one without {}.
    """
    if isinstance(templates, str):
        require_known("templates", templates, ENSEMBLES)
        return _ensembles()[templates]
    own = tuple(templates)
    if not own:
        raise ValueError("At least one template is needed.")
    for template in own:
        if not isinstance(template, str) or "{}" not in template:
            raise ValueError(f"A template must hold {{}} where the label goes, not {template!r}.")
    return own


def check_labels(labels: Sequence[str]) -> list[str]:
    """Labels as a list of texts. Errors: TypeError for a bare text; ValueError for none and for a label of blanks."""
    if isinstance(labels, str):
        raise TypeError(f"labels must be a list of texts: [{labels!r}], not {labels!r}.")
    found = list(labels)
    if not found:
        raise ValueError("At least one label is needed.")
    for label in found:
        if not isinstance(label, str):
            raise TypeError(f"A label must be a text, not {label!r}.")
        if label and not label.strip():
            raise ValueError(f'The label {label!r} is blank. For the empty label give exactly "".')
    return found


def label_features(
    model: nn.Module,
    tokenizer: Callable[..., Tensor],
    labels: Sequence[str],
    templates: str | Sequence[str] = "clip-surgery",
    provenance: dict[str, str] | None = None,
) -> Float[Tensor, "N D"]:
    """A unit-length feature per label: each prompt's normalised, their mean over the templates normalised again.

    Kept on disk (`cache`), a file per label, found by the text tower's weights and layout, the templates, and the label
    with its tokens.
    Errors: those of `check_labels` and `templates_of`. Source: CLIP Surgery, released code (85 templates; the empty
    label "" goes through the same ensemble).
    """
    names, ensemble = check_labels(labels), templates_of(templates)
    layout = "".join(repr(child) for name, child in model.named_children() if name != "visual")
    pooled = Tower(model)
    base = f"{digest(model, without='visual.')}|{layout}|{pooled.pool_type}, {pooled.eos_id}|{ensemble!r}"
    entries: dict[str, Entry] = {}
    for name in dict.fromkeys(names):
        probe = token_ids(tokenizer, [_fill(ensemble[0], name)]).tolist()
        entries[name] = entry("labels", f"{base}|{name!r}|{probe}", ".safetensors")
    features = {name: feature for name, place in entries.items() if (feature := _read(place)) is not None}
    missing = [name for name in entries if name not in features]
    if missing:
        prompts = [_fill(template, name) for name in missing for template in ensemble]
        every = encode_prompts(model, tokenizer, prompts).unflatten(0, (len(missing), -1))  # (N, templates, D)
        made = dict(zip(missing, F.normalize(every.mean(1), dim=-1).cpu(), strict=True))
        features |= made
        _keep({entries[name]: feature for name, feature in made.items()}, provenance or {})
    return torch.stack([features[name] for name in names]).to(next(model.parameters()).device)  # (N, D)


def _fill(template: str, label: str) -> str:
    return template.replace("{}", label.replace("_", " "))  # traffic_light: two words


def _read(place: Entry) -> Tensor | None:
    try:
        return None if place.read() is None else load_file(place.file)["feature"]
    except (OSError, SafetensorError, KeyError):
        return None


def _keep(made: Mapping[Entry, Tensor], provenance: Mapping[str, str]) -> None:
    try:
        for place, feature in made.items():
            with place.write(provenance) as part:
                part.write_bytes(save({"feature": feature.clone()}))  # its own writer raises no OSError on a full disk
        trim()
    except OSError as error:
        folder = paths.cache() / "labels"
        words = f"Label features could not be kept in {folder} ({error}); set CLIPSX_CACHE to another folder."
        warnings.warn(words, stacklevel=5)
