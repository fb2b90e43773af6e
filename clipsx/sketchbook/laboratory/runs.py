"""The laboratory's shipped results: written once per trained cell, read back as tables with the cell's settings."""

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors.torch import load_file, save

from clipsx import paths
from clipsx.load import load
from clipsx.messages import nearest
from clipsx.sketchbook.laboratory.measures import measure, shown
from clipsx.sketchbook.training.grid import cells, recipe

SETTINGS = (
    "image_size", "patch_size", "blocks", "pooling", "co_occurrence", "background_bias", "named", "patch_dropout",
    "lifted", "largest_scale",
)  # fmt: skip
# Pixels: a stride of 32 wants pictures larger than in training.
LARGER = {"lab-resnet": 256, "sketchbook-rn": 384}
DEPTH = 6  # of CLIP Surgery, where one number stands for it
PART = ".part"  # of a folder that is being written
REFERENCES: dict[str, str] = dict.fromkeys(("sketchbook", "sketchbook-home", "sketchbook-rn"), "built in")
REFERENCES["sketchbook-random"] = "random weights"


def folder() -> Path:
    """Where results lie: per run a folder of tables (CSV), what was trained (JSON), and maps of some scenes."""
    return paths.data() / "laboratory" / "runs"


def size_of(run: str) -> int:
    """Pixels a side at which a run is read."""
    larger = next((side for start, side in LARGER.items() if run.startswith(start)), None)
    return larger or recipe(run).model["vision_cfg"]["image_size"]


@dataclass(frozen=True)
class Results:
    """All shipped results. Every table has a row's `run`, `cell`, `seed`, `factor`, `images` (seen in training)."""

    runs: pd.DataFrame  # and the cell's settings
    maps: pd.DataFrame
    measures: pd.DataFrame


def write(name: str, model: Path, length: int = 150, words: str | None = None) -> Path:
    """Measure a trained model and write its results, whole or not at all, to `folder() / name`; return that folder.

    name: a run of the grid, "RUN@IMAGES" for a checkpoint of one, or a built-in model; model: its folder.
    Errors: ValueError for a name that is none of these, with the nearest.
    """
    if re.sub(r"@[0-9]+\Z", "", name) not in (known := [*cells(), *REFERENCES]):
        raise ValueError(f"The grid has no run {name!r}{nearest(name, known)}.")
    clip, place = load(str(model)), folder() / name
    size = size_of(name)
    depths = (6,) if "@" in name else None  # of a checkpoint, the one that stands for all
    tables = measure(clip, length, size, depths, words)
    with paths.whole(place) as part:
        part.mkdir()
        for table, rows in tables.items():
            rows.round(4).to_csv(part / f"{table}.csv", index=False, lineterminator="\n")
        for file in ("log.csv", "train.json", "scores.json"):
            if (model / file).exists():
                shutil.copyfile(model / file, part / file)
        (part / "scenes.safetensors").write_bytes(save(shown(clip, size)))
    return place


def _about(name: str) -> dict[str, Any]:
    """What the grid says of a run: its cell, seed, factor and settings; built-in models have their own."""
    run, _, images = name.partition("@")
    made, scored = (_read(folder() / name / file) for file in ("train.json", "scores.json"))
    maps = next(iter(scenes(name).values()))  # (scenes, h, w, N)
    begun = made.get("recipe", {}).get("begins")  # images that the weights it went on from had seen
    seen = made.get("images", 0) + (_read(folder() / begun / "train.json").get("images", 0) if begun else 0)
    about = {"images": int(images) if images else seen, "patches": maps.shape[1], "minutes": made.get("minutes")}
    about |= {"top-1, default dials": scored.get("top1"), "mAP, default dials": scored.get("mAP")}
    about["tower"] = "ViT" if "patch_size" in recipe(run).model["vision_cfg"] else "ResNet"
    if run in REFERENCES:
        return {"cell": run, "seed": 7, "factor": REFERENCES[run]} | about
    cell = cells()[run]
    settings = {key: cell["settings"][key] for key in SETTINGS} | {"named": max(cell["settings"]["named"])}
    return {key: cell[key] for key in ("cell", "seed", "factor")} | about | settings


def _read(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}


def results() -> Results:
    """Read every shipped result. Errors: FileNotFoundError where none is shipped."""
    names = sorted(path.name for path in folder().glob("*") if path.is_dir() and path.suffix != PART)
    if not names:
        raise FileNotFoundError(f"{folder()} holds no results: train a cell and measure it (clipsx lab-measure).")
    runs = pd.DataFrame([{"run": name, **_about(name)} for name in names])
    order = {name: n for n, name in enumerate(dict.fromkeys(cell["cell"] for cell in cells().values()))}
    runs = runs.sort_values(by=["cell", "seed", "images"], key=lambda c: c.map(order) if c.name == "cell" else c)
    maps, measures = (
        pd.concat([pd.read_csv(folder() / run / f"{table}.csv").assign(run=run) for run in runs["run"]])
        for table in ("maps", "measures")
    )
    made = measures.groupby("run")[["weights", "data", "templates"]].first()
    made["protocol"] = maps.groupby("run")["protocol"].first()
    known = runs[["run", "cell", "seed", "factor"]]
    runs = runs.merge(made.reset_index(), on="run")
    return Results(runs, maps.merge(known, on="run"), measures.merge(known, on="run"))


def scenes(run: str) -> dict[str, torch.Tensor]:
    """The shown scenes' maps of a run: "method surgery" → (scenes, h, w, N), 0…1; see `measures.shown`."""
    return {name: maps.float() for name, maps in load_file(folder() / run / "scenes.safetensors").items()}


def tidy(found: Results) -> pd.DataFrame:
    """Every number that has a name: a row per run and measure with `value`, `low`, `high`.

    To `measures` it adds, of the maps, "mSC METHOD SURGERY", "opposite …" and "mIoU …" in %; CLIP Surgery at depth 6 or
    all blocks of a shallower tower; label set: nouns, or as the name says.
    """
    maps = found.maps.copy()
    deepest = maps.groupby("run")["depth"].transform("max").clip(upper=DEPTH)
    maps = maps[maps["depth"].isna() | (maps["depth"] == deepest)]
    ending = maps["label_set"].map(lambda s: "" if s == "nouns" else f" {s}")
    row = maps["method"] + " " + maps["surgery"] + ending
    parts = [found.measures[["run", "measure", "value", "low", "high"]]]
    for column, name in (("msc", "mSC"), ("opposite", "opposite"), ("miou", "mIoU")):
        part = maps[["run", column, f"{column}_low", f"{column}_high"]]
        parts.append(part.set_axis(["run", "value", "low", "high"], axis=1).assign(measure=name + " " + row))
    return pd.concat(parts, ignore_index=True).merge(found.runs, on="run")


def wide(found: Results, names: tuple[str, ...] | None = None) -> pd.DataFrame:
    """The whole table: a row per run, a column per measure ("value [low, high]"), its settings first."""
    table = tidy(found)
    table["shown"] = [_span(row) for row in table.itertuples()]
    names = names or tuple(dict.fromkeys(table["measure"]))
    columns = table.pivot_table("shown", "run", "measure", aggfunc="first").reindex(columns=list(names))
    return found.runs.merge(columns.reset_index(), on="run")


def _span(row: Any) -> str:
    digits = 3 if row.measure.startswith(("cosine", "similarity", "co-activation")) else 1
    ends = f" [{row.low:.{digits}f}, {row.high:.{digits}f}]" if row.low == row.low else ""
    return f"{row.value:.{digits}f}{ends}"


def finished(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of runs that were trained to the end: without checkpoints, whose runs are called RUN@IMAGES."""
    return table.loc[~table["run"].str.contains("@")]
