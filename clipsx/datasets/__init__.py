"""Data sets: sequences of samples, each read when asked for."""

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from os import PathLike
from typing import TYPE_CHECKING, Any

from clipsx.datasets import coco, objects
from clipsx.datasets.folder import Folder
from clipsx.datasets.indexed import Indexed
from clipsx.datasets.layouts import ENVIRONMENT, LAYOUTS, status
from clipsx.datasets.photographs import Photographs
from clipsx.datasets.protocol import Dataset, Subset, code_of, described, fingerprint_of, has, labels_of, recipe_of
from clipsx.datasets.sample import Sample
from clipsx.datasets.voc import VOC
from clipsx.datasets.vocabularies import BUILT_IN, VOCABULARIES, Vocabulary, vocabulary
from clipsx.messages import require_known

if TYPE_CHECKING:
    from clipsx.sketchbook.world import Sketchbook

__all__ = [  # without `open`: a star import would hide Python's own
    "BUILT_IN", "LAYOUTS", "VOC", "VOCABULARIES", "Dataset", "Folder", "Indexed", "Photographs",
    "Sample", "Sketchbook", "Subset", "Vocabulary", "code_of", "described", "fingerprint_of", "has", "labels_of",
    "load", "recipe_of", "status", "tuning_and_test", "vocabulary",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """`Sketchbook`, looked up when asked for: the wing of the built-in world stands on this package."""
    if name == "Sketchbook":
        from clipsx.sketchbook.world import Sketchbook

        return Sketchbook
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


KINDS = {"indexed": Indexed, "instances": coco.official, "objects": objects.voc, "concepts": objects.concepts}
DATASETS: dict[str, Callable[..., Any]] = {
    "sketchbook": lambda **options: __getattr__("Sketchbook")(**options),
    "photographs": Photographs,
    "voc2012": VOC,
    "folder": Folder,
    "coco-json": coco.own,
} | {name: partial(KINDS[row.kind], name) for name, row in LAYOUTS.items() if row.kind in KINDS}
SCENES = 200  # of the sketchbook, which has no end
ROOTLESS = ("sketchbook", "photographs")  # what comes with the package, and those that it needs


def load(name: str, root: str | PathLike[str] | None = None, **options: Any) -> Any:
    """A data set by name, with its own options: built in, or on disk under `root` (`LAYOUTS`, "folder", "coco-json").

    root: the data set's folder or one that holds it; for those with an official layout by default $CLIPSX_DATA.
    Errors: ValueError for an unknown name (with the nearest), for a data set on disk without `root`, for a built-in
    one with it, and for options it does not have; else those of its own.
    """
    root = check(name, root)
    try:
        return DATASETS[name](*() if root is None else (root,), **options)
    except TypeError as error:
        _, unknown, option = str(error).partition("unexpected keyword argument ")
        why = f"has no option {option}" if unknown else f"cannot be made with {sorted(options)}: {error}"
        raise ValueError(f"The data set {name!r} {why}.") from None


def check(name: str, root: str | PathLike[str] | None = None) -> str | PathLike[str] | None:
    """The root of a data set: as given, else $CLIPSX_DATA for one with an official layout; None for a built-in one.

    Errors: ValueError for an unknown data set (with the nearest), one on disk without a root, another with.
    """
    require_known("data set", name, DATASETS)
    found = (os.environ.get(ENVIRONMENT) or None) if root is None and name in LAYOUTS else root
    if (found is None) != (name in ROOTLESS):
        lies = f"lies on disk: say where, root=… (or {ENVIRONMENT})"
        need = f"is built in and takes no root ({root})" if root is not None else lies
        raise ValueError(f"The data set {name!r} {need}.")
    return found


def open(recipe: Mapping[str, Any]) -> Any:
    """The data set that a recipe was taken from (`recipe_of`), in this process or another.

    Errors: those of `load`.
    """
    if recipe["dataset"] == "subset":
        if "root" in recipe:
            raise ValueError("A subset takes no root: give it to the data set that it is of.")
        return Subset(open(recipe["of"]), recipe["indices"], recipe["part"])
    options = {name: value for name, value in recipe.items() if name != "dataset"}
    return load(recipe["dataset"], **options)


def tuning_and_test(
    name: str,
    root: str | PathLike[str] | None = None,
    images: int | None = None,
    others: str | None = None,
    alone: bool = False,
    **options: Any,
) -> tuple[Sequence[Sample], Sequence[Sample]]:
    """Two disjoint parts of at most `images` samples: one to choose a threshold on, one to report on.

    images: all that there are by default, of the sketchbook `SCENES`. others: a split to choose on, where the data set
    has splits. Without it, the sketchbook gives worlds of two seeds, the one before that of the second; any other data
    set its even and its odd samples, with a word where they are fewer. alone: nothing is chosen, so that the first part
    is empty.
    Errors: those of `load`; ValueError for fewer than two samples.
    """
    if name == "sketchbook":
        images = images or SCENES
    if alone and name != "sketchbook":
        return (), _first(load(name, root, **options), images)
    if others is not None:
        if others == options.get("split", LAYOUTS[name].split if name in LAYOUTS else None):
            raise ValueError(f"Thresholds cannot be chosen on the split {others!r} that is reported on.")
        tuning, test = load(name, root, **options | {"split": others}), load(name, root, **options)
        return _first(tuning, images), _first(test, images)
    if name == "sketchbook":
        test = load(name, root, **{"seed": 102, "length": images} | options)
        return () if alone else load(name, root, **{"length": images} | options | {"seed": abs(test.seed - 1)}), test
    whole = load(name, root, **options)
    count = len(whole) if images is None else min(len(whole), 2 * images)
    if count < 2:
        raise ValueError(f"{name!r} has {len(whole)} samples: choosing and reporting a threshold needs at least two.")
    if images is not None and count < 2 * images:
        parts = f"{(count + 1) // 2} to tune or train on, {count // 2} to report on"
        print(f"{name!r} has fewer samples than 2 × {images}: {parts}.")
    return Subset(whole, range(0, count, 2), "even samples"), Subset(whole, range(1, count, 2), "odd samples")


def _first(samples: Sequence[Sample], count: int | None) -> Sequence[Sample]:
    return samples if count is None or len(samples) <= count else Subset(samples, range(count), "the first")
