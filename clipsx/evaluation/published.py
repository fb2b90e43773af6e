"""A measured table beside what others published, with the difference, and what else differs."""

import re
from functools import cache
from typing import Any

import pandas as pd

from clipsx import paths
from clipsx.evaluation.protocols import PROTOCOLS, named, require_one

DEFAULT_DEPTH = "@6"  # of CLIP Surgery as published: what a reading without a depth means
UNMIXED = "unmix"  # what numbers are published as that are read through projectors, whatever the reading
WORDS = re.compile(r"; words of ([^;]+)")  # as a protocol says in a table
SHOWN = [
    "reading", "measure", "value", "value_low", "value_high", "n", "published", "difference", "differs", "paper",
    "published_model", "published_data", "published_protocol", "source", "authority", "model", "weights", "positions",
    "data", "protocol",
]  # fmt: skip


@cache
def published() -> pd.DataFrame:
    """All published numbers, a row each; columns as `data/published/README.md` says."""
    files = sorted((paths.data() / "published").glob("*.csv"))
    return pd.concat([pd.read_csv(file) for file in files], ignore_index=True)


def beside(table: pd.DataFrame) -> pd.DataFrame:
    """A row per measured and published number of one reading and measure, empty where nobody published any.

    table: of `tasks.evaluate`. Where the measured data set has none, those of others stand there without a difference.
    `differs` says in words what is not the same: data, number of images, model, weights, protocol, wording.
    Errors: ValueError for rows of several protocols, and for a table that is not one of `evaluate`.
    """
    lacks = [name for name in ("reading", "measure", "value", "n", "model", "dataset", "protocol") if name not in table]
    if lacks:
        raise ValueError(
            f"The table has no column {', '.join(lacks)}: it is not of `clipsx evaluate`, or of an older one."
        )
    require_one(table)
    own = table.assign(of=[reading.replace(DEFAULT_DEPTH, "") for reading in table["reading"]])
    if "projectors" in own:
        own["of"] = own["of"].where(own["projectors"].isna(), UNMIXED)
    known = published().rename(columns={"value": "published", "reading": "of"})
    both = own.merge(known, on=["of", "measure"], suffixes=("", "_theirs"))
    same = both["dataset"] == both["dataset_theirs"]
    both = both[same if same.any() else ~same].copy()
    both["difference"] = (both["value"] - both["published"]).where(both["dataset"] == both["dataset_theirs"])
    both["differs"] = [_differs(row) for _, row in both.iterrows()]
    theirs = both["model_theirs"].fillna("not stated") + " " + both["weights_theirs"].fillna("")
    both = both.assign(published_model=theirs.str.strip())
    names = {"dataset_theirs": "published_data", "protocol_theirs": "published_protocol"}
    names |= {end: f"value_{end}" for end in ("low", "high")}  # the difference has no interval
    return both.rename(columns=names).reindex(columns=SHOWN).reset_index(drop=True)


def short(table: pd.DataFrame, most: int = 20) -> pd.DataFrame:
    """The columns of `beside` that one reads first, at most so many rows."""
    names = ["reading", "measure", "value", "published", "difference", "differs", "paper", "published_data"]
    return table[names].head(most).round(2)


def _differs(row: Any) -> str:
    """What is not the same in a measured row and a published one, in words; "nothing" where all that is stated is."""
    pairs = {name: (row[f"{name}_theirs"], row[name]) for name in ("dataset", "model", "weights")}
    pairs["protocol"] = (row["protocol_theirs"], named(row["protocol"]))
    found = [
        f"{name} not stated" if theirs != theirs else f"{name} {theirs}, here {ours}"
        for name, (theirs, ours) in pairs.items()
        if theirs != ours
    ]
    theirs, ours = getattr(PROTOCOLS.get(pairs["protocol"][0]), "vocabulary", ""), WORDS.search(row["protocol"])
    if theirs and ours and ours[1] != theirs:
        found.append(f"words {theirs}, here {ours[1]}")
    if row["dataset"] == row["dataset_theirs"] and row["n"] < row["images"]:
        found.append(f"{row['n']} of {row['images']:.0f} images")
    return "; ".join(found) or "nothing that is stated"
