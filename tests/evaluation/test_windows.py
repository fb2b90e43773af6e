"""Windows of a picture against the published loop over them, written out."""

import itertools

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import clipsx
from clipsx import upsample
from clipsx.evaluation.windows import Stitched, Windows, resized, stitched, whole
from clipsx.reading import Reading
from helpers import noise, tiny_clip

ASKED = (Reading("clip"), Reading("clip-surgery", 1, "code"))


@pytest.fixture(scope="module")
def clip() -> clipsx.Clip:
    return tiny_clip(image_size=32, layers=2, width=32, patch_size=8)


def slid(
    clip: clipsx.Clip, pixels: torch.Tensor, windows: Windows, reading: Reading, text: torch.Tensor
) -> torch.Tensor:
    """mmsegmentation's loop: logits of every window added where it lies, over how often a pixel was seen."""
    (height, width), step = pixels.shape[2:], clip.patch_size[0]
    crop = windows.crop or max(height, width)
    rows, columns = (max(n - crop + windows.stride - 1, 0) // windows.stride + 1 for n in (height, width))
    total, count = torch.zeros(1, len(text), height, width), torch.zeros(1, 1, height, width)
    for row in range(rows):
        for column in range(columns):
            bottom, right = min(row * windows.stride + crop, height), min(column * windows.stride + crop, width)
            top, left = max(bottom - crop, 0), max(right - crop, 0)
            part = pixels[:, :, top:bottom, left:right]
            h, w = part.shape[2:]
            before, size = (0, 0), (h, w)
            if windows.pad:  # zeros around, half of them before
                lacks = [-side % step for side in (h, w)]
                before, size = (lacks[0] // 2, lacks[1] // 2), (h + lacks[0], w + lacks[1])
                part = F.pad(part, (before[1], lacks[1] - before[1], before[0], lacks[0] - before[0]))
            part = part[:, :, : part.shape[2] // step * step, : part.shape[3] // step * step]
            sim = clip.maps(part, [reading], text)[str(reading)].permute(0, 3, 1, 2)
            logits = F.interpolate(sim, size=size, mode="bilinear", align_corners=False)
            logits = logits[:, :, before[0] : before[0] + h, before[1] : before[1] + w]
            total[:, :, top:bottom, left:right] += logits
            count[:, :, top:bottom, left:right] += 1
    return total / count


@pytest.mark.parametrize(
    "windows",
    [Windows(48, 32, 16), Windows(40, 32, 32), Windows(37, 36, 16), Windows(40, 36, 20, pad=True), Windows(45),
     Windows(32, 999), Windows(43, None, pad=True, antialias=True)],
    ids=str,
)  # fmt: skip
def test_the_published_loop(clip: clipsx.Clip, windows: Windows) -> None:
    image, text = noise(30, 53, 1), clip.encode_labels(["cat", "dog", "sky"], ["{}"])
    found = stitched(clip, image, windows, ASKED, text)
    pixels = clip.normalise(resized(image, windows.size(53, 30), windows.antialias))
    for reading in ASKED:
        logits = slid(clip, pixels, windows, reading, text)
        expected = F.interpolate(logits, size=(30, 53), mode="bilinear", align_corners=False)[0].permute(1, 2, 0)
        for at_once in (1, 500, 10**6):
            assert torch.allclose(torch.cat(list(found[reading].rows(at_once))), expected, atol=1e-5), windows


@pytest.mark.parametrize("size", [(3, 900), (5, 4), (70, 9)])
def test_pictures_smaller_than_a_patch_or_very_long(clip: clipsx.Clip, size: tuple[int, int]) -> None:
    """A side that is shorter than a patch is padded to one."""
    text = clip.encode_labels(["cat", "dog"], ["{}"])
    map = stitched(clip, noise(*size), Windows(16, 32, 16), ASKED[:1], text)[ASKED[0]]
    assert torch.cat(list(map.rows())).shape == (*size, 2) and all(bool(part.isfinite().all()) for part in map.rows())


def test_where_windows_begin() -> None:
    for length in range(1, 60):
        for crop, stride in ((20, 10), (20, 7), (16, 16), (None, 5)):
            starts = Windows(20, crop, stride).starts(length)
            side = min(crop or length, length)
            assert starts[0] == 0 and starts[-1] + side == length, "all of the picture is seen"
            assert len(starts) == max(length - side + stride - 1, 0) // stride + 1
            assert all(b - a <= stride for a, b in itertools.pairwise(starts))


@pytest.mark.parametrize("wrong", [(20, 10, 11), (0, 10, 5), (20, 10, 0)])
def test_windows_that_leave_parts_out(wrong: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="leave parts"):
        Windows(*wrong)


def test_sizes_are_rounded_as_published() -> None:
    assert Windows(336).size(500, 375) == (448, 336) and Windows(336).size(333, 500) == (336, 505)
    assert Windows(336).size(4000, 100) == (2048, 51)  # the longer side ends it


def test_bilinear_without_antialiasing_is_its_formula() -> None:
    image, (width, height) = noise(9, 14), (5, 4)
    pixels, found = np.asarray(image, float), np.asarray(resized(image, (width, height), antialias=False))
    for y, x in np.ndindex(height, width):
        at = [(place + 0.5) * old / new - 0.5 for place, old, new in ((y, 9, height), (x, 14, width))]
        (top, left), (down, right) = np.floor(at).astype(int), np.array(at) - np.floor(at)
        rows = pixels[[top, top + 1]][:, [left, left + 1]]  # (2, 2, 3)
        mean = np.einsum("yxc,y,x->c", rows, [1 - down, down], [1 - right, right])
        assert abs(found[y, x] - mean).max() <= 0.51
    assert resized(image, (5, 4), antialias=True).tobytes() != resized(image, (5, 4), antialias=False).tobytes()


def test_no_map_of_all_labels_is_made() -> None:
    sim = torch.randn(1, 4, 6, 1000, generator=torch.Generator().manual_seed(0))
    map = whole(sim, (40, 64))
    parts = list(map.rows(at_once=200_000))
    assert max(part.numel() for part in parts) <= 200_000 and len(parts) > 10
    assert torch.allclose(torch.cat(parts), upsample(sim, (40, 64))[0], atol=1e-5)
    assert isinstance(map, Stitched)
