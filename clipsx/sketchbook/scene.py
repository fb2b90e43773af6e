"""A scene before any pixel, its picture and masks at any size, and its words."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool
from PIL import Image, ImageDraw, ImageFilter

from clipsx.sketchbook.drawings import COLOURS, MATES, NOUNS, TABLE, Drawing
from clipsx.sketchbook.grounds import GROUNDS, paint

OVERSAMPLING = 2  # pixels drawn per pixel kept, along each side
# An object's side as a share of the picture's, by number of objects.
SIZES = {1: (0.36, 0.68), 2: (0.30, 0.50), 3: (0.27, 0.42), 4: (0.25, 0.37)}
PLACES = 24  # places tried for an object; the first that hides little of the others is taken
AT = {"sky": "in the", "snow": "in the"}  # how a caption places an object; else "on"
FORMS = ("a photo of {}", "a photo of {}.", "a picture of {}", "a drawing of {}", "there is {}", "{}")


@dataclass(frozen=True)
class Thing:
    """One object of a scene; `drawing` in picture coordinates, 0 … 1."""

    noun: str
    colour: str
    rgb: tuple[int, int, int]
    drawing: Drawing


@dataclass(frozen=True)
class Scene:
    """Everything a picture shows, before any pixel: independent of the size it is drawn at."""

    ground: str
    things: tuple[Thing, ...]
    texture: int  # seed of the background's texture


def compose(rng: np.random.Generator, co_occurrence: float, background_bias: float, objects: tuple[int, int]) -> Scene:
    """A random scene.

    Until the first object's mate is there, the next one is that mate with probability `co_occurrence`; else any noun.
    """
    count = int(rng.integers(objects[0], objects[1] + 1))
    nouns = [str(rng.choice(NOUNS))]
    while len(nouns) < count:
        mate = MATES[nouns[0]]
        wanted = mate not in nouns and rng.random() < co_occurrence
        nouns.append(mate if wanted else str(rng.choice(NOUNS)))
    at_home = rng.random() < background_bias
    ground = TABLE[nouns[0]][1] if at_home else str(rng.choice(list(GROUNDS)))
    boxes: list[np.ndarray] = []
    things = []
    for noun in nouns:
        size = rng.uniform(*SIZES[count])
        centre = _free_place(rng, size, boxes)
        boxes.append(np.array([*(centre - size / 2), *(centre + size / 2)]))
        things.append(_thing(rng, noun, centre, size))
    return Scene(ground, tuple(things), int(rng.integers(2**31)))


def _free_place(rng: np.random.Generator, size: float, boxes: list[np.ndarray]) -> np.ndarray:
    centres = rng.uniform(size / 2 - 0.02, 1.02 - size / 2, (PLACES, 2))
    if not boxes:
        return centres[0]
    taken = np.array(boxes)  # (n, 4)
    low, high = centres[:, None] - size / 2, centres[:, None] + size / 2  # (P, 1, 2)
    overlap = np.clip(np.minimum(high, taken[:, 2:]) - np.maximum(low, taken[:, :2]), 0, None).prod(axis=2)  # (P, n)
    hidden = (overlap / (taken[:, 2] - taken[:, 0]) ** 2).max(axis=1)  # (P,)
    return centres[int(np.argmax(hidden < 0.10)) if (hidden < 0.10).any() else int(np.argmin(hidden))]


def _thing(rng: np.random.Generator, noun: str, centre: np.ndarray, size: float) -> Thing:
    angle, mirror = np.radians(rng.uniform(-14, 14)), rng.choice([-1.0, 1.0])
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    turn = turn @ np.diag([mirror, 1.0]) * size / 100
    drawing = TABLE[noun][0](lambda a, b: float(rng.uniform(a, b)))
    colour = str(rng.choice(list(COLOURS)))
    red, green, blue = np.clip(np.array(COLOURS[colour]) + rng.uniform(-12, 12, 3), 0, 255).astype(int).tolist()
    return Thing(
        noun, colour, (red, green, blue), [(role, (points - 50) @ turn.T + centre) for role, points in drawing]
    )


def _shade(rgb: tuple[int, ...], factor: float) -> tuple[int, ...]:
    """Darker below 1, lighter (towards white) above."""
    return tuple(int(c * factor) if factor <= 1 else int(255 - (255 - c) * (2 - factor)) for c in rgb)


def picture(scene: Scene, size: int) -> Image.Image:
    """The scene painted: a square RGB picture of `size` pixels a side."""
    side = size * OVERSAMPLING
    ground = Image.fromarray(paint(scene.ground, np.random.default_rng(scene.texture), size))
    canvas = ground.resize((side, side), Image.Resampling.BILINEAR)
    pen = ImageDraw.Draw(canvas)
    drop, width = max(1, round(side * 0.012)), max(1, round(side * 0.005))
    for thing in scene.things:
        shape = Image.new("L", (side, side))
        _fill(shape, thing, 90)
        corners = np.concatenate([points for _, points in thing.drawing]) * side
        left, top = (corners.min(axis=0) - 2 * drop).astype(int).tolist()
        right, bottom = (corners.max(axis=0) + 2 * drop).astype(int).tolist()
        shadow = shape.crop((left, top, right, bottom)).filter(ImageFilter.BoxBlur(drop))
        canvas.paste((20, 20, 30), (left + drop, top + 2 * drop), shadow)
        paints = {"main": thing.rgb, "dark": _shade(thing.rgb, 0.7), "light": _shade(thing.rgb, 1.55)}
        for role, points in thing.drawing:
            fill = paints[role] if isinstance(role, str) else role
            pen.polygon((points * side).ravel().tolist(), fill=fill, outline=_shade(fill, 0.62), width=width)
    return canvas.reduce(OVERSAMPLING)


def visible(scene: Scene, size: int) -> Bool[np.ndarray, "n S S"]:
    """Where every object of the picture can be seen, without painting it; S is `size`."""
    owner = Image.new("L", (size * OVERSAMPLING, size * OVERSAMPLING))  # 0 = background, k = object k (1-based)
    for k, thing in enumerate(scene.things, start=1):
        _fill(owner, thing, k)
    parts = [owner.point([200 * (i == k) for i in range(256)]) for k in range(1, len(scene.things) + 1)]
    masks = np.array([np.asarray(part.reduce(OVERSAMPLING)) > 100 for part in parts], dtype=bool)  # most of the pixel
    return masks.reshape(-1, size, size)  # (n, S, S)


def _fill(canvas: Image.Image, thing: Thing, value: int) -> None:
    """Set a grey canvas to `value` where an object is."""
    pen = ImageDraw.Draw(canvas)
    for _, points in thing.drawing:
        pen.polygon((points * canvas.width).ravel().tolist(), fill=value)


def phrase(things: Sequence[Thing], colours: bool = False, ground: str | None = None) -> str:
    """Objects in words: "a red boat and a fish on water"."""
    words = [f"{t.colour} {t.noun}" if colours else t.noun for t in things]
    words = [f"{'an' if w[0] in 'aeiou' else 'a'} {w}" for w in words]
    listed = words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
    return f"{listed} {AT.get(ground, 'on')} {ground}" if ground else listed
