"""The laboratory: what in its training makes a CLIP prefer the background. Its grid is `data/laboratory/grid.toml`."""

from clipsx.sketchbook.laboratory.measures import measure
from clipsx.sketchbook.laboratory.runs import Results, results

__all__ = ["Results", "measure", "results"]
