"""Official lists of what is in a picture: VOC's objects, from XML or from the files of classes, NUS-WIDE's concepts."""

from os import PathLike
from pathlib import Path
from xml.etree import ElementTree

from clipsx.datasets.annotated import REGIONS, Annotated, Object, Seen
from clipsx.datasets.layouts import Place
from clipsx.datasets.lines import lines
from clipsx.datasets.vocabularies import BUILT_IN, Given
from clipsx.images import PictureError
from clipsx.messages import one_of

TOKENS = BUILT_IN["voc20.mmseg"].names  # as the files of VOC call its classes
ENDS = ("xmin", "ymin", "xmax", "ymax")


def voc(
    name: str, root: str | PathLike[str], split: str | None = None, vocabulary: Given | None = None,
    difficult: str = "negative", regions: str = "masks",
) -> Annotated:  # fmt: skip
    """Photographs of VOC 2007 or 2012 with the labels of their objects.

    difficult: how difficult objects count (`annotated.TREATMENTS`): the devkit says "excluded", most papers on CLIP
    "negative", some "positive". regions: "boxes" (`Annotated`); there are no masks. Without a folder of annotations,
    labels are those of the files of classes in `ImageSets/Main` (1: there; 0: difficult ones alone), and no boxes.
    Errors: those of `Place`; ValueError for an unknown option, and for a class that VOC does not have; when a part is
    opened, FileNotFoundError for a listed file that is missing, PictureError for a damaged one.
    """
    place, boxes = Place(name, root, split), one_of(regions, REGIONS, "regions") == "boxes"
    words, folder = place.wording(vocabulary), place.root / "Annotations"
    labels, detailed = dict(zip(TOKENS, words.names, strict=True)), folder.is_dir()
    lists = [] if detailed else [place.path("lists").with_stem(f"{token}_{place.split}") for token in TOKENS]
    found: dict[str, list[Object]] = {}
    for label, file in zip(words.names, lists, strict=False):
        for picture, flag in (line.split() for _, line in lines(file)):
            found.setdefault(picture, []).extend([Object(label, flag == "0")] if flag != "-1" else [])

    def seen(name: str) -> Seen:
        return _parsed(folder / f"{name}.xml", labels) if detailed else (found.get(name, ()), (0, 0))

    def files(name: str) -> list[Path]:
        return [place.path("pictures", name), *[folder / f"{name}.xml"] * detailed]

    said = [f"difficult {difficult}", *["labels from the files of classes"] * (not detailed)]
    recipe = place.recipe | {"difficult": difficult, "regions": regions}
    how = difficult, "boxes" if boxes and detailed else None
    return Annotated(seen, files, place.root, place.listed(), words, recipe, said, lists, *how)


def _parsed(file: Path, labels: dict[str, str]) -> Seen:
    """The objects of VOC's XML, and the (W, H) of the picture."""
    try:
        tree, found = ElementTree.parse(file), []
        for object in tree.iterfind("object"):
            label = labels[object.findtext("name", "").strip()]
            unclear = object.findtext("difficult", "0").strip() == "1"
            left, top, right, bottom = (float(object.findtext(f"bndbox/{end}", "")) for end in ENDS)
            box = (left - 1, top - 1, right - left + 1, bottom - top + 1)  # pixels from 1 on, both ends included
            found.append(Object(label, unclear, box))
        return found, (int(tree.findtext("size/width", "")), int(tree.findtext("size/height", "")))
    except KeyError as error:
        raise ValueError(f"{file} has an object of the class {error}, which is none of VOC's.") from None
    except (ElementTree.ParseError, ValueError) as error:
        raise PictureError(f"{file} is cut short or damaged ({error}).") from None


def concepts(
    name: str, root: str | PathLike[str], split: str | None = None, vocabulary: Given | None = None
) -> Annotated:
    """The official lists of NUS-WIDE (test: 107,859 pictures, many of them without a label).

    Errors: those of `Place`; FileNotFoundError for a concept without its file, ValueError for one of another length
    than the list of pictures; when a picture is opened, FileNotFoundError where it is missing.
    """
    place = Place(name, root, split)
    names, words, folder = place.listed(), place.wording(vocabulary), place.path("annotations")
    word, official = place.layout.splits[place.split], BUILT_IN[place.layout.vocabulary].names
    files = [folder / f"Labels_{concept}_{word}.txt" for concept in official]
    found: dict[str, list[Object]] = {name: [] for name in names}
    for label, file in zip(words.names, files, strict=True):
        flags = file.read_bytes().split()
        if len(flags) != len(names) or set(flags) - {b"0", b"1"}:
            raise ValueError(f"{file} must hold a 0 or 1 for each of the {len(names)} pictures in its list.")
        for picture, flag in zip(names, flags, strict=True):
            found[picture] += [Object(label)] if flag == b"1" else []
    empty = sum(not objects for objects in found.values())
    said = [f"{empty} without a label"] * bool(empty)
    seen, path = lambda name: (found[name], (0, 0)), lambda name: [place.path("pictures", name)]
    return Annotated(seen, path, place.root, names, words, place.recipe, said, files)
