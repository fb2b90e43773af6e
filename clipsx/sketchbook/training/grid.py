"""The laboratory's grid: `data/laboratory/grid.toml` as recipes, one factor at a time around a centre."""

import tomllib
from dataclasses import replace
from functools import cache
from typing import Any

from clipsx import paths
from clipsx.sketchbook.training.recipes import RECIPES, RESNET, VIT, Recipe, Stage


@cache
def read() -> dict[str, Any]:
    """The file: its `centre`, its cells, its expectations (`hypothesis`)."""
    return tomllib.loads((paths.data() / "laboratory" / "grid.toml").read_text(encoding="utf-8"))


@cache
def cells() -> dict[str, dict[str, Any]]:
    """Every trained cell by the name of its recipe: its cell, factor, seed, day, reason, and all its settings.

    Errors: ValueError for a setting that the centre does not have.
    """
    grid, found = read(), {}
    for cell in grid["cell"]:
        change = cell.get("change", {})
        if unknown := change.keys() - grid["centre"].keys():
            raise ValueError(f"The grid's cell {cell['name']!r} changes {sorted(unknown)}, which the centre lacks.")
        for seed in cell["seeds"]:
            about = {key: cell[key] for key in ("factor", "added", "reason")} | {"cell": cell["name"], "seed": seed}
            found[f"lab-{cell['name']}-s{seed}"] = about | {"settings": grid["centre"] | change}
    return found


def recipe(name: str) -> Recipe:
    """The recipe of a built-in model, or of a run of the grid (`cells`) or a checkpoint of one, RUN@IMAGES."""
    name = name.partition("@")[0]
    if name in RECIPES:
        return RECIPES[name]
    cell = cells()[name]
    dials = cell["settings"]
    model = VIT if dials["blocks"] else RESNET
    vision = model["vision_cfg"] | {"image_size": dials["image_size"]}
    if dials["blocks"]:
        vision |= {"layers": dials["blocks"], "pool_type": dials["pooling"], "patch_size": dials["patch_size"]}
    few, several, many, last = dials["images"]
    world = {"co_occurrence": dials["co_occurrence"], "background_bias": dials["background_bias"]}
    # One object keeps no company: where only company differs, the first stage is the same run.
    single = world | {"co_occurrence": 0.5}
    named, colours, pools, dropout = dials["named"], dials["colours"], dials["scenes"], dials["patch_dropout"]

    def stage(kind: int, images: int, objects: tuple[int, int], alone: float, dropout: float, world: Any) -> Stage:
        words = {"alone": alone, "colours": colours[kind], "ground": named[kind]}
        return Stage(images, pools[kind], objects, **words, patch_dropout=dropout, **world)

    stages = (
        stage(0, few, (1, 1), 1.0, dropout, single),
        stage(1, several, (1, 3), 0.6, dropout, world),
        stage(2, many, (1, 4), 0.5, dropout, world),
        stage(2, last, (1, 4), 0.5, dials["lifted"], world),
    )
    if dials["again"]:  # a second cycle of the last two, at six tenths of the first one's peak rate
        many, last = dials["again"]
        stages += (replace(stages[2], images=many, restart=6e-4), replace(stages[3], images=last))
    own = {"largest_scale": dials["largest_scale"], "bfloat16": dials["bfloat16"]}
    return Recipe(model | {"vision_cfg": vision}, stages, cell["seed"], **own)
