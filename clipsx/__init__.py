"""clipsx shows, measures and repairs what is wrong inside CLIP."""

from clipsx import datasets, maps, mfi, unmix
from clipsx.clip import Clip
from clipsx.features import DenseFeatures
from clipsx.load import load
from clipsx.maps import feature_surgery, is_constant, minmax, points_from_map, similarity, surgery_scores, upsample
from clipsx.methods import METHODS
from clipsx.reading import Reading

__all__ = [
    "METHODS",
    "Clip",
    "DenseFeatures",
    "Reading",
    "datasets",
    "feature_surgery",
    "is_constant",
    "load",
    "maps",
    "mfi",
    "minmax",
    "points_from_map",
    "similarity",
    "surgery_scores",
    "unmix",
    "upsample",
]
