"""COCO's annotations, official or of one's own: which objects are in a picture, their masks, their boxes."""

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import cache, partial
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool

from clipsx.datasets.layouts import Place
from clipsx.datasets.lines import spelled
from clipsx.datasets.listed import Listed
from clipsx.datasets.sample import Sample
from clipsx.datasets.unclear import checked, treated
from clipsx.datasets.vocabularies import Given, Vocabulary
from clipsx.images import PictureError, decode
from clipsx.messages import nearest, require_package
from clipsx.quiet import quiet

Mask = Bool[np.ndarray, "H W"]
REGIONS = ("masks", "boxes")
IMAGES = ("all", "annotated")


class Instances(Listed):
    """Pictures with objects in COCO's format, each opened when asked.

    annotations: the JSON file; folder: where its `file_name`s lie. vocabulary: other names of its categories, in the
    order of their ids. crowd: how crowds count (`unclear.TREATMENTS`). regions: "masks" of polygons and run lengths
    (pycocotools), united per label; the box of an object without one counts nowhere where others have masks; or
    "boxes", filled, in place of masks: to point at, not to segment by, so tables say so. images: "all", or "annotated",
    those with an object. Where masks overlap, the label with the smaller area is in front.
    Errors: FileNotFoundError; ValueError for a file that is cut short or lacks a part, a category without a name, an
    image that is there twice, an unknown option, a vocabulary of another size; when a part is opened, PictureError for
    a mask that cannot be drawn, ImportError, saying what to install, without pycocotools.
    """

    def __init__(
        self, annotations: Path, folder: Path, recipe: dict[str, Any], vocabulary: Given | None = None,
        crowd: str = "positive", regions: str = "masks", images: str = "all",
    ) -> None:  # fmt: skip
        for value, known, what in ((regions, REGIONS, "regions"), (images, IMAGES, "images")):
            if value not in known:
                raise ValueError(f"{what} cannot be {value!r}{nearest(value, known)}.")
        self._crowd, self._regions = checked(crowd, "crowd"), regions
        self.folder = folder
        found = _read(annotations)
        self._sizes = {image["file_name"]: (image["width"], image["height"]) for image in found["images"]}
        names = {image["id"]: image["file_name"] for image in found["images"]}
        if len(names) < len(found["images"]) or len(self._sizes) < len(names):
            raise ValueError(f"{annotations} lists an image twice: by its id, or by its file_name.")
        self._words, words = _categories(found["categories"], annotations, vocabulary)
        self._objects: dict[str, list[dict[str, Any]]] = defaultdict(list)
        strays = 0
        for number, object in enumerate(found["annotations"]):
            if object["category_id"] not in self._words:
                what = f"annotation {object.get('id', f'number {number}')} has the category {object['category_id']}"
                raise ValueError(f"{annotations}: {what}, which has no name among its categories.")
            strays += object["image_id"] not in names
            self._objects[names.get(object["image_id"], "")].append(object)
        self._objects.pop("", None)
        objects = [object for group in self._objects.values() for object in group]
        self._masked = any(object.get("segmentation") for object in objects)
        self.empty = tuple(name for name in self._sizes if name not in self._objects)
        """Pictures without an object."""
        kept = sorted(self._objects if images == "annotated" else self._sizes)
        if not kept:
            raise ValueError(f"{annotations} holds no image{' with an object' * (images == 'annotated')}.")
        said = [f"crowds {crowd}"] * any(object.get("iscrowd") for object in objects)
        said += ["boxes in place of masks"] * (regions == "boxes")
        said += ["boxes without masks"] * (regions == "masks" and not self._masked)
        left = "left out" if images == "annotated" else "among them"
        said += [f"{len(self.empty)} images without objects {left}"] * bool(self.empty)
        said += [f"{strays} annotations of images that are not listed"] * bool(strays)
        recipe = recipe | {"crowd": crowd, "regions": regions, "images": images}
        super().__init__(folder, kept, words, recipe, said, [annotations])

    def files(self) -> Iterable[Path]:
        return (self.folder / name for name in self.names)

    def __getitem__(self, index: int) -> Sample:  # type: ignore[override]
        name = self.names[index]
        found = ((self._words[o["category_id"]], bool(o.get("iscrowd"))) for o in self._objects.get(name, ()))
        there, unsure = treated(found, self._crowd)
        labels, unsure = ([label for label in self.labels if label in some] for some in (there, unsure))
        regions, known = cache(partial(self._drawn, name)), self._masked or self._regions == "boxes"
        masks, ignore = (lambda: regions()[0], lambda: regions()[1]) if known else (None, None)
        image = partial(decode, self.folder / name)
        return Sample(image, labels, masks, (), ignore, name, self._sizes[name], unsure)

    def _drawn(self, name: str) -> tuple[dict[str, Mask], Mask]:
        """The masks of the labels, the larger first, and the pixels that count nowhere."""
        size = self._sizes[name]
        masks, ignore = {}, np.zeros(size[::-1], bool)
        for object in self._objects.get(name, ()):
            label, crowd = self._words[object["category_id"]], bool(object.get("iscrowd"))
            if crowd and self._crowd == "negative":
                continue
            whole = self._regions == "masks" and object.get("segmentation")
            mask = drawn(object["segmentation"], size, f"{name}, annotation {object.get('id', '')}") if whole else None
            mask = boxed(object.get("bbox") or (0, 0, 0, 0), size) if mask is None else mask
            if (crowd and self._crowd == "excluded") or not (whole or self._regions == "boxes"):
                ignore |= mask
            else:
                masks[label] = masks.get(label, False) | mask
        found = sorted(masks.items(), key=lambda item: -int(item[1].sum()))
        return {label: mask for label, mask in found if mask.any()}, ignore


def own(root: str | PathLike[str], annotations: str | PathLike[str], **options: Any) -> Instances:
    """The pictures under root with a COCO file of one's own; options: those of `Instances`."""
    folder, file = Path(root).expanduser(), Path(annotations).expanduser()
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder: root is where the pictures of {file.name} lie.")
    recipe = {"dataset": "coco-json", "root": str(folder.absolute()), "annotations": str(file.absolute())}
    return Instances(file, folder, recipe, **options)


def official(
    name: str, root: str | PathLike[str], split: str | None = None, vocabulary: Given | None = None, **options: Any
) -> Instances:
    """COCO 2014 or 2017 by its row of the table (`Place`): of pictures, those with an object, as its users count."""
    place = Place(name, root, split)
    options = {"images": "annotated"} | options
    return Instances(
        place.path("annotations"), place.path("pictures"), place.recipe, place.wording(vocabulary), **options
    )


def _read(file: Path) -> dict[str, Any]:
    """A file's three lists, each entry with what is asked of it. Errors: ValueError, naming file and part."""
    try:
        found = json.loads(file.read_bytes())
    except ValueError as error:
        raise ValueError(f"{file} is cut short or no JSON ({error}): fetch or write it again.") from None
    asked = {"images": ("id", "file_name", "width", "height"), "categories": ("id", "name")}
    asked["annotations"] = ("image_id", "category_id")
    for part, keys in asked.items():
        if not isinstance(found, dict) or not isinstance(found.get(part), list):
            raise ValueError(f"{file} has no list of {part}: it is not in the format of COCO's instances.")
        for number, entry in enumerate(found[part]):
            if missing := [key for key in keys if key not in entry]:
                raise ValueError(f"{file}: entry {number} of {part} has no {missing[0]}.")
    return found


def _categories(entries: list[dict[str, Any]], file: Path, given: Given | None) -> tuple[dict[int, str], Vocabulary]:
    """The name of every category id, and the vocabulary: by the order of ids, never by the ids themselves."""
    own = {entry["id"]: spelled(str(entry["name"])) for entry in sorted(entries, key=lambda entry: entry["id"])}
    if given is None:
        return own, Vocabulary(tuple((name,) for name in dict.fromkeys(own.values())), name="the file's own")
    words = Vocabulary.of(given)
    if len(words.names) != len(own):
        raise ValueError(
            f"{file} has {len(own)} categories, but the vocabulary {words.name!r} names {len(words.names)}."
        )
    return dict(zip(own, words.names, strict=True)), words


def boxed(box: Sequence[float], size: tuple[int, int]) -> Mask:
    """The pixels whose centres lie in a box (x, y, width, height). size: (W, H)."""
    mask = np.zeros(size[::-1], bool)
    x, y, width, height = box
    left, right, top, bottom = (max(0, math.ceil(edge - 0.5)) for edge in (x, x + width, y, y + height))
    mask[top:bottom, left:right] = True
    return mask


def drawn(segmentation: Any, size: tuple[int, int], where: str) -> Mask:
    """The pixels of polygons or run lengths, by pycocotools. size: (W, H). Errors: PictureError, saying where."""
    require_package("pycocotools", "data", "Masks from polygons and run lengths")
    from pycocotools import mask as runs

    width, height = size
    try:
        found = segmentation
        if isinstance(segmentation, list):
            if any(len(corners) < 6 or len(corners) % 2 for corners in segmentation):  # four are taken for a box
                raise ValueError("a polygon needs three corners or more, x and y each")
            found = runs.merge(runs.frPyObjects(segmentation, height, width))
        elif tuple(segmentation["size"]) != (height, width):
            raise ValueError(f"its run lengths are of {tuple(segmentation['size'])} (H, W), not {(height, width)}")
        elif isinstance(
            counts := segmentation["counts"], list
        ):  # not compressed: off and on by turns, down the columns
            flat = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
            return flat.reshape(width, height).T
        with quiet():  # of how it makes arrays
            return runs.decode(found).astype(bool)
    except Exception as error:  # its readers raise whatever broken numbers lead to
        raise PictureError(f"{where}: its mask cannot be drawn ({error}).") from None
