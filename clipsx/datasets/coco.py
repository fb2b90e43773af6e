"""COCO's annotations, the official ones or of one's own."""

import json
from collections import defaultdict
from os import PathLike
from pathlib import Path
from typing import Any

from clipsx.datasets.annotated import REGIONS, Annotated, Object
from clipsx.datasets.layouts import Place
from clipsx.datasets.lines import spelled
from clipsx.datasets.vocabularies import Given, Vocabulary
from clipsx.messages import one_of

ASKED = {
    "images": ("id", "file_name", "width", "height"),
    "categories": ("id", "name"),
    "annotations": ("image_id", "category_id"),
}
"""What every entry of a file's lists must have."""


class Instances(Annotated):
    """Pictures with objects in COCO's format, each opened when asked.

    file: the annotations; folder: where each `file_name` lies. vocabulary: other names of its categories, in the order
    of their ids. crowd: how crowds count (`annotated.TREATMENTS`). regions: "masks" of polygons and run lengths
    (by pycocotools) or "boxes" (`Annotated`). images: "all", or "annotated", those with an object; `empty` has the
    names of those without. What was found is said in tables.
    Errors: FileNotFoundError; ValueError for a file that is cut short or lacks a part, a category without a name, an
    image that is there twice, an unknown option, a vocabulary of another size.
    """

    def __init__(
        self, file: Path, folder: Path, recipe: dict[str, Any], vocabulary: Given | None = None,
        crowd: str = "positive", regions: str = "masks", images: str = "all",
    ) -> None:  # fmt: skip
        one_of(regions, REGIONS, "regions")
        one_of(images, ("all", "annotated"), "images")
        found = _read(file)
        names = {image["id"]: image["file_name"] for image in found["images"]}
        sizes = {image["file_name"]: (image["width"], image["height"]) for image in found["images"]}
        if not len(names) == len(sizes) == len(found["images"]):
            raise ValueError(f"{file} lists an image twice: by its id, or by its file_name.")
        words, labels = _categories(found["categories"], file, vocabulary)
        objects: dict[str, list[Object]] = defaultdict(list)
        for number, entry in enumerate(found["annotations"]):
            name, category = names.get(entry["image_id"], ""), entry["category_id"]
            told = f"annotation {entry.get('id', f'number {number}')}"
            if category not in labels:
                raise ValueError(f"{file}: {told} has the category {category}, which has no name among its categories.")
            crowded, box = bool(entry.get("iscrowd")), entry.get("bbox") or ()
            objects[name].append(Object(labels[category], crowded, box, entry.get("segmentation"), f"{name}, {told}"))
        strays = len(objects.pop("", ()))
        self.empty = tuple(name for name in sizes if name not in objects)
        kept = sorted(name for name in sizes if images == "all" or name in objects)
        if not kept:
            raise ValueError(f"{file} holds no image{' with an object' if names else ''}.")
        every = [object for group in objects.values() for object in group]
        bare = regions == "masks" and not any(object.segmentation for object in every)
        left = "left out" if images == "annotated" else "among them"
        said = {
            f"crowds {crowd}": any(object.unclear for object in every),
            "boxes without masks": bare,
            f"{len(self.empty)} images without objects {left}": self.empty,
            f"{strays} annotations of images that are not listed": strays,
        }
        super().__init__(
            lambda name: (objects.get(name, ()), sizes[name]), lambda name: [folder / name], folder, kept, words,
            recipe | {"crowd": crowd, "regions": regions, "images": images}, [text for text, so in said.items() if so],
            [file], crowd, None if bare else regions,
        )  # fmt: skip


def own(root: str | PathLike[str], annotations: str | PathLike[str] | None = None, **options: Any) -> Instances:
    """The pictures under root with a COCO file of one's own; options: those of `Instances`."""
    if annotations is None:
        raise ValueError("coco-json needs annotations: a JSON file in COCO's format, whose pictures lie under root.")
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
    where = place.path("annotations"), place.path("pictures"), place.recipe, place.wording(vocabulary)
    return Instances(*where, **{"images": "annotated", **options})


def _read(file: Path) -> dict[str, Any]:
    """A file's lists, each entry with what is asked of it. Errors: ValueError, naming file and part."""
    try:
        found = json.loads(file.read_bytes())
    except FileNotFoundError:
        raise FileNotFoundError(f"{file} is not there: annotations name a JSON file in COCO's format.") from None
    except ValueError as error:
        raise ValueError(f"{file} is cut short or no JSON ({error}): fetch or write it again.") from None
    for part, keys in ASKED.items():
        if not isinstance(found, dict) or not isinstance(found.get(part), list):
            raise ValueError(f"{file} has no list of {part}: it is not in the format of COCO's instances.")
        for number, entry in enumerate(found[part]):
            if missing := [key for key in keys if key not in entry]:
                raise ValueError(f"{file}: entry {number} of {part} has no {missing[0]}.")
    return found


def _categories(entries: list[dict[str, Any]], file: Path, given: Given | None) -> tuple[Vocabulary, dict[int, str]]:
    """The vocabulary, and the name of every category's id: by the order of ids, which have gaps."""
    own = {entry["id"]: spelled(str(entry["name"])) for entry in sorted(entries, key=lambda entry: entry["id"])}
    names = tuple(dict.fromkeys(own.values()))
    words = Vocabulary.single(names, "the file's own").reworded(given, str(file))
    asked = dict(zip(names, words.names, strict=True))
    return words, {id: asked[name] for id, name in own.items()}
