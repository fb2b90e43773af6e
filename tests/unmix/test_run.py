"""`clipsx unmix`: projectors of every seed on disk, and tables that are those of the same training by hand."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import clipsx
from clipsx import unmix
from clipsx.cli import main
from clipsx.datasets import Sample
from clipsx.evaluation import segment
from clipsx.evaluation.stream import stream
from clipsx.metrics import mean_average_precision
from clipsx.unmix import Config, run
from clipsx.unmix.study import RUN
from helpers import masked, tiny_clip

LABELS, SEEDS, CONFIG = ("cat", "dog", "boat"), (0, 1), Config(epochs=1, batch=4)


@pytest.fixture(scope="module")
def clip() -> clipsx.Clip:
    return tiny_clip(image_size=32, layers=1, width=32, patch_size=16)


def pictures(start: int, masks: bool = True) -> list[Sample]:
    each = [
        masked(20, 24, [label for k, label in enumerate(LABELS) if (n + k) % 3], n) for n in range(start, start + 6)
    ]
    return each if masks else [sample.replace(masks=None) for sample in each]


@pytest.mark.slow
def test_tables_are_those_of_the_saved_projectors(
    clip: clipsx.Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIPSX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(run, "gather", lambda clip, some, **how: unmix.gather(clip, some, LABELS, **how))
    train, test = pictures(0), pictures(6)
    found, pixels = run.run(clip, train, test, tmp_path, "clip", seeds=SEEDS, config=CONFIG)
    found, pixels = found.set_index("measure"), pixels.set_index("reading")
    asked = unmix.gather(clip, test, LABELS, reading="clip")
    heads = [unmix.Unmixed.load(tmp_path / f"unmix-seed{seed}", clip, LABELS) for seed in SEEDS]
    assert not torch.equal(*(next(iter(head.projectors.parameters())) for head in heads))
    assert [head.config.seed for head in heads] == list(SEEDS)
    own = [mean_average_precision(head.probabilities(asked.positions), asked.present) for head in heads]
    row = found.loc["mAP"]
    assert row["mean"] == pytest.approx(np.mean(own)) and row["sd"] == pytest.approx(np.std(own, ddof=1))
    cosine = np.asarray(asked.cls, np.float32) @ clip.encode_labels(LABELS).numpy().T
    assert row["before"] == pytest.approx(mean_average_precision(cosine, asked.present), abs=1e-6)
    assert row["difference"] == pytest.approx(row["mean"] - row["before"]) and row["low"] <= row["high"]
    assert (found["seeds"] == 2).all() and (found["trained on"] == 6).all() and (found["seconds"] >= 0).all()
    for models, column in (([clip], "before"), ([head.clip for head in heads], "mean")):
        miou = [segment.summarise(stream(m, test, [segment.measure(m, LABELS)])[0])["mIoU"][0] for m in models]
        assert pixels.loc["clip", column] == pytest.approx(np.mean(miou), abs=1e-3)
    assert (pixels["difference"] == pixels["mean"] - pixels["before"]).all()


def test_the_command_trains_as_the_study_on_the_built_in_world(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []
    tables = pd.DataFrame(), pd.DataFrame()
    monkeypatch.setattr(run, "run", lambda *given, config, **how: told.append(config) or tables)
    assert main(["unmix", "--limit", "2", "--epochs", "3"]) == 0
    assert told == [replace(RUN, epochs=3)]


@pytest.mark.slow
def test_the_command_writes_weights_and_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CLIPSX_CACHE", str(tmp_path / "cache"))
    for n, sample in enumerate(pictures(0, masks=False)):
        sample.image.save(tmp_path / f"{n}.png")
        (tmp_path / f"{n}.txt").write_text("\n".join(sample.labels))
    data = ["--dataset", "folder", "--root", str(tmp_path), "--images", "3", "--model", "sketchbook-rn", "--size", "64"]
    out = tmp_path / "out"
    assert main(["unmix", *data, "--seeds", "1", "--epochs", "1", "--out", str(out)]) == 0
    files = {file.relative_to(out).as_posix() for file in out.rglob("*") if file.is_file()}
    assert {"recognition.csv", "unmix-seed0/projectors.safetensors", "unmix-seed0/unmix.json"} <= files
    said = capsys.readouterr().out
    assert "Left out: it needs masks" in said and "segmentation.csv" not in files
    table: Any = pd.read_csv(out / "recognition.csv").set_index("measure")
    assert table.loc["mAP", "image_size"] == "64×64" and table["sd"].isna().all()
