"""`clipsx evaluate --projectors`: a CLIP and what was trained on it, by the protocols of Unmix-CLIP, against loops."""

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import clipsx
from clipsx.cli import main
from clipsx.datasets import Sketchbook, Subset, labels_of, recipe_of, tuning_and_test
from clipsx.evaluation import compare, published
from clipsx.metrics import mean_average_precision
from clipsx.unmix import PROMPTS, Config, Projectors, Unmixed, spatial_head
from clipsx.unmix.heads import kept
from helpers import tiny_clip

COUNT, SEEDS = 4, (0, 1)
TRAIN, TEST = tuning_and_test("sketchbook", images=COUNT)
LABELS = labels_of(TEST)
TINY: dict[str, Any] = {"image_size": 64, "layers": 1, "width": 32, "patch_size": 32}


def trained(samples: Any) -> dict[str, Any]:
    return {"data": samples.describe()["data"], "recipe": recipe_of(samples), "count": len(samples)}


@pytest.fixture(scope="module")
def heads() -> list[Unmixed]:
    clip = tiny_clip(**TINY)
    return [
        Unmixed(clip, Projectors(clip.embed_dim, seed), LABELS, Config(seed=seed), trained=trained(TRAIN))
        for seed in SEEDS
    ]


@pytest.fixture
def call(heads: list[Unmixed], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    models = {"base": heads[0].base, "other": tiny_clip(1, **TINY)}
    monkeypatch.setattr(importlib.import_module("clipsx.load"), "load", lambda name, *_, **__: models[name])
    for head in heads:
        head.save(tmp_path / "heads" / f"unmix-seed{head.config.seed}")
    given = ["--limit", str(COUNT), "--out", str(tmp_path / "out"), "--projectors", str(tmp_path / "heads")]
    return ["evaluate", "--model", "base", *given]


def refused(capsys: pytest.CaptureFixture[str], *call: str) -> str:
    assert main(call) == 2
    return capsys.readouterr().err


def positions(clip: clipsx.Clip, n: int) -> torch.Tensor:
    return clip.encode_dense(clip.prepare(TEST[n].image, 448), "clip").patches  # (1, 14, 14, D)


def literal(task: str, clip: clipsx.Clip) -> float:
    """mAP of the spatial head, or mIoU of the best label at every pixel, one picture after the other."""
    if task == "recognise":
        text = torch.stack([clip.encode_labels(LABELS, [prompt]) for prompt in PROMPTS])  # (2, N, d)
        p = [spatial_head(positions(clip, n).flatten(1, 2), text)[0].numpy() for n in range(COUNT)]
        return mean_average_precision(
            np.array(p), [[label in TEST[n].labels for label in LABELS] for n in range(COUNT)]
        )
    text, counts = clip.encode_labels(LABELS, "photo"), np.zeros((3, len(LABELS)))
    for n in range(COUNT):
        grid = (positions(clip, n) @ text.T).permute(0, 3, 1, 2)  # (1, N, 14, 14)
        size = TEST[n].size[::-1]
        said = torch.nn.functional.interpolate(grid, size, mode="bilinear", align_corners=False)[0].argmax(0).numpy()
        truth = TEST[n].index_map(LABELS)
        for k in range(len(LABELS)):
            on = (truth >= 0) & (truth < len(LABELS))
            counts[:, k] += [((said == k) & (truth == k)).sum(), ((said == k) & on).sum(), (truth == k).sum()]
    there = counts[2] > 0
    hits, said, true = counts[:, there]
    return 100 * float((hits / (said + true - hits)).mean())


@pytest.mark.slow
@pytest.mark.parametrize(("task", "measure"), [("recognise", "mAP"), ("segment", "mIoU")])
def test_seeds_beside_their_clip(
    call: list[str], heads: list[Unmixed], tmp_path: Path, task: str, measure: str
) -> None:
    assert main([*call, "--task", task, "--protocol", f"unmix-{task}"]) == 0
    table, seeds, gaps = (pd.read_csv(tmp_path / "out" / f"{name}.csv") for name in ("table", "seeds", "differences"))
    own = table[table["measure"] == measure]
    assert own["reading"].tolist() == ["clip"] * 3 and own["run"].tolist() == ["model-1", "model-2", "model-3"]
    expected = [literal(task, clip) for clip in (heads[0].base, *(head.clip for head in heads))]
    assert own["value"].tolist() == pytest.approx(expected, abs=0.05 if task == "segment" else 1e-3)
    row = seeds[seeds["measure"] == measure].iloc[0]
    assert row["before"] == own["value"].iloc[0] and row["seeds"] == 2
    assert row["mean"] == pytest.approx(np.mean(own["value"][1:]))
    assert row["sd"] == pytest.approx(np.std(own["value"][1:], ddof=1))
    told = own["projectors"].tolist()
    assert told[0] != told[0] and told[1] == f"of clip, seed 0, trained on {TRAIN.describe()['data']}"
    assert own["weights"].str.contains("projectors sha256").tolist() == [False, True, True]
    assert len(gaps[gaps["measure"] == measure]) == len(gaps[gaps["what"] == "label texts"]) == 2
    assert set(published.beside(table)["reading"]) <= {"clip"}


def test_projectors_are_found_and_refused(
    call: list[str], heads: list[Unmixed], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two = kept(tmp_path / "heads")
    assert kept(one) == kept(one / "unmix.json") == [one] and two.name == "unmix-seed1"
    again = Unmixed.load(one, heads[0].base)
    assert again.trained == heads[0].trained and again.clip.describe() == heads[0].clip.describe()
    assert "holds no projectors" in refused(capsys, *call[:-1], str(tmp_path / "nowhere"))
    assert "one --model" in refused(capsys, *call, "--model", "other")
    call[2] = "other"
    assert "belongs to tiny" in refused(capsys, *call)
    call[2] = "base"
    Unmixed(again.base, again.projectors, LABELS, Config(), trained=trained(TEST)).save(tmp_path / "heads" / "x")
    assert f"{COUNT} of the {COUNT} pictures to test on" in refused(capsys, *call)
    assert not (tmp_path / "out").exists()


def test_pictures_that_were_learned_from_are_known_by_their_places(heads: list[Unmixed]) -> None:
    whole = Sketchbook(seed=3, length=9)
    even, odd, some = (Subset(whole, places, "some") for places in ((0, 2, 4), (1, 3, 5), (4, 5)))
    for own, asked, count in ((even, odd, 0), (even, some, 1), (whole, some, 2), (even, Subset(even, (1,), "one"), 1)):
        learned = Unmixed(heads[0].base, heads[0].projectors, LABELS, Config(), trained=trained(own))
        if count:
            with pytest.raises(ValueError, match=rf"{count} of the {len(asked)} pictures .* another --split"):
                learned.require_apart(asked)
        else:
            learned.require_apart(asked)
    heads[0].require_apart([TRAIN[0]])  # a plain list cannot be told


@pytest.mark.slow
def test_other_projectors_are_another_run(
    call: list[str], heads: list[Unmixed], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call += ["--task", "recognise"]
    assert main(call) == 0 and len(compare.runs(tmp_path / "out")) == 3
    capsys.readouterr()
    Unmixed(heads[0].base, Projectors(32, 5), LABELS, Config()).save(tmp_path / "heads" / "unmix-seed0")
    assert "rows of another run (not the same: model)" in refused(capsys, *call)
