"""Pictures of every kind become RGB, or a clear error."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

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
