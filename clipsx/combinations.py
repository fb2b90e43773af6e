"""Free combinations: a row of the table of methods written as text, such as "free(qq, kk, sum, blocks=2, ffn)"."""

import re
from typing import Any

from clipsx.messages import nearest
from clipsx.recipe import PAIRS, Attend, Recipe

# option of a free combination, and field of `Attend` or `Recipe`: what it is where nothing is said
_NUMBERS = {"blocks": 1, "sharpen": 1.0, "neighbour": 0.0}
# option of a free combination: the field that it sets, and to what
_FLAGS: dict[str, tuple[str, Any]] = {
    "unit": ("unit", True), "sum": ("mean", False), "itself": ("fed_by", "itself"), "bare": ("residual", False),
    "ffn": ("ffn", True), "no-pool-mlp": ("pool_mlp", False),
}  # fmt: skip


def free(text: str) -> Recipe:
    """A row from the text of a free combination, such as "free(qq, kk, sum, blocks=2, ffn)".

    In the brackets, parted by commas: pairs out of `PAIRS` (none: each token keeps its own value); blocks=N (1 by
    default, "depth" for a reading's depth); unit, sharpen=X, sum (of several maps, else their mean), neighbour=X;
    itself (the second path feeds itself), bare (no residual), ffn; no-pool-mlp (patch features without the attention
    pool's own network: SigLIP). The row's name is the text in its shortest form.
    Errors: ValueError naming the word that is not understood, with the nearest.
    """
    inside = re.fullmatch(r"free\(([^()]*)\)", text.strip())
    if inside is None:
        raise ValueError(f"A free combination is written free(qq, kk, blocks=2, …), not {text!r}.")
    pairs: list[str] = []
    own: dict[str, Any] = {}
    for word in filter(None, (part.strip() for part in inside[1].split(","))):
        name, stated, value = (part.strip() for part in word.partition("="))
        if word in PAIRS:
            pairs.append(word)
        elif word in _FLAGS:
            field, own_value = _FLAGS[word]
            own[field] = own_value
        elif stated and name in _NUMBERS:
            own[name] = _number(name, value)
        else:
            raise ValueError(f"{word!r} in {text!r} is not understood{nearest(name, [*PAIRS, *_FLAGS, *_NUMBERS])}.")
    if len(pairs) < 2:
        own.pop("mean", None)  # the sum of one map is its mean
    attend = Attend(tuple(pairs), **{name: own.pop(name) for name in tuple(own) if name in Attend.__annotations__})
    row = Recipe("", "", "free combination", attend, **own)
    name = f"free({','.join(_words(row))})"
    return Recipe(name, name, row.source, attend, **own)


def _number(name: str, value: str) -> int | float | None:
    if name == "blocks" and value == "depth":
        return None
    try:
        found = type(_NUMBERS[name])(value)
    except ValueError:
        found = float("nan")
    if not (1 if name == "blocks" else 0) <= found < float("inf"):
        words = "a whole number of at least 1, or depth" if name == "blocks" else "a number of at least 0"
        raise ValueError(f"{name}={value} in a free combination: give {words}.")
    return found


def _words(row: Recipe) -> list[str]:
    """The words of a row's shortest text: what differs from the defaults."""
    assert row.attend is not None
    fields = vars(row) | vars(row.attend)
    flags = [word for word, (field, value) in _FLAGS.items() if fields[field] == value]
    told = [(word, fields[word]) for word, usual in _NUMBERS.items() if fields[word] != usual]
    return [*row.attend.pairs, *flags, *(f"{word}={'depth' if v is None else written(v)}" for word, v in told)]


def written(number: float) -> str:
    """A number in its shortest text that reads as the same number."""
    return repr(number).removesuffix(".0")
