"""Today's numbers: every table behind the notebooks, small, against its recorded values.

`make goldens` records them anew and prints what moved.
"""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from goldens import compare, tables
from goldens.make import told

MOST_SHOWN = 12  # rows of what moved


def cases() -> list[Any]:
    return [pytest.param(name, marks=[pytest.mark.slow] if t.slow else []) for name, t in tables.TABLES.items()]


def fail_on(moved: pd.DataFrame) -> None:
    """Fail where anything moved, and show it."""
    if len(moved):
        shown = moved.head(MOST_SHOWN).copy()
        ends = [_where_apart(str(was), str(now)) for was, now in zip(shown["was"], shown["is"], strict=True)]
        shown["was"], shown["is"] = [was for was, _ in ends], [now for _, now in ends]
        with pd.option_context("display.width", 200, "display.max_colwidth", 100):
            shown = shown.to_string(index=False)
        pytest.fail(f"{len(moved)} values moved.\n{told(moved)}\n\n{shown}", pytrace=False)


def _where_apart(was: str, now: str, most: int = 60) -> tuple[str, str]:
    """Two long texts from a little before the place where they part."""
    if max(len(was), len(now)) <= most:
        return was, now
    parted = next((n for n, pair in enumerate(zip(was, now, strict=False)) if len({*pair}) > 1), 0)
    start = max(0, parted - 20)
    return f"…{was[start : start + most]}", f"…{now[start : start + most]}"


@pytest.mark.slow
@pytest.mark.parametrize("name", cases())
def test_table(name: str) -> None:
    entry = tables.TABLES[name]
    now = compare.only(entry.make(), entry.keys, entry.units)
    fail_on(compare.moved(name, compare.recorded(name), now, entry.keys, entry.units, compare.elsewhere()))


@pytest.mark.slow
@pytest.mark.parametrize("name", tables.FEATURES)
def test_features(name: str) -> None:
    fail_on(compare.moved_features(name, compare.recorded_features(name), tables.FEATURES[name](), compare.elsewhere()))


def test_all_that_is_recorded_is_compared() -> None:
    assert compare.files() == {*tables.TABLES, *tables.FEATURES}


@pytest.mark.slow
@pytest.mark.parametrize("name", tables.TABLES)
def test_a_value_that_moves_is_seen(name: str) -> None:
    """Every column of every table, one value at a time, and a row that goes or comes."""
    entry, was = tables.TABLES[name], compare.recorded(name)

    def seen(now: pd.DataFrame, before: pd.DataFrame = was, other: bool = False) -> pd.DataFrame:
        return compare.moved(name, before, now, entry.keys, entry.units, other)

    assert len(was) and not len(seen(was.sample(frac=1, random_state=0)))
    less = was.iloc[1:]
    assert seen(less)["is"].tolist() == ["missing"] and seen(was, less)["was"].tolist() == ["missing"]
    for column in was.columns.difference(list(entry.keys)):
        place = was[column].first_valid_index()
        assert place is not None, f"{column} holds nothing"
        row = was.loc[[place], [*entry.keys, column]]
        for value in (np.nan, _changed(name, column, row[column].iloc[0])):
            now = row.astype({column: object}).assign(**{column: value})
            assert seen(now, row)["column"].tolist() == [column]


def _changed(name: str, column: str, value: Any) -> Any:
    """A value that moved a little too far."""
    if isinstance(value, str):
        return value + " not"
    if isinstance(value, bool | np.bool_):
        return not value
    unit = compare.unit_of(column, tables.TABLES[name].units)
    most = float(compare.allowed(name, column, unit, np.asarray(value, float)))
    return value + (1.1 * most or 1e-6)


def test_a_feature_that_moves_is_seen() -> None:
    was = compare.recorded_features("features_labels")
    key = next(iter(was))
    assert not len(compare.moved_features("x", was, was))
    for now in (
        was | {key: was[key] + 2e-6 * torch.eye(*was[key].shape)},
        was | {key: was[key] * torch.nan},
        was | {key: was[key][1:]},
        {name: value for name, value in was.items() if name != key},
    ):
        assert compare.moved_features("x", was, now)["key"].tolist() == [key]


def test_units_are_known_and_every_loose_column_is_one() -> None:
    names = {(name, column) for name, entry in tables.TABLES.items() for column in entry.units}
    assert {unit for entry in tables.TABLES.values() for unit in entry.units.values()} <= {*compare.UNITS}
    used = {id(compare.loose(name, column)) for name, column in names}
    assert [pattern for pattern, entry in compare.LOOSE.items() if id(entry) not in used] == []


def test_other_versions_are_compared_by_a_thousandth() -> None:
    keys, units = ("k",), {"msc": "percent", "row": "exact", "said": "sentence"}
    was = pd.DataFrame({"k": range(100), "msc": 50.0, "row": True, "said": "3 of 5 stand."})
    now = was.assign(msc=50.09, said="4 of 5 stand.")
    now.loc[7, "row"] = False
    assert set(compare.moved("x", was, now, keys, units)["column"]) == {"msc", "row"}
    assert not len(compare.moved("x", was, now, keys, units, other=True))
    far = now.assign(msc=50.2, row=False, said="4 of 5 died.")
    assert len(compare.moved("x", was, far, keys, units, other=True)) == 300
