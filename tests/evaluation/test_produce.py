"""Pictures segmented by words alone: masks in files, with confidences, also from shards; what is refused."""

import importlib
import json
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import clipsx
from clipsx.cli import main
from clipsx.datasets import Vocabulary
from clipsx.evaluation import produce
from clipsx.evaluation import stream as streams
from clipsx.evaluation.parts import Parts
from clipsx.evaluation.stream import keep
from helpers import noise, tiny_clip

WORDS = Vocabulary((("cat", "kitten"), ("dog",), ("boat",)), ("sky", "sea"))


@pytest.fixture(scope="module")
def clip() -> clipsx.Clip:
    return tiny_clip(image_size=32, layers=1, width=32, patch_size=8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("pictures")
    (place / "in").mkdir()
    for n, name in enumerate(("one.jpg", "one.png", "in/two.png")):
        noise(20 + n, 30, n).save(place / name)
    (place / "bad.jpg").write_bytes(b"")
    return place


@pytest.fixture(autouse=True)
def short_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "PART", 2)


def literal(clip: clipsx.Clip, picture: Path, words: Vocabulary) -> tuple[np.ndarray, np.ndarray]:
    """The label's place (0: background) and its probability at every pixel, from the formula."""
    each = [*words.queries, *((ground,) for ground in words.background)]
    text = clip.encode_labels([word for some in each for word in some])
    image = Image.open(picture).convert("RGB")
    sim = clipsx.similarity(clip.encode_dense(clip.prepare(image), "clip-surgery"), text)
    odds = (clip.logit_scale * clipsx.upsample(sim, image.size[::-1])[0]).softmax(-1)  # (H, W, Q)
    top, best = odds.max(-1)
    place = torch.tensor([k + 1 if k < len(words.queries) else 0 for k, some in enumerate(each) for _ in some])
    return place[best].numpy(), top.numpy()


@pytest.mark.filterwarnings("ignore:1 of 4 pictures cannot be read")
@pytest.mark.parametrize("words", [WORDS, Vocabulary(WORDS.queries)], ids=["background", "none"])
def test_masks_are_those_of_the_formula(clip: clipsx.Clip, folder: Path, tmp_path: Path, words: Vocabulary) -> None:
    labels = produce.segment(clip, produce.Pictures(folder), words, out=tmp_path).set_index("label")
    table = pd.read_csv(tmp_path / "regions.csv")
    names = dict(line.split(" ", 1) for line in (tmp_path / "labels.txt").read_text().splitlines())
    assert set(labels["data"]) == {f"{folder.name} n=4, 1 of 4 left out (cannot be read)"} and "mask" not in table
    for label, rows in table.groupby("label"):
        expected = [len(rows), rows["pixels"].sum(), pytest.approx(rows["confidence"].mean())]
        assert labels.loc[label, ["pictures", "pixels", "confidence"]].tolist() == expected
    assert sorted(set(table["image"])) == ["in/two.png", "one.jpg", "one.png"]
    for name, rows in table.groupby("image"):
        place, odds = literal(clip, folder / str(name), words)
        mask = Image.open(tmp_path / "masks" / f"{name}.png")
        assert mask.mode == "P" and (np.asarray(mask) == place).all()
        for row in rows.itertuples():
            own = place == row.place
            assert row.pixels == own.sum() and names[str(row.place)] == row.label
            assert row.confidence == pytest.approx(odds[own].mean(), abs=1e-5)
        assert rows["pixels"].sum() == place.size


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:1 of 4 pictures cannot be read")
@pytest.mark.filterwarnings("ignore:__array__ implementation")  # pycocotools' own
def test_pycocotools_reads_what_shards_have_made(
    clip: clipsx.Clip, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    coco = pytest.importorskip("pycocotools.coco", reason="pycocotools is not installed: pip install 'clipsx[data]'")
    monkeypatch.setattr(importlib.import_module("clipsx.load"), "load", lambda *_, **__: clip)
    labels = tmp_path / "labels.txt"
    labels.write_text("cat, kitten\ndog\nboat\nbackground: sky, sea\n")
    call = ["segment", "--images", str(folder), "--labels", f"@{labels}", "--out", str(tmp_path), "--format", "rle"]
    assert main([*call, "--shard", "2/2"]) == 0
    assert main(["merge", str(tmp_path), "--format", "rle"]) == 2
    assert "1 of 2 parts are missing" in capsys.readouterr().err and not (tmp_path / "segments.json").exists()
    assert main([*call, "--shard", "1/2"]) == 0 and main(["merge", str(tmp_path), "--format", "rle"]) == 0
    found = coco.COCO(str(tmp_path / "segments.json"))
    table = pd.read_csv(tmp_path / "regions.csv").query("place > 0")
    assert len(found.anns) == len(table) and {c["name"] for c in found.cats.values()} == set(table["label"])
    told = pd.read_csv(tmp_path / "table.csv")
    assert set(told["label"]) >= set(table["label"]) and set(told["words"]) == {"labels"}
    for number, image in found.imgs.items():
        place, odds = literal(clip, folder / image["file_name"], WORDS)
        for one in found.loadAnns(found.getAnnIds([number])):
            mask = found.annToMask(one).astype(bool)
            assert (mask == (place == one["category_id"])).all() and one["area"] == mask.sum()
            assert one["score"] == pytest.approx(odds[mask].mean(), abs=1e-5)
    before = (tmp_path / "segments.json").read_bytes()
    monkeypatch.setattr(clipsx.Clip, "look", lambda *_: pytest.fail("a picture was looked at again"))
    assert main(call) == 0 and (tmp_path / "segments.json").read_bytes() == before
    assert main(["merge", str(tmp_path)]) == 0 and (tmp_path / "masks" / "in" / "two.png.png").exists()


@pytest.mark.slow
def test_a_thousand_labels_have_room_in_a_mask_and_in_memory(
    clip: clipsx.Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = Vocabulary(tuple((f"kind {n}",) for n in range(1000)))
    text = torch.nn.functional.normalize(torch.randn(1000, 32, generator=torch.Generator().manual_seed(0)), dim=1)
    monkeypatch.setattr(clip, "encode_labels", lambda *_: text)
    noise(512, 512).save(tmp_path / "large.png")
    made: list[int] = []
    softmax = torch.Tensor.softmax
    monkeypatch.setattr(torch.Tensor, "softmax", lambda x, *d, **k: (made.append(x.numel()), softmax(x, *d, **k))[1])
    table = produce.segment(clip, produce.Pictures(tmp_path), labels, out=tmp_path / "out")
    mask = np.asarray(Image.open(tmp_path / "out" / "masks" / "large.png.png"))
    assert mask.dtype != np.uint8 and set(np.unique(mask)) == set(table["place"]) and table["place"].max() > 255
    assert max(made) < 512 * 512 * 1000 / 20


@pytest.mark.slow
@pytest.mark.parametrize("form", produce.FORMATS)
def test_memory_holds_the_regions_of_one_part(tmp_path: Path, form: str) -> None:
    """What is written of six times the pictures needs the same room while it is written."""
    if form == "rle":
        pytest.importorskip("pycocotools.mask", reason="pycocotools is not installed: pip install 'clipsx[data]'")
    rng, peaks = np.random.default_rng(0), []
    for count in (2, 12):
        folder = tmp_path / str(count)
        parts = Parts(folder, {"pictures": count, "part": 1}, {produce.NAME: {"about": {"data": "x"}, "empty": ""}})
        for n in range(count):
            mask = rng.random((400, 400)) < 0.5  # which nothing compresses
            rows = [
                {"image": f"{n}.png", "width": 400, "height": 400, "label": label, "place": place,
                 "pixels": int(own.sum()), "confidence": 0.5, "mask": produce.packed(own)}
                for place, (label, own) in enumerate({"background": ~mask, "cat": mask}.items())
            ]  # fmt: skip
            parts.write(n, [pd.DataFrame(rows)], [])
        tracemalloc.start()
        table = produce.write(folder, form)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert table["pictures"].tolist() == [count, count] and len(pd.read_csv(folder / "regions.csv")) == 2 * count
    assert peaks[1] < peaks[0] + 10 * 20_000, "half a mask of each picture"


def test_a_list_names_pictures_from_its_own_folder_on(folder: Path, tmp_path: Path) -> None:
    file = folder / "list.txt"
    file.write_text(f"in/two.png\n\n{folder}/one.jpg\n")
    found = produce.Pictures(file)
    assert [sample.image.size for sample in found] == [(30, 22), (30, 20)] and len(found) == 2
    assert produce.mask_of(found.names[1]) == Path("masks", *folder.parts[1:], "one.jpg.png")
    assert produce.mask_of("../../up.png") == Path("masks/up.png.png")
    whole = produce.Pictures(folder)
    assert whole.names == ("bad.jpg", "in/two.png", "one.jpg", "one.png") and whole.fingerprint() != found.fingerprint()
    for text, words in (("", "holds no picture"), ("a.png\na.png", "'a.png' twice"), ("a.png\n../a.png", "one file")):
        file.write_text(text)
        with pytest.raises(ValueError, match=words):
            produce.Pictures(file)
    file.unlink()


def test_what_is_refused_is_told_before_anything_is_made(
    clip: clipsx.Clip, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.import_module("clipsx.load"), "load", lambda *_, **__: clip)
    call = ["segment", "--out", str(tmp_path / "out"), "--images", str(folder), "--labels"]
    for more, words in (
        (["cat"], "at least two different"),
        (["@nowhere.txt"], "--labels: The labels' file 'nowhere.txt' cannot be read"),
        (["cat, dog", "--images", str(tmp_path / "none")], "No such file"),
        (["cat, dog", "--protocol", "naclip-voc20x"], "Unknown protocol"),
        (["cat, dog", "--reading", "klip"], "'clip'"),
    ):
        assert main([*call, *more]) == 2
        assert words in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "pycocotools.mask", None)
    assert main([*call, "cat, dog", "--format", "rle"]) == 2
    assert "pip install 'clipsx[data]', or take --format png" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_run_of_another_kind_is_no_segments(clip: clipsx.Clip, folder: Path, tmp_path: Path) -> None:
    one = produce.measure(clip, ("cat", "dog"))
    keep(clip, produce.Pictures(folder), [one], folder=tmp_path)
    known = json.loads((tmp_path / "rows" / "made.json").read_text())
    assert list(known["measures"]) == [produce.NAME]
    with pytest.raises(ValueError, match=r"another run \(not the same: measure regions"):
        keep(clip, produce.Pictures(folder), [produce.measure(clip, ("cat", "boat"))], folder=tmp_path)
