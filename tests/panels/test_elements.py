"""What is sent to the browser: outlines, thumbnails, whole files."""

import io
from pathlib import Path

import numpy as np
import pytest
from matplotlib.path import Path as Curve
from PIL import Image

from clipsx import paths
from clipsx.datasets import Sample
from clipsx.panels.elements import Cells, Chips, Code, Gallery, Pictures, outline, thumb
from helpers import noise


def test_outline_encloses_the_mask() -> None:
    mask = np.zeros((12, 20), dtype=bool)
    mask[2:9, 0:5] = True  # touches the edge
    mask[4:6, 12:18] = True
    y, x = np.mgrid[:12, :20]
    inside = np.zeros(mask.shape, dtype=bool)
    for part in outline(mask).split("M")[1:]:
        corners = np.array([point.split() for point in part.rstrip("Z").split("L")], dtype=float)
        inside |= (
            Curve(corners).contains_points(np.column_stack([x.ravel() + 0.5, y.ravel() + 0.5])).reshape(mask.shape)
        )
    np.testing.assert_array_equal(inside, mask)


def test_outline_of_nothing() -> None:
    assert outline(np.zeros((4, 4), dtype=bool)) == ""


def test_thumbnails_are_small_pictures() -> None:
    entry = thumb(3, Sample(noise(300, 500), ()))
    image = Image.open(io.BytesIO(entry["bytes"]))
    assert max(image.size) == 112
    assert entry["name"] == "sample 3"


def test_write_leaves_nothing_half_done(tmp_path: Path) -> None:
    paths.write_whole(tmp_path / "new" / "file.bin", b"whole")
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["file.bin"]
    with pytest.raises(OSError, match=r"exists|directory"):
        paths.write_whole(tmp_path / "new" / "file.bin" / "below", b"")


@pytest.mark.parametrize("kind", [Gallery, Chips, Pictures, Code, Cells])
def test_widgets_carry_their_own_script_and_style(kind: type) -> None:
    widget = kind()
    assert "export default" in widget._esm
    assert "http" not in widget._esm  # nothing is fetched
    assert ".clipsx" in widget._css
