"""The laboratory's panel: a dial goes to a trained cell, says what moved along, and what is shown can be taken away."""

import matplotlib.pyplot as plt
import pytest

from clipsx.sketchbook.laboratory import runs, sheets
from clipsx.sketchbook.laboratory.panel import DIALS, LaboratoryPanel

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def first():
    panel = LaboratoryPanel()
    assert panel.wait(60)
    return panel, panel.state


@pytest.fixture
def panel(first, tmp_path):
    """The one panel, as it was at first."""
    panel, start = first
    panel.out = tmp_path
    panel._tell("")
    if panel.state != start:
        panel.restore(start)
        assert panel.wait(60)
    yield panel
    plt.close("all")


def test_it_starts_at_the_centre(panel):
    assert panel.state["run"] == "lab-centre-s7" and panel.state["beside"] == "sketchbook"
    assert panel._dials["background_bias"].value == 0.6
    number, label = sheets.typical(sheets.first_seeds(panel.found))
    assert panel.state["scene"] == number and next(iter(sheets.scene(number).masks)) == label
    assert bytes(panel._picture.value[:4]) == b"\x89PNG"
    shown = runs.wide(panel.found, ("top-1",)).set_index("run").loc["lab-centre-s7", "top-1"]
    assert shown in panel._words.value and panel._line.value == ""


def test_a_dial_goes_to_the_cell_that_was_trained(panel):
    panel._dials["background_bias"].value = 0.0
    assert panel.wait(60) and panel.state["run"] == "lab-bias-0-s7"
    assert "lab-bias-0-s7" in panel._words.value and panel._line.value == ""


def test_dials_that_had_to_move_along_are_named(panel):
    panel._dials["background_bias"].value = 0.0
    others = [run for run in panel._grid.index if panel._grid.loc[run, "co_occurrence"] != 0.5]
    panel._dials["co_occurrence"].value = panel._grid.loc[others[0], "co_occurrence"]
    assert panel.wait(60) and panel._grid.loc[panel.state["run"], "co_occurrence"] != 0.5
    assert DIALS["background_bias"] in panel._line.value and 'role="status"' in panel._line.value
    assert panel._dials["background_bias"].value == panel._grid.loc[panel.state["run"], "background_bias"]


def test_every_value_of_every_dial_can_be_turned_to(panel):
    for name in DIALS:
        for value in panel._grid[name].unique():
            assert panel._grid.loc[panel.nearest(name, value), name] == value


def test_the_state_comes_back_and_the_code_runs(panel):
    panel.restore({"scene": 2, "label": "boat"})
    again = LaboratoryPanel(out=panel.out, **panel.state)
    assert again.state == panel.state and again.wait(60)
    exec(panel.code(), {})


def test_what_is_refused_is_told_and_the_panel_lives_on(panel):
    kept = panel.state
    for wrong, words in (({"run": "lab-centre"}, "did you mean"), ({"label": "zebra"}, "Unknown noun"),
                         ({"scene": 99}, "scene must be"), ({"beside": "clip"}, "Unknown model")):  # fmt: skip
        panel.restore(wrong)
        assert words in panel._line.value and panel.state == kept
    panel.restore({"scene": 1})
    assert panel.wait(60) and panel._line.value == "" and panel._controls["scene"].value == 1


def test_what_is_on_screen_can_be_taken_away(panel):
    panel.save_figure(("png", "svg"))
    panel.save_table()
    files = {"captions.md"} | {f"laboratory.{ending}" for ending in ("png", "svg", "csv")}  # too long to print
    assert {f.name for f in panel.out.iterdir()} == files
    assert "image/png" in panel._repr_mimebundle_()
