"""The random walker against walks solved literally, and points as people set them."""

import numpy as np
import pytest
from PIL import Image

from clipsx import segmenters
from clipsx.segmenters import RandomWalker, placed
from helpers import noise, unchecked


def literal(image: Image.Image, points: list[tuple[int, int]], labels: list[int], beta: float) -> np.ndarray:
    """The share of walks that end on the object: the Laplace equation of the pixel graph, solved densely.

    A step between neighbours weighs exp(−beta · d / (10 · √3 · s)) + 1e-10, d the squared difference summed over
    channels, s the standard deviation of all values.
    """
    pixels = np.asarray(image, dtype=float) / 255
    height, width = pixels.shape[:2]
    laplacian = np.zeros((height * width, height * width))
    for y, x in np.ndindex(height, width):
        for b, a in ((y + 1, x), (y, x + 1)):
            if b < height and a < width:
                apart = ((pixels[y, x] - pixels[b, a]) ** 2).sum()
                weight = np.exp(-beta * apart / (10 * np.sqrt(3) * pixels.std())) + 1e-10 if pixels.std() else 1
                i, j = y * width + x, b * width + a
                laplacian[[i, j], [j, i]] -= weight
                laplacian[[i, j], [i, j]] += weight
    known = [y * width + x for x, y in points]
    free = [i for i in range(height * width) if i not in known]
    share = np.zeros(height * width)
    share[known] = labels
    share[free] = np.linalg.solve(laplacian[np.ix_(free, free)], -laplacian[np.ix_(free, known)] @ np.array(labels))
    return share.reshape(height, width)


FLAT = Image.new("RGB", (9, 7), (40, 90, 200))


@pytest.mark.parametrize(
    "image", [noise(7, 9), noise(1, 12, 3), noise(12, 1, 4), FLAT], ids=["noise", "row", "column", "flat"]
)
@pytest.mark.parametrize("beta", [0.5, 40.0])
def test_walks_end_where_the_equation_says(image: Image.Image, beta: float) -> None:
    points = [(0, 0), (image.width - 1, image.height - 1), (image.width // 2, image.height // 2)]
    labels = [1, 0, 0]
    share = literal(image, points, labels, beta)
    found = RandomWalker(beta)(image, np.array(points), np.array(labels))
    decided = abs(share - 0.5) > 1e-6
    assert decided.mean() > 0.7
    np.testing.assert_array_equal(found[decided], (share > 0.5)[decided])


def test_it_stops_at_edges_and_large_pictures_are_read_smaller() -> None:
    pixels = np.zeros((60, 90, 3), np.uint8)
    pixels[15:45, 30:60] = 255
    image, points = Image.fromarray(pixels), ([(45, 30), (3, 3), (86, 56)], [1, 0, 0])
    np.testing.assert_array_equal(RandomWalker()(image, *points), pixels[..., 0] == 255)
    large = image.resize((900, 600), Image.Resampling.NEAREST)
    mask = RandomWalker(side=90)(large, 10 * np.array(points[0]), points[1])
    assert mask.shape == (600, 900) and abs(mask.sum() / 300**2 - 1) < 0.05


@pytest.mark.parametrize(
    ("points", "labels", "share"),
    [([], [], 0), ([(1, 1)], [0], 0), ([(1, 1)], [1], 1), ([(1, 1), (1, 1), (5, 5)], [1, 1, 0], None)],
)
def test_points_of_one_kind(points: list, labels: list, share: float | None) -> None:
    mask = RandomWalker()(noise(8, 8), points, labels)
    assert mask.shape == (8, 8) and mask.dtype == bool
    if share is None:
        np.testing.assert_array_equal(mask, RandomWalker()(noise(8, 8), points[1:], labels[1:]))
    else:
        assert mask.mean() == share


def test_every_pixel_a_point() -> None:
    image, points = noise(2, 2), [(0, 0), (1, 0), (0, 1), (1, 1)]
    assert RandomWalker()(image, points, [1, 0, 0, 1]).tolist() == [[True, False], [False, True]]
    joined = RandomWalker(side=1)(image, points, [1, 0, 0, 1])
    assert joined.all()  # all four in one pixel: the object's count


@pytest.mark.parametrize(
    ("points", "labels", "words"),
    [
        ([(1, 1), (1, 1)], [1, 0], r"\(1, 1\) is both on the object and beside it"),
        ([(8, 1)], [1], r"\(8, 1\) lies off the picture of 8 × 6 pixels"),
        ([(0, -1)], [1], "off the picture"),
        ([(1, 1)], [1, 0], "1 points need as many labels"),
        ([(1, 1)], [2], "each 1"),
        ([(0.5, 1)], [1], "whole pixels"),
        ([(float("nan"), 1)], [1], "whole pixels"),
    ],
)
def test_what_is_no_point(points: list, labels: list, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        placed(noise(6, 8), points, labels)


def test_names() -> None:
    assert segmenters.load() == RandomWalker() and segmenters.load("random-walker").name.startswith(
        "random walker (beta 400"
    )
    mine = RandomWalker(beta=1)
    assert segmenters.load(mine) is mine and isinstance(mine, segmenters.Segmenter)
    with pytest.raises(ValueError, match="did you mean 'random-walker'"):
        segmenters.load("random-walkr")
    with unchecked(), pytest.raises(ValueError, match="Unknown segmenter"):
        segmenters.load("no/such/folder")
