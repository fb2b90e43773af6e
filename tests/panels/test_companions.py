"""The panel of company: a cell, the scenes behind it, and the numbers as the functions give them."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

import clipsx
from clipsx import mfi
from clipsx.datasets import Sketchbook
from clipsx.panels import CompanionsPanel


@pytest.fixture(scope="module")
def parts():
    clip, world = clipsx.load("sketchbook-random"), Sketchbook(seed=5, length=8, objects=(2, 3))
    rows = mfi.coactivation(clip, world)
    labels = list(world.labels)
    matrices = {
        "text": mfi.similarity_matrix(clip.encode_labels(labels)).numpy(),
        "map": mfi.as_matrix(rows, labels).to_numpy(),
    }
    return clip, world, rows, matrices, labels


@pytest.fixture
def panel(parts, tmp_path):
    panel = CompanionsPanel(*parts, out=tmp_path)
    assert panel.wait(60)
    yield panel
    plt.close("all")


def test_a_cell_shows_what_made_its_number(panel, parts):
    _, world, _, matrices, labels = parts
    sample = world[0]
    a, b = sample.labels[:2]
    panel._cells.chosen = [panel.labels.index(a), panel.labels.index(b)]  # as a click does
    assert panel.wait(60) and panel.state == {"measure": "text", "a": a, "b": b}
    behind = panel.behind()
    assert behind["score"].mean() == pytest.approx(matrices["map"][labels.index(a), labels.index(b)])
    assert behind["score"].is_monotonic_decreasing and sample.name in set(behind["image"])
    assert f"{behind['score'].mean():.2f}" in panel._words.value and panel._line.value == ""
    values = np.frombuffer(panel._cells.values, np.float32).reshape(len(labels), -1)
    assert values[panel.labels.index(a), panel.labels.index(b)] == pytest.approx(
        matrices["text"][labels.index(a), labels.index(b)]
    )
    # The map drawn is the map that was measured.
    shown = panel._map(sample)[sample.masks[a]].mean()
    row = behind[behind["image"] == sample.name].iloc[0]
    assert shown == pytest.approx(row["score"], abs=1e-5)


def test_state_errors_and_what_is_taken_away(panel, parts):
    again = CompanionsPanel(*parts, out=panel.out, **panel.state)
    assert again.wait(60) and again.state == panel.state
    kept = panel.state
    panel.restore({"a": "spoon"})
    assert "Unknown label" in panel._line.value and panel.state == kept
    panel.restore({"a": panel.labels[3], "b": panel.labels[3]})
    assert panel.wait(60) and "one class with itself" in panel._words.value
    panel.restore(kept)
    panel._measure.value = "map"
    assert panel.wait(60) and panel.state["measure"] == "map" and panel._line.value == ""
    panel.save_figure(("png", "svg"))
    panel.save_table()
    assert {f.name for f in panel.out.iterdir()} == {"company.png", "company.svg", "company.csv"}
    assert "image/png" in panel._repr_mimebundle_()
    scope = {}
    exec(panel.code(), scope)
    assert len(scope["rows"]) == len(parts[2])
