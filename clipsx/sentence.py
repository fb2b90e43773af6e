"""A sentence's words, each with a feature of its own: what the tokenizer took apart is joined again."""

import re
import unicodedata
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from clipsx.prompts import Tower, encode_prompts, token_features, token_ids

KINDS = ("start", "word", "punctuation", "end")
_WORD = re.compile(r"w[wm]*(?:'w[wm]*)*|[^ w][^ w]*")  # over the classes of `_classes`


@dataclass(frozen=True, eq=False)
class Sentence:
    """A text's words in reading order, the tokenizer's start and end among them, each with a unit feature.

    words: as typed, W of them; kinds: out of `KINDS`, one each; pieces: what the tokenizer made of each; features:
    (W, D); cut: words beyond the model's context, and dropped: those that the tokenizer leaves out: both have no
    feature; alone: whether every word was read as a text of its own.
    """

    text: str
    words: tuple[str, ...]
    kinds: tuple[str, ...]
    pieces: tuple[tuple[str, ...], ...]
    features: Float[Tensor, "W D"]
    cut: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    alone: bool = False

    @property
    def how(self) -> str:
        """How its words were read, as tables print it."""
        return "each word alone" if self.alone else "words in their sentence"

    def places(self, *kinds: str) -> list[int]:
        """Where entries of these kinds stand; the words' own without any."""
        return [n for n, kind in enumerate(self.kinds) if kind in (kinds or ("word",))]

    def find(self, name: str) -> list[int]:
        """The places of the words that spell a name ("traffic_light": two words), where they first stand; else none."""
        sought = _spelled(name)
        every = [(word, place) for place in self.places() for word in _spelled(self.words[place])]
        for n in range(len(every) - len(sought) + 1 if sought else 0):
            found = every[n : n + len(sought)]
            places = sorted({place for _, place in found})
            whole = sum(place in places for _, place in every) == len(sought)  # no part of a longer name
            if whole and [word for word, _ in found] == sought:
                return places
        return []

    def together(self, places: list[int]) -> "Sentence":
        """The same sentence with neighbouring words as one, whose feature is the unit mean of theirs."""
        if len(places) < 2:
            return self
        first, last = places[0], places[-1] + 1

        def put(values: tuple[Any, ...], one: Any) -> tuple[Any, ...]:
            return (*values[:first], one, *values[last:])

        one = _mean(self.features[places])[None]  # (1, D)
        return replace(
            self,
            words=put(self.words, " ".join(self.words[first:last])),
            kinds=put(self.kinds, "word"),
            pieces=put(self.pieces, sum(self.pieces[first:last], ())),
            features=torch.cat([self.features[:first], one, self.features[last:]]),
        )


def _spelled(name: str) -> list[str]:
    return [word.casefold() for _, _, word, kind in spell(name.replace("_", " ")) if kind == "word"]


def spell(text: str) -> Iterator[tuple[int, int, str, str]]:
    """Start, stop, spelling and kind of every word of a text.

    A word is a run of letters, marks and digits, an apostrophe or hyphen inside it included ("cat's", "t-shirt"); a run
    of anything else between blanks is punctuation. Where a language sets no blanks, a run is one word.
    """
    for found in _WORD.finditer("".join(map(_class, text))):
        start, stop = found.span()
        yield start, stop, text[start:stop], "word" if found[0][0] == "w" else "punctuation"


def _class(character: str) -> str:
    """w: letters and digits, m: what goes with the character before it, ': what may join two letters, p: the rest."""
    if character.isspace():
        return " "
    if character in "'’-":
        return "'"
    return {"L": "w", "N": "w", "M": "m", "C": "m"}.get(unicodedata.category(character)[0], "p")


@torch.no_grad()
def read(model: nn.Module, tokenizer: Callable[..., Any], text: str, alone: bool = False) -> Sentence:
    """A sentence with a feature, float32, for each of its words.

    In their sentence: every token goes through the tower's last norm and projection, and a word's feature is the unit
    mean of its tokens' unit features. A word's tokens are those that the sentence up to its end has more than up to
    the word before; words that the tokenizer melts into one token stay together. The end token's feature is the
    sentence's own. Alone: each word is a prompt as it stands, punctuation left out; the end is the whole text.
    Warns, naming them, of words that the context cuts. Errors: TypeError for what is no text; ValueError for a tower
    that is not causal (there a token sees what follows it, and only one place is ever compared with pictures).
    Source: CLIP Surgery, multimodal visualisation (an author's reply: all tokens projected); joining is ours.
    """
    if not isinstance(text, str):
        raise TypeError(f"A sentence must be a text, not {text!r}.")
    spelled = list(spell(text))
    if alone:
        words = [word for _, _, word, kind in spelled if kind == "word"]
        features = encode_prompts(model, tokenizer, [*words, text])  # (W, D)
        kinds = ("word",) * len(words) + ("end",)
        every = (*words, "(the whole text)")
        return Sentence(text, every, kinds, tuple((word,) for word in every), features, alone=True)
    pieces, found = token_features(model, tokenizer, text)  # T, (T, D)
    tower = Tower(model)
    start, groups, cut, dropped = _tokens(tower, tokenizer, text, spelled)
    last = len(pieces) - 1
    spans = ([("start", 0, start, "start")] if start else []) + groups + [("end", last, last + 1, "end")]
    words = tuple(word if kind in ("word", "punctuation") else pieces[a] for word, a, _, kind in spans)
    if cut:
        said = ", ".join(map(repr, cut[:8])) + (f" and {len(cut) - 8} more" if len(cut) > 8 else "")
        long = f"The sentence is longer than the model's {tower.context} tokens"
        warnings.warn(f"{long}; not read: {said}.", stacklevel=5)
    return Sentence(
        text,
        words,
        tuple(kind for *_, kind in spans),
        tuple(tuple(pieces[a:b]) for _, a, b, _ in spans),
        torch.stack([_mean(found[a:b]) for _, a, b, _ in spans]),  # (W, D)
        cut,
        dropped,
    )


def _mean(features: Float[Tensor, "T D"]) -> Float[Tensor, " D"]:
    return F.normalize(features.mean(0), dim=-1)


def _tokens(
    tower: Tower, tokenizer: Callable[..., Any], text: str, spelled: list[tuple[int, int, str, str]]
) -> tuple[int, list[tuple[str, int, int, str]], tuple[str, ...], tuple[str, ...]]:
    """How many tokens stand before the words; word, first token, the one after, kind; words cut; words left out."""
    known = spelled[: 2 * tower.context]  # no more can be read
    prompts = ["", *(text[:stop] for _, stop, _, _ in known), text]
    try:  # with room for one token more, what fits exactly is told from what is cut
        ids, most = token_ids(partial(tokenizer, context_length=tower.context + 1), prompts), tower.context - 1
    except TypeError:
        ids = token_ids(tokenizer, prompts)
        most = tower.context - (1 if ids.shape[1] > tower.context else 2)
    ends, whole = tower.ends(ids).tolist(), ids[-1]  # an end for each prompt
    groups, dropped, first, before = [], [], 0, ends[0]
    for n, end in enumerate(ends[1:-1]):
        if end > most or not torch.equal(ids[n + 1, :end], whole[:end]):
            continue  # its end is no end of a token, or is not read
        start, stop = known[first][0], known[n][1]
        kind = "word" if any(kind == "word" for *_, kind in known[first : n + 1]) else "punctuation"
        if end == before:
            dropped.append(text[start:stop])
        else:
            groups.append((text[start:stop], before, end, kind))
        first, before = n + 1, end
    return ends[0], groups, tuple(word for _, _, word, _ in spelled[first:]), tuple(dropped)
