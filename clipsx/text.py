"""Label features: prompt templates, the text tower cut at the longest prompt, and the cache on disk."""

import hashlib
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from open_clip import OPENAI_IMAGENET_TEMPLATES
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from clipsx import paths
from clipsx.messages import nearest
from clipsx.weights import digest

BATCH = 256
_IMAGENET = tuple(template("{}") for template in OPENAI_IMAGENET_TEMPLATES)
_SCENE = (
    "there is a {} in the scene.",
    "there is the {} in the scene.",
    "this is a {} in the scene.",
    "this is the {} in the scene.",
    "this is one {} in the scene.",
)
TEMPLATES: dict[str, tuple[str, ...]] = {
    "clip-surgery": _IMAGENET + _SCENE,
    "imagenet": _IMAGENET,
    "photo": ("a photo of a {}.",),
    "plain": ("{}",),
}
"""Named prompt ensembles: CLIP Surgery's 85, CLIP's 80 for ImageNet, the usual single prompt, the label itself."""


def templates_of(templates: str | Sequence[str]) -> tuple[str, ...]:
    """A named ensemble, or one's own templates, each with a {} for the label.

    Errors: ValueError for an unknown name, for no template, for one without {}.
    """
    if isinstance(templates, str):
        if templates not in TEMPLATES:
            raise ValueError(f"Unknown templates {templates!r}{nearest(templates, TEMPLATES)}.")
        return TEMPLATES[templates]
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


class _Tower:
    """The parts of an open_clip text tower, whether it stands in `model.text` or in the model itself."""

    def __init__(self, model: nn.Module) -> None:
        self.model: Any = model
        own = getattr(model, "text", None)
        self.parts: Any = own if isinstance(own, nn.Module) else model
        pool = "text_pool_type" if self.parts is model else "pool_type"
        eos = "text_eos_id" if self.parts is model else "eos_id"
        self.pool_type, self.eos_id = getattr(self.parts, pool, None), getattr(self.parts, eos, None)

    @property
    def cuts(self) -> bool:
        """Whether a prompt's feature cannot depend on what follows its end: causal, pooled there, no extra token."""
        parts = self.parts
        return (
            self.pool_type in ("argmax", "eos")
            and isinstance(getattr(parts, "attn_mask", None), Tensor)
            and getattr(parts, "cls_emb", None) is None
            and not getattr(parts, "use_pad_mask", False)
        )

    def tokens(self, ids: Tensor) -> Float[Tensor, "T L D"]:
        """Every token's feature in the joint space, not normalised; ids (T, L) cut at the longest prompt."""
        parts, length = self.parts, ids.shape[1]
        dtype = parts.transformer.get_cast_dtype()
        x = parts.token_embedding(ids).to(dtype) + parts.positional_embedding[:length].to(dtype)  # (T, L, width)
        x = parts.ln_final(parts.transformer(x, attn_mask=parts.attn_mask[:length, :length]))
        head = parts.text_projection
        return x if head is None else head(x) if isinstance(head, nn.Module) else x @ head  # (T, L, D)

    def ends(self, ids: Tensor) -> Tensor:
        """Where each prompt is pooled: (T,)."""
        return ids.argmax(-1) if self.pool_type == "argmax" else (ids == self.eos_id).int().argmax(-1)

    def pooled(self, ids: Tensor) -> Float[Tensor, "T D"]:
        if not self.cuts:
            return self.model.encode_text(ids)
        ends = self.ends(ids)  # (T,)
        features = self.tokens(ids[:, : int(ends.max()) + 1])  # (T, L, D)
        return features[torch.arange(len(ids), device=ids.device), ends]


@torch.no_grad()
def encode_prompts(model: nn.Module, tokenizer: Callable[..., Tensor], prompts: Sequence[str]) -> Float[Tensor, "T D"]:
    """Features of prompts, float32, unit length: short ones together, each batch cut at its longest prompt.

    Warns of a prompt that is longer than the tower's context: the words beyond it are not read.
    """
    ids = tokenizer(list(prompts))  # (T, context)
    device = next(model.parameters()).device
    tower = _Tower(model)
    if tower.cuts:
        ends = tower.ends(ids)  # (T,)
        _warn_of_long(tokenizer, [p for p, end in zip(prompts, ends.tolist(), strict=True) if end == ids.shape[1] - 1])
        order = ends.argsort(stable=True)
    else:
        order = torch.arange(len(ids))
    found = [tower.pooled(ids[chosen].to(device)).float() for chosen in order.split(BATCH)]  # (≤ BATCH, D) each
    features = torch.empty_like(torch.cat(found))
    features[order.to(device)] = torch.cat(found)
    return F.normalize(features, dim=-1)  # (T, D)


def _warn_of_long(tokenizer: Callable[..., Tensor], full: list[str]) -> None:
    """Of the prompts that fill the context, name the first that goes on beyond it."""
    for prompt in full:
        length = tokenizer([prompt]).shape[1]
        if bool(tokenizer([prompt], context_length=length + 1)[0, -1]):
            warnings.warn(f"{prompt!r} is longer than the model's {length} tokens; its end is not read.", stacklevel=4)
            return


@torch.no_grad()
def token_features(model: nn.Module, tokenizer: Any, text: str) -> tuple[list[str], Float[Tensor, "T D"]]:
    """Every token of a text, the two specials included, with its own feature, float32, unit length.

    Each token goes through the last norm and the projection. Errors: ValueError where the tower does not allow it.
    Source: CLIP Surgery, multimodal visualisation (an author's reply).
    """
    tower = _Tower(model)
    if not tower.cuts:
        raise ValueError(f"{type(tower.parts).__name__} is not a causal text tower: no per-token features.")
    ids = tokenizer([text]).to(next(model.parameters()).device)  # (1, context)
    ids = ids[:, : int(tower.ends(ids)[0]) + 1]  # (1, T)
    words = [tokenizer.decode([int(i)]).strip() for i in ids[0]]
    return words, F.normalize(tower.tokens(ids)[0].float(), dim=-1)


def label_features(
    model: nn.Module,
    tokenizer: Callable[..., Tensor],
    labels: Sequence[str],
    templates: str | Sequence[str] = "clip-surgery",
    provenance: dict[str, str] | None = None,
) -> Float[Tensor, "N D"]:
    """A unit-length feature per label: each prompt's normalised, their mean over the templates normalised again.

    Kept on disk, a file per label; what a file is named by: the text tower's weights and layout, the templates, and
    the label with its tokens. A file that is cut short or does not hold a feature is made again.
    Errors: those of `check_labels` and `templates_of`. Source: CLIP Surgery, released code (85 templates; the empty
    label "" goes through the same ensemble).
    """
    names, ensemble = check_labels(labels), templates_of(templates)
    layout = "".join(repr(child) for name, child in model.named_children() if name != "visual")
    base = f"1|{digest(model, without='visual.')}|{layout}|{ensemble!r}"
    files: dict[str, Path] = {}
    for name in dict.fromkeys(names):
        probe = tokenizer([_fill(ensemble[0], name)]).tolist()
        key = hashlib.sha256(f"{base}|{name!r}|{probe}".encode()).hexdigest()
        files[name] = paths.cache() / "labels" / key[:2] / f"{key}.safetensors"
    features = {name: feature for name, file in files.items() if (feature := _read(file)) is not None}
    missing = [name for name in files if name not in features]
    if missing:
        prompts = [_fill(template, name) for name in missing for template in ensemble]
        every = encode_prompts(model, tokenizer, prompts).unflatten(0, (len(missing), -1))  # (N, templates, D)
        for name, feature in zip(missing, F.normalize(every.mean(1), dim=-1).cpu(), strict=True):
            features[name] = feature
            _write(files[name], feature, {**(provenance or {}), "label": name})
    return torch.stack([features[name] for name in names]).to(next(model.parameters()).device)  # (N, D)


def _fill(template: str, label: str) -> str:
    return template.replace("{}", label)


def _read(file: Path) -> Tensor | None:
    try:
        feature = load_file(file)["feature"]
    except (OSError, SafetensorError, KeyError):
        return None
    sound = feature.ndim == 1 and feature.dtype == torch.float32 and abs(float(feature.norm()) - 1) < 1e-3
    return feature if sound else None


def _write(file: Path, feature: Tensor, metadata: dict[str, str]) -> None:
    try:
        with paths.whole(file) as part:
            save_file({"feature": feature.clone()}, part, metadata)
    except OSError as error:
        words = f"Label features could not be kept in {file.parent} ({error}); set CLIPSX_CACHE to another folder."
        warnings.warn(words, stacklevel=4)
