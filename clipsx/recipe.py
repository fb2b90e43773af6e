"""What a row of the table of methods holds, as plain data; and rows written as text: free combinations."""

import re
from dataclasses import dataclass
from itertools import product
from typing import Any

from clipsx.messages import nearest

PAIRS: dict[str, str] = {a + b: f"{a}-{b}" for a, b in product("qkv", repeat=2)}
"""What can be compared with what in a block: queries, keys, values; "qk" is the model's own attention."""


@dataclass(frozen=True)
class Attend:
    """What a patch attends to in one block, in place of the model's own attention.

    pairs: out of `PAIRS`, one map each; none: every token keeps its own value. unit: vectors of unit length are
    compared; sharpen: factor on the usual 1/√d; mean: several maps are averaged, else summed; neighbour: standard
    deviation, in patches, of a bias of exp(−distance² / 2·neighbour²) towards near patches, 0 for none. rule: a
    function of `towers.rules.RULES` that mixes the values, or of `towers.tails.TAILS` that takes the last block's
    place, where no pairs do; earlier: maps of earlier blocks as well.
    """

    pairs: tuple[str, ...] = ()
    unit: bool = False
    sharpen: float = 1.0
    mean: bool = True
    neighbour: float = 0.0
    rule: str = ""
    earlier: "Earlier | None" = None


@dataclass(frozen=True)
class Earlier:
    """Maps of earlier blocks, on the values of the last: times · ((1 − share) · own map + share · mean of theirs).

    attend: by which pairs; blocks: counted from 1, of which those count that lie before the last.
    """

    attend: Attend
    blocks: tuple[int, ...]
    share: float
    times: float = 1.0


@dataclass(frozen=True)
class Recipe:
    """How patch features are made, as plain data.

    attend: None, the model's own path to its end; else what a second path attends to. blocks: over how many of the last
    blocks (None: as many as a reading's depth says). fed_by: every block of the second path reads the "original" path,
    or the second path "itself". residual: it starts from the tokens of the original path, else from nothing; ffn: with
    the blocks' feed-forward networks. own_class: the class feature is CLIP's own, else it is made as the patches are.
    reads: blocks, counted from 1, whose outputs the last block's stand-in is given; least: the fewest blocks of a
    tower, where a method numbers them; class_token: it reads the class token. pool_mlp: under an
    attention pool (SigLIP's), patches go through the pool's feed-forward network too.
    texts: of what its maps are gradients ("attention" of that many of the last blocks, "activations" near the end)
    where they need the texts, so that it has no features of patches (`Clip.maps`).
    name, title: what tables and figures call it; source: whose it is; licence: of the code that was released with it;
    released, formula: families of towers on which its authors ran that code, and on which the formula says all.
    """

    name: str
    title: str
    source: str
    attend: Attend | None = None
    blocks: int | None = 1
    fed_by: str = "original"
    residual: bool = True
    ffn: bool = False
    own_class: bool = True
    reads: tuple[int, ...] = ()
    least: int = 1
    class_token: bool = False
    pool_mlp: bool = True
    texts: str = ""
    licence: str = ""
    released: tuple[str, ...] = ()
    formula: tuple[str, ...] = ()


# option of a free combination, and field of `Attend` or `Recipe`: what it is where nothing is said
_NUMBERS = {"blocks": 1, "sharpen": 1.0, "neighbour": 0.0}
# option of a free combination: the field that it sets, and to what
_FLAGS: dict[str, tuple[str, Any]] = {
    "unit": ("unit", True), "sum": ("mean", False), "itself": ("fed_by", "itself"), "bare": ("residual", False),
    "ffn": ("ffn", True), "no-pool-mlp": ("pool_mlp", False),
}  # fmt: skip

WORDS = (*PAIRS, *_FLAGS, *_NUMBERS)


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
            raise ValueError(f"{word!r} in {text!r} is not understood{nearest(name, WORDS, len(WORDS))}.")
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
