"""The laboratory: what in its training makes a CLIP prefer the background. Its grid is `data/laboratory/grid.toml`."""

from clipsx.laboratory.measures import measure
from clipsx.laboratory.runs import Results, results

__all__ = ["Results", "measure", "results"]
