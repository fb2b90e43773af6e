"""The panel of similarity matrices: what it shows, keeps, saves, and says when something is wrong."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

import clipsx
from clipsx import mfi
from clipsx.panels import MatrixPanel

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def models():
    return {name: clipsx.load(name) for name in ("sketchbook-random", "sketchbook")}


@pytest.fixture
def panel(models, tmp_path):
    panel = MatrixPanel(models, out=tmp_path, labels="cat, red boat, fish, house", right_templates="plain")
    assert panel.wait(60)
    yield panel
    plt.close("all")


def test_both_sides_are_the_functions_own_numbers(panel):
    text = clipsx.load("sketchbook").encode_labels(list(panel.view.labels), templates="plain")
    assert np.allclose(panel.view.matrix("right"), mfi.similarity_matrix(text), atol=1e-6)
    assert np.allclose(panel.view.matrix("difference"), panel.view.matrix("right") - panel.view.matrix("left"))
    assert len(panel.table()) == 6 and bytes(panel._picture.value[:4]) == b"\x89PNG"
    assert "Most alike" in panel._words.value and panel._line.value == ""


def test_the_state_comes_back_and_the_code_runs(panel):
    again = MatrixPanel(panel.models, out=panel.out, **panel.state)
    assert again.wait(60) and again.state == panel.state
    scope = {}
    exec(panel.code(), scope)
    assert np.allclose(scope["left"], panel.view.matrix("left"), atol=1e-6)


def test_what_is_refused_is_told_and_the_panel_lives_on(panel):
    kept = panel.state
    panel._typed.value = "cat"
    assert "is no label set" in panel._line.value and panel.state == kept and panel._typed.value.count(",") == 3
    panel.restore({"left": "sketchbok"})
    assert "did you mean" in panel._line.value and panel.state == kept
    panel._set.value = "voc-20"
    assert panel.wait(60) and len(panel.view.labels) == 20 and panel._line.value == ""
    with pytest.raises(ValueError, match="at least one model"):
        MatrixPanel({})


def test_what_is_on_screen_can_be_taken_away(panel):
    panel.save_figure(("png", "svg"))
    panel.save_table()
    files = {"captions.md"} | {f"matrices.{ending}" for ending in ("png", "svg", "csv", "tex", "md")}
    assert {f.name for f in panel.out.iterdir()} == files
    assert "image/png" in panel._repr_mimebundle_()
