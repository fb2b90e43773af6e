"""The disk cache: found by content, whole or not at all, made again when damaged, within its budget."""

import os
from pathlib import Path

import pytest

from clipsx import cache, cli, paths


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CLIPSX_CACHE", str(tmp_path))
    return tmp_path


def keep(key: str, content: bytes = b"content", kind: str = "labels") -> cache.Entry:
    entry = cache.entry(kind, key, ".bin")
    with entry.write({"key": key}) as part:
        part.write_bytes(content)
    return entry


def test_what_is_kept_is_found_by_what_made_it(home: Path) -> None:
    assert keep("one").read() == {"key": "one"}
    assert cache.entry("labels", "one", ".bin").file.read_bytes() == b"content"
    assert cache.entry("labels", "two", ".bin").read() is None
    assert cache.entry("features", "one", ".bin").read() is None


@pytest.mark.parametrize("position", range(7))
@pytest.mark.parametrize("bit", [0, 3, 7])
def test_a_flipped_bit_is_seen(home: Path, position: int, bit: int) -> None:
    entry = keep("one")
    content = bytearray(entry.file.read_bytes())
    content[position] ^= 1 << bit
    entry.file.write_bytes(content)
    assert entry.read() is None


@pytest.mark.parametrize("damage", ["", "{", "[]", "null", '{"format": 1}', '{"format": 3, "bytes": 7}', "\udc80"])
def test_a_damaged_note_or_one_of_another_version_is_made_again(home: Path, damage: str) -> None:
    entry = keep("one")
    entry.note.write_text(damage, encoding="utf-8", errors="surrogateescape")
    assert entry.read() is None
    assert keep("one").read() == {"key": "one"}


def test_a_cut_or_missing_file_is_made_again(home: Path) -> None:
    entry = keep("one")
    entry.file.write_bytes(b"con")
    assert entry.read() is None
    entry.file.unlink()
    assert entry.read() is None


def test_nothing_is_left_of_a_write_that_failed(home: Path) -> None:
    entry = cache.entry("labels", "one", ".bin")

    def write() -> None:
        with entry.write({}) as part:
            part.write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    assert entry.read() is None
    assert not [file for file in home.rglob("*") if file.is_file()]


def test_the_budget_takes_what_was_not_used_for_longest(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [keep(str(number), b"x" * 10_000) for number in range(4)]
    for age, entry in zip((300, 100, 400, 200), entries, strict=True):
        os.utime(entry.note, (1e9 - age, 1e9 - age))
    assert entries[2].read() is not None  # used now
    monkeypatch.setenv("CLIPSX_CACHE_BUDGET", "22000")
    cache.trim()
    assert [entry.read() is not None for entry in entries] == [False, True, True, False]
    assert cache.kept()["labels"][1] <= 22000


@pytest.mark.parametrize("stated", ["much", "nan", "-1", ""])
def test_a_budget_that_is_no_number(home: Path, monkeypatch: pytest.MonkeyPatch, stated: str) -> None:
    monkeypatch.setenv("CLIPSX_CACHE_BUDGET", stated)
    with pytest.raises(ValueError, match=r"CLIPSX_CACHE_BUDGET is .* give a number of bytes"):
        cache.budget()


def test_the_command_shows_and_clears(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keep("one", b"x" * 2_000_000)
    keep("two", kind="features")
    assert cli.main(["cache"]) == 0
    shown = capsys.readouterr().out
    assert str(home) in shown
    assert "labels             2 files        2.0 MB" in shown
    assert cli.main(["cache", "--clear", "labels"]) == 0
    assert list(cache.kept()) == ["features"]
    assert cli.main(["cache", "--clear", "lables"]) == 2
    wrong = capsys.readouterr().err
    assert wrong.count("\n") == 1
    assert "holds no 'lables', only: features" in wrong
    (home / "photographs").mkdir()
    (home / "photographs" / "holiday.jpg").touch()  # of somebody who keeps other things there as well
    assert cli.main(["cache", "--clear"]) == 0
    assert cache.kept() == {}
    assert (home / "photographs" / "holiday.jpg").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_full_disk_is_said_in_words(home: Path) -> None:
    def write() -> None:
        with paths.whole(home / "table.csv") as part:
            part.symlink_to("/dev/full")
            part.write_bytes(b"x")

    with pytest.raises(OSError, match=r"disk of .* is full: table\.csv was not written. Free space there"):
        write()
    assert not list(home.iterdir())


def test_room_is_taken_before_it_is_filled(home: Path) -> None:
    with (home / "file").open("wb") as file:
        file.truncate(12_345)
    assert (home / "file").stat().st_blocks == 0
    paths.reserve(home / "file")
    assert (home / "file").stat().st_size == 12_345
    assert (home / "file").stat().st_blocks * 512 >= 12_345


def test_a_user_without_a_home_has_a_cache_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CLIPSX_CACHE")
    monkeypatch.setattr(paths.platformdirs, "user_cache_dir", lambda name: f"~/.cache/{name}")
    assert paths.cache().is_absolute() and "~" not in paths.cache().parts
