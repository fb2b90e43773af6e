"""The built-in world: small picture-book scenes with exact masks, labels and captions, and two dials.

`co_occurrence` makes companions (boat and fish, person and umbrella); `background_bias` puts them on their home ground.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from clipsx.datasets.drawings import COLOURS, MATES, NOUNS, TABLE, Drawing
from clipsx.datasets.grounds import GROUNDS, paint
from clipsx.datasets.sample import Sample

OVERSAMPLING = 2  # pixels drawn per pixel kept, along each side
SIZES = {
    1: (0.36, 0.68),
    2: (0.30, 0.50),
    3: (0.27, 0.42),
    4: (0.25, 0.37),
}  # an object's side as a share of the picture's, by number of objects
PLACES = 24  # places tried for an object; the first that hides little of the others is taken
AT = {"sky": "in the", "snow": "in the"}  # how a caption places an object; else "on"
FORMS = ("a photo of {}", "a photo of {}.", "a picture of {}", "a drawing of {}", "there is {}", "{}")


@dataclass(frozen=True)
class Named:
    """An object as a caption sees it."""

    noun: str
    colour: str


@dataclass(frozen=True)
class Thing(Named):
    """One object of a scene; `drawing` in picture coordinates, 0 … 1."""

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
    turn = (
        np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        @ np.diag([mirror, 1.0])
        * size
        / 100
    )
    drawing = TABLE[noun][0](lambda a, b: float(rng.uniform(a, b)))
    colour = str(rng.choice(list(COLOURS)))
    rgb = tuple(int(c) for c in np.clip(np.array(COLOURS[colour]) + rng.uniform(-12, 12, 3), 0, 255))
    return Thing(noun, colour, rgb, [(role, (points - 50) @ turn.T + centre) for role, points in drawing])


def _shade(rgb: tuple[int, ...], factor: float) -> tuple[int, int, int]:
    """Darker below 1, lighter (towards white) above."""
    return tuple(int(c * factor) if factor <= 1 else int(255 - (255 - c) * (2 - factor)) for c in rgb)  # type: ignore[return-value]


def render(scene: Scene, size: int) -> tuple[Image.Image, np.ndarray]:
    """The picture, and per object its visible pixels as (n, size, size) bool."""
    side = size * OVERSAMPLING
    ground = Image.fromarray(paint(scene.ground, np.random.default_rng(scene.texture), size))
    canvas = ground.resize((side, side), Image.Resampling.BILINEAR)
    owner = Image.new("L", (side, side))  # 0 = background, k = object k (1-based)
    pen, owner_pen = ImageDraw.Draw(canvas), ImageDraw.Draw(owner)
    drop, width = max(1, round(side * 0.012)), max(1, round(side * 0.005))
    for k, thing in enumerate(scene.things, start=1):
        paints = {"main": thing.rgb, "dark": _shade(thing.rgb, 0.7), "light": _shade(thing.rgb, 1.55)}
        polygons = [(paints[p] if isinstance(p, str) else p, points * side) for p, points in thing.drawing]
        for _, points in polygons:
            owner_pen.polygon(points.ravel().tolist(), fill=k)
        corners = np.concatenate([points for _, points in polygons])
        left, top, right, bottom = (
            int(v) for v in [*(corners.min(axis=0) - 2 * drop), *(corners.max(axis=0) + 2 * drop)]
        )
        shadow = _where(owner.crop((left, top, right, bottom)), k, 90).filter(ImageFilter.BoxBlur(drop))
        canvas.paste((20, 20, 30), (left + drop, top + 2 * drop), shadow)
        for fill, points in polygons:
            pen.polygon(points.ravel().tolist(), fill=fill, outline=_shade(fill, 0.62), width=width)
    visible = [_where(owner, k, 200).reduce(OVERSAMPLING) for k in range(1, len(scene.things) + 1)]
    masks = np.array([np.asarray(v) > 100 for v in visible], dtype=bool)  # more than half of the pixel
    return canvas.reduce(OVERSAMPLING), masks.reshape(-1, size, size)  # (n, size, size)


def _where(owner: Image.Image, k: int, value: int) -> Image.Image:
    """A grey picture with `value` where object k is."""
    return owner.point([value if i == k else 0 for i in range(256)])


def phrase(things: Sequence[Named], colours: bool = False, ground: str | None = None) -> str:
    """Objects in words: "a red boat and a fish on water"."""
    words = [f"{t.colour} {t.noun}" if colours else t.noun for t in things]
    words = [f"{'an' if w[0] in 'aeiou' else 'a'} {w}" for w in words]
    listed = words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
    return f"{listed} {AT.get(ground, 'on')} {ground}" if ground else listed


class Sketchbook(Sequence[Sample]):
    """A sequence of scenes; each a pure function of (seed, index) and the dials, at any size.

    Args:
        seed: of the whole world.
        length: number of scenes.
        co_occurrence: 0 … 1, how often the next object is the first one's mate.
        background_bias: 0 … 1, how often the first object stands on its home ground; else on any ground.
        size: pixels per side; the same scene at every size.
        objects: fewest and most objects in a scene, within 1 … 4.

    Raises:
        ValueError: a dial, the size, the length or the number of objects is out of its range.
    """

    NOUNS, COLOURS, BACKGROUNDS = NOUNS, tuple(COLOURS), tuple(GROUNDS)

    def __init__(
        self,
        seed: int = 7,
        length: int = 400,
        co_occurrence: float = 0.6,
        background_bias: float = 0.6,
        size: int = 96,
        objects: tuple[int, int] = (1, 4),
    ) -> None:
        for dial, value in {"co_occurrence": co_occurrence, "background_bias": background_bias}.items():
            if not 0 <= value <= 1:
                raise ValueError(f"{dial} is {value}, but it is a probability: give 0 … 1")
        if size < 8 or length < 0 or seed < 0:
            raise ValueError(f"size {size} must be at least 8 pixels, length {length} and seed {seed} at least 0")
        if not 1 <= objects[0] <= objects[1] <= 4:
            raise ValueError(f"objects is {objects}: give the fewest and the most, within 1 … 4")
        self.seed, self.length, self.size, self.objects = seed, length, size, objects
        self.co_occurrence, self.background_bias = co_occurrence, background_bias

    @property
    def labels(self) -> tuple[str, ...]:
        return self.NOUNS

    @cached_property
    def _key(self) -> tuple[int, ...]:
        return (self.seed, round(self.co_occurrence * 10**6), round(self.background_bias * 10**6), *self.objects)

    def describe(self) -> dict[str, str]:
        """What a table prints about its data."""
        dials = f"co_occurrence={self.co_occurrence:g} background_bias={self.background_bias:g}"
        objects = f"objects={self.objects[0]}-{self.objects[1]}"
        return {"data": f"sketchbook seed={self.seed} {dials} {objects} size={self.size} n={self.length}"}

    def __len__(self) -> int:
        return self.length

    def scene(self, index: int) -> Scene:
        """What picture `index` shows, without drawing it."""
        if not -self.length <= index < self.length:
            raise IndexError(f"scene {index} of a sketchbook of {self.length}")
        rng = np.random.default_rng([*self._key, index % self.length])
        return compose(rng, self.co_occurrence, self.background_bias, self.objects)

    def __getitem__(self, index: int) -> Sample:  # type: ignore[override]
        scene = self.scene(index)
        image, visible = render(scene, self.size)
        labels = tuple(dict.fromkeys(t.noun for t in scene.things))
        masks = {label: visible[[t.noun == label for t in scene.things]].any(axis=0) for label in labels}
        masks = {label: mask for label, mask in masks.items() if mask.any()}
        captions = (
            FORMS[0].format(phrase(scene.things, colours=True, ground=scene.ground)),
            FORMS[3].format(phrase(scene.things, colours=True)),
            FORMS[0].format(phrase(scene.things, ground=scene.ground)),
            FORMS[0].format(phrase(scene.things[:1])),
        )
        return Sample(image, tuple(masks), masks, captions, None, f"sketchbook-{self.seed}-{index % self.length:06d}")
