"""The laboratory's grid: `data/laboratory/grid.toml` as recipes, one factor at a time around a centre."""

import tomllib
from functools import cache
from typing import Any

from clipsx import paths
from clipsx.train.recipes import RESNET, VIT, Recipe, Stage


@cache
def cells() -> dict[str, dict[str, Any]]:
    """Every trained cell by the name of its recipe: its cell, factor, seed, day, reason, and all its settings.

    Errors: ValueError for a setting that the centre does not have.
    """
    grid = tomllib.loads((paths.data() / "laboratory" / "grid.toml").read_text(encoding="utf-8"))
    found = {}
    for cell in grid["cell"]:
        change = cell.get("change", {})
        if unknown := change.keys() - grid["centre"].keys():
            raise ValueError(f"The grid's cell {cell['name']!r} changes {sorted(unknown)}, which the centre lacks.")
        for seed in cell["seeds"]:
            about = {key: cell[key] for key in ("factor", "added", "reason")} | {"cell": cell["name"], "seed": seed}
            found[f"lab-{cell['name']}-s{seed}"] = about | {"settings": grid["centre"] | change}
    return found


def recipe(name: str) -> Recipe:
    """The recipe of a cell, by its name in `cells`."""
    cell = cells()[name]
    dials = cell["settings"]
    model = VIT if dials["blocks"] else RESNET
    vision = model["vision_cfg"] | {"image_size": dials["image_size"]}
    if dials["blocks"]:
        vision |= {"layers": dials["blocks"], "pool_type": dials["pooling"]}
    few, several, many, last = dials["images"]
    world = {"co_occurrence": dials["co_occurrence"], "background_bias": dials["background_bias"]}
    named, pools, dropout = dials["named"], dials["scenes"], dials["patch_dropout"]
    stages = (
        Stage(few, pools[0], (1, 1), alone=1.0, colours=0.0, ground=named[0], patch_dropout=dropout, **world),
        Stage(several, pools[1], (1, 3), alone=0.6, colours=0.0, ground=named[1], patch_dropout=dropout, **world),
        Stage(many, pools[2], (1, 4), alone=0.5, colours=0.3, ground=named[2], patch_dropout=dropout, **world),
        Stage(last, pools[2], (1, 4), alone=0.5, colours=0.3, ground=named[2], patch_dropout=dials["lifted"], **world),
    )
    return Recipe(model | {"vision_cfg": vision}, stages, cell["seed"], largest_scale=dials["largest_scale"])
