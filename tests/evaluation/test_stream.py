"""The one loop over a data set: batches, workers, one walk, rows kept as they come and found again, memory."""

import gc
import json
import multiprocessing
import os
import pickle
import signal
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image

import clipsx
from clipsx import towers, unmix
from clipsx.analyses import attention, coactivation, high_norm, redundancy
from clipsx.datasets import Folder, Sample
from clipsx.evaluation import explain, parts, points, recognise, segment
from clipsx.evaluation import stream as streams
from clipsx.evaluation.looks import ended, loading
from clipsx.evaluation.stream import Look, Measure, looks, stream
from clipsx.reading import Reading
from clipsx.weights import digest
from helpers import VIT, masked, noise, tiny_clip, tiny_model, tiny_resnet

LABELS = ("cat", "dog", "sky")
COUNT = 11
# A pixel on the edge of a threshold, or of two labels, may fall on either side of it.
HANGING = ("in@", "out@", "fires", "iou", "hits", "said", "share", "accuracy", "outside")


@pytest.fixture(scope="module")
def clip() -> clipsx.Clip:
    return tiny_clip(image_size=32, layers=2, width=32, patch_size=8)


def made(number: int) -> Sample:
    """A picture of one of two shapes, every third without a mask, every fourth without a label."""
    shape = (20, 28) if number % 2 else (17, 11)
    labels = ("cat", "dog")[: number % 3] if number % 4 else ()
    draw = np.random.default_rng(number)
    masks = {label: draw.random(shape) < 0.4 for label in labels}
    return Sample(noise(*shape, number), labels or ("sky",) * bool(number % 4), masks, name=f"picture {number}")


class World(Sequence[Sample]):
    """Pictures that count how often each is opened, in this process."""

    labels = LABELS

    def __init__(self, count: int = COUNT, name: str = "a world") -> None:
        self.count, self.name = count, name
        self.opened: Counter[int] = Counter()

    def describe(self) -> dict[str, str]:
        return {"data": self.name}

    def fingerprint(self) -> str:
        return f"{self.name}, drawn"

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: Any) -> Sample:
        if not -self.count <= index < self.count:
            raise IndexError(index)
        whole = made(index)

        def image() -> Any:
            self.opened[index] += 1
            return whole.image

        return Sample(image, whole.labels, dict(whole.masks), name=whole.name)


def every(clip: clipsx.Clip) -> list[Measure]:
    """Every analysis there is, in one walk."""
    return [
        explain.measure(clip, LABELS, "clip, clip+code, clip-surgery, free(kk,bare)+paper(tau=1)", "photo"),
        recognise.measure(clip, LABELS, templates="photo"),
        segment.measure(clip, LABELS, "clip, maskclip", ("grass",), "photo"),
        coactivation.measure(clip, LABELS, "clip", templates="photo"),
        redundancy.measure(clip, LABELS, "clip, clip-surgery", "photo"),
        redundancy.sweep(clip, LABELS, "clip-surgery@1", (2,), (0.0, 2.0), templates="photo"),
        attention.shares(clip, ("qk", "vv"), "photo"),
        attention.cosines(clip, "photo"),
        high_norm.measure(clip, "photo"),
        points.measure(clip, LABELS, "clip", templates="photo"),
    ]


def alike(found: list[pd.DataFrame], expected: list[pd.DataFrame], places: float = 1e-6) -> None:
    """Equal tables, up to rounding; what hangs on a threshold up to a few pixels of a picture."""
    for one, other in zip(found, expected, strict=True):
        assert list(one.columns) == list(other.columns) and len(one) == len(other)
        for name in one:
            if name.startswith(HANGING):
                room = {"in@": 0.03, "out@": 0.03}.get(name.partition("@")[0] + "@", 3.0)
                values = (frame[name].to_numpy(float) for frame in (one, other))
                np.testing.assert_allclose(*values, atol=room, err_msg=name)
            elif name == "scores":
                np.testing.assert_allclose(*(np.stack(list(frame[name])) for frame in (one, other)), atol=10 * places)
            elif pd.api.types.is_float_dtype(one[name]):
                scale = max(1.0, float(np.nanmax(np.abs(one[name].to_numpy()), initial=0)))  # percent, norms
                np.testing.assert_allclose(one[name], other[name], atol=10 * places * scale, err_msg=name)
            else:
                pd.testing.assert_series_equal(one[name], other[name])


@pytest.fixture(scope="module")
def tables(clip: clipsx.Clip) -> list[pd.DataFrame]:
    return stream(clip, World(), every(clip), batch=4)


@pytest.mark.slow
@pytest.mark.parametrize("batch", [1, 16])
def test_batches_do_not_matter(clip: clipsx.Clip, tables: list[pd.DataFrame], batch: int) -> None:
    alike(stream(clip, World(), every(clip), batch=batch), tables)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_workers_do_not_matter(clip: clipsx.Clip, tables: list[pd.DataFrame]) -> None:
    world = World()
    found = stream(clip, world, every(clip), batch=4, workers=2)
    for one, other in zip(found, tables, strict=True):
        pd.testing.assert_frame_equal(one, other)
    assert not world.opened  # not in this process


@pytest.mark.slow
@pytest.mark.usefixtures("short_parts")
@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_processes_that_make_whole_parts_do_not_matter(clip: clipsx.Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    asks = [recognise.measure(clip, LABELS, templates="photo"), segment.measure(clip, LABELS, templates="photo")]
    expected, walks, world = stream(clip, World(), asks, batch=4), Walks(monkeypatch), World()
    for one, other in zip(stream(clip, world, asks, batch=4, workers=2), expected, strict=True):
        pd.testing.assert_frame_equal(one, other)
    assert not walks.batches and not world.opened  # not in this process
    for workers, count, device in ((1, 4, "cpu"), (3, 2, "cpu"), (2, 2, "cuda")):
        assert not streams._apart(torch.device(device), workers, count)


@pytest.mark.slow
def test_measures_together_are_measures_alone(clip: clipsx.Clip, tables: list[pd.DataFrame]) -> None:
    alone = [stream(clip, World(), [measure], batch=4)[0] for measure in every(clip)]
    alike(alone, tables)


class Walks:
    """How many pictures went through the tower, and in which batches."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.batches: list[int] = []
        original = towers.ViT.stem

        def stem(tower: Any, images: torch.Tensor) -> torch.Tensor:
            self.batches.append(len(images))
            return original(tower, images)

        patch.setattr(towers.ViT, "stem", stem)


@pytest.mark.slow
def test_every_picture_is_opened_once_and_walked_once(clip: clipsx.Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    measures, walks, world = every(clip), Walks(monkeypatch), World()
    stream(clip, world, measures, batch=4)
    assert world.opened == dict.fromkeys(range(COUNT), 1)
    assert walks.batches == [4, 4, 3]


@pytest.mark.slow
def test_a_list_of_pictures_does_not_keep_what_was_opened(clip: clipsx.Clip) -> None:
    world = World()
    listed = [world[n] for n in range(4)]
    table = stream(clip, listed, [explain.measure(clip, LABELS, templates="photo")])[0]
    assert world.opened == dict.fromkeys(range(4), 1) and len(table)
    assert not any("image" in vars(sample) for sample in listed)


def test_rows_come_in_the_order_of_the_pictures_and_say_what_made_them(tables: list[pd.DataFrame]) -> None:
    names = [f"picture {n}" for n in range(COUNT)]
    for table in tables:
        shown = list(dict.fromkeys(table["image"]))
        assert shown == [name for name in names if name in shown] and len(shown) > 3
        about = {"model": "tiny", "weights": "seed 0", "data": "a world", "templates": "photo", "image_size": "32×32"}
        assert {name: table[name].unique().tolist() for name in about} == {n: [v] for n, v in about.items()}
    recognition = tables[1]
    assert recognition["image"].tolist() == names


def test_looks_hold_one_picture_each(clip: clipsx.Clip) -> None:
    world = World(5)
    needs = Measure("needs", lambda look: (), (Reading("clip"), Reading("clip", None, "code")), True)
    found = list(looks(clip, world, [needs], size=(16, 40), batch=3, numbers=[4, 1, 2]))
    assert [look.number for look in found] == [4, 1, 2]
    for look in found:
        sample = made(look.number)
        assert look.name == sample.name and look.image_size == "16×40" and look.pixels == sample.size[::-1]
        dense = clip.encode_dense(clip.prepare(sample.image, (16, 40)), "clip")
        torch.testing.assert_close(look.dense(Reading("clip", None, "code")).patches, dense.patches, atol=1e-6, rtol=0)
        torch.testing.assert_close(look.seen.cls, dense.cls, atol=1e-6, rtol=0)
        assert [block.x.shape[0] for block in look.seen.blocks] == [1, 1] and look.dense(Reading()).grid == (2, 5)
        text = clip.encode_text(["a", "b"])
        sim = look.similarities(Reading(), text)
        assert look.at_pixels(sim).shape == (*look.pixels, 2)


def test_what_a_process_is_sent_is_small(clip: clipsx.Clip) -> None:
    """Pictures are opened by a function without the model, whatever heads it has."""
    head = unmix.Unmixed(clip, unmix.Projectors(32), LABELS, unmix.Config()).clip
    opener = pickle.loads(pickle.dumps(head.opener((16, 40))))
    assert len(pickle.dumps(head.opener())) < 2000
    assert torch.equal(opener(noise(9, 9)), clip.pixels(noise(9, 9), (16, 40)))


# --- rows that are kept ---


def counting(seen: list[int], fail: Callable[[int], None] = lambda number: None) -> Measure:
    """A measure that says which pictures it saw; two rows a picture, none for every fifth."""

    def rows(look: Look) -> Iterator[dict[str, Any]]:
        fail(look.number)
        seen.append(look.number)
        for n in range(2 if look.number % 5 else 0):
            cls = float(look.seen.cls[0, n])
            yield {"image": look.name, "n": n, "value": cls, "flag": n == 1, "none": None, "gap": float("nan")}

    return Measure("counting", rows, about={"protocol": "counted"}, asks={"labels": LABELS})


@pytest.fixture
def short_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "PART", 3)


def run(clip: clipsx.Clip, folder: Path | None, seen: list[int] | None = None, **options: Any) -> pd.DataFrame:
    given = {"samples": World(), "measures": [counting([] if seen is None else seen)], "batch": 2}
    return stream(clip, folder=folder, **{**given, **options})[0]


def files(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.rglob("*") if file.is_file())


PARTS = [f"counting-{start:08d}.parquet" for start in (0, 3, 6, 9)]


@pytest.mark.usefixtures("short_parts")
def test_kept_rows_are_the_rows(clip: clipsx.Clip, tmp_path: Path) -> None:
    seen: list[int] = []
    expected = run(clip, None)
    found = run(clip, tmp_path, seen)
    pd.testing.assert_frame_equal(found, expected)
    assert seen == list(range(COUNT)) and files(tmp_path) == [*PARTS, "made.json"]
    assert (tmp_path / "rows").is_dir()
    again = run(clip, tmp_path, seen := [])
    pd.testing.assert_frame_equal(again, expected)
    assert seen == []  # nothing is computed a second time


@pytest.mark.slow
@pytest.mark.usefixtures("short_parts")
@pytest.mark.parametrize("stop", range(COUNT))
@pytest.mark.parametrize("kind", [ZeroDivisionError, KeyboardInterrupt])
def test_a_run_that_was_stopped_goes_on(
    clip: clipsx.Clip, tmp_path: Path, stop: int, kind: type[BaseException]
) -> None:
    def fail(number: int) -> None:
        if number == stop:
            raise kind

    with pytest.raises(kind):
        run(clip, tmp_path, measures=[counting([], fail)])
    whole = stop // 3
    assert files(tmp_path) == [*PARTS[:whole], "made.json"]  # what was finished, and no piece of anything else
    seen: list[int] = []
    pd.testing.assert_frame_equal(run(clip, tmp_path, seen), run(clip, None))
    assert seen == list(range(3 * whole, COUNT))


@pytest.mark.usefixtures("short_parts")
def test_only_a_part_that_is_missing_or_cut_short_is_made_again(clip: clipsx.Clip, tmp_path: Path) -> None:
    expected = run(clip, tmp_path)
    first, second, _, last = (tmp_path / "rows" / name for name in PARTS)
    for damage in (0, 4, 300, first.stat().st_size - 1):
        first.write_bytes(first.read_bytes()[:damage])
        last.unlink(missing_ok=True)
        second.write_bytes(b"not a table at all, but long enough to be read as one")
        seen: list[int] = []
        pd.testing.assert_frame_equal(run(clip, tmp_path, seen), expected)
        assert seen == [0, 1, 2, 3, 4, 5, 9, 10]
    assert files(tmp_path) == [*PARTS, "made.json"]


@pytest.mark.slow
@pytest.mark.usefixtures("short_parts")
def test_measures_of_one_name_are_kept_apart(clip: clipsx.Clip, tmp_path: Path) -> None:
    sets = (LABELS, LABELS[:2])
    measures = [explain.measure(clip, labels, "clip+code", "photo") for labels in sets]
    expected = stream(clip, World(), measures)
    assert [table["labels"].unique().tolist() for table in expected] == [[3], [2]]
    for _ in range(2):
        for one, other in zip(stream(clip, World(), measures, folder=tmp_path), expected, strict=True):
            pd.testing.assert_frame_equal(one, other)
    assert len(files(tmp_path)) == 2 * 4 + 1
    with pytest.raises(ValueError, match=r"not the same: measure explain-2"):
        stream(clip, World(), [measures[0], measures[0]], folder=tmp_path)


@pytest.mark.slow
def test_every_analysis_comes_back_from_disk(
    clip: clipsx.Clip, tables: list[pd.DataFrame], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "PART", 4)
    for _ in range(2):
        for found, expected in zip(stream(clip, World(), every(clip), batch=4, folder=tmp_path), tables, strict=True):
            pd.testing.assert_frame_equal(found, expected)


def test_a_folder_of_another_run_is_refused_and_says_what_differs(clip: clipsx.Clip, tmp_path: Path) -> None:
    run(clip, tmp_path)
    before = files(tmp_path)
    other = tiny_clip(1, image_size=32, layers=2, width=32, patch_size=8)
    changed: dict[str, tuple[clipsx.Clip, dict[str, Any]]] = {
        "model": (other, {}),
        "size": (clip, {"size": 16}),
        "data": (clip, {"samples": World(name="another world")}),
        "pictures": (clip, {"samples": World(9)}),
        "measure counting": (clip, {"measures": [Measure("counting", lambda look: (), asks={"labels": ("cat",)})]}),
        "measure counting, measure recognise": (
            clip,
            {"measures": [recognise.measure(clip, LABELS, templates="photo")]},
        ),
    }
    for words, (model, options) in changed.items():
        with pytest.raises(ValueError, match=rf"another run \(not the same: {words}\): take another folder"):
            run(model, tmp_path, **options)
    head = unmix.Unmixed(clip, unmix.Projectors(32), LABELS, unmix.Config()).clip
    quick = tiny_model(quick_gelu=True, vision={**VIT, "image_size": 32, "layers": 2, "width": 32, "patch_size": 8})
    assert digest(quick) == digest(clip.model)  # what QuickGELU changes has no weights
    grey = image_transform_v2(PreprocessCfg(size=32, mean=(0.5, 0.5, 0.5)), is_train=False)
    others = [clipsx.Clip(quick, clip.preprocess, clip.tokenizer), clipsx.Clip(clip.model, grey, clip.tokenizer)]
    for other in (head, *others):
        with pytest.raises(ValueError, match=r"not the same: model\)"):
            run(other, tmp_path)
    assert files(tmp_path) == before
    run(clip, tmp_path, batch=5)  # how it is computed is no part of what it is


def test_a_plain_list_of_other_pictures_is_another_run(clip: clipsx.Clip, tmp_path: Path) -> None:
    """Nobody says what it is: its content is looked at."""
    pictures = [made(n) for n in range(4)]
    expected = run(clip, tmp_path, samples=pictures)
    pd.testing.assert_frame_equal(run(clip, tmp_path, seen := [], samples=[made(n) for n in range(4)]), expected)
    assert seen == []
    with pytest.raises(ValueError, match="not the same: data"):
        run(clip, tmp_path, samples=[*pictures[:3], made(5)])


def test_what_a_measure_asks_decides_what_is_found_again(clip: clipsx.Clip, tmp_path: Path) -> None:
    """Labels, templates, readings, thresholds: whatever changes a number changes the name of what is kept."""
    photo = {"templates": "photo"}
    groups = [
        [explain.measure(clip, LABELS, "clip", "photo"), explain.measure(clip, LABELS[:2], "clip", "photo"),
         explain.measure(clip, LABELS, "clip+code", "photo"), explain.measure(clip, LABELS, "clip", "plain"),
         explain.measure(clip, LABELS, "clip+code(tau=2.00000001)", "photo"),
         *(explain.measure(clip, LABELS, f"clip-surgery@{depth}", "photo") for depth in (1, 2)),
         explain.measure(clip, {"a": LABELS, "b": (*LABELS, "sea")}, "clip", "photo")],
        [segment.measure(clip, LABELS, **photo), segment.measure(clip, LABELS, grounds=["sea"], **photo),
         segment.measure(clip, LABELS, grounds=["sand"], **photo), segment.measure(clip, LABELS[::-1], **photo)],
        [coactivation.measure(clip, LABELS, **photo), coactivation.measure(clip, LABELS, threshold=0.5, **photo),
         coactivation.measure(clip, LABELS, region="map", **photo)],
        [redundancy.sweep(clip, LABELS, **photo), redundancy.sweep(clip, LABELS, threshold=0.5, **photo),
         redundancy.sweep(clip, LABELS, seed=1, **photo), redundancy.sweep(clip, LABELS, counts=(2,), **photo),
         redundancy.sweep(clip, LABELS, taus=(1.0,), **photo)],
        [attention.shares(clip, **photo), attention.shares(clip, ("qk",), **photo)],
        [recognise.measure(clip, LABELS, **photo), recognise.measure(clip, LABELS[:2], **photo)],
    ]  # fmt: skip
    world = World(2)
    for n, group in enumerate(groups):
        made = [parts.made(clip, world, [measure], None, 64) for measure in group]
        assert len({json.dumps(one) for one in made}) == len(group), n


def test_a_damaged_record_of_a_run_is_told(clip: clipsx.Clip, tmp_path: Path) -> None:
    run(clip, tmp_path)
    file = tmp_path / "rows" / "made.json"
    file.write_text(file.read_text()[:20])
    with pytest.raises(ValueError, match=r"made\.json cannot be read: delete .*rows, or take another folder"):
        run(clip, tmp_path)


def _slow(clip: clipsx.Clip, folder: Path) -> None:
    def wait(number: int) -> None:
        time.sleep(0.05)

    run(clip, folder, measures=[counting([], wait)], batch=1)


@pytest.mark.slow
@pytest.mark.usefixtures("short_parts")
def test_a_run_that_was_killed_goes_on(clip: clipsx.Clip, tmp_path: Path) -> None:
    process = multiprocessing.get_context("fork").Process(target=_slow, args=(clip, tmp_path))
    process.start()
    for _ in range(1000):
        if (tmp_path / "rows" / PARTS[1]).exists():
            break
        time.sleep(0.01)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert process.exitcode == -signal.SIGKILL
    whole = sum((tmp_path / "rows" / name).exists() for name in PARTS)
    assert 2 <= whole < 4
    seen: list[int] = []
    pd.testing.assert_frame_equal(run(clip, tmp_path, seen), run(clip, None))
    assert seen == list(range(3 * whole, COUNT))


class Dying(World):
    """Pictures of which one ends the process that opens it."""

    def __getitem__(self, index: Any) -> Sample:
        if index == 5 and multiprocessing.parent_process() is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(index)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.filterwarnings("ignore:Could not serialize")  # pandas, where torch's word comes while it writes
@pytest.mark.usefixtures("short_parts")
@pytest.mark.parametrize(("pause", "workers"), [(0.0, 1), (0.2, 1), (0.0, 2)])
def test_a_process_that_ends_is_told_in_words(clip: clipsx.Clip, tmp_path: Path, pause: float, workers: int) -> None:
    """Where it waits for pictures, in the midst of a measure, and of one that makes whole parts."""

    def wait(number: int) -> None:
        for _ in range(20):
            time.sleep(pause / 20)

    with pytest.raises(RuntimeError, match=r"A process that opens pictures ended \(.*\): run it again, or workers=0"):
        run(clip, tmp_path, samples=Dying(), measures=[counting([], wait)], workers=workers, batch=1)
    seen: list[int] = []
    pd.testing.assert_frame_equal(run(clip, tmp_path, seen), run(clip, None))
    assert seen[-1] == COUNT - 1


def test_a_process_that_ends_is_told_though_torchs_word_of_it_was_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a callback of a library's, which drops what is raised: half a picture would be waited for without end."""

    class Loader(Iterator[int]):
        _workers = (SimpleNamespace(exitcode=None, pid=1), SimpleNamespace(exitcode=-9, pid=2))

        def __next__(self) -> int:
            return 1

    monkeypatch.setattr("clipsx.evaluation.looks.DataLoader", lambda *_, **__: Loader())
    with (
        pytest.raises(RuntimeError, match=r"A process that opens pictures ended \(.*pid 2.*\)"),
        ended(),
        loading([0, 1], int, workers=0) as loaded,
    ):
        list(loaded)


class Broken(World):
    """Pictures of which one cannot be read."""

    def __getitem__(self, index: Any) -> Sample:
        def fail() -> Any:
            raise RuntimeError("picture 2 is damaged")

        return Sample(fail, ("cat",)) if index == 2 else super().__getitem__(index)


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.usefixtures("short_parts")
@pytest.mark.parametrize("workers", [0, 1, 2])
def test_an_error_of_the_data_is_told_as_it_is(clip: clipsx.Clip, workers: int) -> None:
    with pytest.raises(RuntimeError, match="picture 2 is damaged") as told:
        run(clip, None, samples=Broken(), workers=workers)
    assert "A process that opens" not in str(told.value)


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_processes_end_with_the_run_even_where_its_error_is_kept(
    clip: clipsx.Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a notebook keeps the last one, with all that its traceback holds."""
    kept: list[BaseException] = []

    def fail(number: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(streams, "PART", 3)
    for options in ({"measures": [counting([], fail)]}, {"samples": Broken()}, {"samples": Broken(), "workers": 2}):
        started = time.monotonic()
        try:
            run(clip, None, **{"workers": 1, **options})
        except (KeyboardInterrupt, RuntimeError) as error:
            kept.append(error)
        assert time.monotonic() - started < 4  # none is waited for
        assert not multiprocessing.active_children()
    assert len(kept) == 3


# --- pictures that cannot be read ---


def spoilt(folder: Path, bad: Sequence[int], count: int = 8) -> Folder:
    """A folder of pictures, of which some are bad, each in another way."""
    folder.mkdir(parents=True)
    for number in range(count):
        file = folder / f"{number}.jpg"
        noise(16, 16, number).save(file)
        file.with_suffix(".txt").write_text("cat")
        way = bad.index(number) % 5 if number in bad else None
        if way == 0:
            file.write_bytes(file.read_bytes()[:200])
        elif way is not None:
            file.unlink()
            ways = (lambda f: f.touch(), lambda f: f.write_text("hello"), os.mkfifo, lambda f: f.symlink_to("nothing"))
            ways[way - 1](file)
    return Folder(folder)


@pytest.mark.slow
@pytest.mark.usefixtures("short_parts")
@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("bad", [(2,), (0, 1, 2), (7,), (1, 2, 4, 5, 7)], ids=str)
def test_bad_pictures_are_gone_round_named_and_counted(
    clip: clipsx.Clip, tmp_path: Path, bad: tuple[int, ...], workers: int
) -> None:
    samples, places = spoilt(tmp_path / "own", bad), [n for n in range(8) if n not in bad]
    words = rf"{len(bad)} of 8 pictures cannot be read .* {min(bad)}\.jpg"
    for seen in ([], None):
        measure = counting([] if seen is None else seen)
        with pytest.warns(UserWarning, match=words) as told:
            table = stream(clip, samples, [measure], workers=workers, batch=2, folder=tmp_path / "out")[0]
        assert ("more" in str(told[0].message)) == (len(bad) > 3)
        assert set(table["image"]) == {f"{n}.jpg" for n in places if n % 5}
        (data,) = set(table["data"])
        assert data == f"folder own n=8, words: its own, without masks, {len(bad)} of 8 left out (cannot be read)"
        assert seen is None or seen == places  # and the second time nothing is looked at again


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    "spoil",
    [lambda f: f.write_bytes(f.read_bytes()[:60]), lambda f: Image.new("L", (9, 9), 255).save(f),
     lambda f: Image.new("RGBA", (64, 64), (0, 0, 0, 0)).save(f)],
    ids=["cut short", "another size", "clear"],
)  # fmt: skip
def test_a_mask_that_cannot_be_read_is_gone_round_like_a_picture(
    clip: clipsx.Clip, tmp_path: Path, spoil: Callable[[Path], None], workers: int
) -> None:
    folder = tmp_path / "own"
    for place in (folder, folder / "masks"):
        place.mkdir()
    for n in range(3):
        Image.new("RGB", (64, 64), (n, 90, 90)).save(folder / f"{n}.jpg")
        mask = np.zeros((64, 64), np.uint8)
        mask[16:40, 16:40] = 255
        (folder / "masks" / str(n)).mkdir()
        Image.fromarray(mask).save(folder / "masks" / str(n) / "cat.png")
    damaged = folder / "masks" / "1" / "cat.png"
    spoil(damaged)
    measure = Measure("area", lambda look: [{"image": look.name, "area": look.sample.masks["cat"].mean()}])
    with pytest.warns(UserWarning, match=r"1 of 3 pictures cannot be read and is left out: 1\.jpg .*cat"):
        table = stream(clip, Folder(folder), [measure], workers=workers)[0]
    assert list(table["image"]) == ["0.jpg", "2.jpg"] and set(table["area"]) == {24 * 24 / 64**2}


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("workers", [0, 1])
def test_another_error_of_a_sample_is_told_as_it_is(clip: clipsx.Clip, workers: int) -> None:
    def wrong() -> Image.Image:
        raise ValueError("a mistake of one's own")

    with pytest.raises(ValueError, match=r"^a mistake of one's own$"):
        stream(clip, [Sample(wrong, size=(64, 64))], [counting([])], workers=workers)


@pytest.mark.usefixtures("short_parts")
def test_bad_pictures_of_a_run_that_was_stopped_are_told_too(clip: clipsx.Clip, tmp_path: Path) -> None:
    def fail(number: int) -> None:
        if number == 6:
            raise KeyboardInterrupt

    samples = spoilt(tmp_path / "own", (1, 5))
    with pytest.raises(KeyboardInterrupt):
        stream(clip, samples, [counting([], fail)], folder=tmp_path / "out")
    with pytest.warns(UserWarning, match=r"2 of 8 pictures cannot be read .*: 1\.jpg .*; 5\.jpg"):
        stream(clip, samples, [counting(seen := [])], folder=tmp_path / "out")
    assert seen == [6, 7]


def test_a_plain_list_goes_round_bad_pictures_and_looks_do_not(clip: clipsx.Clip, tmp_path: Path) -> None:
    samples = list(spoilt(tmp_path / "own", (0, 1, 3)))
    with pytest.warns(UserWarning, match="3 of 8 pictures"):
        assert len(stream(clip, samples, [counting([])], folder=tmp_path / "out")[0])
    with pytest.raises(ValueError, match=r"0\.jpg is cut short"):
        list(looks(clip, samples, []))


def test_nothing_but_bad_pictures_is_an_error(clip: clipsx.Clip, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"None of the 4 pictures can be read: 0\.jpg .* and 1 more"):
        stream(clip, spoilt(tmp_path / "own", range(4), 4), [counting([])])


# --- what is refused, and what is kept in memory ---


def test_nothing_to_measure_is_told_in_each_measures_own_words(clip: clipsx.Clip) -> None:
    with pytest.raises(ValueError, match="no image to evaluate on"):
        stream(clip, [], [recognise.measure(clip, LABELS, templates="photo")])
    plain = [Sample(noise(9, 9), ("cat",), name="plain")]
    words = [
        ("nothing to evaluate", explain.measure(clip, LABELS, "clip", "photo")),
        ("nothing to segment", segment.measure(clip, LABELS, "clip", templates="photo")),
        ("nothing to measure", coactivation.measure(clip, LABELS, templates="photo")),
        ("nothing to measure", redundancy.sweep(clip, LABELS, templates="photo")),
        ("no object whose attention", attention.shares(clip, templates="photo")),
        ("No sample has a mask", high_norm.measure(clip, "photo")),
    ]
    for told, measure in words:
        with pytest.raises(ValueError, match=told):
            stream(clip, plain, [recognise.measure(clip, LABELS, templates="photo"), measure])
    silent = Measure("silent", lambda look: ())
    tables = stream(clip, plain, [silent, recognise.measure(clip, LABELS, templates="photo")])
    assert len(tables[0]) == 0 and len(tables[1]) == 1
    assert stream(clip, plain, []) == []


def test_readings_that_the_tower_cannot_serve_are_refused_by_the_measure(clip: clipsx.Clip) -> None:
    for asked, words in (("clip-surgery-released", "does not apply"), ("clip-surgery@3", "depth must lie in 1…2")):
        with pytest.raises(ValueError, match=words):
            explain.measure(clip, LABELS, asked, "photo")


def test_a_resnet_goes_through_what_needs_no_blocks() -> None:
    clip, world = tiny_resnet(), World(4)
    asked = "clip, clip-surgery+code, clip-surgery-released"
    measures = [explain.measure(clip, LABELS, asked, "photo"), segment.measure(clip, LABELS, asked, templates="photo")]
    measures += [recognise.measure(clip, LABELS, templates="photo")]
    explained, _, recognition = stream(clip, world, measures)
    assert explained["depth"].isna().all() and set(explained["reading"]) == set(asked.split(", "))
    own = clip.encode_image(clip.prepare(made(0).image)) @ clip.encode_labels(LABELS, "photo").T
    assert recognition["scores"][0].tolist() == pytest.approx(own[0].tolist(), abs=1e-5)


@pytest.mark.slow
def test_no_look_is_kept(clip: clipsx.Clip) -> None:
    """Memory is flat in images: only the batch at hand is alive, and nothing of it afterwards."""
    alive: list[weakref.ref[Any]] = []
    most = 0

    def rows(look: Look) -> Iterator[dict[str, Any]]:
        nonlocal most
        alive.extend(map(weakref.ref, (look, look.seen, look.sample, look.seen.blocks[0].x)))
        most = max(most, sum(ref() is not None for ref in alive))
        yield {"image": look.name, "value": float(look.seen.cls[0, 0])}

    measures = [explain.measure(clip, LABELS, "clip+code", "photo"), attention.cosines(clip, "photo")]
    measures += [coactivation.measure(clip, LABELS, templates="photo"), high_norm.measure(clip, "photo")]
    tables = stream(clip, World(12), [*measures, Measure("watched", rows, blocks=True)], batch=2)
    assert len(tables[-1]) == 12 and len(alive) == 4 * 12
    assert most <= 4 * 4  # two batches of two: the one at hand, and what its last names still hold
    gc.collect()
    assert not any(ref() is not None for ref in alive)


@pytest.mark.slow
def test_an_unmixed_clip_goes_through_every_analysis_in_one_stream(clip: clipsx.Clip) -> None:
    """Heads come after whatever is seen: the same numbers as projecting the base model's own by hand."""
    projectors = unmix.Projectors(32, seed=3).eval()
    head = unmix.Unmixed(clip, projectors, LABELS, unmix.Config()).clip
    before = {name: value.clone() for name, value in clip.model.state_dict().items()}
    world = World(5)
    tables = stream(head, world, every(head), batch=2)
    assert all(set(table["model"]) == {"tiny unmixed"} and len(table) for table in tables)
    assert all(table["weights"].str.startswith("seed 0 + projectors sha256:").all() for table in tables)
    assert all(torch.equal(value, before[name]) for name, value in clip.model.state_dict().items())

    explained, recognition, _, _, redundant, _, shares, cosines, *_ = tables
    with torch.no_grad():
        text = projectors.project_text(clip.encode_labels(LABELS, "photo"))
        for number in range(5):
            sample = made(number)
            seen = clip.look(clip.prepare(sample.image), [Reading("clip"), Reading("clip-surgery")], keep=True)
            cls = projectors.project_image(seen.cls)
            own = recognition[recognition["image"] == sample.name]
            assert own["scores"].iloc[0].tolist() == pytest.approx((cls @ text.T)[0].tolist(), abs=1e-5)
            for block in seen.blocks:
                rows = cosines.query("image == @sample.name and block == @block.index").set_index("part")
                for part in ("attention", "ffn"):
                    feature = projectors.project_image(clip.project(getattr(block, part)[:, 0]))
                    assert rows.loc[part, "cosine"] == pytest.approx(float(feature[0] @ cls[0]), abs=1e-5)
            for reading in (Reading("clip"), Reading("clip-surgery")):
                dense = seen.features[reading]
                patches = projectors.project_image(dense.patches)
                maps = clipsx.upsample(clipsx.minmax(patches @ text.T), sample.size[::-1])[0].numpy()
                for label, mask in sample.masks.items():
                    row = explained.query("image == @sample.name and label == @label and reading == @reading.method")
                    map = maps[..., LABELS.index(label)]
                    assert row["msc"].item() == pytest.approx(100 * (map[mask].mean() - map[~mask].mean()), abs=1e-3)
                empty = projectors.project_text(clip.encode_labels([""], "photo"))
                flat = torch.cat([patches @ text.T, patches @ empty.T], dim=-1)[0].flatten(0, 1).numpy()
                expected = np.corrcoef(flat.T)[-1, :-1]
                row = redundant.query("image == @sample.name and reading == @reading.method")
                assert row["correlation"].tolist() == pytest.approx(expected.tolist(), abs=1e-3)
    # What attention looks at is the tower's own, but for the anchor, which is where the text is most alike.
    assert shares["share"].between(0, 100.001).all()


def test_readings_that_need_the_texts_go_through_the_stream(clip: clipsx.Clip) -> None:
    samples = [masked(64, 64, ("cat", "dog"), n) for n in range(2)]
    text = clip.encode_labels(["cat", "dog"])
    measure = Measure("peaks", lambda look: [{"peak": float(look.similarities(Reading("legrad"), text)[0, 0, 0, 1])}],
                      (Reading("clip"), Reading("legrad")))  # fmt: skip
    expected = [float(clip.maps(clip.prepare(s.image), "legrad", text)["legrad"][0, 0, 0, 1]) for s in samples]
    assert stream(clip, samples, [measure])[0]["peak"].tolist() == pytest.approx(expected, rel=1e-4)
    table = stream(clip, samples, [explain.measure(clip, ("cat", "dog"), "clip, legrad")])[0]
    assert set(table["reading"]) == {"clip", "legrad"} and table["msc"].notna().all()
