"""`clipsx lab-report`: the laboratory's tables and figures again, from the shipped results alone."""

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

from clipsx import save
from clipsx.sketchbook.laboratory import answers
from clipsx.sketchbook.laboratory import plots as figures
from clipsx.sketchbook.laboratory.measures import SHOWN, TEST, TUNING
from clipsx.sketchbook.laboratory.runs import Results, results
from clipsx.sketchbook.world import Sketchbook


def about(found: Results) -> dict[str, str]:
    """What a figure prints: how many models, on what, by which protocol."""
    protocol = found.maps["protocol"].iloc[0]
    models = f"{len(found.runs)} runs in data/laboratory/runs, their weights in the table"
    count = found.maps["images"].max()
    data = f"sketchbook, both dials 0, {count} scenes of seed {TEST}, thresholds from seed {TUNING}"
    return {"models": models, "data": data, "templates": "clip-surgery", "protocol": protocol}


def one_scene(found: Results) -> tuple[Any, dict[str, str]]:
    """The most typical object of the shipped scenes through each cell's first seed, and what that figure prints."""
    runs = figures.first_seeds(found)
    number, label = figures.typical(runs)
    own = {
        "models": f"{len(runs)} runs in data/laboratory/runs, the first seed of each cell",
        "data": f"sketchbook, both dials 0, scene {number} of seed {SHOWN}",
        "labels": f"{len(Sketchbook.NOUNS)} nouns",
    }
    return figures.side_by_side(runs, number, label, abreast=2), about(found) | own


def report(out: str | Path) -> list[Path]:
    """Write every table (CSV) and figure (PDF, PNG) of the laboratory to `out`; return the files.

    `laboratory.csv` is the whole table, a row per run; `laboratory_measures.csv` and `laboratory_maps.csv` the same as
    numbers; `laboratory_expected.csv` what was expected and what came. Errors: those of `results`.
    """
    found = results()
    tables = {
        "laboratory": answers.wide(found),
        "laboratory_measures": answers.tidy(found),
        "laboratory_maps": found.maps,
        "laboratory_expected": answers.hypotheses(found),
    }
    files = [save.table(table, out, name) for name, table in tables.items()]
    shown = about(found)
    drawn = {
        "laboratory_factors": (figures.factors(found), shown),
        "laboratory_depths": (figures.depths(found), shown),
        "laboratory_causes": (figures.causes(found), shown),
        "laboratory_scene": one_scene(found),
    }
    for name, (figure, own) in drawn.items():
        files += save.figure(figure, out, name, own)
        plt.close(figure)
    return files
