"""The laboratory's page: its table is the shipped results'."""

import pandas as pd
import pytest

from clipsx import chance, paths
from clipsx.sketchbook.laboratory import results
from clipsx.sketchbook.laboratory.runs import finished, tidy

COLUMNS = ("mSC clip none", "mSC clip-surgery none", "mSC clip-surgery code")


def _written(table: pd.DataFrame, column: str) -> str:
    """One seed with its interval, several as a list of values."""
    rows = table[table["measure"] == column].sort_values("seed")
    if len(rows) > 1:
        return ", ".join(f"{value:.1f}" for value in rows["value"])
    row = rows.iloc[0]
    return f"{row['value']:.1f} [{row['low']:.1f}, {row['high']:.1f}]"


@pytest.mark.slow
def test_the_page_shows_every_trained_cell_and_its_numbers() -> None:
    page = (paths.data() / "laboratory" / "README.md").read_text(encoding="utf-8")
    rows = [line.split(" | ") for line in page.splitlines() if line.startswith("| `")]
    shown = {cells[0].strip("|` "): [cell.replace("−", "-") for cell in cells[1:4]] for cells in rows}
    table = finished(tidy(results()))
    assert set(shown) == set(table["cell"])
    for cell, mine in table.groupby("cell"):
        assert shown[cell] == [_written(mine, column) for column in COLUMNS], cell


def test_the_page_shows_chance_as_it_is_shipped() -> None:
    page = (paths.data() / "laboratory" / "README.md").read_text(encoding="utf-8").replace("−", "-")
    known = chance.shipped().query("reading == 'clip' and measure == 'msc'")
    for row in known[known["model"].str.contains("read at") & ~known["model"].str.contains("avg")].to_dict("records"):
        numbers = "{mean:.1f} ± {sd:.1f} ({low:.1f}…{high:.1f})".format(**row)
        assert f"| {row['model']} | {numbers} |" in page
