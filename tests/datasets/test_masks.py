"""Masks in files of every kind: the object is what a person would say, or the words say how to save it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from clipsx.datasets import VOC, Folder
from helpers import noise

OBJECT = np.zeros((6, 9), bool)
OBJECT[1:4, 2:7] = True
EDGE = np.zeros_like(OBJECT)
EDGE[4, 2:7] = True
BYTE = OBJECT.astype(np.uint8)


def palette(values: np.ndarray, colours: dict[int, tuple[int, int, int]], **info: int) -> Image.Image:
    image = Image.fromarray(values.astype(np.uint8))
    flat = [0] * 768
    for place, colour in colours.items():
        flat[3 * place : 3 * place + 3] = colour
    image.putpalette(flat)
    image.info.update(info)
    return image


def clear(colours: np.ndarray, alpha: np.ndarray) -> Image.Image:
    return Image.fromarray(np.dstack([np.broadcast_to(colours, (*OBJECT.shape, 3)), alpha]).astype(np.uint8))


PHOTO = np.asarray(noise(6, 9))
ALPHA = BYTE * 255
READ: dict[str, Callable[[], Image.Image]] = {
    "white on black": lambda: Image.fromarray(ALPHA),
    "one bit": lambda: Image.fromarray(OBJECT),
    "0 and 1": lambda: Image.fromarray(BYTE),
    "0 and 1, 16 bits": lambda: Image.fromarray(BYTE.astype(np.uint16)),
    "0 and 255, 16 bits": lambda: Image.fromarray(ALPHA.astype(np.uint16)),
    "0 and 65535": lambda: Image.fromarray(BYTE.astype(np.uint16) * 65535),
    "rgb": lambda: Image.fromarray(ALPHA).convert("RGB"),
    "red on black": lambda: Image.fromarray(np.dstack([ALPHA, 0 * ALPHA, 0 * ALPHA])),
    "VOC's palette, 1": lambda: palette(BYTE, {1: (128, 0, 0)}),
    "VOC's palette, grey bus": lambda: palette(BYTE * 7, {7: (128, 128, 128)}),
    "palette all black": lambda: palette(BYTE * 15, {}),
    "palette, white first": lambda: palette(1 - BYTE, {0: (255, 255, 255)}),
    "palette of greys": lambda: palette(BYTE, {n: (n, n, n) for n in range(256)}),
    "palette with a clear place": lambda: palette(BYTE, {0: (255, 255, 255), 1: (9, 200, 30)}, transparency=0),
    "cut-out": lambda: clear(PHOTO, ALPHA),
    "white cut-out": lambda: clear(np.full(3, 255), ALPHA),
    "black cut-out": lambda: clear(np.zeros(3), ALPHA),
    "half transparent": lambda: clear(PHOTO, BYTE * 128),
    "grey cut-out": lambda: Image.merge("LA", [noise(6, 9).convert("L"), Image.fromarray(ALPHA)]),
    "white on opaque black": lambda: Image.fromarray(ALPHA).convert("RGBA"),
    "LA, opaque": lambda: Image.fromarray(ALPHA).convert("LA"),
}
GREY = np.where(EDGE, 128, ALPHA).astype(np.uint8)
UNSURE: dict[str, Callable[[], Image.Image]] = {
    "grey": lambda: Image.fromarray(GREY),
    "16 bits": lambda: Image.fromarray(GREY.astype(np.uint16) * 257),
    "palette of greys": lambda: palette(np.where(EDGE, 2, BYTE), {1: (255,) * 3, 2: (128,) * 3}),
    "VOC's void": lambda: palette(np.where(EDGE, 255, BYTE), {1: (128, 0, 0), 255: (224, 224, 192)}),
    "on clear ground": lambda: clear(GREY[..., None].repeat(3, 2), np.where(OBJECT | EDGE, 255, 0)),
}
REFUSED: dict[str, tuple[Callable[[], Image.Image], str]] = {
    "two classes": (lambda: palette(np.where(EDGE, 2, BYTE), {1: (128, 0, 0), 2: (0, 128, 0)}), "2 colours"),
    "two colours": (lambda: Image.fromarray(np.dstack([ALPHA, EDGE * 255, 0 * ALPHA]).astype(np.uint8)), "2 colours"),
    "1 and 255": (lambda: Image.fromarray(np.where(EDGE, 255, BYTE).astype(np.uint8)), "both 1 and 255"),
    "class 15": (lambda: Image.fromarray(BYTE * 15), r"all but black \(values up to 15\)"),
    "black and white, clear": (lambda: clear(ALPHA[..., None].repeat(3, 2), np.where(EDGE, 0, 255)), "clear ground"),
    "nothing seen": (lambda: clear(PHOTO, 0 * ALPHA), "transparent everywhere"),
}


def folder(root: Path, mask: Image.Image) -> Folder:
    place = root / "masks" / "one"
    place.mkdir(parents=True)
    noise(6, 9).save(root / "one.png")
    mask.save(place / "boat.png", **({"transparency": 0} if "transparency" in mask.info else {}))
    return Folder(root)


@pytest.mark.parametrize("mask", READ.values(), ids=list(READ))
def test_the_object_is_what_a_person_would_say(tmp_path, mask):
    (sample,) = folder(tmp_path, mask())
    assert np.array_equal(sample.masks["boat"], OBJECT) and not sample.ignore.any()


@pytest.mark.parametrize("mask", UNSURE.values(), ids=list(UNSURE))
def test_what_counts_nowhere(tmp_path, mask):
    (sample,) = folder(tmp_path, mask())
    assert np.array_equal(sample.masks["boat"], OBJECT) and np.array_equal(sample.ignore, EDGE)


@pytest.mark.parametrize(("mask", "words"), REFUSED.values(), ids=list(REFUSED))
def test_what_can_be_read_in_two_ways_is_refused(tmp_path, mask, words):
    (sample,) = folder(tmp_path, mask())
    with pytest.raises(ValueError, match=rf"boat\.png .*{words}.*white where the object is"):
        sample.masks  # noqa: B018


def turned(file: Path, turn: int, shape: tuple[int, int] = (6, 9)) -> None:
    exif = Image.Exif()
    exif[0x0112] = turn
    file.parent.mkdir(parents=True, exist_ok=True)
    noise(*shape).save(file, exif=exif)


@pytest.mark.parametrize("turn", range(5, 9))
@pytest.mark.parametrize("ending", ["jpg", "png", "tif"])
def test_a_mask_is_turned_with_its_picture(tmp_path, turn, ending):
    exif = Image.Exif()
    exif[0x0112] = turn
    upright = Image.fromarray(ALPHA)
    upright.getexif()[0x0112] = turn
    expected = np.asarray(ImageOps.exif_transpose(upright)) > 0
    for name, mask, how in (("taken", Image.fromarray(ALPHA), {}), ("tagged", Image.fromarray(ALPHA), {"exif": exif}),
                            ("seen", Image.fromarray(expected), {})):  # fmt: skip
        turned(tmp_path / f"{name}.{ending}", turn)
        (tmp_path / "masks" / name).mkdir(parents=True)
        mask.save(tmp_path / "masks" / name / "boat.png", **how)
    for sample in Folder(tmp_path):
        assert sample.size == (6, 9) and np.array_equal(sample.masks["boat"], expected), sample.name


@pytest.mark.parametrize(("turn", "shape"), [(2, (6, 9)), (3, (6, 9)), (4, (6, 9)), (6, (6, 6))])
def test_a_mask_that_fits_both_ways_is_refused(tmp_path, turn, shape):
    turned(tmp_path / "one.jpg", turn, shape)
    (tmp_path / "masks" / "one").mkdir(parents=True)
    Image.fromarray(np.eye(*shape, dtype=bool)).save(tmp_path / "masks" / "one" / "boat.png")
    with pytest.raises(ValueError, match=rf"boat\.png is {shape[1]} × 6, .*orientation {turn}.*without EXIF"):
        Folder(tmp_path)[0].masks  # noqa: B018


def test_the_same_holds_in_vocs_layout(devkit):
    turned(devkit / "JPEGImages" / "a.jpg", 6, (5, 8))
    sample = VOC(devkit)[0]
    assert sample.size == sample.image.size == (5, 8) and sample.masks["person"][:, -2:].all()
    turned(devkit / "JPEGImages" / "a.jpg", 3, (5, 8))
    with pytest.raises(ValueError, match=r"a\.png is 8 × 5.*cannot be known"):
        VOC(devkit)[0].masks  # noqa: B018


def test_two_files_of_one_label_are_one_mask(tmp_path):
    (sample,) = folder(tmp_path, Image.fromarray(ALPHA))
    Image.fromarray(EDGE).save(tmp_path / "masks" / "one" / "boat.bmp")
    (sample,) = Folder(tmp_path)
    assert np.array_equal(sample.masks["boat"], OBJECT | EDGE)


def test_a_name_of_two_values_unites_their_masks(devkit):
    labels = [f"thing {n}" for n in range(1, 16)]
    labels[10] = labels[14] = "both"
    voc = VOC(devkit, labels=labels)
    assert voc.labels.count("both") == 1 and voc[0].labels == ("both",) and voc[0].masks["both"].sum() == 18
