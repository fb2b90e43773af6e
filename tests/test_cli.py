"""The command line: explain and evaluate on any model, one way to state it, and what each kind of end exits with."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from PIL import Image

import official
from clipsx import cli, options, parser, paths
from clipsx.cli import main
from clipsx.clip import Clip
from clipsx.datasets import LAYOUTS, labels_of, tuning_and_test
from clipsx.evaluation.tasks import TASKS, evaluate
from clipsx.load import built_in
from clipsx.reproduce import parameters
from helpers import from_terminal, noise, tiny_clip

TWO = "clip, clip-surgery@3+code"


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    noise(60, 90).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def refused(capsys: pytest.CaptureFixture[str], *argv: object) -> str:
    """The one line that a mistaken call is answered with."""
    try:
        code = main([str(a) for a in argv])
    except SystemExit as left:
        code = left.code
    said = capsys.readouterr()
    assert code == 2
    assert said.out == ""
    assert said.err.startswith("clipsx")
    assert said.err.count("\n") == 1
    return said.err


@pytest.mark.slow
def test_explain(photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call = ["explain", str(photo), "--labels", "cat, boat,fish", "--reading", TWO, "--out", str(tmp_path / "out")]
    assert main(call) == 0
    files = [Path(line) for line in capsys.readouterr().out.splitlines()]
    assert sorted(file.suffix for file in files) == [".csv", ".pdf", ".png", ".svg"]
    table = pd.read_csv(next(file for file in files if file.suffix == ".csv"), keep_default_na=False)
    assert table.label.tolist() == ["cat", "boat", "fish"] * 2
    assert table.reading.unique().tolist() == ["clip", "clip-surgery@3+code"]
    assert table.depth.astype(str).unique().tolist() == ["", "3.0"]
    assert table.model.unique().tolist() == ["sketchbook"]
    assert table.data.unique().tolist() == ["photo.png"]
    assert {"weights", "image_size", "templates", "method", "surgery", "tau", "protocol"} <= set(table)
    assert table.peak_x.between(0, 89).all() and table.peak_y.between(0, 59).all() and table.area.between(0, 1).all()
    with Image.open(next(file for file in files if file.suffix == ".png")) as figure:
        assert figure.width > figure.height


@pytest.mark.slow
def test_explain_one_label_and_options(photo: Path, tmp_path: Path) -> None:
    options = ["--reading", "clip-surgery+paper(tau=1)", "--size", "128", "--threshold", "0.3", "--opacity", "1"]
    assert main(["explain", str(photo), "--labels", "cat", "--out", str(tmp_path / "out"), *options]) == 0
    (table,) = [pd.read_csv(path) for path in (tmp_path / "out").glob("*.csv")]
    assert table.reading.tolist() == ["clip-surgery+paper(tau=1)"]
    assert table.image_size.tolist() == ["128×128"]
    assert "against the empty label" in table.protocol[0] and "0.3" in table.protocol[0]
    assert not table.constant.any()


@pytest.mark.slow
def test_explain_a_resnet(photo: Path, tmp_path: Path) -> None:
    if "sketchbook-rn" not in built_in():
        pytest.skip("no built-in ResNet in data/")
    call = ["explain", str(photo), "--labels", "cat, boat", "--model", "sketchbook-rn", "--out", str(tmp_path / "out")]
    assert main(call) == 0


def test_explain_photographs(voc: Path, tmp_path: Path) -> None:
    photos = sorted(str(path) for path in (voc / "VOC2012" / "JPEGImages").glob("*.jpg"))[:2]
    assert main(["explain", *photos, "--labels", "person, car", "--out", str(tmp_path)]) == 0
    assert len(list(tmp_path.glob("*.pdf"))) == 2


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_evaluate_and_go_on(
    task: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    call = ["evaluate", "--images", "3", "--readings", TWO, "--task", task, "--out", str(tmp_path)]
    call += [] if task == "explain" else ["--pictures", "0"]
    assert main(call) == 0 and (tmp_path / "pictures.png").exists() == (task == "explain")
    shown, file = capsys.readouterr().out, tmp_path / "table.csv"
    table, first = pd.read_csv(file), file.read_bytes()
    assert table.columns[:6].tolist() == ["reading", "measure", "value", "low", "high", "n"]
    assert table.reading.unique().tolist() == ["clip", "clip-surgery@3+code"]
    assert table.measure.tolist() == list(TASKS[task]) * 2
    assert {"model", "weights", "data", "templates", "method", "depth", "surgery", "protocol"} <= set(table)
    assert (table.n == 3).all() and "clip-surgery@3+code" in shown
    assert (tmp_path / "published.csv").exists() == (task != "points"), "nobody published points by CLIP's own maps"
    parts = sorted(str(part.relative_to(tmp_path).parent) for part in tmp_path.rglob("*.parquet"))
    assert parts == (["rows"] if task == "segment" else ["rows", "tuning/rows"])
    monkeypatch.setattr(Clip, "look", lambda *_: pytest.fail("a picture was looked at again"))
    file.unlink()
    assert main(call) == 0
    assert file.read_bytes() == first
    capsys.readouterr()
    assert "another run" in refused(capsys, *call, "--images", "4")


def test_a_check_of_a_model_that_nobody_published(capsys: pytest.CaptureFixture[str]) -> None:
    call = ["evaluate", "--check", "--model", "sketchbook", "--root", paths.data() / "gallery", "--images", "1"]
    assert "Nothing was published here for sketchbook" in refused(capsys, *call)


@pytest.mark.slow
def test_the_task_of_every_reading_is_its_own_and_defaults_are_all() -> None:
    clip, halves = tiny_clip(), tuning_and_test("sketchbook", images=2)
    assert tuple(TASKS) == parser.TASKS
    table = evaluate(clip, "explain", *halves)
    expected = {name + end for name in clip.methods for end in ("", "+code")}
    assert set(table["reading"]) == expected
    assert set(evaluate(clip, "recognise", *halves)["reading"]) == {"clip", "clip+code", "clip+paper"}
    both, one = (evaluate(clip, "segment", *halves, asked).set_index("reading") for asked in ("maskclip,clip", "clip"))
    assert both.loc["clip", "value"] == one.loc["clip", "value"]
    assert (table["labels"] == len(labels_of(halves[1]))).all()


def test_every_command_takes_a_model_alike(tmp_path: Path) -> None:
    stated = ["--model", "ViT-B-16", "--pretrained", "openai", "--device", "cpu", "--precision", "bf16"]
    for argv in (["explain", "x.png", "--labels", "cat"], ["evaluate"], ["reproduce"], ["lab"]):
        options = parser.parser(cli.COMMANDS).parse_args([*argv, *stated, "--no-quickgelu", "--positions", "bilinear"])
        assert options.positions == "bilinear"
        told = (options.model, options.pretrained, options.device, options.precision, options.quickgelu)
        assert told == ("ViT-B-16", "openai", "cpu", "bf16", False)
    plain = parser.parser(cli.COMMANDS).parse_args(["reproduce", "--model", "sketchbook"])
    assert parameters(**cli._stated(plain)) == {"MODEL": "sketchbook"}
    options = parser.parser(cli.COMMANDS).parse_args(
        ["lab", *stated, "--quickgelu", "--positions", "bicubic", "--root", str(tmp_path / "x" / ".." / "y")]
    )
    own = {"device": "cpu", "precision": "bf16", "quickgelu": True, "positions": "bicubic"}
    given = {"MODEL": "ViT-B-16", "PRETRAINED": "openai", "OPTIONS": own, "ROOT": str(tmp_path / "x" / ".." / "y")}
    assert parameters(**cli._stated(options)) == given


def test_what_lies_on_disk_is_stated_by_its_whole_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "sketchbook").mkdir()
    assert parameters(model="mine", pretrained="w.safetensors", root="r") == {
        "MODEL": str(tmp_path / "mine"), "PRETRAINED": str(tmp_path / "w.safetensors"), "ROOT": str(tmp_path / "r"),
    }  # fmt: skip
    assert parameters(model="sketchbook", pretrained="openai") == {"MODEL": "sketchbook", "PRETRAINED": "openai"}


@pytest.mark.slow
def test_mistakes(photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def explain(*options: object) -> str:
        return refused(capsys, "explain", photo, "--out", tmp_path / "out", *options)

    assert "blank" in explain("--labels", "cat, ,boat")
    assert "clip-surgery" in explain("--labels", "cat", "--reading", "clip-surgry")
    assert "sketchbook" in explain("--labels", "cat", "--model", "sketchbok")
    assert "depth" in explain("--labels", "cat", "--reading", "clip-surgery@99")
    assert "cuba" in explain("--labels", "cat", "--device", "cuba")
    assert "1.5" in explain("--labels", "cat", "--threshold", "1.5")
    assert "nothing.png" in refused(capsys, "explain", tmp_path / "nothing.png", "--labels", "cat")
    (tmp_path / "text.jpg").write_text("not a picture")
    assert "not a picture" in refused(capsys, "explain", tmp_path / "text.jpg", "--labels", "cat")
    assert "01_" in refused(capsys, "reproduce", "77", "--out", tmp_path / "out")
    assert "voc" in refused(capsys, "reproduce", "--dataset", "voc2021", "--out", tmp_path / "out").lower()
    assert "sketchbook" in refused(capsys, "train", "sketchbok", "--out", tmp_path / "out")
    (tmp_path / "file").touch()
    assert "file" in refused(capsys, "explain", photo, "--labels", "cat", "--out", tmp_path / "file")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_datasets(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """All are listed; one is evaluated in another wording, by an option of its own, as the table then says."""
    monkeypatch.setenv("CLIPSX_DATA", str(official.voc2007(tmp_path)))
    assert main(["datasets"]) == 0
    shown = capsys.readouterr().out
    assert f"found in {tmp_path / 'VOCdevkit' / 'VOC2007'}" in shown and shown.count("Get ") == len(LAYOUTS) - 1
    call = ["evaluate", "--dataset", "voc2007", "--task", "recognise", "--readings", "clip", "--out", tmp_path / "out"]
    call += ["--vocabulary", "voc20.sclip", "--with", "difficult=excluded", "--limit", "1", "--pictures", "0"]
    assert main([str(word) for word in call]) == 0
    made = pd.read_csv(tmp_path / "out" / "table.csv").iloc[0]
    assert made["data"] == "voc2007 test n=2, words: voc20.sclip, difficult excluded, odd samples: 1"
    assert "; words of voc20.sclip; the best of a class's words; labels from annotations" in made["protocol"]
    capsys.readouterr()
    assert "did you mean 'voc20.sclip'" in refused(capsys, *call, "--vocabulary", "voc20.slip")
    assert "cannot be 'gone'" in refused(capsys, *call, "--with", "difficult=gone")
    assert "that is reported on" in refused(capsys, *call, "--others", "test")
    assert "no split 'train'" in refused(capsys, *call, "--others", "train")


USAGES = [
    "",
    "explain",
    "paint",
    "evaluate --images 0",
    "evaluate --task x",
    "evaluate --with x",
    "lab --precision x",
    "train",
]


def test_values_of_options_are_read_as_json() -> None:
    texts = {"seed=900": 900, "objects=[1,2]": [1, 2], "co_occurrence=0.5": 0.5, "difficult=excluded": "excluded"}
    assert {text: options.pair(text)[1] for text in texts} == texts


@pytest.mark.parametrize("call", USAGES)
def test_usage(call: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "--help" in refused(capsys, *call.split())


def ending(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> int:
    """What a command that ends with this error exits with."""

    def fail(_: object) -> int:
        raise error

    monkeypatch.setitem(cli.COMMANDS, "cache", fail)
    return main(["cache"])


MISTAKES = [ValueError("two\nlines"), FileNotFoundError("x"), ConnectionError("x"), ImportError("x needs y"), OSError()]
BUGS = [TypeError("x"), KeyError("x"), AssertionError(), RuntimeError("x"), ModuleNotFoundError("x", name="x")]


@pytest.mark.parametrize("error", MISTAKES, ids=lambda e: type(e).__name__)
def test_a_mistake_in_the_call_is_one_line(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("CLIPSX_TRACEBACK", raising=False)
    assert ending(monkeypatch, error) == 2
    said = capsys.readouterr().err
    assert said == f"clipsx: {' '.join(str(error).split()) or type(error).__name__}\n"
    monkeypatch.setenv("CLIPSX_TRACEBACK", "1")
    assert ending(monkeypatch, error) == 2
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize("error", BUGS, ids=lambda e: type(e).__name__)
def test_a_programming_error_keeps_its_traceback(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(type(error)):
        ending(monkeypatch, error)


@pytest.mark.slow
def test_a_programming_error_exits_1() -> None:
    script = "import sys, clipsx.cli as c; c.COMMANDS['cache'] = lambda _: {}[0]; sys.exit(c.main(['cache']))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 1
    assert "Traceback" in done.stderr and "KeyError: 0" in done.stderr


def test_an_interrupt_exits_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert ending(monkeypatch, KeyboardInterrupt()) == 130
    assert capsys.readouterr().err == "clipsx: interrupted\n"


@pytest.mark.slow
def test_ctrl_c_while_pictures_are_read(tmp_path: Path) -> None:
    """The whole group of processes gets the signal, as from a terminal."""
    call = ["evaluate", "--images", "5000", "--workers", "1", "--batch", "1", "--out", str(tmp_path)]
    process = from_terminal([sys.executable, "-m", "clipsx.cli", *call])
    deadline = time.monotonic() + 120
    while not list(tmp_path.rglob("*.parquet")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert said.splitlines()[-1].rpartition("\r")[2] == "clipsx: interrupted"
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("call", "words"),
    [(["--root", "x"], "takes no root"), (["--dataset", "sketchbook", "--root", "x"], "takes no root"),
     (["--dataset", "folder"], "say where"), (["--dataset", "foldr"], "did you mean 'folder'")],
)  # fmt: skip
@pytest.mark.parametrize("command", ["lab", "evaluate", "reproduce"])
def test_a_root_that_is_not_taken_is_told(
    command: str,
    call: list[str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([command, *call]) == 2
    said = capsys.readouterr().err
    assert words in said and len(said.splitlines()) == 1 and not list(tmp_path.iterdir())


def test_evaluate_goes_round_bad_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(6):
        noise(16, 16, number).save(tmp_path / f"{number}.jpg")
        (tmp_path / f"{number}.txt").write_text("cat" if number % 4 < 2 else "dog")
    (tmp_path / "2.jpg").write_bytes(b"")
    (tmp_path / "3.jpg").write_text("hello")
    call = ["evaluate", "--dataset", "folder", "--root", str(tmp_path), "--task", "recognise", "--readings", "clip"]
    call += ["--pictures", "0"]
    with pytest.warns(UserWarning, match=r"1 of 3 pictures cannot be read and is left out: [23]\.jpg"):
        assert main([*call, "--out", str(tmp_path / "out")]) == 0
    assert set(pd.read_csv(tmp_path / "out" / "table.csv")["data"].str[-34:]) == {", 1 of 3 left out (cannot be read)"}


def test_lab_copies_with_parameters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = []

    def start(_: str, argv: list[str], __: object) -> None:
        started.append((Path.cwd(), argv))
        raise SystemExit

    monkeypatch.setattr("os.execve", start)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        main(["lab", "--images", "3", "--device", "cpu", "--", "--no-browser"])
    folder, argv = started[0]
    assert folder == tmp_path / "clipsx-notebooks"
    assert argv[-1] == "--no-browser"
    notebooks = [nbformat.read(path, as_version=4) for path in folder.glob("*.ipynb")]
    assert notebooks
    for notebook in notebooks:
        (cell,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ())]
        assert cell.source.endswith("\nOPTIONS = {'device': 'cpu'}\nIMAGES = 3")
