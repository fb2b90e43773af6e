"""Data sets: sequences of samples, each read when asked for."""

from collections.abc import Callable
from os import PathLike
from typing import Any

from clipsx.datasets.folder import Folder
from clipsx.datasets.sample import Sample
from clipsx.datasets.sketchbook import Sketchbook
from clipsx.datasets.voc import VOC
from clipsx.messages import nearest

__all__ = ["VOC", "Folder", "Sample", "Sketchbook", "load"]


DATASETS: dict[str, Callable[..., Any]] = {"sketchbook": Sketchbook, "voc2012": VOC, "folder": Folder}


def load(name: str, root: str | PathLike[str] | None = None, **options: Any) -> Sketchbook | VOC | Folder:
    """A data set by name: "sketchbook" (built in), "voc2012" or "folder" (both under `root`), with its own options.

    Errors: ValueError for an unknown name (with the nearest), for a data set on disk without `root`, for the built-in
    one with it, and for options it does not have; else those of `Sketchbook`, `VOC` and `Folder`.
    """
    if name not in DATASETS:
        raise ValueError(f"Unknown data set {name!r}{nearest(name, DATASETS)}.")
    if (root is None) != (name == "sketchbook"):
        need = "is built in and takes no root" if root is not None else "lies on disk: say where, root=…"
        raise ValueError(f"The data set {name!r} {need}.")
    try:
        return DATASETS[name](*() if root is None else (root,), **options)
    except TypeError as error:
        raise ValueError(f"The data set {name!r} cannot be made with {sorted(options)}: {error}.") from None
