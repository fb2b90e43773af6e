"""VOC's lists of objects: which classes are in a picture, and their boxes, from XML or from the files of classes."""

from collections.abc import Iterable
from functools import cache, partial
from os import PathLike
from typing import Any
from xml.etree import ElementTree

import numpy as np

from clipsx.datasets.coco import REGIONS, Mask, boxed
from clipsx.datasets.layouts import Place
from clipsx.datasets.lines import lines
from clipsx.datasets.listed import Listed
from clipsx.datasets.sample import Sample
from clipsx.datasets.unclear import checked, treated
from clipsx.datasets.vocabularies import BUILT_IN, Given
from clipsx.images import PictureError, decode
from clipsx.messages import nearest

TOKENS = BUILT_IN["voc20.mmseg"].names  # as the files of VOC call its classes
ENDS = ("xmin", "ymin", "xmax", "ymax")
Object = tuple[str, bool, tuple[float, float, float, float] | None]  # label, difficult, x, y, width and height


class Objects(Listed):
    """Photographs of VOC 2007 or 2012 with the labels of their objects, each opened when asked.

    difficult: how difficult objects count (`unclear.TREATMENTS`): the devkit says "excluded", most papers on CLIP
    "negative", some "positive". regions: "boxes" gives the filled boxes in place of masks, to point at; by default
    there are none. Without `Annotations`, labels are those of the files of classes in `ImageSets/Main`, and no boxes.
    Errors: those of `Place`; ValueError for an unknown option, and for a class that VOC does not have; when a part is
    opened, FileNotFoundError for a listed file that is missing, PictureError for a damaged one.
    """

    def __init__(
        self,
        name: str,
        root: str | PathLike[str],
        split: str | None = None,
        vocabulary: Given | None = None,
        difficult: str = "negative",
        regions: str = "masks",
    ) -> None:
        self.place = place = Place(name, root, split)
        if regions not in REGIONS:
            raise ValueError(f"regions cannot be {regions!r}{nearest(regions, REGIONS)}.")
        self._difficult, self._boxes = checked(difficult, "difficult"), regions == "boxes"
        words = place.wording(vocabulary)
        self._words = dict(zip(TOKENS, words.names, strict=True))
        folder = place.root / "Annotations"
        lists = [] if folder.is_dir() else [place.path("lists").with_stem(f"{c}_{place.split}") for c in TOKENS]
        self._classes: dict[str, list[Object]] | None = None if folder.is_dir() else self._by_class(lists)
        said = [f"difficult {difficult}", *["boxes in place of masks"] * self._boxes]
        said += ["labels from the files of classes"] * bool(lists)
        recipe = place.recipe | {"difficult": difficult, "regions": regions}
        super().__init__(place.root, place.listed(), words, recipe, said, lists)

    def _by_class(self, files: Iterable[Any]) -> dict[str, list[Object]]:
        """The labels of each picture from a file for each class: 1 there, 0 none but difficult ones, −1 not there."""
        found: dict[str, list[Object]] = {}
        for label, file in zip(self._words.values(), files, strict=True):
            for _, line in lines(file):
                name, flag = line.split()
                found.setdefault(name, []).extend([(label, flag == "0", None)] if flag != "-1" else [])
        return found

    def files(self) -> Iterable[Any]:
        for name in self.names:
            yield self.place.path("pictures", name)
            if self._classes is None:
                yield self.root / "Annotations" / f"{name}.xml"

    def __getitem__(self, index: int) -> Sample:  # type: ignore[override]
        name = self.names[index]
        seen = cache(partial(self._seen, name))
        image, regions = partial(decode, self.place.path("pictures", name)), cache(lambda: self._drawn(*seen()))
        masks, ignore = (lambda: regions()[0], lambda: regions()[1]) if self._boxes else (None, None)
        there = cache(lambda: treated(((label, hard) for label, hard, _ in seen()[0]), self._difficult))
        labels, unsure = (lambda n=n: [label for label in self.labels if label in there()[n]] for n in (0, 1))
        size = (lambda: seen()[1]) if self._boxes else None
        return Sample(image, labels, masks, (), ignore, name, size, unsure)

    def _seen(self, name: str) -> tuple[list[Object], tuple[int, int]]:
        """The objects of a picture, and its (W, H), 0 where no XML says it."""
        if self._classes is not None:
            return self._classes.get(name, []), (0, 0)
        file = self.root / "Annotations" / f"{name}.xml"
        try:
            tree, found = ElementTree.parse(file), []
            for object in tree.iterfind("object"):
                label = self._words[object.findtext("name", "").strip()]
                left, top, right, bottom = (float(object.findtext(f"bndbox/{end}", "")) for end in ENDS)
                box = (left - 1, top - 1, right - left + 1, bottom - top + 1)  # pixels from 1 on, both ends included
                found.append((label, object.findtext("difficult", "0").strip() == "1", box))
            return found, (int(tree.findtext("size/width", "")), int(tree.findtext("size/height", "")))
        except KeyError as error:
            raise ValueError(f"{file} has an object of the class {error}, which is none of VOC's.") from None
        except (ElementTree.ParseError, ValueError) as error:
            raise PictureError(f"{file} is cut short or damaged ({error}).") from None

    def _drawn(self, objects: list[Object], size: tuple[int, int]) -> tuple[dict[str, Mask], Mask]:
        """The filled boxes of each label, and the pixels of difficult ones where these are excluded."""
        masks, ignore = {}, np.zeros(size[::-1], bool)
        for label, hard, box in objects:
            if box is None or (hard and self._difficult == "negative"):
                continue
            if hard and self._difficult == "excluded":
                ignore |= boxed(box, size)
            else:
                masks[label] = masks.get(label, False) | boxed(box, size)
        return masks, ignore
