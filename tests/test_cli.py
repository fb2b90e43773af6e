"""The command line: explain on any model, and mistakes answered in one line."""

from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from clipsx.cli import main
from clipsx.load import built_in
from helpers import noise


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    noise(60, 90).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def refused(capsys: pytest.CaptureFixture[str], *argv: object) -> str:
    """The one line that a mistaken call is answered with."""
    assert main([str(a) for a in argv]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("clipsx: ")
    assert said.err.count("\n") == 1
    return said.err


def test_explain(photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", str(photo), "--labels", "cat, boat,fish", "--out", str(tmp_path / "out")]) == 0
    paths = [Path(line) for line in capsys.readouterr().out.splitlines()]
    assert sorted(path.suffix for path in paths) == [".csv", ".pdf", ".png"]
    table = pd.read_csv(next(path for path in paths if path.suffix == ".csv"))
    assert table.label.tolist() == ["cat", "boat", "fish"]
    assert table.model.unique().tolist() == ["sketchbook"]
    assert {"weights", "data", "image_size", "templates", "method", "surgery", "protocol"} <= set(table)
    assert table.peak_x.between(0, 89).all()
    assert table.peak_y.between(0, 59).all()
    assert table.area.between(0, 1).all()
    with Image.open(next(path for path in paths if path.suffix == ".png")) as figure:
        assert figure.width > figure.height


@pytest.mark.parametrize("options", [["--method", "clip", "--no-surgery"], ["--form", "paper", "--size", "128"]])
def test_explain_one_label_and_options(options: list[str], photo: Path, tmp_path: Path) -> None:
    assert main(["explain", str(photo), "--labels", "cat", "--out", str(tmp_path / "out"), *options]) == 0
    (table,) = [pd.read_csv(path) for path in (tmp_path / "out").glob("*.csv")]
    assert not table.constant.any()


def test_explain_a_resnet(photo: Path, tmp_path: Path) -> None:
    if "sketchbook-rn" not in built_in():
        pytest.skip("no built-in ResNet in data/")
    call = ["explain", str(photo), "--labels", "cat, boat", "--model", "sketchbook-rn", "--out", str(tmp_path / "out")]
    assert main(call) == 0


def test_explain_photographs(voc: Path, tmp_path: Path) -> None:
    photos = sorted(str(path) for path in (voc / "VOC2012" / "JPEGImages").glob("*.jpg"))[:2]
    assert main(["explain", *photos, "--labels", "person, car", "--out", str(tmp_path)]) == 0
    assert len(list(tmp_path.glob("*.pdf"))) == 2


def test_mistakes(photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def explain(*options: object) -> str:
        return refused(capsys, "explain", photo, "--out", tmp_path / "out", *options)

    assert "blank" in explain("--labels", "cat, ,boat")
    assert "clip-surgery" in explain("--labels", "cat", "--method", "clip-surgry")
    assert "sketchbook" in explain("--labels", "cat", "--model", "sketchbok")
    assert "depth" in explain("--labels", "cat", "--depth", "99")
    assert "nothing.png" in refused(capsys, "explain", tmp_path / "nothing.png", "--labels", "cat")
    (tmp_path / "text.jpg").write_text("not a picture")
    assert "not a picture" in refused(capsys, "explain", tmp_path / "text.jpg", "--labels", "cat")
    assert "01_" in refused(capsys, "reproduce", "77", "--out", tmp_path / "out")
    assert "voc" in refused(capsys, "reproduce", "--dataset", "voc2021", "--out", tmp_path / "out").lower()
    (tmp_path / "file").touch()
    assert "file" in refused(capsys, "explain", photo, "--labels", "cat", "--out", tmp_path / "file")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("argv", [[], ["explain"], ["paint"], ["evaluate", "--images", "0"]])
def test_usage(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(argv)
    assert left.value.code == 2
    assert "usage" in capsys.readouterr().err


def test_evaluate(tmp_path: Path) -> None:
    assert main(["evaluate", "--images", "4", "--methods", "clip, clip-surgery", "--out", str(tmp_path)]) == 0
    table = pd.read_csv(tmp_path / "evaluation.csv")
    assert set(table.method) == {"clip", "clip-surgery"}
    assert {"model", "weights", "data"} <= set(table)
    assert "protocol" in pd.read_csv(tmp_path / "evaluation-summary.csv")


def test_lab_copies_with_parameters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = []
    monkeypatch.setattr("os.execve", lambda path, argv, env: started.append((Path.cwd(), argv)))
    monkeypatch.chdir(tmp_path)
    with pytest.MonkeyPatch.context():
        main(["lab", "--images", "3", "--", "--no-browser"])
    folder, argv = started[0]
    assert folder == tmp_path / "clipsx-notebooks"
    assert argv[-1] == "--no-browser"
    assert all("IMAGES = 3" in path.read_text() for path in folder.glob("*.ipynb"))
    assert list(folder.glob("*.ipynb"))
