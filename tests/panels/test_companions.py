"""The panel of companions: a cell, the scenes behind it, and the numbers as the functions give them."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pytest

import clipsx
from clipsx import mfi
from clipsx.analyses import coactivation
from clipsx.datasets import Sample, Sketchbook
from clipsx.evaluation.stream import stream
from clipsx.panels import CompanionsPanel
from clipsx.plots import cells
from helpers import unchecked

WORLD = Sketchbook(seed=5, length=8, objects=(2, 3))


class Guarded(Sequence[Sample]):
    """The world, of which only some samples may be opened; and which were."""

    def __init__(self) -> None:
        self.allowed, self.opened = set(range(len(WORLD))), []

    def __len__(self) -> int:
        return len(WORLD)

    def __getitem__(self, index: int) -> Sample:
        if index not in self.allowed:
            raise AssertionError(f"sample {index} was opened")
        self.opened.append(index)
        return WORLD[index]


@pytest.fixture(scope="module")
def parts():
    clip, labels = clipsx.load("sketchbook-random"), list(WORLD.labels)
    (rows,) = stream(clip, WORLD, [coactivation.measure(clip, labels, "clip-surgery+code")])
    matrices = {
        "text": mfi.similarity_matrix(clip.encode_labels(labels)).numpy(),
        "map": coactivation.as_matrix(rows, labels).to_numpy(),
    }
    return clip, WORLD, rows, matrices, labels


@pytest.fixture
def panel(parts, tmp_path):
    panel = CompanionsPanel(*parts, out=tmp_path)
    assert panel.wait(60)
    yield panel
    plt.close("all")


@pytest.mark.slow
def test_a_cell_shows_what_made_its_number(panel, parts, monkeypatch):
    _, world, _, matrices, labels = parts
    sample = world[0]
    a, b = sample.labels[:2]
    panel._cells.chosen = [panel.labels.index(a), panel.labels.index(b)]  # as a click does
    assert panel.wait(60) and panel.state == {"measure": "text", "a": a, "b": b}
    behind = panel.table()
    assert behind["score"].mean() == pytest.approx(matrices["map"][labels.index(a), labels.index(b)])
    assert behind["score"].is_monotonic_decreasing and sample.name in set(behind["image"])
    assert f"{behind['score'].mean():.2f}" in panel._words.value and panel._line.value == ""
    values = np.frombuffer(panel._cells.values, np.float32).reshape(len(labels), -1)
    assert values[panel.labels.index(a), panel.labels.index(b)] == pytest.approx(
        matrices["text"][labels.index(a), labels.index(b)]
    )
    # The maps drawn are the maps that were measured.
    drawn, painted = [], cells._painted
    monkeypatch.setattr(cells, "_painted", lambda cell: (drawn.append(cell.map), painted(cell))[1])
    panel.figure()
    shown = behind.head(4)
    assert len(drawn) == len(shown) > 0
    for map, row in zip(drawn, shown.itertuples(), strict=True):
        assert map[world[row.number].masks[a]].mean() == pytest.approx(row.score, abs=1e-5)


@pytest.mark.slow
def test_only_the_pictures_shown_are_opened(parts, tmp_path):
    clip, _, rows, matrices, labels = parts
    samples = Guarded()
    counts = rows[rows["a"] != rows["b"]].groupby(["a", "b"]).size()
    a, b = counts.idxmax()
    behind = rows[(rows["a"] == a) & (rows["b"] == b)].nlargest(4, "score")
    samples.allowed = {int(number) for number in behind["number"]}
    with unchecked():  # a check of a sequence's type opens one of it
        panel = CompanionsPanel(clip, samples, rows, matrices, labels, out=tmp_path, a=a, b=b)
        assert panel.wait(60) and panel._line.value == ""
    assert sorted(samples.opened) == sorted(samples.allowed) and len(samples.allowed) < len(samples)
    plt.close("all")


@pytest.mark.slow
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
    files = {"captions.md"} | {f"companions.{ending}" for ending in ("png", "svg", "csv", "tex", "md")}
    assert {f.name for f in panel.out.iterdir()} == files
    assert "image/png" in panel._repr_mimebundle_()
    about = panel.provenance()
    assert about["reading"] == "clip-surgery+code" and "model" in about and about["image_size"] == "96×96"
    panel.restore({"measure": "mapp"})
    assert "Unknown measure" in panel._line.value
