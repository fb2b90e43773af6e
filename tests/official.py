"""Small trees in the official layouts of data sets: pictures of 6 × 4, with every special value that counts."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.io import savemat

from clipsx.datasets.objects import TOKENS
from helpers import noise

H, W = 4, 6


def values(*first: int, dtype: Any = np.uint8) -> np.ndarray:
    """A mask (H, W) that begins with these values, the last of them in all the rest."""
    flat = np.full(H * W, first[-1], dtype)
    flat[: len(first)] = first
    return flat.reshape(H, W)


def picture(file: Path, seed: int = 0) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    noise(H, W, seed).save(file)


def mask(file: Path, values: np.ndarray, palette: bool = False) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(values)
    if palette:
        image.putpalette([0] * 768)
    image.save(file)


def text(file: Path, content: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content)


def xml(file: Path, objects: list[tuple[str, bool, tuple[int, int, int, int]]]) -> None:
    """VOC's annotation of a picture; boxes: xmin, ymin, xmax, ymax."""
    parts = [f"<size><width>{W}</width><height>{H}</height><depth>3</depth></size>"]
    for name, difficult, box in objects:
        ends = "".join(f"<{key}>{n}</{key}>" for key, n in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True))
        parts.append(
            f"<object><name>{name}</name><difficult>{int(difficult)}</difficult><bndbox>{ends}</bndbox></object>"
        )
    text(file, f"<annotation>{''.join(parts)}</annotation>")


def voc2007(root: Path) -> Path:
    """The first picture: a clear and a difficult person, a difficult chair alone; the second: a clear dining table."""
    base = root / "VOCdevkit" / "VOC2007"
    objects = {
        "000001": [("person", False, (1, 1, 2, 2)), ("person", True, (5, 3, 6, 4)), ("chair", True, (3, 1, 4, 2))],
        "000002": [("diningtable", False, (1, 1, 6, 4))],
    }
    for name, found in objects.items():
        picture(base / f"JPEGImages/{name}.jpg")
        xml(base / f"Annotations/{name}.xml", found)
    text(base / "ImageSets/Main/test.txt", "000001\n000002\n")
    for token in TOKENS:
        hard = {name: [difficult for of, difficult, _ in found if of == token] for name, found in objects.items()}
        flags = {name: -1 if not of else int(not all(of)) for name, of in hard.items()}
        text(base / f"ImageSets/Main/{token}_test.txt", "".join(f"{name} {flag:2d}\n" for name, flag in flags.items()))
    return root


def voc2012(root: Path) -> Path:
    """Masks of background, boat (4), tv monitor (20) and void."""
    base = root / "VOCdevkit" / "VOC2012"
    for n, name in enumerate(("2007_000033", "2007_000042")):
        picture(base / f"JPEGImages/{name}.jpg", n)
        mask(base / f"SegmentationClass/{name}.png", values(0, 4, 20, 255, 4 - 4 * n), palette=True)
    text(base / "ImageSets/Segmentation/val.txt", "2007_000033\n2007_000042\n")
    return root


def voc2012_aug(root: Path) -> Path:
    """As `voc2012`, with masks out of SBD, grey and without void, and their list in another order than the names'."""
    base = voc2012(root) / "VOCdevkit" / "VOC2012"
    for name in ("2008_000019", "2007_000042"):
        picture(base / f"JPEGImages/{name}.jpg")
        mask(base / f"SegmentationClassAug/{name}.png", values(0, 4, 20, 0, 4))
    text(base / "ImageSets/Segmentation/trainaug.txt", "2008_000019\n2007_000042\n")
    return root


def sbd(root: Path) -> Path:
    """Background, boat (4) and tv monitor (20) as SBD's files hold them."""
    base = root / "benchmark_RELEASE" / "dataset"
    for name in ("2008_000002", "2008_000015"):
        picture(base / f"img/{name}.jpg")
        (base / "cls").mkdir(exist_ok=True)
        savemat(base / f"cls/{name}.mat", {"GTcls": {"Segmentation": values(0, 4, 20, 0, 4), "CategoriesPresent": [4]}})
    text(base / "val.txt", "2008_000002\n2008_000015\n")
    return root


CATEGORIES = [n for n in range(1, 91) if n not in (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)]
"""COCO's ids of its eighty things."""


def annotated(n: int, image: int, category: int, box: tuple[float, ...], segmentation: Any, crowd: int = 0) -> dict:
    """An annotation of COCO."""
    found = {"id": n, "image_id": image, "category_id": category, "bbox": list(box), "iscrowd": crowd}
    return found | {"area": box[2] * box[3], "segmentation": segmentation}


def coco(root: Path, year: int = 2014, names: tuple[str, ...] = ()) -> Path:
    """A toaster (80) and a dog (18) over it; a crowd of persons (1) as run lengths and a toaster; a picture without."""
    prefix = f"COCO_val{year}_" if year == 2014 else ""
    images = [{"id": n, "file_name": f"{prefix}{n:012}.jpg", "height": H, "width": W} for n in (42, 7, 9)]
    square = [[0, 0, 4, 0, 4, 4, 0, 4]]
    annotations = [
        annotated(1, 42, 80, (0, 0, 4, 4), square),
        annotated(2, 42, 18, (1, 1, 2, 2), [[1, 1, 3, 1, 3, 3, 1, 3]]),
        annotated(3, 9, 1, (4, 0, 2, 4), {"counts": [16, 8], "size": [H, W]}, crowd=1),
        annotated(4, 9, 80, (0, 0, 1, 1), [[0, 0, 1, 0, 1, 1, 0, 1]]),
    ]
    names = names or tuple(f"thing {id}" for id in CATEGORIES)
    categories = [{"id": id, "name": name} for id, name in zip(CATEGORIES, names, strict=True)]
    found = {"images": images, "annotations": annotations, "categories": categories[::-1]}
    text(root / f"coco/annotations/instances_val{year}.json", json.dumps(found))
    for image in images:
        picture(root / "coco" / f"val{year}" / image["file_name"], image["id"])
    return root


def stuff(root: Path) -> Path:
    """Person (0), toothbrush (89), banner (91), wood (181), unlabelled (255); beside a mask what converters leave."""
    base = root / "coco_stuff164k"
    for name in ("000000000139", "000000000285"):
        picture(base / f"images/val2017/{name}.jpg")
        mask(base / f"annotations/val2017/{name}.png", values(0, 89, 91, 181, 255))
        mask(base / f"annotations/val2017/{name}_labelTrainIds.png", values(0))
    return root


def context(root: Path, official: bool = False) -> Path:
    """Masks of nothing (0), airplane (1), bag (2), wood (59); or the official files, of 431 (unknown), 2, 9, 458."""
    base = root / "VOCdevkit" / "VOC2010"
    for name in ("2008_000002", "2008_000003"):
        picture(base / f"JPEGImages/{name}.jpg")
        if official:
            (base / "trainval").mkdir(exist_ok=True)
            savemat(base / f"trainval/{name}.mat", {"LabelMap": values(431, 2, 9, 458, dtype=np.uint16)})
        else:
            mask(base / f"SegmentationClassContext/{name}.png", values(0, 1, 2, 59))
    text(base / f"ImageSets/{'Main' if official else 'SegmentationContext'}/val.txt", "2008_000002\n2008_000003\n")
    return root


def cityscapes(root: Path) -> Path:
    """Ids of road (7), bicycle (33), the ego vehicle (1) and a trailer (30)."""
    for city in ("munster", "lindau"):
        name = f"val/{city}/{city}_000000_000019"
        picture(root / f"cityscapes/leftImg8bit/{name}_leftImg8bit.png")
        mask(root / f"cityscapes/gtFine/{name}_gtFine_labelIds.png", values(7, 33, 1, 30))
        mask(root / f"cityscapes/gtFine/{name}_gtFine_instanceIds.png", values(7, 26001, 1, 30, dtype=np.uint16))
    return root


def ade20k(root: Path) -> Path:
    """Other (0), wall (1) and flag (150)."""
    for n in (1, 2):
        picture(root / f"ADEChallengeData2016/images/validation/ADE_val_0000000{n}.jpg")
        mask(root / f"ADEChallengeData2016/annotations/validation/ADE_val_0000000{n}.png", values(0, 1, 150))
    return root


def imagenet_s(root: Path, count: int = 50) -> Path:
    """Colours of other (0), the first class, the last one and ignore (1000 = 232 + 256 · 3)."""
    for folder in ("n01443537", "n15075141"):
        picture(root / f"ImageNetS{count}/validation/{folder}/ILSVRC2012_val_00000001.JPEG")
        ids = values(0, 1, count, 1000, 0, dtype=np.int64)
        colours = np.stack([ids % 256, ids // 256, 0 * ids], axis=-1).astype(np.uint8)
        mask(root / f"ImageNetS{count}/validation-segmentation/{folder}/ILSVRC2012_val_00000001.png", colours)
    return root


def nus_wide(root: Path, concepts: tuple[str, ...] = ()) -> Path:
    """Two test pictures, the first an animal and a bear, the second without a label."""
    base = root / "NUS-WIDE"
    text(base / "ImageList/TestImagelist.txt", "actor\\0001_2124494179.jpg\r\nzoo\\0002_174174086.jpg\r\n")
    for name in ("actor/0001_2124494179.jpg", "zoo/0002_174174086.jpg"):
        picture(base / "Flickr" / name)
    for concept in concepts:
        flags = f"{int(concept in ('animal', 'bear'))}\n0\n"
        text(base / f"Groundtruth/TrainTestLabels/Labels_{concept}_Test.txt", flags)
    return root
