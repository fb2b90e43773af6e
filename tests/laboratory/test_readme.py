"""The README's table of the laboratory is the shipped results'."""

from clipsx import paths
from clipsx.laboratory import answers, results

COLUMNS = ("mSC clip none", "mSC clip-surgery none", "mSC clip-surgery code")


def test_the_readme_shows_every_trained_model_and_its_numbers():
    section = (paths.PACKAGE.parent / "README.md").read_text(encoding="utf-8").partition("## The laboratory")[2]
    rows = [line.split(" | ") for line in section.splitlines() if line.startswith("| `")]
    shown = {cells[0].strip("|` "): [cell.replace("−", "-") for cell in cells[1:4]] for cells in rows}
    found = results()
    wide = answers.wide(found, COLUMNS).set_index("run")
    assert set(shown) == {run for run in wide.index if "@" not in run}
    for run, cells in shown.items():
        assert cells == wide.loc[run, list(COLUMNS)].tolist(), run
