"""Words in figures: whatever they hold, the figure is drawn without a warning and without a formula."""

import logging
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from clipsx import plots
from clipsx.datasets import Sample

WORDS = [
    "$x$", r"a$\frac$b$", "a\nb\t\x07", "猫", "قطة", "बिल्ली", "🐱 👩‍👧", '"<b>\'\\n{x}%', "long " * 60,
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("words", WORDS, ids=ascii)
def test_every_function_draws_any_words(words: str, tmp_path: Path) -> None:
    image, table = Image.new("RGB", (8, 6)), pd.DataFrame(np.eye(2), [words, "$b$"], [words, "$b$"])
    rows = pd.DataFrame(
        {"method": [words, "b"], "hue": ["c", words], "v": [1.0, 2.0], "v_low": [0, 1], "v_high": [2, 3]}
    )
    _, axes = plots.row(5, width=30, height=5)
    plots.overlay(image, np.zeros((6, 8)), axes[0], title=words)
    plots.heatmap(table, axes[1])
    plots.matrix(table, axes[2], name=words[:20])
    plots.intervals(rows, "v", "method", axes[3], "hue")
    axes[4].set_title(words[:20])
    plots.plain(axes[4])
    for figure in (axes[0].figure, plots.sheet([[plots.Cell(image, title=words)]])):
        assert isinstance(figure, Figure)
        for form in ("png", "pdf", "svg"):
            figure.savefig(tmp_path / f"words.{form}")
    assert words[0] in '$aقब"l🐱' or axes[0].get_title()[0] == "□"
    plt.close("all")


def test_what_no_font_has_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            plots.overlay(Image.new("RGB", (4, 4)), np.zeros((4, 4)), plt.gca(), title="\U000f1234")
    assert [record.message.count("boxes stand for it") for record in caplog.records] == [1]
    plt.close("all")


def test_a_large_picture_is_reduced_with_its_masks() -> None:
    mask = np.zeros((1200, 1600), bool)
    mask[300:600, 400:800] = True
    small = plots.reduced(Sample(Image.new("RGB", (1600, 1200)), ("cat",), {"cat": mask}, name="x"))
    assert small.size == (800, 600) and small.image.size == (800, 600) and small.name == "x"
    assert small.masks["cat"].mean() == mask.mean() and small.masks["cat"][150:300, 200:400].all()
    assert plots.reduced(small) is small


def test_a_table_to_be_shown_is_in_words() -> None:
    table = pd.DataFrame({"reading": ["clip", "clip-surgery+code"], "surgery": ["none", "code"], "value": [1.25, 2.0]})
    shown = plots.worded(table)
    assert shown["reading"].tolist() == ["CLIP", "CLIP Surgery + feature surgery"]
    assert shown["surgery"].tolist() == ["no feature surgery", "feature surgery"]
    assert shown["value"].tolist() == [1.2, 2.0] and plots.worded(table, 2)["value"][0] == 1.25
