"""The table of localisation methods as plain data: what is compared with what, over which blocks, on which path."""

import re
from dataclasses import dataclass
from itertools import product
from typing import Any, Protocol, runtime_checkable

from clipsx.messages import nearest

PAIRS: dict[str, str] = {a + b: f"{a}-{b}" for a, b in product("qkv", repeat=2)}
"""What can be compared with what in a block: queries, keys, values; "qk" is the model's own attention."""
DEPTH = 6  # blocks of the second path where none are given, as CLIP Surgery's authors chose; fewer in a shallower tower


@dataclass(frozen=True)
class Attend:
    """What a patch attends to in one block, in place of the model's own attention.

    pairs: out of `PAIRS`, one map each; none: every token keeps its own value. unit: vectors of unit length are
    compared; sharpen: factor on the usual 1/√d; mean: several maps are averaged, else summed; neighbour: standard
    deviation, in patches, of a bias of exp(−distance² / 2·neighbour²) towards near patches, 0 for none.
    """

    pairs: tuple[str, ...] = ()
    unit: bool = False
    sharpen: float = 1.0
    mean: bool = True
    neighbour: float = 0.0


@dataclass(frozen=True)
class Recipe:
    """How patch features are made, as plain data.

    attend: None, the model's own path to its end; else what a second path attends to. blocks: over how many of the last
    blocks (None: as many as a reading's depth says). fed_by: every block of the second path reads the "original" path,
    or the second path "itself". residual: it starts from the tokens of the original path, else from nothing; ffn: with
    the blocks' feed-forward networks. own_class: the class feature is CLIP's own, else it is made as the patches are.
    name, title: what tables and figures call it; source: whose it is.
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


ROWS = (
    Recipe(
        "clip",
        "CLIP",
        "Radford et al. 2021; a ResNet's attention pool asked at every position, as the CLIP Surgery baseline does",
    ),
    Recipe(
        "maskclip",
        "MaskCLIP",
        "Zhou et al. 2022, as later re-implemented: identity attention in the last block, no residual, no FFN",
        Attend(),
        residual=False,
    ),
    Recipe(
        "clip-surgery",
        "CLIP Surgery",
        "Li et al. 2023 (arXiv 2304.05653), vision transformer as released",
        Attend(("vv",)),
        blocks=None,
    ),
    Recipe(
        "clip-surgery",
        "CLIP Surgery",
        "Li et al. 2023 (arXiv 2304.05653), ResNet as the paper describes: unit-length v, scale × 8",
        Attend(("vv",), unit=True, sharpen=8.0),
        residual=False,
    ),
    Recipe(
        "clip-surgery-released",
        "CLIP Surgery (released code)",
        "Li et al. 2023, released code for ResNet: plain v-v, its class feature from v-v too",
        Attend(("vv",)),
        residual=False,
        own_class=False,
    ),
)
"""One row a method; where a tower cannot serve a row, the next one of the same name is asked."""
METHODS: dict[str, Recipe] = {row.name: row for row in reversed(ROWS)}
METHODS = {row.name: METHODS[row.name] for row in ROWS}


@runtime_checkable
class Serves(Protocol):
    """What is asked of a tower here."""

    blocks: int

    def refuses(self, recipe: Recipe) -> str:
        """Why the tower cannot carry a row out, in words; nothing where it can."""
        ...


def rows_of(method: str) -> tuple[Recipe, ...]:
    """The rows of a method by name, or the row of a free combination. Errors: ValueError for a name that is neither."""
    if method.startswith("free("):
        return (free(method),)
    found = tuple(row for row in ROWS if row.name == method)
    if not found:
        raise ValueError(f"Unknown method {method!r}{nearest(method, METHODS)}.")
    return found


def serving(method: str, tower: Serves) -> Recipe:
    """The row by which a tower carries a method out. Errors: those of `rows_of`; ValueError saying why it cannot."""
    rows = rows_of(method)
    for row in rows:
        if not tower.refuses(row):
            return row
    raise ValueError(
        f"Method {method!r} does not apply to this image tower: {tower.refuses(rows[0])}. "
        f"It can do: {', '.join(able(tower))}."
    )


def able(tower: Serves) -> tuple[str, ...]:
    """Names of the methods that a tower can carry out, in the table's order."""
    return tuple(dict.fromkeys(row.name for row in ROWS if not tower.refuses(row)))


# option of a free combination: the field of `Attend` or `Recipe` that it sets, and how its text is read
_NUMBERS: dict[str, tuple[str, Any]] = {"blocks": ("blocks", int), "sharpen": ("sharpen", float)}
_NUMBERS |= {"neighbour": ("neighbour", float)}
_FLAGS: dict[str, tuple[str, Any]] = {
    "unit": ("unit", True), "sum": ("mean", False), "itself": ("fed_by", "itself"), "bare": ("residual", False),
    "ffn": ("ffn", True),
}  # fmt: skip


def free(text: str) -> Recipe:
    """A row from the text of a free combination, such as "free(qq, kk, sum, blocks=2, ffn)".

    In the brackets, parted by commas: pairs out of `PAIRS` (none: each token keeps its own value); blocks=N (1 by
    default, "depth" for a reading's depth); unit, sharpen=X, sum (of several maps, else their mean), neighbour=X;
    itself (the second path feeds itself), bare (no residual), ffn. The row's name is the text in its shortest form.
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
            own[_NUMBERS[name][0]] = _number(name, value)
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
        found = _NUMBERS[name][1](value)
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
    defaults = {"blocks": 1, "sharpen": 1.0, "neighbour": 0.0}
    told = [(word, fields[word]) for word in defaults if fields[word] != defaults[word]]
    return [*row.attend.pairs, *flags, *(f"{word}={'depth' if v is None else written(v)}" for word, v in told)]


def written(number: float) -> str:
    """A number in its shortest text that reads as the same number."""
    return repr(number).removesuffix(".0")
