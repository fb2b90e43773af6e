"""Which models there are, and on what each method stands on each: known by configurations alone, without weights."""

from typing import Any

import pandas as pd

from clipsx import config
from clipsx.load import built_in
from clipsx.messages import nearest
from clipsx.methods import METHODS, authority, rows_of
from clipsx.towers.outline import Outline, outline

LETTERS = {"released code": "R", "formula": "F", "our extension": "E"}
LEGEND = "R released code, F formula, E our extension, - does not apply"


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
        rows.append(about | {method: _cell(method, tower) for method in METHODS})
    return pd.DataFrame(rows).astype({"blocks": "Int64"})


def _cell(method: str, tower: Outline | None) -> str:
    """The authority of the first row of a method that a tower serves, else why the first does not apply."""
    if tower is None:
        return "the tower is not understood"
    rows = rows_of(method)
    return authority(next((row for row in rows if not tower.refuses(row)), rows[0]), tower)


def short(found: pd.DataFrame) -> pd.DataFrame:
    """The same with a letter a cell: `LEGEND`."""
    cells = found[list(METHODS)].map(lambda words: LETTERS.get(words, "-"))
    return pd.concat([found[["model", "family", "blocks"]], cells], axis=1)
