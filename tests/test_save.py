"""Files to take away: whole, saying where they come from, or not there at all."""

import errno
import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from clipsx import save
from helpers import full_disk

ABOUT = {"model": "toy", "weights": "sha256:1a2b3c4d", "image_size": "64×48", "cost": "$5 or $6", "tau": None}
TABLE = pd.DataFrame({"method": ["clip", "maskclip"] * 2, "msc": [1.0, 2.0, 3.0, float("nan")]})


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def small() -> Figure:
    figure, ax = plt.subplots(figsize=(2, 1))
    ax.plot([0, 1])
    return figure


def test_a_saved_figure_says_what_made_it(tmp_path: Path) -> None:
    figure = small()
    files = save.figure(figure, tmp_path / "new", "maps", ABOUT)
    assert not (tmp_path / "new" / "captions.md").exists()  # no caption is known for it
    names = [f"maps.{form}" for form in save.FORMATS]
    assert [f.name for f in files] == names == sorted(f.name for f in (tmp_path / "new").iterdir())
    words = "model toy · weights sha256:1a2b3c4d · image_size 64×48 · cost $5 or $6"
    with Image.open(files[1]) as png:
        assert png.info["Description"] == words and png.info["Title"] == "maps"
        with_footer = png.size
    pdf = files[0].read_bytes()
    assert pdf.startswith(b"%PDF") and b"%%EOF" in pdf[-8:]
    assert b"sha256:1a2b3c4d" in pdf or "sha256:1a2b3c4d".encode("utf-16-be") in pdf
    assert not figure.texts  # the footer is gone again
    bare, numbers = save.figure(figure, tmp_path, "bare", {}, formats=["png"], numbers=TABLE)
    with Image.open(bare) as png:
        assert png.height < with_footer[1]
    assert numbers.name == "bare.csv" and len(pd.read_csv(numbers)) == len(TABLE)


def test_nothing_half_written_remains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figure = small()
    save.figure(figure, tmp_path, "maps", ABOUT, formats=["png"])
    before = (tmp_path / "maps.png").read_bytes()

    def breaks(_: object, target: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", breaks)
    with pytest.raises(OSError, match="disk full"):
        save.figure(figure, tmp_path, "maps", ABOUT, formats=["png"])
    assert [f.name for f in tmp_path.iterdir()] == ["maps.png"] and (tmp_path / "maps.png").read_bytes() == before
    assert not figure.texts
    with pytest.raises(OSError, match="disk full"):
        save.table(TABLE, tmp_path, "table")
    assert [f.name for f in tmp_path.iterdir()] == ["maps.png"]


def test_a_saved_table_comes_back(tmp_path: Path) -> None:
    table = TABLE.assign(name=["a, b", 'c "d"', "é", "f"])
    file = save.table(table, tmp_path / "new", "table")
    assert file == tmp_path / "new" / "table.csv" and b"\r" not in file.read_bytes()
    pd.testing.assert_frame_equal(pd.read_csv(file), table, check_dtype=False)
    save.table(table.iloc[:1], tmp_path / "new", "table")  # over the old one
    assert len(pd.read_csv(file)) == 1 and len(list(file.parent.iterdir())) == 3
    tex, md = (file.with_suffix(ending).read_text() for ending in (".tex", ".md"))
    assert "\\toprule" in tex and "a, b" in tex and md.startswith("| method | msc | name |\n| --- |")
    assert save.table(pd.concat([table] * 100), tmp_path, "long").exists() and len(list(tmp_path.iterdir())) == 2


OUTSIDE = ["../x", "/x", "a/b", "a\\b", "..", ".", "", " ", "nul\0", "line\nbreak", "hf-hub:owner/model"]


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_name_cannot_leave_its_folder(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot name a file"):
        save.table(TABLE, tmp_path / "out", name)
    with pytest.raises(ValueError, match="cannot name a file"):
        save.figure(small(), tmp_path / "out", name, ABOUT)
    assert list(tmp_path.iterdir()) == []


def test_a_name_too_long_is_said_in_words(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="xxx… is too long for the disk of"):
        save.table(TABLE, tmp_path, "x" * 300)
    assert list(tmp_path.iterdir()) == []
    assert save.table(TABLE, tmp_path, "é" * 120).exists()  # 244 bytes


def test_a_place_where_nothing_may_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(self: Path, *_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "mkdir", closed)
    with pytest.raises(OSError, match=r"a\.csv cannot be written in .*out \(Permission denied\): choose another place"):
        save.table(pd.DataFrame({"a": [1]}), tmp_path / "out", "a")


def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("old")
    with full_disk(), pytest.raises(OSError, match=r"is full: table\.csv was not written"):
        save.table(pd.concat([TABLE] * 1000), tmp_path, "table")
    assert [f.name for f in tmp_path.iterdir()] == ["table.csv"] and (tmp_path / "table.csv").read_text() == "old"


def test_what_made_a_figure_stands_below_its_legend(tmp_path: Path) -> None:
    figure, ax = plt.subplots(figsize=(3, 2), layout="constrained")
    ax.plot([0, 1], label="a line")
    figure.legend(loc="outside lower center", facecolor="magenta", framealpha=1)
    save.figure(figure, tmp_path, "a", {"model": "tiny"}, formats=("png",))
    plt.close(figure)
    pixels = np.asarray(Image.open(tmp_path / "a.png").convert("RGB"), int)  # (H, W, 3)
    legend = np.flatnonzero((pixels == (255, 0, 255)).all(axis=-1).any(axis=1))
    below = pixels[legend.max() + 4 :]
    assert (below.max(axis=(1, 2)) - below.min(axis=(1, 2)) > 100).any()  # the words
    assert legend.max() - legend.min() > 15 and figure.get_layout_engine() is not None
