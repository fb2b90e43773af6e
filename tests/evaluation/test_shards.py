"""One run in many processes: shards, what ends them, and the same table to the digit once they are put together."""

import importlib
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

import clipsx
from clipsx import options
from clipsx.cli import main
from clipsx.clip import Clip
from clipsx.datasets import tuning_and_test
from clipsx.evaluation import cost
from clipsx.evaluation import stream as streams
from clipsx.evaluation.tasks import evaluate, merged
from helpers import full_disk, tiny_clip

COUNT, PART = 5, 2  # scenes: three parts
TASK = "recognise"  # which costs least
HOW: dict[str, Any] = {"asked": "clip, clip+code", "batch": 2}


@pytest.fixture(autouse=True)
def short_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "PART", PART)


@pytest.fixture(scope="module")
def clip() -> clipsx.Clip:
    return tiny_clip(image_size=32, layers=1, width=32, patch_size=16)


def run(clip: clipsx.Clip, task: str = TASK, **given: Any) -> pd.DataFrame:
    return evaluate(clip, task, *tuning_and_test("sketchbook", images=COUNT), **HOW, **given)


@pytest.fixture(scope="module")
def expected(clip: clipsx.Clip) -> pd.DataFrame:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streams, "PART", PART)
        return run(clip)


def shards(clip: clipsx.Clip, folder: Path, count: int, task: str = TASK) -> None:
    for i in reversed(range(1, count + 1)):
        assert not len(run(clip, task, folder=folder, shard=(i, count)))


@pytest.mark.slow
@pytest.mark.parametrize("task", ["explain", "segment"])
def test_every_task_is_put_together_to_the_digit(clip: clipsx.Clip, tmp_path: Path, task: str) -> None:
    shards(clip, tmp_path, 2, task)
    pd.testing.assert_frame_equal(merged(tmp_path), run(clip, task), check_exact=True)


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 4])  # with four shards, one has no part
def test_shards_are_the_same_table_to_the_digit(
    clip: clipsx.Clip, expected: pd.DataFrame, tmp_path: Path, count: int
) -> None:
    shards(clip, tmp_path, count)
    pd.testing.assert_frame_equal(merged(tmp_path), expected, check_exact=True)
    pd.testing.assert_frame_equal(run(clip, folder=tmp_path), expected, check_exact=True)  # and nothing is made again


@pytest.mark.slow
def test_two_processes_that_make_the_same_part_count_it_once(
    clip: clipsx.Clip, expected: pd.DataFrame, tmp_path: Path
) -> None:
    for shard in ((1, 2), (2, 2), (3, 3)):
        run(clip, folder=tmp_path, shard=shard)
    assert len(list(tmp_path.joinpath("rows").glob("*.parquet"))) == 3
    pd.testing.assert_frame_equal(merged(tmp_path), expected, check_exact=True)


def _first(folder: Path) -> Path:
    return folder / "rows" / "recognise-00000000.parquet"


SPOILT: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda f: _first(f).unlink(), r"1 of 3 parts are missing \(pictures 0…1\): run the shards"),
    "cut short": (lambda f: _first(f).write_bytes(_first(f).read_bytes()[:-9]), r"1 of 3 parts are missing"),
    "doubled": (
        lambda f: shutil.copy(_first(f), f / "rows" / "recognise-00000002.parquet"),
        r"00000002\.parquet is of another run, or another part of this one: delete it",
    ),
    "of no part": (
        lambda f: shutil.copy(_first(f), f / "rows" / "recognise-00000001.parquet"),
        r"00000001\.parquet is of no part of this run: delete it",
    ),
    "no run": (lambda f: (f / "rows" / "made.json").unlink(), r"holds no run: .*made\.json is not there"),
    "no tuning": (lambda f: shutil.rmtree(f / "tuning"), r"tuning holds no run"),
}


@pytest.fixture(scope="module")
def whole(clip: clipsx.Clip, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streams, "PART", PART)
        run(clip, folder=folder)
    return folder


@pytest.mark.parametrize("way", SPOILT)
def test_what_does_not_fit_together_is_refused_and_named(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], way: str
) -> None:
    folder = Path(shutil.copytree(whole, tmp_path / "run"))
    spoil, words = SPOILT[way]
    spoil(folder)
    with pytest.raises(ValueError, match=words):
        merged(folder)
    assert main(["merge", str(folder)]) == 2 and len(capsys.readouterr().err.splitlines()) == 1
    assert not (folder / "table.csv").exists()


def test_a_part_of_another_run_is_told(whole: Path, clip: clipsx.Clip, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(whole, tmp_path / "run"))
    run(clip, folder=tmp_path / "other", shard=(1, 3), size=16)
    shutil.copy(_first(tmp_path / "other"), _first(folder))
    with pytest.raises(ValueError, match="is of another run, or another part of this one"):
        merged(folder)


def test_shards_without_a_folder_or_out_of_range_are_refused(clip: clipsx.Clip, tmp_path: Path) -> None:
    for shard, folder in (((1, 2), None), ((3, 2), tmp_path), ((0, 2), tmp_path)):
        with pytest.raises(ValueError, match=rf"i in 1…n, and has a folder .* unlike {shard[0]}/{shard[1]}"):
            run(clip, folder=folder, shard=shard)
    assert not list(tmp_path.iterdir())


# --- on the command line ---


def written(folder: Path) -> list[float]:
    return pd.read_csv(folder / "table.csv")["value"].tolist()


@pytest.fixture
def call(clip: clipsx.Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr(importlib.import_module("clipsx.load"), "load", lambda *_, **__: clip)
    return [
        "evaluate",
        "--task",
        TASK,
        "--limit",
        str(COUNT),
        "--readings",
        HOW["asked"],
        "--out",
        str(tmp_path),
        "--pictures",
        "0",
    ]


@pytest.mark.slow
def test_shards_of_the_command_line_are_merged(
    call: list[str], expected: pd.DataFrame, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for i in (1, 2):
        assert main([*call, "--shard", f"{i}/2"]) == 0
        assert f"shard {i}/2 is made; once all are: clipsx merge {tmp_path}" in capsys.readouterr().out
        assert not (tmp_path / "table.csv").exists()
    assert main(["merge", str(tmp_path)]) == 0
    assert written(tmp_path) == pytest.approx(expected["value"].tolist(), rel=1e-14)
    assert "table.csv" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("number", ["SIGTERM", "SIGUSR1"])
def test_a_signal_ends_the_run_after_a_whole_part(
    call: list[str],
    expected: pd.DataFrame,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    number: str,
) -> None:
    look, before = Clip.look, signal.getsignal(getattr(signal, number))

    def told(*given: Any) -> Any:
        os.kill(os.getpid(), getattr(signal, number))
        return look(*given)

    monkeypatch.setattr(Clip, "look", told)
    for made in (1, 2, 3):
        with pytest.raises(SystemExit) as ended:
            main(call)
        assert ended.value.code == 75 and number in capsys.readouterr().err
        assert len(list(tmp_path.joinpath("rows").glob("*.parquet"))) == made
        assert signal.getsignal(getattr(signal, number)) == before
    monkeypatch.setattr(Clip, "look", look)
    assert main(call) == 0
    assert written(tmp_path) == pytest.approx(expected["value"].tolist(), rel=1e-14)


def test_a_folder_that_is_a_file_is_told(call: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "rows").touch()
    assert main(call) == 2 and len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.slow
def test_a_full_disk_is_told_and_what_was_made_is_kept(
    call: list[str], expected: pd.DataFrame, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*call, "--shard", "1/3"]) == 0
    with full_disk(3000):
        assert main(call) == 2
    assert "is full: recognise-00000002.parquet was not written" in capsys.readouterr().err
    assert sorted(file.name for file in tmp_path.joinpath("rows").iterdir()) == ["made.json", _first(tmp_path).name]
    assert main(call) == 0
    assert written(tmp_path) == pytest.approx(expected["value"].tolist(), rel=1e-14)


ARRAY = {"SLURM_ARRAY_TASK_ID": "7", "SLURM_ARRAY_TASK_MIN": "3", "SLURM_ARRAY_TASK_COUNT": "5"}


@pytest.mark.parametrize(
    ("told", "shard"),
    [({}, (1, 1)), ({"RANK": "2", "WORLD_SIZE": "4"}, (3, 4)), (ARRAY, (5, 5)),
     (ARRAY | {"SLURM_ARRAY_TASK_STEP": "2"}, (3, 5)), (ARRAY | {"RANK": "1", "WORLD_SIZE": "2"}, (10, 10)),
     ({"SLURM_ARRAY_TASK_ID": "7", "SLURM_ARRAY_TASK_COUNT": "1"}, (1, 1))],
    ids=str,
)  # fmt: skip
def test_the_shard_of_a_process(told: dict[str, str], shard: tuple[int, int]) -> None:
    assert options.shard_here(told) == shard


def test_an_array_with_gaps_is_refused() -> None:
    with pytest.raises(ValueError, match=r"has gaps \(task 9 of 5 from 3 on\): say --shard i/n"):
        options.shard_here(ARRAY | {"SLURM_ARRAY_TASK_ID": "9"})


def test_every_process_of_torchrun_has_its_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    assert options.device_here({}) is None and options.device_here({"LOCAL_RANK": "0"}) is None
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert options.device_here({"LOCAL_RANK": "3"}) == "cuda:3"


@pytest.mark.parametrize("text", ["0/2", "3/2", "2", "a/b", "1/2/3", "-1/2"])
def test_a_shard_out_of_range_is_told(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["evaluate", f"--shard={text}"])
    assert "is not i/n with i in 1…n" in capsys.readouterr().err


# --- the size of a batch ---


@pytest.mark.parametrize(("room", "pays", "batch"), [(20, True, 16), (100, True, 64), (100, False, 4), (2, True, 1)])
def test_a_batch_grows_while_it_fits_and_pays(
    clip: clipsx.Clip, monkeypatch: pytest.MonkeyPatch, room: int, pays: bool, batch: int
) -> None:
    def seconds(call: Callable[[], Any], images: torch.Tensor) -> float:
        if len(images) > room:
            raise torch.OutOfMemoryError
        return 1.0 if pays else float(len(images))

    monkeypatch.setattr(cost, "_seconds", seconds)
    assert cost.fitting(clip, (), False, None) == batch


def test_an_automatic_batch_gives_the_same_numbers(clip: clipsx.Clip, expected: pd.DataFrame) -> None:
    found = evaluate(clip, TASK, *tuning_and_test("sketchbook", images=COUNT), HOW["asked"], batch="auto")
    pd.testing.assert_frame_equal(found, expected, atol=1e-4)  # %
