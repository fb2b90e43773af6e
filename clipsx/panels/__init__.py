"""The widgets: state and layout; what they show is computed by the rest of the package."""

from clipsx.panels.session import Session
from clipsx.panels.surgery import SurgeryPanel

__all__ = ["Session", "SurgeryPanel"]
