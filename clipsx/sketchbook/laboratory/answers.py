"""What the laboratory's tables say: cells against the centre, expectations that stood or died, all in words."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from clipsx.sketchbook.laboratory.runs import Results
from clipsx.sketchbook.training import grid

DEPTH = 6  # of CLIP Surgery, where one number stands for it
CENTRE = "centre"
RANDOM = "random weights"
BARS = {"top-1": 95.0, "mAP": 70.0}  # of a built-in model, on the default dials (scores.json)
GRID = 12  # patches a side that a built-in vision transformer has at least
REPAIRS = {
    "MaskCLIP": "mSC maskclip none",
    "CLIP Surgery": "mSC clip-surgery none",
    "CLIP Surgery + feature surgery": "mSC clip-surgery code",
    "CLIP Surgery + feature surgery among grounds": "mSC clip-surgery code nouns and grounds",
}
RAW = "mSC clip none"
COMPANY = (
    "similarity, companions − others",
    "co-activation, companions − others",
    "absent companion above other absent nouns",
)
DOSES = {  # told in words: a factor, and what is measured along it
    "background_bias": (RAW, REPAIRS["CLIP Surgery"]),
    "background_bias and named": (RAW, REPAIRS["CLIP Surgery"]),
    "co_occurrence": COMPANY,
}
FACTORS = {  # the grid's name: the setting that it changes, or two that it crosses, and what it is called
    "background_bias": ("background_bias", "background bias"),
    "background_bias and named": ("background_bias, named", "background bias / share of grounds named"),
    "co_occurrence": ("co_occurrence", "co-occurrence"),
    "blocks": ("blocks", "blocks"),
    "patch_dropout": ("lifted", "dropout, last stretch"),
    "pooling": ("pooling", "pooling"),
    "largest_scale": ("largest_scale", "logit scale at most"),
    "length": ("images", "images seen"),
    "tower": ("tower", "tower"),
}


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


def hypotheses(found: Results) -> pd.DataFrame:
    """A row per expectation of the grid and seed: both numbers, and whether it "stands", "died" or "not seen".

    It stands where the two 95 % intervals lie apart in the expected direction, died where they lie apart in the other;
    `verdict` is over all seeds. A cell that is not trained yet is "not tried". `between_seeds` is how far the centre's
    own seeds lie apart: image-bootstrap intervals know nothing of the seed.
    """
    key = ["cell", "seed", "measure"]
    table = finished(tidy(found)).drop_duplicates(key).set_index(key)[["value", "low", "high"]]
    numbers = dict(zip(table.index, table.to_numpy(float).tolist(), strict=True))
    rows = []
    for number, item in enumerate(grid.read()["hypothesis"], 1):
        cell, measure, than = item["cell"], item["measure"], item.get("than", CENTRE)
        for seed in sorted({seed for name, seed, _ in numbers if name == cell}) or [0]:
            one = numbers.get((cell, seed, measure))
            # Held against the centre, another measure of the same cell, or 0.
            against = (CENTRE, seed, measure) if than == CENTRE else (cell, seed, than)
            other = [0.0, 0.0, 0.0] if than == 0 else numbers.get(against)
            row = {"number": number, "says": item["says"], "cell": cell, "measure": measure}
            row |= {"than": than, "expect": item["expect"], "seed": seed}
            row |= dict(zip(("value", "low", "high"), one or (), strict=False))
            row |= dict(zip(("other", "other_low", "other_high"), other or (), strict=False))
            row["between_seeds"] = _between(table, measure) if than == CENTRE else np.nan
            rows.append(row | {"seen": _apart(one, other) if one and other else "not tried"})
    shown = pd.DataFrame(rows)
    return shown.assign(verdict=shown["number"].map({n: _verdict(mine) for n, mine in shown.groupby("number")}))


def _between(table: pd.DataFrame, measure: str) -> float:
    """How far the centre's seeds lie apart; not a number with one seed."""
    values = table["value"][table.index.isin([CENTRE], "cell") & table.index.isin([measure], "measure")]
    return float(np.ptp(values)) if len(values) > 1 else np.nan


def _apart(one: Sequence[float], other: Sequence[float]) -> str:
    """Whether one interval (value, low, high) lies clear of the other: "higher", "lower" or "not apart"."""
    return "higher" if one[1] > other[2] else "lower" if one[2] < other[1] else "not apart"


def _verdict(rows: pd.DataFrame) -> str:
    """Over the seeds of one expectation."""
    seen, expect = set(rows["seen"]), rows["expect"].iloc[0]
    if seen == {expect}:
        return "stands"
    return "not tried" if seen == {"not tried"} else "died" if seen in ({"higher"}, {"lower"}) else "not seen"


def finished(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of runs that were trained to the end: without checkpoints, whose runs are called RUN@IMAGES."""
    return table.loc[~table["run"].str.contains("@")]


def of_factor(table: pd.DataFrame, factor: str) -> pd.DataFrame:
    """Rows of `answers.tidy` along one factor, the centre's among them; `at` is the setting's value, in words.

    Two factors are crossed: each at the centre's value and at that of the cell that changes both.
    """
    settings, alike = FACTORS[factor][0].split(", "), table["factor"].isin([factor, *factor.split(" and "), CENTRE])
    if factor == "length":  # one run, looked into: checkpoints, of the seeds that were trained longer
        rows = table[alike & table["seed"].isin(table["seed"][table["cell"] == "long"])]
    else:
        ends = table[table["factor"].isin([factor, CENTRE])]
        rows = finished(table[alike & table[settings].isin(ends[settings].to_dict("list")).all(axis=1)])
    at = rows[settings].map(written).agg(" / ".join, axis=1) if len(rows) else pd.Series(dtype=str)
    return rows.assign(at=at).sort_values(settings)


def written(value: Any) -> str:
    """A setting's value as a figure or a dial shows it."""
    return value if isinstance(value, str) else f"{value / 1000:.0f}k" if value >= 1000 else f"{value:g}"


def _cells(table: pd.DataFrame, measure: str) -> pd.DataFrame:
    rows = finished(table)
    return rows.loc[rows["measure"] == measure]


def _listed(rows: pd.DataFrame, most: int = 5) -> str:
    shown = [f"{row.cell} (seed {row.seed}) {_span(row)}" for row in rows.head(most).itertuples()]
    more = [f"and {len(rows) - most} more"] if len(rows) > most else []
    return ", ".join([*shown, *more]) or "none"


def sentences(found: Results) -> list[str]:
    """The answer, computed: where raw maps prefer the background, what repairs them, what company does."""
    table = tidy(found)
    return [*_preference(table), *_repairs(table), *_seeds(table), *_doses(table), *_expected(found)]


def _preference(table: pd.DataFrame) -> Iterator[str]:
    every = _cells(table, RAW)
    trained, chance = every[every["factor"] != RANDOM], every[every["factor"] == RANDOM]
    below, above = trained[trained["high"] < 0], trained[trained["low"] > 0]
    yield (
        f"Raw maps prefer the background (mSC interval below 0) in {len(below)} of {len(trained)} models: "
        f"{_listed(below.sort_values('value'))}. They prefer the object in {len(above)}: {_listed(above)}."
    )
    for _, floor in chance.iterrows():
        alike = trained[trained["tower"] == floor["tower"]]
        lower = alike[alike["high"] < floor["low"]].sort_values("value")
        yield (
            f"Random weights alone give a {floor['tower']} mSC {_span(floor)} here; {len(lower)} of {len(alike)} "
            f"trained ones lie clearly below that: {_listed(lower)}."
        )


def _repairs(table: pd.DataFrame) -> Iterator[str]:
    trained = table[table["factor"] != RANDOM]
    raw = _cells(trained, RAW).set_index("run")
    for name, measure in REPAIRS.items():
        rows = _cells(trained, measure)
        before = raw.loc[rows["run"]]
        raised = rows[rows["low"].to_numpy() > before["high"].to_numpy()]
        lowered = rows[rows["high"].to_numpy() < before["low"].to_numpy()]
        yield (
            f"{name} raises mSC in {len(raised)} of {len(rows)} models, above 0 in {(raised['low'] > 0).sum()}, and "
            f"lowers it in {len(lowered)} ({', '.join(dict.fromkeys(lowered['cell'])) or 'none'}). Most: "
            f"{_listed(rows.nlargest(1, 'value'))}; least: {_listed(rows.nsmallest(1, 'value'))}."
        )


def _seeds(table: pd.DataFrame) -> Iterator[str]:
    """What a seed alone does, in cells of two seeds or more: differences within it say nothing."""
    for name, measure in {"raw maps": RAW, **REPAIRS}.items():
        rows = _cells(table, measure).groupby("cell", sort=False)["value"].agg(["min", "max", "count"])
        rows = rows[rows["count"] > 1]
        apart = (rows["max"] - rows["min"]).sort_values(ascending=False)
        if len(apart):
            each = ", ".join(f"{cell} {value:.1f}" for cell, value in apart.items())
            yield f"By its seed alone, mSC of {name} differs by up to {apart.iloc[0]:.1f} points ({each})."


def _doses(table: pd.DataFrame) -> Iterator[str]:
    for factor, measures in DOSES.items():
        rows = of_factor(table, factor).sort_values([*FACTORS[factor][0].split(", "), "seed"])
        for measure in measures:
            mine = rows[rows["measure"] == measure]
            shown = "; ".join(f"{row.at}: {_span(row)}" for row in mine.itertuples())
            yield f"By {FACTORS[factor][1]} in training, {measure}: {shown}."


def _expected(found: Results) -> Iterator[str]:
    expected = hypotheses(found)
    each = expected.drop_duplicates("number")
    for verdict in ("stands", "died", "not seen", "not tried"):
        rows = each[each["verdict"] == verdict]
        if len(rows):
            numbers = ", ".join(str(n) for n in rows["number"])
            yield f"Of {len(each)} expectations, {len(rows)} {verdict}: {numbers}."
    decided = expected.query("verdict in ('stands', 'died')")
    small = decided[(decided["value"] - decided["other"]).abs() <= decided["between_seeds"]]
    if len(small):
        numbers = ", ".join(map(str, small["number"].unique()))
        yield f"Of those that stand or died, a seed of the centre does as much as the change in: {numbers}."


def candidates(found: Results) -> pd.DataFrame:
    """How the built-in default is chosen: every finished run, whether it passes the bars, and what decides among those.

    `raw` and `repaired` are mSC of raw maps and of CLIP Surgery + feature surgery; `shows` says whether raw maps prefer
    the background with their whole interval, `gain` is repaired − raw. First those that pass and show, by gain.
    """
    table, runs = finished(tidy(found)), finished(found.runs).set_index("run")
    values, highs = (table.pivot_table(end, "run", "measure") for end in ("value", "high"))
    chosen = pd.DataFrame({name: runs[f"{name}, default dials"] for name in BARS} | {"patches": runs["patches"]})
    chosen["passes"] = (chosen[[*BARS]] >= pd.Series(BARS)).all(axis=1) & (chosen["patches"] >= GRID)
    chosen["raw"], chosen["shows"] = values[RAW], highs[RAW] < 0
    chosen["repaired"] = values[REPAIRS["CLIP Surgery + feature surgery"]]
    chosen["gain"] = chosen["repaired"] - chosen["raw"]
    return chosen.sort_values(["passes", "shows", "gain"], ascending=False).reset_index()
