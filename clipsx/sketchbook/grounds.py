"""The sketchbook's backgrounds: procedural textures that look the same at any size."""

from collections.abc import Callable

import numpy as np
from PIL import Image

Texture = np.ndarray  # (S, S) roughly in −1 … 1


def noise(rng: np.random.Generator, size: int, cells: int, aspect: int = 1) -> Texture:
    """Smooth noise, `cells` lumps down the picture: drawn on that grid, then resized: the same at every size."""
    coarse = rng.uniform(-1, 1, (cells, max(1, cells // aspect))).astype(np.float32)
    return np.asarray(Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC))


def grid(size: int) -> tuple[Texture, Texture]:
    """x (1, S) and y (S, 1) in 0 … 1 at the pixel centres."""
    at = ((np.arange(size) + 0.5) / size).astype(np.float32)
    return at[None, :], at[:, None]


def grass(rng: np.random.Generator, size: int) -> Texture:
    return 0.5 * noise(rng, size, 8) + 0.9 * noise(rng, size, 40, aspect=1)


def water(rng: np.random.Generator, size: int) -> Texture:
    _, y = grid(size)
    waves = np.sin(2 * np.pi * (rng.uniform(7, 11) * y + 0.55 * noise(rng, size, 9, aspect=2)))
    return 0.7 * waves + 0.3 * noise(rng, size, 12, aspect=3)


def sky(rng: np.random.Generator, size: int) -> Texture:
    _, y = grid(size)
    clouds = np.clip(noise(rng, size, 5, aspect=1) + 0.5 * noise(rng, size, 10), 0, 1)
    return 1.1 * y - 0.7 + 1.8 * clouds


def sand(rng: np.random.Generator, size: int) -> Texture:
    x, y = grid(size)
    ripples = np.sin(2 * np.pi * (rng.uniform(4, 7) * (y + 0.4 * x) + 0.5 * noise(rng, size, 5)))
    return 0.35 * ripples + 0.8 * noise(rng, size, 60)


def brick(rng: np.random.Generator, size: int) -> Texture:
    x, y = grid(size)
    rows = int(rng.integers(9, 13))
    shift = rng.uniform(0, 1)
    row = np.floor(y * rows)
    along = x * rows / 2 + shift + row % 2 / 2
    mortar = (y * rows % 1 < 0.14) | (along % 1 < 0.07)
    shade = rng.uniform(-0.7, 0.7, (rows, rows + 2))[row.astype(int), np.floor(along).astype(int)]
    return np.where(mortar, 2.2, shade).astype(np.float32) + 0.25 * noise(rng, size, 48)


def snow(rng: np.random.Generator, size: int) -> Texture:
    drifts = noise(rng, size, 4, aspect=1)
    return 0.9 * drifts + 0.35 * noise(rng, size, 30)


# background: (texture, colour at 0, colour added per unit of texture)
GROUNDS: dict[str, tuple[Callable[[np.random.Generator, int], Texture], tuple[int, int, int], tuple[int, int, int]]] = {
    "grass": (grass, (92, 150, 62), (20, 26, 14)),
    "water": (water, (48, 118, 178), (18, 24, 26)),
    "sand": (sand, (222, 198, 142), (16, 16, 18)),
    "sky": (sky, (140, 196, 238), (46, 30, 10)),
    "brick": (brick, (164, 88, 70), (24, 26, 26)),
    "snow": (snow, (226, 234, 244), (16, 13, 9)),
}


def paint(name: str, rng: np.random.Generator, size: int) -> np.ndarray:
    """The background as (S, S, 3) uint8, its colour a little different every time."""
    texture, base, step = GROUNDS[name]
    tint = rng.uniform(-14, 14, 3) + rng.uniform(-10, 10)
    field = texture(rng, size)[:, :, None]  # (S, S, 1)
    return np.clip(np.array(base) + tint + field * np.array(step), 0, 255).astype(np.uint8)
