"""Every shipped notebook is thin, clean and runs, through the function that `make reproduce` uses."""

import re
from pathlib import Path

import nbformat
import pytest

from clipsx import captions
from clipsx.datasets import Sketchbook
from clipsx.reproduce import find, inject, run

IMAGES = 8
MOST_LINES = 40
NOTEBOOKS = find()
WITHOUT = {"01": "masks", "06": "labels"}  # that are run on pictures without labels, and what they need


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_thin_and_clean(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")  # that of parameters as well
    lines = [line for line in code.splitlines() if line.strip() and not line.strip().startswith("#")]
    assert len(lines) <= MOST_LINES, f"{len(lines)} lines of code: move some into the package"
    assert not any(re.match(r"\s*(def|class)\b", line) for line in lines), "a notebook only calls the package"
    assert all(not cell.get("outputs") and cell.get("execution_count") is None for cell in notebook.cells)
    assert notebook.metadata.kernelspec.name == "python3"
    assert notebook.cells[0].cell_type == "markdown"
    assert notebook.cells[0].source.startswith("# ")
    # Exported pages carry no MathJax: formulas are written in plain text.
    assert not any("$" in cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    for saved in re.findall(r'(?:save\.figure\(.*?OUT, |save_figure\(name=)"(\w+)"', "\n".join(lines)):
        panel = {"00_start_here", "03_clip_surgery_live", "04_similarity", "05_behind_a_cell", "06_unmix",
                 "12_text_to_mask"}  # fmt: skip
        assert saved in panel or captions.of(saved), f"clipsx/captions.toml says nothing about {saved}"
    names = {"MODEL", "PRETRAINED", "DATASET", "ROOT", "IMAGES", "OUT"}
    tagged = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ())]
    assert len(tagged) == 1
    assert names <= set(re.findall(r"^(\w+) =", tagged[0].source, re.MULTILINE))
    inject(notebook, {"IMAGES": 1})


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_runs(path: Path, tmp_path: Path) -> None:
    few = {"IMAGES": IMAGES, "TRAIN": 48, "LABELS": ["sketchbook", "voc-20"]}
    result = run(path, tmp_path, few, timeout=300)
    assert result.errors == []
    page = result.page.read_text(encoding="utf-8")
    assert re.search(r"<(?:script|link|img|iframe)\b[^>]*(?:src|href)\s*=\s*[\"']?(?:https?:)?//", page) is None
    assert "data:image/png;base64," in page, "a notebook shows a picture"
    for file in result.files:
        assert file.stat().st_size > 0
        assert file.suffix != ".png" or file.with_suffix(".pdf").exists()


@pytest.mark.slow
@pytest.mark.parametrize("path", [path for path in NOTEBOOKS if path.stem[:2] in WITHOUT], ids=lambda path: path.stem)
def test_pictures_without_labels_or_masks(path: Path, tmp_path: Path) -> None:
    """What needs them is left out, with a word; the rest runs."""
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for sample in Sketchbook(seed=3, length=4):
        sample.image.save(pictures / f"{sample.name}.png")
    given = {"DATASET": "folder", "ROOT": str(pictures), "IMAGES": 4, "TRAIN": 4}
    out = tmp_path / "out"
    out.mkdir()
    result = run(path, out, given, timeout=300)
    assert result.errors == []
    said = re.findall(r"Left out: it needs (\w+)", result.page.read_text(encoding="utf-8"))
    assert set(said) == {WITHOUT[path.stem[:2]]}


@pytest.mark.slow
@pytest.mark.parametrize("path", [path for path in NOTEBOOKS if path.stem.startswith("08")], ids=lambda p: p.stem)
def test_photographs(path: Path, tmp_path: Path) -> None:
    """Of few pictures a notebook says how many there are, and goes on; one stands for all."""
    result = run(path, tmp_path, {"DATASET": "photographs", "IMAGES": 20, "TRAIN": 20}, timeout=300)
    assert result.errors == []
    halves = "tuning_and_test" in path.read_text(encoding="utf-8")
    assert ("5 to tune or train on, 5 to report on" in result.page.read_text(encoding="utf-8")) == halves
