"""What the laboratory's tables say: models against chance, repairs against raw maps, cells against the centre."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from clipsx.sketchbook.laboratory.floors import bands
from clipsx.sketchbook.laboratory.runs import Results, finished, tidy
from clipsx.sketchbook.training import grid
from clipsx.statistics import apart, band, beyond, student, verdict

CENTRE = "centre"
RANDOM = "random weights"
REPAIRS = {
    "MaskCLIP": "mSC maskclip none",
    "CLIP Surgery": "mSC clip-surgery none",
    "CLIP Surgery + feature surgery": "mSC clip-surgery code",
    "CLIP Surgery + feature surgery, grounds asked as well": "mSC clip-surgery code nouns and grounds",
}
RAW = "mSC clip none"
SHOWN = {"raw maps": RAW, "CLIP Surgery": REPAIRS["CLIP Surgery"]}  # where each cell is held against the centre


def hypotheses(found: Results) -> pd.DataFrame:
    """A row per expectation of the grid and seed: both numbers, and whether it "stands", "died" or "not seen".

    By the rule that was written down with them: it stands where the two 95 % intervals lie apart in the expected
    direction, died where they lie apart in the other; `verdict` is over all seeds. A cell that is not trained yet is
    "not tried". What seeds do by themselves, of which these intervals know nothing, says `by_cell`.
    """
    key, ends = ["cell", "seed", "measure"], ["value", "low", "high"]
    table = finished(tidy(found)).drop_duplicates(key)
    known = {(row["cell"], row["seed"], row["measure"]): row for row in table[[*key, *ends]].to_dict("records")}
    rows = []
    for number, item in enumerate(grid.read()["hypothesis"], 1):
        asked = {"than": CENTRE} | item
        cell, measure, than = asked["cell"], asked["measure"], asked["than"]
        for seed in sorted({seed for name, seed, _ in known if name == cell}) or [0]:
            one = known.get((cell, seed, measure))
            # Held against the centre, another measure of the same cell, or 0.
            against = (CENTRE, seed, measure) if than == CENTRE else (cell, seed, than)
            other = dict.fromkeys(ends, 0.0) if than == 0 else known.get(against)
            row = {"number": number, **asked, "seed": seed, **{end: one[end] for end in ends if one}}
            row |= {"other": other["value"]} if other else {}
            clear = verdict(one["low"] - other["high"], one["high"] - other["low"]) if one and other else "not tried"
            rows.append(row | {"seen": clear})
    shown = pd.DataFrame(rows)
    return shown.assign(verdict=shown["number"].map({n: _verdict(mine) for n, mine in shown.groupby("number")}))


def _verdict(rows: pd.DataFrame) -> str:
    """Over the seeds of one expectation."""
    seen, expect = set(rows["seen"]), rows["expect"].iloc[0]
    if seen == {expect}:
        return "stands"
    return "not tried" if seen == {"not tried"} else "died" if seen in ({"higher"}, {"lower"}) else "not seen"


def by_model(found: Results) -> pd.DataFrame:
    """mSC (%) of every finished model: raw maps against random starts of its tower, every repair against its raw maps.

    A row per run and comparison, as `verdicts.differences` shows it. Starts are of the same architecture, read at the
    same size. Pairs of maps are not shipped: a repair's interval takes both means' errors as independent.
    """
    rows, ends = [], finished(tidy(found)).set_index(["run", "measure"])[["value", "low", "high"]].astype(float)
    models = finished(found.runs).query("factor != @RANDOM")
    chance = bands(models["run"]).set_index("run").T.to_dict()
    for model in models.to_dict("records"):
        starts, raw = chance[model["run"]], ends.loc[(model["run"], RAW)].to_numpy()
        told = {"what": "raw maps", "against": f"{starts['n']} random starts", "value": raw[0]} | beyond(
            raw[0], raw[1], raw[2], starts
        )
        of_mean = student(starts["n"] - 1) * starts["sd"] / starts["n"] ** 0.5  # how sure the starts' mean is
        rows.append(model | told | {"starts": of_mean})
        for name, measure in REPAIRS.items():
            value, low, high = ends.loc[(model["run"], measure)].to_numpy()
            told = apart(value - raw[0], np.hypot(high - low, raw[2] - raw[1]) / 2)
            rows.append(model | {"what": name, "against": "raw maps", "value": value, "starts": 0.0} | told)
    return pd.DataFrame(rows).assign(measure="mSC (%)")


def over_models(rows: pd.DataFrame) -> pd.DataFrame:
    """`by_model` of the grid's vision transformers together: a row per comparison, the mean over cells.

    The interval is over cells (Student's t), and over starts; `counted`: where each model stands by itself.
    """
    found = []
    for what, mine in rows[rows["blocks"] > 0].groupby("what", sort=False):
        cells, counts = mine.groupby("cell")[["value", "difference"]].mean(), mine["verdict"].value_counts()
        over = band(cells["difference"])
        half = np.hypot(student(over["n"] - 1) * over["sd"] / over["n"] ** 0.5, mine["starts"].max())
        row = {"what": what, "measure": "mSC (%)", "value": cells["value"].mean(), "against": mine["against"].iloc[0]}
        counted = ", ".join(f"{counts[name]} {name}" for name in ("higher", "lower", "not apart") if name in counts)
        found.append(row | apart(over["mean"], half) | {"counted": f"of {len(mine)} models {counted}"})
    return pd.DataFrame(found)


def one_by_one(rows: pd.DataFrame) -> pd.DataFrame:
    """`by_model` of ResNets and built-in models, too few to speak of all: a row per model and comparison."""
    alone = rows[~(rows["blocks"] > 0) & rows["what"].isin(SHOWN)]
    return alone.assign(what=alone["run"] + ", " + alone["what"])


def by_cell(found: Results, measures: Mapping[str, str] = SHOWN) -> pd.DataFrame:
    """Every cell of vision transformers against the centre: the difference of means over seeds, a row per measure.

    The interval is of the seeds: Student's t with their variance (`sd`²) pooled over cells, so that a cell of one seed
    has one too.
    """
    table, rows = finished(tidy(found)).query("blocks > 0"), []
    for name, measure in measures.items():
        cells = table[table["measure"] == measure].groupby("cell", sort=False)["value"].agg(["mean", "var", "count"])
        freedom = (cells["count"] - 1).sum()
        sd = ((cells["var"] * (cells["count"] - 1)).sum() / freedom) ** 0.5 if freedom else np.nan
        centre = cells.loc[CENTRE]
        for cell, own in cells.drop(CENTRE).iterrows():
            half = student(freedom) * sd * (1 / own["count"] + 1 / centre["count"]) ** 0.5
            row = {"what": f"`{cell}`, {name}", "measure": "mSC (%)", "value": own["mean"], "against": "the centre"}
            counted = f"{own['count']:.0f} and {centre['count']:.0f} seeds"
            rows.append(row | apart(own["mean"] - centre["mean"], half) | {"counted": counted, "sd": sd})
    return pd.DataFrame(rows)
