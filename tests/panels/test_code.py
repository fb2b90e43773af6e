"""Copied code runs alone, in a fresh process, and draws what "Save figure" saves."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fresh
import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

import clipsx
from clipsx import mfi, unmix
from clipsx.analyses import coactivation
from clipsx.datasets import Sketchbook, Subset
from clipsx.evaluation.stream import stream
from clipsx.panels import CompanionsPanel, MatrixPanel, PointsPanel, SurgeryPanel, UnmixPanel
from clipsx.panels.base import FigurePanel
from helpers import noise, png, tiny_resnet

pytestmark = pytest.mark.slow
WORLD = Sketchbook(seed=3, length=12, size=64, objects=(2, 3))


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def clip() -> clipsx.Clip:
    return clipsx.load("sketchbook-random")


def assert_runs_alone(panel: FigurePanel, folder: Path, before: str = "") -> str:
    """Run the panel's code in a process of its own, compare its figure with the panel's, and return the code."""
    assert panel.wait(120)
    panel.figure().savefig(folder / "panel.png", dpi=60)
    end = f"\nfigure.savefig({str(folder / 'code.png')!r}, dpi=60)\n"
    code = panel.code()
    fresh.run(before + code + end, folder)
    shown, drawn = (np.asarray(Image.open(folder / f"{name}.png").convert("RGB"), float) for name in ("panel", "code"))
    assert shown.shape == drawn.shape
    assert np.abs(shown - drawn).max() <= 2
    return code


@pytest.mark.parametrize(
    "state",
    [
        {"image": 2, "reading": "clip-surgery@2+paper(tau=5)", "attention": "qk", "block": 1, "threshold": 0.4},
        {"image": 1, "labels": ["it's a cat"], "patch": [1, 2], "size": 64},
    ],
    ids=["masks", "one-label"],
)
def test_surgery(clip: clipsx.Clip, state: dict[str, Any], tmp_path: Path) -> None:
    assert_runs_alone(SurgeryPanel(clip, WORLD, out=tmp_path, **state), tmp_path)


def test_surgery_on_a_resnet_and_a_part(tmp_path: Path) -> None:
    part = Subset(WORLD, range(1, 12, 2), "odd samples")
    tests = str(Path(__file__).parent.parent)
    before = f"import sys\nsys.path.insert(0, {tests!r})\nfrom helpers import tiny_resnet\nclip = tiny_resnet()\n"
    code = assert_runs_alone(SurgeryPanel(tiny_resnet(), part, out=tmp_path, image=3), tmp_path, before)
    assert "# clip: the model given to the panel, tiny-rn (seed 0)" in code


def test_surgery_of_a_picture_of_ones_own(clip: clipsx.Clip, tmp_path: Path) -> None:
    panel = SurgeryPanel(clip, WORLD, out=tmp_path / "out")
    panel.take(png(noise(33, 21)))
    assert panel._line.value == "" and isinstance(panel.state["image"], str)
    assert_runs_alone(panel, tmp_path)


def test_matrices(tmp_path: Path) -> None:
    models = {name: clipsx.load(name) for name in ("sketchbook-random", "sketchbook")}
    panel = MatrixPanel(models, out=tmp_path, labels="cat, red boat, fish, house", right_templates="plain")
    assert_runs_alone(panel, tmp_path)


def test_matrices_of_a_model_that_no_call_loads(clip: clipsx.Clip, tmp_path: Path) -> None:
    given = tiny_resnet()
    given.name = "it's $a$\nimport os\x00"
    panel = MatrixPanel({given.name: given, "b": clip}, out=tmp_path, labels="cat, $dog$, fish")
    assert_runs_alone(panel, tmp_path)


def test_companions(clip: clipsx.Clip, tmp_path: Path) -> None:
    labels = list(WORLD.labels)
    measure = coactivation.measure(clip, labels, "clip-surgery@1+code", templates="photo")
    (rows,) = stream(clip, WORLD, [measure], size=64)
    panel = CompanionsPanel(
        clip, WORLD, rows, {"map": coactivation.as_matrix(rows, labels).to_numpy()}, labels, out=tmp_path
    )
    assert_runs_alone(panel, tmp_path)


@pytest.mark.parametrize(
    "state",
    [
        {"image": 2, "text": "cat+it's a dog", "reading": "clip-surgery@2+paper(tau=5)", "threshold": 0.7, "cut": 0.3},
        {"image": 1, "points": [[10, 12, 1], [50, 40, 0]]},
        {"image": 3, "points": []},
    ],
    ids=["of-the-map", "by-hand", "none"],
)
def test_points(clip: clipsx.Clip, state: dict[str, Any], tmp_path: Path) -> None:
    assert_runs_alone(PointsPanel(clip, WORLD, out=tmp_path, **state), tmp_path)


@pytest.mark.filterwarnings("ignore:No positive image")
def test_unmix(clip: clipsx.Clip, tmp_path: Path) -> None:
    images = Subset(WORLD, range(0, 12, 2), "even samples")
    got = unmix.gather(clip, images, folder=tmp_path / "features")
    options = {"epochs": 2, "lr": 1e-3, "batch": 4}
    panel = UnmixPanel(clip, got, got, WORLD, out=tmp_path, image=3, **options)
    assert_runs_alone(panel, tmp_path)  # nothing is trained yet
    panel.start()
    try:
        panel.stop()
        assert panel.wait(120)
        assert_runs_alone(panel, tmp_path)  # stopped on the way
        panel.start()
        assert panel.wait(120)
        code = assert_runs_alone(panel, tmp_path)
        assert code == panel._code.code
        panel.restore({"lr": 1e-4})  # dials for another run: the code makes the one that is shown
        assert panel.wait(60) and repr(panel.run) in panel.code()
    finally:
        panel.reset()
        assert panel.wait(60)
    assert np.isfinite(mfi.mean_off_diagonal(panel.training.now.after))
