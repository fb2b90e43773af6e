"""Pictures of maps and tables: axes-level functions, figures of several, sheets."""

from clipsx.plots.axes import (
    PALETTE,
    STYLE,
    distribution,
    heatmap,
    histogram,
    intervals,
    leaf_order,
    lines,
    matrix,
    shade,
)
from clipsx.plots.cells import Cell, closed, sheet
from clipsx.plots.figures import (
    ablation,
    bars,
    blocks,
    deletion,
    measures,
    nouns,
    repair,
    row,
    scores,
    splits,
    tradeoff,
)
from clipsx.plots.over import COLOURS, overlay, points, ring, scale
from clipsx.plots.reduced import reduced
from clipsx.plots.texts import in_words, plain, short, worded

__all__ = [
    "COLOURS", "PALETTE", "STYLE", "Cell", "ablation", "bars", "blocks", "closed", "deletion", "distribution",
    "heatmap", "histogram", "in_words", "intervals", "leaf_order", "lines", "matrix", "measures", "nouns", "overlay",
    "plain", "points", "reduced", "repair", "ring", "row", "scale", "scores", "shade", "sheet", "short", "splits",
    "tradeoff", "worded",
]  # fmt: skip
