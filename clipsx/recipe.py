"""What a row of the table of methods holds, as plain data: what is compared, over which blocks, on which path."""

from dataclasses import dataclass
from itertools import product

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
