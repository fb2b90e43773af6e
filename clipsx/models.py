"""Which models there are, and on what each method stands on each: known by configurations alone, without weights."""

from typing import Any

import pandas as pd

from clipsx import config
from clipsx.load import built_in
from clipsx.messages import nearest
from clipsx.methods import METHODS, Recipe, Serves, authority, refusal, rows_of
from clipsx.towers.outline import outline

LETTERS = {"released code": "R", "formula": "F", "our extension": "E"}
LEGEND = "R released code, F formula, E our extension; a number: does not apply, because"


def table(match: str = "") -> pd.DataFrame:
    """A row a model, the built-in ones and open_clip's architectures: family, blocks, and a column a method.

    A cell says on what the method stands there (`methods.authority`), or why it does not apply. match: what a model's
    name holds, of any case. Errors: ValueError where no name does, with the nearest.
    """
    import open_clip

    towers = {name: config.read(folder)["model_cfg"]["vision_cfg"] for name, folder in built_in().items()}
    for name in open_clip.list_models():
        towers[name] = (open_clip.get_model_config(name) or {}).get("vision_cfg")
    shown = {name: vision for name, vision in towers.items() if match.lower() in name.lower() and vision}
    if not shown:
        raise ValueError(f"No model's name holds {match!r}{nearest(match, towers)}.")
    rows = []
    for name, vision in shown.items():
        tower = outline(vision)
        family, blocks = (tower.family, tower.blocks) if tower else ("not understood: class features alone", None)
        about: dict[str, Any] = {"model": name, "family": family, "blocks": blocks}
        cells = {m: authority(_row(m, tower), tower) if tower else "the tower is not understood" for m in METHODS}
        rows.append(about | cells)
    return pd.DataFrame(rows).astype({"blocks": "Int64"})


def stands(tower: Serves) -> pd.DataFrame:
    """On what every method stands on a tower, or why it does not apply: a row each, with its code's licence, source."""
    rows = {name: _row(name, tower) for name in METHODS}
    told = [(name, row.title, authority(row, tower), row.licence, row.source) for name, row in rows.items()]
    return pd.DataFrame(told, columns=["name", "method", "stands on", "licence of the code", "source"])


def _row(method: str, tower: Serves) -> Recipe:
    """The first row of a method that a tower serves, else the first."""
    rows = rows_of(method)
    return next((row for row in rows if not refusal(row, tower)), rows[0])


def short(found: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """The same with a letter or a number a cell, as `LEGEND` says, and why each number's methods do not apply."""
    words = found[list(METHODS)]
    whys = [why for why in pd.unique(words.to_numpy().ravel()) if why not in LETTERS]
    marks = LETTERS | {why: str(n) for n, why in enumerate(whys, 1)}
    return pd.concat([found[["model", "family", "blocks"]], words.replace(marks)], axis=1), whys
