"""The laboratory's grid: a cell differs from the centre in its factor alone."""

from dataclasses import asdict

import pytest

from clipsx.sketchbook.training import grid

NAMES = list(grid.cells())


def test_the_cells_that_must_be_there() -> None:
    settings = [cell["settings"] for cell in grid.cells().values()]
    assert {s["co_occurrence"] for s in settings} >= {0.0, 0.5, 0.9}
    assert {s["blocks"] for s in settings} >= {4, 8, 12}
    assert {"centre", "unnamed", "average", "resnet", "scale-capped", "dropout-kept"} <= {
        cell["cell"] for cell in grid.cells().values()
    }


@pytest.mark.parametrize("name", NAMES)
def test_a_cell_changes_what_it_says(name: str) -> None:
    cell, recipe, centre = (
        grid.cells()[name],
        grid.recipe(name),
        grid.recipe(f"lab-centre-s{grid.cells()[name]['seed']}"),
    )
    assert recipe.seed == cell["seed"]
    assert len(recipe.stages) == (6 if cell["settings"]["again"] else 4)
    assert (asdict(recipe) == asdict(centre)) == (cell["cell"] == "centre")
    if cell["factor"] in ("co_occurrence", "background_bias"):
        assert recipe.model == centre.model
        assert {getattr(s, cell["factor"]) for s in recipe.stages[1:]} == {cell["settings"][cell["factor"]]}


def test_a_setting_the_centre_lacks_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    (tmp_path / "laboratory").mkdir()
    (tmp_path / "laboratory" / "grid.toml").write_text(
        "[centre]\nblocks = 8\n[[cell]]\nname = 'a'\nseeds = [7]\nchange = { block = 4 }\n"
    )
    monkeypatch.setattr(grid.paths, "data", lambda: tmp_path)
    monkeypatch.setattr(grid, "read", grid.read.__wrapped__)
    with pytest.raises(ValueError, match="'a' changes \\['block'\\]"):
        grid.cells.__wrapped__()
