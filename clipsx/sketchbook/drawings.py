"""What the sketchbook's nouns look like: each a few polygons on a 100 × 100 canvas (y down).

A drawing is a list of `(paint, points)`, drawn in order. `paint` is "main" (the object's colour), "dark" or "light"
(shades of it), or a fixed RGB triple. `u(a, b)` draws a proportion, so that no two cars are alike.
"""

from collections.abc import Callable

import numpy as np

Points = np.ndarray  # (P, 2) as (x, y)
Paint = str | tuple[int, int, int]
Drawing = list[tuple[Paint, Points]]
Uniform = Callable[[float, float], float]

INK, SKIN, WOOD = (45, 40, 50), (240, 200, 165), (120, 80, 50)
GLASS, CREAM, LEAF = (200, 230, 245), (250, 240, 215), (70, 140, 60)
TROUSERS, CARROT, PINK, YOLK, SLUG = (70, 75, 110), (240, 140, 40), (235, 120, 130), (250, 205, 70), (205, 170, 120)


def polygon(*xy: tuple[float, float]) -> Points:
    return np.array(xy, dtype=float)


def box(x0: float, y0: float, x1: float, y1: float) -> Points:
    return polygon((x0, y0), (x1, y0), (x1, y1), (x0, y1))


def ellipse(x: float, y: float, rx: float, ry: float | None = None, start: float = 0, stop: float = 360) -> Points:
    """An ellipse, or the segment of it between two angles in degrees (clockwise from the right, y down)."""
    angle = np.radians(np.linspace(start, stop, 24))
    return np.stack([x + rx * np.cos(angle), y + (rx if ry is None else ry) * np.sin(angle)], axis=1)


def stroke(x0: float, y0: float, x1: float, y1: float, width: float) -> Points:
    """A straight line of the given width, as a box."""
    along = np.array([x1 - x0, y1 - y0])
    nx, ny = np.array([-along[1], along[0]]) / np.linalg.norm(along) * width / 2
    return polygon((x0 + nx, y0 + ny), (x1 + nx, y1 + ny), (x1 - nx, y1 - ny), (x0 - nx, y0 - ny))


def burst(x: float, y: float, outer: float, inner: float, n: int) -> Points:
    """A star with n points, the first one upwards."""
    angle = np.radians(np.arange(2 * n) * 180 / n - 90)
    radius = np.where(np.arange(2 * n) % 2 == 0, outer, inner)
    return np.stack([x + radius * np.cos(angle), y + radius * np.sin(angle)], axis=1)


def discs(paint: Paint, *each: tuple[float, ...]) -> Drawing:
    """Ellipses in one paint, each as `ellipse` takes it."""
    return [(paint, ellipse(*one)) for one in each]


def strokes(paint: Paint, *each: tuple[float, float, float, float, float]) -> Drawing:
    """Lines in one paint, each as `stroke` takes it."""
    return [(paint, stroke(*one)) for one in each]


def car(u: Uniform) -> Drawing:
    roof, left, right, wheel = u(22, 32), u(22, 30), u(66, 76), u(10, 13)
    cabin = polygon((left - 10, 50), (left, roof), (right - 6, roof), (right + 8, 50))
    window = polygon((left - 4, 48), (left + 3, roof + 5), (right - 9, roof + 5), (right + 1, 48))
    body = polygon((4, 54), (12, 48), (88, 48), (97, 56), (97, 74), (4, 74))
    return [
        ("main", cabin), (GLASS, window), ("main", stroke(48, roof, 48, 50, 5)), ("main", body),
        ("dark", box(4, 66, 97, 74)), (CREAM, ellipse(93, 59, 4)), *discs(INK, (24, 74, wheel), (76, 74, wheel)),
        *discs(CREAM, (24, 74, wheel * 0.45), (76, 74, wheel * 0.45)),
    ]  # fmt: skip


def boat(u: Uniform) -> Drawing:
    mast, tip, deck = u(44, 54), u(4, 12), u(64, 70)
    return [
        (WOOD, stroke(mast, tip, mast, deck + 4, 4)),
        (CREAM, polygon((mast + 4, tip + 4), (mast + 4, deck - 4), (u(82, 94), deck - 4))),
        ("light", polygon((mast - 4, tip + 14), (mast - 4, deck - 4), (u(10, 20), deck - 4))),
        ("main", polygon((3, deck), (97, deck), (u(76, 84), 95), (u(18, 26), 95))),
        ("dark", polygon((3, deck), (97, deck), (94, deck + 7), (6, deck + 7))),
    ]  # fmt: skip


def tree(u: Uniform) -> Drawing:
    y, r = u(28, 34), u(22, 27)
    return [
        (WOOD, polygon((44, 55), (56, 55), (u(58, 62), 98), (u(38, 42), 98))),
        *discs("main", (28, y + 18, r * 0.85), (72, y + 18, r * 0.85), (50, y, r), (50, y + 20, r)),
        ("light", ellipse(42, y - 4, r * 0.35)),
    ]


def house(u: Uniform) -> Drawing:
    eave, door = u(42, 50), u(42, 56)
    return [
        ("dark", box(68, 14, 79, 40)), ("main", box(14, eave, 86, 95)),
        ("dark", polygon((4, eave + 2), (50, u(6, 16)), (96, eave + 2))), (WOOD, box(door, 68, door + 16, 95)),
        (GLASS, box(20, eave + 10, 35, eave + 26)), (GLASS, box(66, eave + 10, 80, eave + 26)),
    ]  # fmt: skip


def fish(u: Uniform) -> Drawing:
    fat, tail = u(20, 28), u(76, 82)
    return [
        ("dark", polygon((tail - 8, 50), (98, 50 - fat), (92, 50), (98, 50 + fat))),
        ("dark", polygon((34, 54 - fat), (58, 28 - fat / 3), (60, 54 - fat))),
        ("main", ellipse(42, 50, 40, fat)),
        *discs("light", (48, 50, 7, fat * 0.8, 90, 270), (62, 50, 6, fat * 0.7, 90, 270)),
        (CREAM, ellipse(20, 45, 6)), (INK, ellipse(19, 45, 3)),
    ]  # fmt: skip


def bird(u: Uniform) -> Drawing:
    belly, wing = u(20, 25), u(14, 20)
    return [
        *strokes(INK, (46, 68, 44, 94, 3), (56, 68, 57, 94, 3)),
        ("dark", polygon((70, 50), (98, u(34, 44)), (96, 62), (70, 64))),
        *discs("main", (50, 54, 30, belly), (26, 32, 15)), ((240, 160, 40), polygon((13, 28), (1, 35), (14, 38))),
        ("dark", ellipse(56, 50, wing, wing * 0.6, 0, 200)), (CREAM, ellipse(22, 29, 4)), (INK, ellipse(21, 29, 2.2)),
    ]  # fmt: skip


def cat(u: Uniform) -> Drawing:
    ear, cheek = u(2, 12), u(36, 42)
    return [
        ("main", polygon((12, ear), (44, 26), (14, 54))), ("main", polygon((88, ear), (56, 26), (86, 54))),
        ("light", polygon((18, ear + 12), (34, 28), (20, 40))),
        ("light", polygon((82, ear + 12), (66, 28), (80, 40))), ("main", ellipse(50, 56, cheek, 35)),
        *discs(CREAM, (34, 50, 7, 7), (66, 50, 7, 7)), *discs(INK, (34, 50, 2.6, 7), (66, 50, 2.6, 7)),
        (PINK, polygon((44, 62), (56, 62), (50, 69))), (INK, stroke(50, 68, 50, 76, 2)),
        *strokes(INK, *((50 + s * 12, 68, 50 + s * 46, y, 1.8) for s in (-1, 1) for y in (62, 72))),
    ]  # fmt: skip


def ball(u: Uniform) -> Drawing:
    r, spot = u(38, 46), u(8, 11)
    around = np.radians(np.arange(5) * 72 + u(0, 72))
    panels = discs("dark", *((50 + 0.6 * r * np.cos(t), 50 + 0.6 * r * np.sin(t), spot) for t in around))
    return [("main", ellipse(50, 50, r)), *panels, ("light", ellipse(50, 50, spot * 0.9))]


def person(u: Uniform) -> Drawing:
    hip, arm, step = u(58, 64), u(48, 58), u(8, 13)
    return [
        *strokes(TROUSERS, *((50, hip - 4, 50 + s * step, 97, 10) for s in (-1, 1))),
        *strokes(SKIN, *((50 + s * 12, 34, 50 + s * 27, arm, 7) for s in (-1, 1))),
        ("main", polygon((36, 29), (64, 29), (62, hip), (38, hip))),
        (SKIN, ellipse(50, 16, 12)), (WOOD, ellipse(50, 14, 13, 12, 180, 360)),
    ]  # fmt: skip


def umbrella(u: Uniform) -> Drawing:
    brim, top = u(46, 52), u(6, 12)
    scallops = [ellipse(x, brim, 16, 7, 360, 180) for x in (81, 50, 19)]
    return [
        *strokes(WOOD, (50, top - 4, 50, 88, 4), (50, 88, 40, 95, 4), (40, 95, 33, 88, 4)),
        ("main", np.concatenate([ellipse(50, brim, 47, brim - top, 180, 360), *scallops])),
        ("dark", polygon((50, top), (36, brim - 4), (50, brim - 6), (64, brim - 4))),
    ]


def flower(u: Uniform) -> Drawing:
    r, n, turn = u(12, 15), int(u(5, 7.99)), u(0, 72)
    around = np.radians(np.arange(n) * 360 / n + turn)
    return [
        (LEAF, stroke(50, 40, 50, 98, 5)), (LEAF, polygon((50, 84), (74, u(62, 70)), (66, 84))),
        (LEAF, polygon((50, 92), (28, u(72, 80)), (34, 92))),
        *discs("main", *((50 + 21 * np.cos(t), 32 + 21 * np.sin(t), r) for t in around)),
        (YOLK, ellipse(50, 32, u(10, 13))),
    ]  # fmt: skip


def butterfly(u: Uniform) -> Drawing:
    upper, lower = u(24, 28), u(17, 21)
    return [
        *discs("main", (25, 34, upper, 24), (75, 34, upper, 24), (30, 70, lower, 20), (70, 70, lower, 20)),
        *discs("light", (22, 32, 9), (28, 70, 7), (78, 32, 9), (72, 70, 7)),
        *strokes(INK, (50, 26, 36, 5, 2.4), (50, 26, 64, 5, 2.4)), (INK, ellipse(50, 52, 5, 30)),
    ]  # fmt: skip


def cup(u: Uniform) -> Drawing:
    lip, foot = u(62, 70), u(54, 62)
    handle = np.concatenate([ellipse(lip, 54, 26, 21, -90, 90), ellipse(lip, 54, 15, 11, 90, -90)])
    return [
        ("main", handle), ("main", polygon((10, 22), (lip, 22), (foot, 92), (18, 92))),
        ("dark", ellipse((10 + lip) / 2, 22, (lip - 10) / 2, 8)),
        ("light", stroke(17, 54, lip - 6, 54, u(8, 14))),
    ]  # fmt: skip


def apple(u: Uniform) -> Drawing:
    r = u(26, 29)
    return [
        *discs("main", (36, 60, r, 34), (64, 60, r, 34)), (WOOD, stroke(50, 34, u(50, 58), 8, 5)),
        (LEAF, ellipse(68, u(14, 20), 15, 7)), ("light", ellipse(30, 50, 6, 10)),
    ]  # fmt: skip


def snowman(u: Uniform) -> Drawing:
    foot, brim = u(27, 31), u(20, 24)
    return [
        *discs("main", (50, 97 - foot, foot), (50, 34, 19)), *discs(INK, *((50, y, 2.6) for y in (58, 70, 82))),
        (INK, box(50 - brim, 17, 50 + brim, 22)), (INK, box(36, 2, 64, 18)),
        *discs(INK, (43, 31, 2.6), (57, 31, 2.6)), (CARROT, polygon((49, 35), (49, 41), (u(66, 74), 39))),
    ]  # fmt: skip


def star(u: Uniform) -> Drawing:
    inner = u(19, 24)
    return [("main", burst(50, 52, 48, inner, 5)), ("light", burst(50, 52, 28, inner * 0.58, 5))]


def mushroom(u: Uniform) -> Drawing:
    brim, stem = u(52, 58), u(10, 14)
    return [
        (CREAM, polygon((50 - stem, brim - 4), (50 + stem, brim - 4), (u(64, 70), 96), (u(30, 36), 96))),
        ("main", ellipse(50, brim, 46, brim - 8, 180, 360)),
        *discs(CREAM, (50, brim - 32, 7), (28, brim - 16, 6), (70, brim - 14, 7), (48, brim - 10, 5)),
    ]


def snail(u: Uniform) -> Drawing:
    r = u(27, 31)
    return [
        *strokes(SLUG, (14, 60, 6, 34, 3), (14, 60, 20, 34, 3)),
        (SLUG, polygon((6, 58), (20, 56), (28, 74), (96, 80), (98, 90), (14, 90), (4, 74))),
        ("main", ellipse(58, 52, r)), ("dark", ellipse(58, 52, r * 0.68)), ("light", ellipse(58, 52, r * 0.4)),
        ("dark", ellipse(58, 52, r * 0.18)),
    ]  # fmt: skip


# noun: (how it is drawn, its home ground); neighbours in the table, two by two, are mates
TABLE: dict[str, tuple[Callable[[Uniform], Drawing], str]] = {
    "car": (car, "brick"), "house": (house, "brick"),
    "boat": (boat, "water"), "fish": (fish, "water"),
    "tree": (tree, "grass"), "bird": (bird, "sky"),
    "cat": (cat, "brick"), "ball": (ball, "grass"),
    "person": (person, "sand"), "umbrella": (umbrella, "sand"),
    "flower": (flower, "grass"), "butterfly": (butterfly, "sky"),
    "cup": (cup, "brick"), "apple": (apple, "grass"),
    "snowman": (snowman, "snow"), "star": (star, "sky"),
    "mushroom": (mushroom, "grass"), "snail": (snail, "sand"),
}  # fmt: skip
NOUNS: tuple[str, ...] = tuple(TABLE)
MATES: dict[str, str] = {a: b for i in range(0, len(NOUNS), 2) for a, b in (NOUNS[i : i + 2], NOUNS[i : i + 2][::-1])}
COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (214, 48, 49), "orange": (240, 140, 40), "yellow": (247, 208, 60), "green": (76, 170, 80),
    "blue": (52, 110, 220), "purple": (138, 76, 190), "pink": (245, 140, 185), "white": (246, 246, 250),
}  # fmt: skip
