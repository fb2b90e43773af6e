"""Texts through a text tower: their token ids, the tower cut at the longest of them, and every token's feature."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from clipsx.messages import brief

BATCH = 256


class Tower:
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

    def require_causal(self) -> None:
        """Raise a ValueError for a tower in which a token's feature is no word's own."""
        if not self.cuts:
            raise ValueError(
                f"{type(self.parts).__name__} is not a causal text tower, pooled at its end: no per-token features. "
                "encode_words(…, alone=True) reads every word as a text of its own."
            )

    @property
    def context(self) -> int:
        """How many tokens it has positions for."""
        return len(self.parts.positional_embedding)

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


def token_ids(tokenizer: Callable[..., Any], prompts: Sequence[str]) -> Int[Tensor, "T L"]:
    """Token ids of prompts from what a tokenizer returns: a tensor, an array, lists of any length, or a batch.

    One that raises on long prompts is asked to cut them. Errors: ValueError naming the prompt where it raises still.
    """
    try:
        found = tokenizer(list(prompts))
    except (RuntimeError, ValueError) as error:
        found = _cut(tokenizer, prompts, error)
    found = found["input_ids"] if isinstance(found, Mapping) or hasattr(found, "input_ids") else found
    if isinstance(found, list | tuple):
        rows = [torch.as_tensor(row) for row in found]
        padding = getattr(tokenizer, "pad_token_id", None) or 0
        found = nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=padding)
    ids = torch.as_tensor(found).long()
    if ids.ndim != 2 or len(ids) != len(prompts):
        raise ValueError(f"The tokenizer gave {tuple(ids.shape)} for {len(prompts)} prompts, not (prompts, tokens).")
    return ids


def _cut(tokenizer: Callable[..., Any], prompts: Sequence[str], error: Exception) -> Any:
    for option in ({"truncate": True}, {"truncation": True}):  # OpenAI's, and that of transformers
        try:
            found = tokenizer(list(prompts), **option)
        except (TypeError, RuntimeError, ValueError):
            continue
        longest = max(prompts, key=len)
        warnings.warn(f"{longest!r} is longer than the model reads; its end is not read.", stacklevel=6)
        return found
    raise ValueError(f"The tokenizer refuses {max(prompts, key=len)!r}: {brief(error)}") from None


@torch.no_grad()
def encode_prompts(model: nn.Module, tokenizer: Callable[..., Tensor], prompts: Sequence[str]) -> Float[Tensor, "T D"]:
    """Features of prompts, float32, unit length: short ones together, each batch cut at its longest prompt.

    Warns of a prompt that is longer than the tower's context: the words beyond it are not read.
    """
    ids = token_ids(tokenizer, prompts)  # (T, context)
    _warn_of_long(tokenizer, prompts, ids)
    device = next(model.parameters()).device
    tower = Tower(model)
    order = tower.ends(ids).argsort(stable=True) if tower.cuts else torch.arange(len(ids))
    found = [tower.pooled(ids[chosen].to(device)).float() for chosen in order.split(BATCH)]  # (≤ BATCH, D) each
    features = torch.empty_like(torch.cat(found))
    features[order.to(device)] = torch.cat(found)
    return F.normalize(features, dim=-1)  # (T, D)


def _warn_of_long(tokenizer: Callable[..., Tensor], prompts: Sequence[str], ids: Int[Tensor, "T L"]) -> None:
    """Of the prompts that fill the context, name the first that goes on beyond it."""
    length = ids.shape[1]
    padding = token_ids(tokenizer, [""])[0, -1]
    for row in map(int, (ids[:, max(length - 2, 0)] != padding).nonzero()):  # the last may be an end alone
        try:
            longer = token_ids(partial(tokenizer, context_length=length + 1), [prompts[row]])
        except TypeError:
            return  # this tokenizer does not tell
        if not torch.equal(longer[0, :length], ids[row]):  # an end stood in the place of a word
            words = f"{prompts[row]!r} is longer than the model's {length} tokens; its end is not read."
            warnings.warn(words, stacklevel=4)
            return


@torch.no_grad()
def token_features(model: nn.Module, tokenizer: Any, text: str) -> tuple[list[str], Float[Tensor, "T D"]]:
    """Every token of a text, the two specials included, with its own feature, float32, unit length.

    Each token goes through the last norm and the projection; those beyond the context are left out, the end is kept.
    Errors: ValueError where the tower does not allow it.
    Source: CLIP Surgery, multimodal visualisation (an author's reply).
    """
    tower = Tower(model)
    tower.require_causal()
    ids = token_ids(tokenizer, [text]).to(next(model.parameters()).device)  # (1, context)
    ids = ids[:, : int(tower.ends(ids)[0]) + 1]  # (1, T)
    if ids.shape[1] > tower.context:  # a tokenizer that does not cut
        ids = torch.cat([ids[:, : tower.context - 1], ids[:, -1:]], dim=1)
    return pieces_of(tokenizer, ids[0]), F.normalize(tower.tokens(ids)[0].float(), dim=-1)


def pieces_of(tokenizer: Any, ids: Int[Tensor, " T"]) -> list[str]:
    """Every token in letters; what is half a character reads �."""
    decode = getattr(tokenizer, "decode", None) or tokenizer.tokenizer.decode  # open_clip wraps that of transformers
    return [decode([int(i)]).strip() for i in ids]
