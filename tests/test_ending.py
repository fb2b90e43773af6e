"""Commands that end early: Ctrl-C at any moment, a reader that leaves, a full disk, a terminal with few letters."""

import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from clipsx import cli, paths
from clipsx.cli import main
from clipsx.ending import printing
from helpers import from_terminal, noise

TRAINS = """import pathlib, sys
from clipsx import cli
from clipsx.sketchbook.training import RECIPES, loop
from clipsx.sketchbook.training.recipes import Recipe, Stage
loop.REPORT = 1
vision = {"image_size": 16, "layers": 1, "width": 16, "head_width": 8, "patch_size": 8}
text = {"context_length": 32, "width": 16, "heads": 2, "layers": 1}
stages = [Stage(80000, n, (1, k), alone=1.0, colours=0.0, ground=0.0) for n, k in ((16, 1), (200000, 2), (300000, 3))]
RECIPES["tiny"] = Recipe({"embed_dim": 16, "vision_cfg": vision, "text_cfg": text}, tuple(stages), batch=8)
sys.exit(cli.main(["train", "tiny", "--threads", "1", "--out", "out", "--work", "work/tiny"]))"""
IMPORTING = """import builtins, sys
real, seen = builtins.__import__, []
def told(name, *rest, **more):
    if name.partition(".")[0] == sys.argv[1] and not seen:
        seen.append(name)
        open("importing", "w").close()
    return real(name, *rest, **more)
builtins.__import__ = told
from clipsx import cli
sys.exit(cli.main(["explain", "x.png", "--labels", "cat"]))"""
CLI = ["-m", "clipsx.cli"]


def any_of(*patterns: str) -> Callable[[Path], bool]:
    return lambda folder: any(list(folder.glob(pattern)) for pattern in patterns)


MOMENTS: Mapping[str, tuple[list[str], Callable[[Path], bool]]] = {
    "torch is imported": (["-c", IMPORTING, "torch"], any_of("importing")),
    "numpy is imported": (["-c", IMPORTING, "numpy"], any_of("importing")),
    "pandas is imported": (["-c", IMPORTING, "pandas"], any_of("importing")),
    "open_clip is imported": (["-c", IMPORTING, "open_clip"], any_of("importing")),
    "pictures are explained": (
        [*CLI, "explain", *["x.png"] * 500, "--labels", "cat", "--out", "out"],
        any_of("out/*.csv"),
    ),
    "rows are written": (
        [*CLI, "evaluate", "--images", "900", "--readings", "clip", "--out", "out"],
        any_of("out/**/*.parquet"),
    ),
    "a pool is drawn": (["-c", TRAINS], any_of("work/pools/.*.part")),
    "it trains": (["-c", TRAINS], any_of("work/tiny/checkpoint.pt")),
    "a cell is measured": (
        [*CLI, "lab-measure", str(paths.data() / "sketchbook-random"), "--images", "5000"],
        any_of("cache/labels/*"),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("moment", "group"),
    [*((moment, True) for moment in MOMENTS), ("rows are written", False), ("a pool is drawn", False)],
    ids=lambda value: {True: "as from a terminal", False: "one process"}.get(value, value),
)
def test_ctrl_c(moment: str, group: bool, tmp_path: Path) -> None:
    noise(40, 40).save(tmp_path / "x.png")
    argv, reached = MOMENTS[moment]
    environment = os.environ | {"CLIPSX_CACHE": str(tmp_path / "cache"), "PYTHONPATH": str(paths.PACKAGE.parent)}
    process = from_terminal([sys.executable, *argv], cwd=tmp_path, env=environment)
    deadline = time.monotonic() + 120
    while not reached(tmp_path) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    (os.killpg if group else os.kill)(process.pid, signal.SIGINT)
    said = process.communicate(timeout=60)[1]
    lines = [line for line in said.splitlines() if line.strip() and "picture" not in line]  # without bars of progress
    assert (process.returncode, lines) == (130, ["clipsx: interrupted"])
    assert not list(tmp_path.rglob(".*.part"))
    assert subprocess.run(["pgrep", "-g", str(process.pid)], capture_output=True).returncode == 1  # nothing lives on


def run(tmp_path: Path, command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    own = {"CLIPSX": f"{sys.executable} -m clipsx.cli", "PYTHONPATH": str(paths.PACKAGE.parent)}
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, cwd=tmp_path,
        env=os.environ | own | environment,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "unbuffered"),
    [("--help", ""), ("--help", "1"), ("cache", ""), ("cache", "1"), ("explain x.png --labels cat,boat --size 16", "")],
)
def test_a_reader_that_leaves(command: str, unbuffered: str, tmp_path: Path) -> None:
    noise(40, 40).save(tmp_path / "x.png")
    done = run(tmp_path, f"$CLIPSX {command} | true", PYTHONUNBUFFERED=unbuffered)
    assert done.returncode in (0, 141) if command == "--help" else done.returncode == 141
    assert done.stderr == ""


@pytest.mark.slow
def test_words_that_cannot_be_written(tmp_path: Path) -> None:
    done = run(tmp_path, "$CLIPSX cache > /dev/full")
    assert (done.returncode, done.stderr) == (2, "clipsx: No space left on device\n")


@pytest.mark.slow
@pytest.mark.parametrize("own", [{"LC_ALL": "C"}, {"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}])
def test_a_terminal_with_few_letters(own: dict[str, str], tmp_path: Path) -> None:
    noise(40, 40).save(tmp_path / "x.png")
    if "PYTHONUTF8" in own:  # those that come nearest to such a terminal
        done = run(tmp_path, "$CLIPSX explain x.png --labels 'Öl, boat' --size 16 --reading clip+code", **own)
        assert (done.returncode, done.stderr) == (0, "")
    done = run(tmp_path, "$CLIPSX explain x.png --labels 'Öl,' --threshold ×", **own)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "Traceback" not in done.stderr


def test_a_warning_is_a_line() -> None:
    with printing():
        assert warnings.formatwarning("no code", UserWarning, "file.py", 3) == "clipsx: no code\n"
    assert "file.py" in warnings.formatwarning("code", UserWarning, "file.py", 3)


def test_nothing_heavy_is_imported_before_a_command_runs() -> None:
    script = "import sys, clipsx.cli; print({'torch', 'numpy', 'pandas', 'PIL'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_an_interrupt_is_heard_whatever_libraries_make_of_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As another error, and where Python drops what is raised."""

    class Dropped:
        def __del__(self) -> None:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1)

    def wrapped(_: object) -> int:
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(10)
        except KeyboardInterrupt:
            raise ImportError("initialization failed", name="x") from None
        return 0

    def dropped(_: object) -> int:
        Dropped()
        time.sleep(10)
        return 0

    for command in (wrapped, dropped):
        monkeypatch.setitem(cli.COMMANDS, "cache", command)
        assert main(["cache"]) == 130
        assert capsys.readouterr().err == "clipsx: interrupted\n"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
