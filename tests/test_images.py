"""Pictures of every kind become RGB, or a clear error."""

import io
import os
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from clipsx import images
from helpers import noise, unchecked


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def test_from_pil_path_bytes_and_array_the_same(tmp_path: Path) -> None:
    picture = noise(5, 9)
    file = tmp_path / "p.png"
    picture.save(file)
    for source in (picture, file, str(file), file.read_bytes(), np.asarray(picture)):
        found = images.decode(source)
        assert found.mode == "RGB"
        assert np.array_equal(np.asarray(found), np.asarray(picture))


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "CMYK", "YCbCr", "HSV", "LAB"])
def test_opaque_modes(mode: str) -> None:
    found = images.decode(
        Image.new("RGB", (4, 3), "white").convert(mode) if mode != "LAB" else Image.new("LAB", (4, 3))
    )
    assert found.mode == "RGB"
    assert found.size == (4, 3)
    if mode != "LAB":
        assert np.asarray(found).min() == 255


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_transparency_lies_over_white(mode: str) -> None:
    clear = Image.new("RGBA", (2, 2), (0, 0, 0, 0))
    assert np.asarray(images.decode(clear.convert(mode) if mode != "PA" else clear.convert("PA"))).min() == 255


def test_transparent_palette_lies_over_white() -> None:
    picture = Image.new("P", (2, 2), 0)
    picture.putpalette([0, 0, 0, 255, 0, 0])
    assert np.asarray(images.decode(encoded(picture, "PNG", transparency=0))).min() == 255
    half = Image.new("RGBA", (1, 1), (0, 0, 0, 128))
    assert np.asarray(images.decode(half)).tolist() == [[[127, 127, 127]]]


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    ramp = np.linspace(0, 65535, 256).reshape(16, 16).astype(np.uint16)
    expected = np.arange(256).reshape(16, 16)
    for source in (ramp, Image.fromarray(ramp), encoded(Image.fromarray(ramp), "PNG")):
        found = np.asarray(images.decode(source)).astype(int)
        assert np.abs(found[:, :, 0] - expected).max() <= 1


def test_float_and_bool_arrays() -> None:
    assert np.asarray(images.decode(np.full((2, 2, 3), 0.5)))[0, 0].tolist() == [128, 128, 128]
    assert np.asarray(images.decode(np.eye(2, dtype=bool)))[0, 0].tolist() == [255, 255, 255]
    assert images.decode(np.zeros((2, 3, 1), np.uint8)).size == (3, 2)
    assert images.decode(np.zeros((2, 3, 4), np.uint8)).getpixel((0, 0)) == (255, 255, 255)
    assert images.decode(Image.fromarray(np.ones((2, 2), np.float32))).getpixel((0, 0)) == (255, 255, 255)


GREY = np.arange(0, 240, 4).reshape(6, 10)


@pytest.mark.parametrize(
    "source",
    [*(GREY.astype(kind) for kind in ("int64", "int32", "int16", "uint16", ">u2", "uint64")),
     Image.fromarray(GREY.astype(np.int32)), Image.fromarray(GREY.astype(np.uint16)),
     Image.fromarray(GREY.astype(np.float32)), Image.fromarray((GREY / 255).astype(np.float32)),
     encoded(Image.fromarray(GREY.astype(np.uint16)), "PNG"), encoded(Image.fromarray(GREY.astype(np.int32)), "TIFF"),
     encoded(Image.fromarray(GREY.astype(np.float32)), "TIFF"), GREY[..., None].repeat(3, axis=2), GREY / 255],
)  # fmt: skip
def test_eight_bits_in_a_wider_type_do_not_become_black(source: object) -> None:
    assert np.array_equal(np.asarray(images.decode(source))[..., 0], GREY)


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_every_turn_is_pils(kind: str, turn: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = turn
    data = encoded(Image.fromarray(np.kron(np.arange(6, dtype=np.uint8).reshape(2, 3) * 40, np.ones((8, 8), np.uint8))),
                   kind, exif=exif)  # fmt: skip
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    decoded = images.decode(data)
    assert np.array_equal(np.asarray(decoded), np.asarray(expected))
    assert np.array_equal(np.asarray(images.decode(decoded)), np.asarray(expected))  # it is never turned twice


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\0\x01"]
)
def test_broken_exif_says_nothing(exif: bytes) -> None:
    for kind in ("JPEG", "PNG", "WEBP"):
        assert images.decode(encoded(noise(4, 8), kind, exif=exif)).size == (8, 4)


@pytest.mark.parametrize("value", [0, 9, 77])
def test_a_turn_that_does_not_exist_says_nothing(value: object) -> None:
    exif = Image.Exif()
    exif[0x0112] = value
    assert images.decode(encoded(noise(4, 8), "JPEG", exif=exif)).size == (8, 4)


@pytest.mark.parametrize(
    "data", [b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n",
             b"\xd7\xcd\xc6\x9a" + bytes(40), b"SIMPLE  =                    T" + b" " * 50 + b"END" + b" " * 2797,
             encoded(noise(4, 4), "PDF"), encoded(noise(4, 4), "TGA"), encoded(noise(4, 4), "ICO")],
    ids=["eps", "wmf", "fits", "pdf", "tga", "ico"],
)  # fmt: skip
def test_what_is_not_in_the_list_is_not_opened(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.jpg").write_bytes(data)
    for source in (data, tmp_path / "x.jpg"):
        with pytest.raises(images.PictureError, match="not a picture that can be read"):
            images.decode(source)


@pytest.mark.parametrize("kind", images.FORMATS)
def test_every_format_of_the_list_is_opened(kind: str) -> None:
    assert images.decode(encoded(noise(16, 24), kind)).size == (24, 16)


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(FileNotFoundError, match=r"pipe\.jpg is no file that can be read through"):
        images.decode(tmp_path / "pipe.jpg")
    (tmp_path / "empty.jpg").touch()
    with pytest.raises(images.PictureError, match=r"empty\.jpg is empty, and so not a picture"):
        images.decode(tmp_path / "empty.jpg")


def test_threads_leave_the_warning_filters_alone() -> None:
    data, before = encoded(noise(40, 40), "PNG"), list(warnings.filters)
    threads = [threading.Thread(target=lambda: [images.decode(data) for _ in range(30)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(warnings.filters) == before


def test_turned_as_exif_says() -> None:
    picture = Image.new("RGB", (8, 4))
    exif = Image.Exif()
    exif[0x0112] = 6
    assert images.decode(encoded(picture, "JPEG", exif=exif)).size == (4, 8)


def test_first_frame_of_an_animation() -> None:
    frames = [Image.new("RGB", (3, 3), c) for c in ("red", "blue")]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert images.decode(data).getpixel((1, 1)) == (255, 0, 0)
    animated = Image.open(io.BytesIO(data))
    animated.seek(1)
    assert images.decode(animated).getpixel((1, 1)) == (0, 0, 255)  # where the user already is
    assert animated.tell() == 1


def test_one_pixel() -> None:
    assert images.decode(noise(1, 1)).size == (1, 1)


def test_the_given_image_is_not_changed() -> None:
    picture = Image.new("RGBA", (2, 2), (0, 0, 0, 0))
    before = picture.tobytes()
    images.decode(picture)
    assert picture.mode == "RGBA"
    assert picture.tobytes() == before


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_cut_short(kind: str) -> None:
    data = encoded(noise(64, 64), kind)
    with pytest.raises(ValueError, match=r"cut short or damaged|not a picture"):
        images.decode(data[: len(data) // 2])


@pytest.mark.parametrize("data", [b"", b"hello", b"<svg/>", b"\x89PNG\r\n\x1a\n"])
def test_not_a_picture(data: bytes) -> None:
    with pytest.raises(ValueError, match="not a picture"):
        images.decode(data)


def test_huge_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(Image.new("1", (8100, 8000)), "PNG")  # a small file: a decompression bomb
    with pytest.raises(ValueError, match="8,100 × 8,000 pixels; at most 64,000,000"):
        images.decode(data)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # where PIL itself refuses, it is the same error
    with pytest.raises(ValueError, match="at most 64,000,000"):
        images.decode(data)
    monkeypatch.setattr(images, "MAX_PIXELS", 50)
    for source in (noise(8, 8), np.zeros((8, 8), np.uint8), encoded(noise(8, 8), "PNG")):
        with pytest.raises(ValueError, match=r"8 × 8 pixels; at most 50"):
            images.decode(source)
    with pytest.raises(ValueError, match="too long to crop"):
        images.resize(noise(1, 40), (5, 5), "crop")


def test_missing_files_and_other_objects(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nothing\.png does not exist"):
        images.decode(tmp_path / "nothing.png")
    with pytest.raises(FileNotFoundError, match="is a folder"):
        images.decode(tmp_path)
    with unchecked(), pytest.raises(TypeError, match="not int"):
        images.decode(3)


@pytest.mark.parametrize(
    "array",
    [np.zeros((0, 4)), np.zeros((2, 2, 2)), np.zeros(4), np.full((2, 2), np.nan), np.full((2, 2), 7.0),
     np.full((2, 2), -1), np.full((2, 2), 70000), np.zeros((2, 2), complex)],
)  # fmt: skip
def test_odd_arrays_are_refused(array: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"shape|0…1|0…65535"):
        images.decode(array)


def test_real_photographs(voc: Path) -> None:
    for file in sorted((voc / "VOC2012" / "JPEGImages").glob("*.jpg"))[:3]:
        assert images.decode(file).mode == "RGB"
