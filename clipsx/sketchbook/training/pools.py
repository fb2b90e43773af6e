"""What training reads: scenes drawn once into a pool, captions made anew for every batch, scenes of the exam."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from clipsx import paths
from clipsx.sketchbook.scene import FORMS, Thing, phrase
from clipsx.sketchbook.training.recipes import MEAN, STD, Stage
from clipsx.sketchbook.world import Sketchbook
from clipsx.text import templates_of


def draw_pool(world: Sketchbook, folder: Path) -> Path:
    """Draw every scene once, as (n, size, size, 3) bytes in a file that is found again by its name.

    One that was cut short is drawn again. Errors: OSError in words where the disk is full.
    """
    pictures = folder / f"{world.describe()['data'].replace(' ', '_')}.npy"
    shape = (len(world), world.size, world.size, 3)
    if not _sound(pictures, shape):
        with paths.whole(pictures) as part:
            out = np.lib.format.open_memmap(part, mode="w+", dtype=np.uint8, shape=shape)
            paths.reserve(part)
            for i in range(len(world)):
                out[i] = np.asarray(world[i].image)
            out.flush()
    return pictures


def _sound(file: Path, shape: tuple[int, ...]) -> bool:
    try:
        return np.load(file, mmap_mode="r").shape == shape
    except (OSError, ValueError, EOFError):
        return False


def caption(rng: np.random.Generator, ground: str, things: Sequence[Thing], stage: Stage) -> tuple[str, str]:
    """A caption of the scene, and its meaning: the words that are left when form and order are taken away."""
    alone = rng.random() < stage.alone
    chosen = [things[int(rng.integers(len(things)))]] if alone else [things[i] for i in rng.permutation(len(things))]
    colours, where = rng.random() < stage.colours, ground if rng.random() < stage.ground else None
    meaning = phrase(sorted(chosen, key=lambda t: (t.noun, t.colour)), colours, where)
    if alone and not colours and where is None and rng.random() < 0.7:
        return str(rng.choice(templates_of("clip-surgery"))).format(chosen[0].noun), meaning
    return str(rng.choice(FORMS)).format(phrase(chosen, colours, where)), meaning


class Pool:
    """The scenes of a stage, drawn; batches come out ready for the model."""

    def __init__(self, pictures: Path, world: Sketchbook, stage: Stage) -> None:
        self.pictures = np.load(pictures, mmap_mode="r")  # (n, S, S, 3)
        self.scene, self.stage = cache(world.scene), stage

    def batch(self, rng: np.random.Generator, size: int) -> tuple[Tensor, list[str], Tensor]:
        """Images (B, 3, S, S), the batch's different captions (T of them), and which of them each image has (B,)."""
        chosen = np.sort(rng.choice(len(self.pictures), size, replace=False))
        images = torch.from_numpy(self.pictures[chosen]).permute(0, 3, 1, 2).contiguous()  # (B, 3, S, S)
        flip = torch.from_numpy(rng.random(size) < 0.5)
        images[flip] = images[flip].flip(3)
        texts: dict[str, str] = {}  # meaning: the caption that says it
        which = []
        for scene in map(self.scene, chosen.tolist()):
            text, meaning = caption(rng, scene.ground, scene.things, self.stage)
            texts.setdefault(meaning, text)
            which.append(list(texts).index(meaning))
        return normalise(images), list(texts.values()), torch.tensor(which)


def normalise(images: UInt8[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 H W"]:
    """Bytes, 0 … 255, as the model reads them."""
    return (images.float() / 255 - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]


def exam(seed: int, length: int, size: int) -> list[tuple[Tensor, np.ndarray]]:
    """Scenes of one object, and of one to three: images (length, 3, S, S) as bytes, nouns present (length, N)."""
    worlds = [Sketchbook(seed=seed, length=length, size=size, objects=objects) for objects in ((1, 1), (1, 3))]
    found = []
    for world in worlds:
        images = torch.from_numpy(np.stack([np.asarray(sample.image) for sample in world])).permute(0, 3, 1, 2)
        found.append((images, np.array([[noun in sample.labels for noun in world.NOUNS] for sample in world])))
    return found
