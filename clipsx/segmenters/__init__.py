"""From points to masks: one small interface, `segmenter(image, points, labels)`, and what stands behind it."""

from clipsx.segmenters.interface import Segmenter, placed
from clipsx.segmenters.named import NAMES, load
from clipsx.segmenters.prompt import Segmented, segment, segmented, split
from clipsx.segmenters.walker import RandomWalker

__all__ = ["NAMES", "RandomWalker", "Segmented", "Segmenter", "load", "placed", "segment", "segmented", "split"]
