"""`clipsx lab-report`: the laboratory's tables and figures again, from the shipped results alone."""

from pathlib import Path

from clipsx import plots, save
from clipsx.datasets import Sketchbook
from clipsx.laboratory import answers
from clipsx.laboratory import plots as figures
from clipsx.laboratory.measures import SHOWN, TEST, TUNING
from clipsx.laboratory.runs import Results, results


def about(found: Results) -> dict[str, str]:
    """What a figure prints: how many models, on what, by which protocol."""
    protocol = found.maps["protocol"].iloc[0]
    models = f"{len(found.runs)} runs of data/laboratory/grid.toml, their weights in the table"
    data = (
        f"sketchbook, both dials 0, {found.maps['images'].max()} scenes of seed {TEST}, thresholds from seed {TUNING}"
    )
    return {"models": models, "data": data, "templates": "clip-surgery", "protocol": protocol}


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
    drawn = {
        "laboratory_factors": figures.factors(found),
        "laboratory_depths": figures.depths(found),
        "laboratory_causes": figures.causes(found),
        "laboratory_scene": figures.side_by_side(figures.first_seeds(found), abreast=2),
    }
    shown = about(found)
    for name, figure in drawn.items():
        own = {"data": f"scene 0 of seed {SHOWN}", "labels": f"{len(Sketchbook.NOUNS)} nouns"}
        files += save.figure(figure, out, name, shown | (own if name == "laboratory_scene" else {}))
        plots.plt.close(figure)
    return files
