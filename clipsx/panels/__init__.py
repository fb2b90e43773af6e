"""The widgets: state and layout; what they show is computed by the rest of the package."""

from clipsx.panels.companions import CompanionsPanel
from clipsx.panels.matrices import MatrixPanel
from clipsx.panels.points import PointsPanel
from clipsx.panels.sentence import WordsPanel
from clipsx.panels.session import Session
from clipsx.panels.surgery import SurgeryPanel
from clipsx.panels.unmix import UnmixPanel
from clipsx.panels.view import likeness, sentence

__all__ = [
    "CompanionsPanel",
    "MatrixPanel",
    "PointsPanel",
    "Session",
    "SurgeryPanel",
    "UnmixPanel",
    "WordsPanel",
    "likeness",
    "sentence",
]
