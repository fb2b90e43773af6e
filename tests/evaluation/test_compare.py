"""Models beside each other on the same images: paired differences against literal ones, and what changed most."""

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import clipsx
from clipsx import mfi, options
from clipsx.cli import main
from clipsx.datasets import labels_of, tuning_and_test
from clipsx.evaluation import compare, results
from clipsx.evaluation import stream as streams
from clipsx.evaluation.parts import Parts
from clipsx.evaluation.protocols import PROTOCOLS
from helpers import tiny_clip

COUNT, READINGS = 5, "clip, clip+code"
TINY: dict[str, Any] = {"image_size": 32, "layers": 1, "width": 32, "patch_size": 16}


@pytest.fixture(scope="module")
def models() -> dict[str | None, clipsx.Clip]:
    return {"base": tiny_clip(0, **TINY), "tuned": tiny_clip(1, **TINY)}


@pytest.fixture
def call(models: dict[str | None, clipsx.Clip], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr(importlib.import_module("clipsx.load"), "load", lambda name, *_, **__: models[name])
    monkeypatch.setattr(streams, "PART", 2)
    given = ["--limit", str(COUNT), "--readings", READINGS, "--out", str(tmp_path), "--pictures", "0"]
    return ["evaluate", "--model", "base", "--model", "tuned", *given]


def rows(folder: Path) -> pd.DataFrame:
    return next(iter(Parts.of(folder).tables().values()))


LITERAL = {  # what is held against the rows of both models, and by how much it may differ
    "explain": ("msc", lambda t: t.groupby(["label", "image"])["msc"].mean().groupby("label").mean().mean()),
    "segment": (
        "mIoU",
        lambda t: np.mean([100 * s["hits"].sum() / (s["said"].sum() + s["true"].sum() - s["hits"].sum())
                           for _, s in t.groupby("label") if s["true"].sum()]),
    ),
    "points": ("miou_points", lambda t: t.groupby(["label", "image"])["iou"].mean().groupby("label").mean().mean()),
    "recognise": ("mAP", None),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("task", LITERAL)
def test_differences_are_those_of_the_rows(call: list[str], tmp_path: Path, task: str) -> None:
    assert main([*call, "--task", task, "--pictures", str(int(task == "explain"))]) == 0
    assert (tmp_path / "changed-2.png").exists() == (task == "explain")
    assert [run.name for run in results.find(tmp_path)] == [f"{tmp_path.name}-model-{n}" for n in (1, 2)]
    table, gaps, changed = (pd.read_csv(tmp_path / f"{name}.csv") for name in ("table", "differences", "changed"))
    measure, value = LITERAL[task]
    both = [rows(folder) for folder in compare.runs(tmp_path)]
    assert table["run"].unique().tolist() == ["model-1", "model-2"] and len(both) == 2
    for reading in READINGS.split(", "):
        found = gaps[(gaps["what"] == reading) & (gaps["measure"] == measure)].iloc[0]
        if value is None:
            own = table[(table["reading"] == reading) & (table["measure"] == measure)]["value"].tolist()
        else:
            own = [value(some[some["reading"] == reading]) for some in both]
        assert found["difference"] == pytest.approx(own[1] - own[0], abs=1e-9)
        assert found["low"] <= found["difference"] <= found["high"]
        assert_as_in_the_table(gaps, table)
        assert found["model"] == "tiny (seed 1, model-2)" and found["against"] == "tiny (seed 0, model-1)"
    texts = gaps.iloc[-1]
    expected = [pd.read_csv(f / compare.MATRIX, index_col=0).to_numpy() for f in compare.runs(tmp_path)]
    assert texts["difference"] == pytest.approx(mfi.difference(*expected)["absolute"])
    assert texts["low"] <= texts["difference"] <= texts["high"]
    assert changed["image"].is_unique and len(changed) <= COUNT
    assert changed["change"].abs().is_monotonic_decreasing
    assert (changed["after"] - changed["before"]).tolist() == pytest.approx(changed["change"].tolist())


def assert_as_in_the_table(gaps: pd.DataFrame, table: pd.DataFrame) -> None:
    """Differences are of the numbers that the table has, by the one rule of the protocol."""
    values = table.set_index(["run", "reading", "measure"])["value"]
    for row in gaps[gaps["what"] != "label texts"].itertuples():
        before, after = (values[f"model-{n}", row.what, row.measure] for n in (1, 2))
        assert (row.value, row.difference) == pytest.approx((after, after - before), abs=1e-9, nan_ok=True), row.measure


@pytest.mark.slow
@pytest.mark.parametrize("name", ["clip-surgery-segment-per-image", "dualcoop"])
def test_differences_are_by_the_protocol(call: list[str], tmp_path: Path, name: str) -> None:
    assert main([*call, "--limit", "3", "--protocol", name, "--task", PROTOCOLS[name].task]) == 0
    assert_as_in_the_table(pd.read_csv(tmp_path / "differences.csv"), pd.read_csv(tmp_path / "table.csv"))


@pytest.mark.slow
def test_shards_of_two_models_are_merged(call: list[str], tmp_path: Path) -> None:
    whole = [*call, "--task", "recognise", "--out", str(tmp_path / "whole")]
    assert main(whole) == 0
    parted = [*call, "--task", "recognise", "--out", str(tmp_path / "parted")]
    for i in (1, 2):
        assert main([*parted, "--shard", f"{i}/2"]) == 0
    assert main(["merge", str(tmp_path / "parted")]) == 0
    for name in ("table", "differences", "changed"):
        one, other = (tmp_path / place / f"{name}.csv" for place in ("whole", "parted"))
        assert one.read_bytes() == other.read_bytes()


@pytest.mark.slow
def test_a_model_beside_itself_does_not_differ(
    call: list[str], tmp_path: Path, models: dict[str | None, clipsx.Clip]
) -> None:
    call[4] = "base"
    assert main([*call, "--task", "recognise"]) == 0
    _, gaps, changed = compare.compared(tmp_path)
    assert (gaps["difference"] == 0).all() and (gaps["verdict"] == "not apart").all() and not changed["change"].any()
    _, test = tuning_and_test("sketchbook", images=COUNT)
    own = mfi.similarity_matrix(models["base"].encode_labels(labels_of(test))).numpy()
    kept = pd.read_csv(tmp_path / "model-1" / compare.MATRIX, index_col=0).to_numpy()
    np.testing.assert_allclose(kept, own, atol=1e-6)


def test_models_that_were_not_measured_alike_are_refused(
    call: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for n, more in enumerate((["--task", "recognise"], ["--task", "segment"]), 1):
        alone = [*call[:3], *call[5:], "--limit", "2", *more, "--out", str(tmp_path / f"model-{n}")]
        assert main(alone) == 0
    assert main(["merge", str(tmp_path)]) == 2 and "not measured alike" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "pairs"),
    [("--model A", [("A", None)]), ("--model A --pretrained a", [("A", "a")]),
     ("--pretrained a --model A", [("A", "a")]), ("--model A --model B", [("A", None), ("B", None)]),
     ("--model A --pretrained a --model B --pretrained b", [("A", "a"), ("B", "b")]),
     ("--model A --pretrained a --pretrained b", [("A", "a"), ("A", "b")])],
)  # fmt: skip
def test_every_model_has_its_own_weights(given: str, pairs: list[tuple[str, str | None]]) -> None:
    parser = options.Parser()
    for name in ("--model", "--pretrained"):
        parser.add_argument(name, action=options.Model)
    found = parser.parse_args(given.split())
    assert found.pairs == pairs and found.model == pairs[-1][0]
    assert not hasattr(parser.parse_args([]), "pairs") and parser.parse_args([]).model is None
