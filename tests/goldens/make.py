"""Compute the goldens again, print what moved against the recorded values, and write the new ones.

python tests/goldens/make.py [NAME …]: those tables alone. The features that notebook 06's tables learn from are an
input, and stay as they are; --store takes them anew.
"""

import argparse
import sys
from pathlib import Path

import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from goldens import compare, tables


def again(name: str) -> pd.DataFrame:
    """Compute a table or features, write them, and return what moved at all; all is new where nothing was recorded."""
    known = name in compare.files()
    if name in tables.FEATURES:
        features = tables.FEATURES[name]()
        found = compare.moved_features(name, compare.recorded_features(name) if known else {}, features, exactly=True)
        compare.record_features(name, features)
        return found
    entry = tables.TABLES[name]
    table = compare.only(entry.make(), entry.keys, entry.units)
    was = compare.recorded(name) if known else table.iloc[:0]
    found = compare.moved(name, was, table, entry.keys, entry.units, exactly=True)
    compare.record(name, table)
    return found


def told(found: pd.DataFrame) -> str:
    """What moved as a short table: by table and column, how many values, and the largest difference."""
    if not len(found):
        return "Nothing moved."
    groups = found.assign(column=found["column"].str.replace(r"^entry.*", "entry", regex=True)).groupby(
        ["table", "column"], sort=False
    )
    return groups["difference"].agg(moved="size", largest="max").reset_index().to_string(index=False)


def main(arguments: list[str] | None = None) -> None:
    """The command."""
    every = [*tables.TABLES, *tables.FEATURES]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(every)}; all by default")
    parser.add_argument("--store", action="store_true", help="take the features that 06 learns from anew as well")
    chosen = parser.parse_args(arguments)
    if unknown := [name for name in chosen.names if name not in every]:
        parser.error(f"no such table: {', '.join(unknown)}")
    compare.VALUES.mkdir(exist_ok=True)
    if chosen.store or not tables.STORED.exists():
        tables.store()
    print(told(pd.concat([again(name) for name in chosen.names or every], ignore_index=True)))
    if not chosen.names:
        for name in compare.files() - {*every}:
            print(f"Recorded, but no table any more: {name}")
        compare.record_versions()


if __name__ == "__main__":
    main()
