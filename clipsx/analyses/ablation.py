"""CLIP Surgery's own ablation: a second path or a single one, with FFN or without, how deep; the raw map reversed."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from clipsx.analyses.deletion import REVERSED
from clipsx.clip import Clip
from clipsx.evaluation import explain, summary
from clipsx.evaluation.stream import Look, Measure
from clipsx.features import DenseFeatures
from clipsx.reading import Reading, readings, served

SURGERY, RAW = "clip-surgery", Reading("clip")
CORNERS = {
    SURGERY: "second path, no FFN: CLIP Surgery",
    "free(vv,ffn,blocks=depth)": "second path, with FFN",
    "free(vv,itself,blocks=depth)": "single path, no FFN",
    "free(vv,itself,ffn,blocks=depth)": "single path, with FFN",
}
"""Free combinations at the same depth; v-v attention in all. A ResNet's pool has neither a second path nor an FFN."""
DEPTHS = range(1, 11)  # the paper's; 1 is the last block alone
TITLES = CORNERS | {"clip": "raw maps", REVERSED: "raw maps reversed, which costs nothing"}


def asked(clip: Clip) -> tuple[Reading, ...]:
    """Raw maps, the corners and the depths that a model's tower can do."""
    depths = [depth for depth in DEPTHS if depth <= clip.tower.blocks]
    texts = ["clip", *CORNERS, *(f"{SURGERY}@{depth}" for depth in depths if len(depths) > 1)]
    return readings(served(texts, clip.tower))


def measure(clip: Clip, labels: Sequence[str], templates: str | Sequence[str] = "clip-surgery") -> Measure:
    """Rows of `explain.measure` for every reading of `asked`, and for raw maps reversed (the reading `REVERSED`).

    Errors: those of `explain.measure`.
    Source: CLIP Surgery, ablation of dual paths and of depth; the reversed map is ours.
    """
    plain, raw = (explain.measure(clip, labels, some, templates) for some in (asked(clip), (RAW,)))

    def rows(look: Look) -> Iterator[dict[str, Any]]:
        own: Any = plain.rows(look)
        yield from own
        opposite: Any = raw.rows(_reversed(look))
        yield from (row | {"reading": REVERSED, "method": REVERSED} for row in opposite)

    return replace(plain, name="ablation", rows=rows)


def _reversed(look: Look) -> Look:
    """The same look with patches that point the other way: every cosine changes its sign."""
    dense = look.dense(RAW)
    return replace(look, seen=replace(look.seen, features={RAW: DenseFeatures(dense.cls, -dense.patches)}))


def against(table: pd.DataFrame, base: str | None = None) -> pd.DataFrame:
    """`summary.against` a base, with `what` every row is, in words.

    By default that is CLIP Surgery at its default depth; of a tower that cannot serve it, raw maps.
    """
    own = SURGERY if SURGERY in set(table["reading"]) else str(RAW)
    found = summary.against(table, base=base or own)
    depths = {text: f"CLIP Surgery over {text.partition('@')[2]} blocks" for text in table["reading"] if "@" in text}
    depths |= {f"{SURGERY}@1": "CLIP Surgery in the last block alone"}
    return found.assign(what=found["reading"].map(TITLES | depths))
