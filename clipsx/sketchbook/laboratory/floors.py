"""Chance in the sketchbook: bands over random starts of the built-in towers and of every tower of the laboratory."""

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

import open_clip
import pandas as pd

from clipsx import chance, datasets, paths, save
from clipsx.clip import Clip
from clipsx.load import load
from clipsx.preprocess import transform
from clipsx.quiet import making
from clipsx.sketchbook.laboratory.measures import CHOICES, TEST, world
from clipsx.sketchbook.laboratory.runs import size_of
from clipsx.sketchbook.training import grid
from clipsx.sketchbook.training.recipes import MEAN, STD, VIT
from clipsx.statistics import spread

BUILT_IN = ("sketchbook", "sketchbook-rn")
IMAGES, FEWER = 150, 60  # scenes for the built-in towers, and for those of the laboratory


def tower_of(run: str) -> str:
    """A name for a run's tower and the size that it is read at: runs of one name share their band of chance."""
    vision = grid.recipe(run).model["vision_cfg"]
    patch, usual = vision.get("patch_size"), VIT["vision_cfg"]["patch_size"]
    parts = [str(vision[name]) for name in ("layers", "pool_type") if name in vision and vision[name] != "tok"]
    parts += [f"with patches of {patch} px"] if patch not in (None, usual) else []
    kind = "ViT" if patch else "ResNet"
    return f"{kind} {' '.join(parts)}, made for {vision['image_size']} px, read at {size_of(run)}"


def bands(runs: Iterable[str]) -> pd.DataFrame:
    """The shipped band of raw mSC of every `run`'s tower; `value_low` … `value_high`: where 95 % of starts lie."""
    known = chance.shipped().query("measure == 'msc' and reading == 'clip'").set_index("model")
    found = known.loc[[tower_of(run) for run in runs]].assign(run=list(runs), value=lambda band: band["mean"])
    half = spread(found["sd"], found["n"])
    return found.assign(value_low=found["mean"] - half, value_high=found["mean"] + half)


def start(run: str, seed: int) -> Clip:
    """A run's tower with random weights of a seed."""
    folder, recipe = paths.data() / "sketchbook", grid.recipe(run)
    config = recipe.model["text_cfg"]
    tokenizer = open_clip.SimpleTokenizer(str(folder / "bpe.txt.gz"), context_length=config["context_length"])
    with making(seed):
        text = config | {"vocab_size": tokenizer.vocab_size}
        model = open_clip.CLIP(recipe.model["embed_dim"], recipe.model["vision_cfg"], text).eval()
        open_clip.model.set_model_preprocess_cfg(model, {"mean": MEAN, "std": STD, "interpolation": "bicubic"})
    return Clip(model, transform(model.visual), tokenizer, tower_of(run), f"random, seed {seed}")


def towers() -> dict[str, str]:
    """Every tower that the laboratory trained, and a run that has it."""
    return dict(sorted((tower_of(run), run) for run in [*grid.cells(), *BUILT_IN]))


def remade(count: int = chance.STARTS, words: str | None = "chance") -> Iterator[pd.DataFrame]:
    """Every shipped band again, one table after the other: the built-in towers', then those of the laboratory."""
    for name in BUILT_IN:
        _, test = datasets.tuning_and_test("sketchbook", None, IMAGES)
        yield chance.bands(chance.starts(chance.again(load(name)), test, count, words=words))
    for tower, run in towers().items():
        side = size_of(run)
        found = chance.starts(partial(start, run), world(TEST, FEWER, side), count, CHOICES, side, words)
        yield chance.bands(found).assign(model=tower)


def write(out: str | Path, count: int = chance.STARTS) -> Path:
    """Make `chance.csv` again in a folder; return the file."""
    return save.table(pd.concat(remade(count), ignore_index=True).round(3), out, "chance")
