"""The built-in world: small picture-book scenes with exact masks, labels and captions, and two dials.

`co_occurrence` makes companions (boat and fish, person and umbrella); `background_bias` puts them on their home ground.
"""

from collections.abc import Sequence
from functools import cache, cached_property, partial
from typing import Any

import numpy as np
from jaxtyping import Bool

from clipsx.datasets.protocol import digest
from clipsx.datasets.sample import Sample
from clipsx.datasets.vocabularies import Vocabulary
from clipsx.messages import require
from clipsx.sketchbook.drawings import COLOURS, NOUNS
from clipsx.sketchbook.grounds import GROUNDS
from clipsx.sketchbook.scene import FORMS, Scene, compose, phrase, picture, visible

DRAWN = 1  # to be raised whenever a scene comes out with other pixels, as fingerprints tell what was drawn


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
    labels, vocabulary = NOUNS, Vocabulary.single(NOUNS, "sketchbook")

    def __init__(
        self,
        seed: int = 7,
        length: int = 400,
        co_occurrence: float = 0.6,
        background_bias: float = 0.6,
        size: int = 96,
        objects: Sequence[int] = (1, 4),
    ) -> None:
        for dial, value in {"co_occurrence": co_occurrence, "background_bias": background_bias}.items():
            require(dial, value, 0, 1)
        for name, value, least in (("size", size, 8), ("length", length, 0), ("seed", seed, 0)):
            require(name, value, least, whole=True)
        if len(objects) != 2 or not 1 <= objects[0] <= objects[1] <= 4:
            raise ValueError(f"objects is {objects}: give the fewest and the most, within 1 … 4")
        self.seed, self.length, self.size = int(seed), int(length), int(size)
        self.objects = (int(objects[0]), int(objects[1]))
        self.co_occurrence, self.background_bias = float(co_occurrence), float(background_bias)

    @cached_property
    def _key(self) -> tuple[int, ...]:
        return (self.seed, round(self.co_occurrence * 10**6), round(self.background_bias * 10**6), *self.objects)

    def describe(self) -> dict[str, str]:
        """What a table prints about its data."""
        dials = f"co_occurrence={self.co_occurrence:g} background_bias={self.background_bias:g}"
        objects = f"objects={self.objects[0]}-{self.objects[1]}"
        return {"data": f"sketchbook seed={self.seed} {dials} {objects} size={self.size} n={self.length}"}

    def fingerprint(self) -> str:
        """A hex digest of what is drawn: the parameters, and the version of the drawings."""
        return digest("sketchbook", DRAWN, self.recipe())

    def recipe(self) -> dict[str, Any]:
        """What `datasets.open` makes it again from."""
        dials = {"co_occurrence": self.co_occurrence, "background_bias": self.background_bias}
        options = {"size": self.size, "objects": list(self.objects)}
        return {"dataset": "sketchbook", "seed": self.seed, "length": self.length, **dials, **options}

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
        masks = cache(partial(self._masks, scene))  # of the labels as well
        captions = (
            FORMS[0].format(phrase(scene.things, colours=True, ground=scene.ground)),
            FORMS[3].format(phrase(scene.things, colours=True)),
            FORMS[0].format(phrase(scene.things, ground=scene.ground)),
            FORMS[0].format(phrase(scene.things[:1])),
        )
        name, size = f"sketchbook-{self.seed}-{index % self.length:06d}", (self.size, self.size)
        return Sample(partial(picture, scene, self.size), lambda: tuple(masks()), masks, captions, None, name, size)

    def _masks(self, scene: Scene) -> dict[str, Bool[np.ndarray, "S S"]]:
        """The visible pixels of each noun; nouns that are wholly hidden are not there."""
        nouns, shown = [thing.noun for thing in scene.things], visible(scene, self.size)  # (n, S, S)
        masks = {noun: shown[[other == noun for other in nouns]].max(axis=0) for noun in dict.fromkeys(nouns)}
        return {noun: mask for noun, mask in masks.items() if mask.any()}
