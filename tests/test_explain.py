"""One picture explained: what is asked, what is refused, and what its files are called."""

import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from PIL import Image

import clipsx
from clipsx.cli import main
from clipsx.explain import asked, explain, file_name
from clipsx.reading import readings
from helpers import noise, tiny_clip, unchecked

FILES = {"words.txt": "cat\n\nboat, ship\n# no label\nperson\n", "empty.txt": "\n", "latin.txt": b"\xe9t\xe9\n"}


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("cat", ["cat"]),
        (" cat ,boat", ["cat", "boat"]),
        ('cat, "boat, sailing"', ["cat", "boat, sailing"]),
        ('"a ""big"" dog",cat', ['a "big" dog', "cat"]),
        ("cat\nboat, fish\n", ["cat", "boat", "fish"]),
        ("cat, boat, cat", ["cat", "boat"]),
        ('"@home", cat', ["@home", "cat"]),
        ("5'2\", cat", ["5'2\"", "cat"]),
        ("Öl, 猫", ["Öl", "猫"]),
        ("@words.txt", ["cat", "boat", "person"]),
    ],
)
def test_labels_from_one_text(text: str, labels: list[str], files: Path) -> None:
    assert asked(text) == labels


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "blank"), (" ", "blank"), ("cat,", "blank"), ("cat, ,boat", "blank"), ('cat, ""', "blank"),
        ('cat, "boat', "not understood"), ('"cat" boat', "not understood"), ("cat\n\nboat,", "blank"),
        ("@nothing.txt", "nothing.txt"), ("@", "''"), ("@.", "'.'"), ("@empty.txt", "empty.txt"),
        ("@latin.txt", "latin.txt"), ("@nul\0", "nul"),
    ],
)  # fmt: skip
def test_labels_that_are_refused(text: str, words: str, files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises((ValueError, OSError), match=words):
        asked(text)
    noise(9, 9).save("x.png")
    assert main(["explain", "x.png", "--labels", text]) == 2
    said = capsys.readouterr().err
    assert "--labels" in said and words in said and said.count("\n") == 1
    assert not Path("out").exists()


NO_SHARES = [-0.1, 1.1, math.nan, math.inf, -math.inf, "0.5", None]


@pytest.mark.parametrize("value", NO_SHARES)
def test_a_threshold_out_of_range(value: Any) -> None:
    clip = tiny_clip()
    with unchecked():
        with pytest.raises(ValueError, match="threshold must be"):
            explain(clip, noise(9, 9), ["cat", "boat"], threshold=value)
        with pytest.raises(ValueError, match="threshold must be"):
            clipsx.points_from_map(torch.rand(4, 4), (8, 8), value)


@pytest.mark.parametrize("size", [0, -1, 0.5, math.nan, math.inf, 100_000, (8, 0), (8, math.nan), "64"])
def test_a_size_out_of_range(size: Any) -> None:
    with unchecked(), pytest.raises(ValueError, match=r"size must be a whole number|A size of .* memory"):
        explain(tiny_clip(), noise(9, 9), ["cat", "boat"], size=size)


@pytest.mark.parametrize("option", ["threshold", "opacity", "size"])
@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "-1", "1e400", "x", "", "100000"])
def test_options_out_of_range(option: str, value: str, files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    noise(9, 9).save("x.png")
    try:
        code = main(["explain", "x.png", "--labels", "cat", f"--{option}={value}"])
    except SystemExit as left:
        code = left.code
    said = capsys.readouterr().err
    assert code == 2 and option in said.lower() and said.count("\n") == 1
    assert value in said.replace(",", "") and not Path("out").exists()


def test_one_text_is_no_list_of_labels() -> None:
    with unchecked(), pytest.raises(TypeError, match=r"\['cat'\]"):
        explain(tiny_clip(), noise(9, 9), "cat")


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1)])
def test_the_smallest_pictures(size: tuple[int, int]) -> None:
    maps, table = explain(tiny_clip(), noise(*size), ["cat", "boat"], ["clip", "clip+code"])
    assert len(maps) == 2 and len(table) == 4
    assert table["peak_y"].between(0, size[0] - 1).all() and table["peak_x"].between(0, size[1] - 1).all()


def test_the_name_of_files_tells_apart_and_fits_the_disk() -> None:
    one, many = noise(9, 9), readings(",".join(f"clip-surgery+code(tau={n})" for n in range(40)))
    paths = ["x.png", "a/x.png", "x.jpg", f"{'é' * 120}.png", f"{'猫' * 80}.png"]
    names = {file_name(path, photo, many, k) for path in paths for photo in (one, noise(9, 9, 1)) for k in (1, 2)}
    assert len(names) == 4 * len(paths) and max(len(name.encode()) for name in names) < 200
    assert file_name("x.png", one, many, 1) in names


@pytest.mark.slow
def test_every_explanation_keeps_its_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Pictures of one stem, other labels and settings, another picture in one place; the same again is the same."""
    pictures = [tmp_path / name for name in ("a/x.png", "b/x.png", "x.png", "x.bmp", f"{'n' * 240}.png")]
    for picture in pictures:
        picture.parent.mkdir(exist_ok=True)
        noise(9, 9).save(picture)

    def explained(those: list[Path], *options: str) -> set[str]:
        call = ["explain", *map(str, those), "--out", str(tmp_path / "out"), "--reading", "clip", "--size", "16"]
        assert main([*call, "--labels", *options]) == 0
        return set(capsys.readouterr().out.split())

    first, two = explained(pictures, "cat"), pictures[:2]
    kinds = {".pdf", ".png", ".svg", ".csv"}
    assert len(first) == len(kinds) * len(pictures)
    seen = set(first)
    for options in (["cat,dog"], ["cat", "--threshold", "0.4"], ["cat", "--opacity", "0"], ["cat", "--size", "32"]):
        found = explained(two, *options)
        assert len(found) == len(kinds) * len(two) and not found & seen
        seen |= found
    assert explained(two, "cat") < first
    Image.new("RGB", (9, 9)).save(pictures[0])
    assert len(explained(two, "cat") - first) == len(kinds)
    written = [file for file in (tmp_path / "out").iterdir() if file.suffix in kinds]
    assert len(written) == len(seen) + len(kinds)
    assert {pd.read_csv(file).shape[0] for file in first if file.endswith(".csv")} == {1}


@pytest.mark.slow
def test_a_picture_with_an_odd_name(tmp_path: Path) -> None:
    odd = tmp_path / "line\nbreak\udcffé.png"
    noise(9, 9).save(tmp_path / "x.png")
    (tmp_path / "x.png").rename(odd)
    assert main(["explain", str(odd), "--labels", "cat", "--out", str(tmp_path / "out"), "--size", "16"]) == 0
    assert all(file.name.startswith("line_break�é-clip-surgery+code-") for file in (tmp_path / "out").glob("*.p*"))


def test_maps_that_need_the_texts_are_explained_beside_others() -> None:
    clip = tiny_clip()
    maps, table = explain(clip, noise(64, 64), ["cat", "boat"], "legrad, clip", templates="photo")
    assert [str(reading) for reading in maps] == ["legrad", "clip"]
    assert all(map.shape == (1, 4, 4, 2) and float(map.max()) == 1 for map in maps.values())
    assert table["cosine"].tolist()[:2] == table["cosine"].tolist()[2:]  # of the class feature, whatever the reading
    assert set(table["authority"]) == {"released code"}
    with pytest.raises(ValueError, match="'legrad' has no features of patches: leave feature surgery out"):
        explain(clip, noise(64, 64), ["cat", "boat"], "legrad+code", templates="photo")
