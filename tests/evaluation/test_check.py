"""The check list on models of random weights: everything is far, and what made it is said and compared."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import clipsx
from clipsx.datasets import BUILT_IN, VOCABULARIES
from clipsx.evaluation import check
from clipsx.evaluation.parts import Parts
from clipsx.evaluation.protocols import PROTOCOLS, Windows
from clipsx.evaluation.tasks import evaluate
from clipsx.statistics import difference
from helpers import masked, tiny_clip


class Given(list):
    labels = VOCABULARIES["voc-20"]


SAMPLES = Given([masked(20, 28, Given.labels[n : n + 2], n) for n in range(2)])


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The whole list for a tiny model under the name of the real one; sizes are the model's."""
    clip = tiny_clip(image_size=32, layers=2, width=32, patch_size=8)
    small = {
        name: replace(row, size=None, windows=row.windows and Windows(40, 32, 16)) for name, row in PROTOCOLS.items()
    }
    with pytest.MonkeyPatch.context() as patch:
        for name in {claim.protocol for claim in check.CLAIMS}:
            patch.setitem(PROTOCOLS, name, small[name])
        return check.check({check.B: clip}, [], SAMPLES, tmp_path_factory.mktemp("check"))


def test_every_claim_can_be_checked() -> None:
    for claim in check.CLAIMS:
        assert claim.protocol in PROTOCOLS and claim.low <= claim.high and claim.source and claim.model in check.MODELS
        assert claim.vocabulary is None or len(BUILT_IN[claim.vocabulary].queries) == 20
    assert {claim.model for claim in check.CLAIMS} == set(check.MODELS)


@pytest.mark.slow
def test_random_weights_are_far(found: Any, tmp_path: Path) -> None:
    table = pd.DataFrame(found["checks"])
    assert len(table) == sum(claim.model == check.B for claim in check.CLAIMS)
    kept = table[table["measure"] != "msc"]  # of which chance can be below 0 as well
    assert (kept["verdict"] == "far").all() and table["value"].notna().all()
    assert found["models"][check.B]["activation"] == "GELU" and len(found["models"][check.B]["weights"]) == 64
    assert found["images"]["count"] == 2 and {"torch", "clipsx"} <= set(found["versions"])
    file = check.write(found, tmp_path)
    assert json.loads(file.read_text()) == found and check.against(found, check.read(file)) == []
    other = json.loads(file.read_text())
    other["models"][check.B]["weights"], other["checks"][0]["value"] = "abc", 1e3
    other["checks"].pop()
    file.write_text(json.dumps(other))
    said = "\n".join(check.against(found, check.read(file)))
    assert all(words in said for words in ("there {'weights': 'abc'", "there 1000.00", "not checked there"))


@pytest.mark.parametrize(
    ("value", "verdict"), [(58.6, "inside"), (60.2, "inside"), (57.2, "near"), (55.2, "near"), (53.0, "far")]
)
def test_verdicts(value: float, verdict: str) -> None:
    claim = next(claim for claim in check.CLAIMS if claim.protocol == "sclip-voc21")
    row = {"measure": "mIoU", "reading": "sclip", "value": value, "low": value - 3, "high": value + 3}
    assert check.judged(claim, pd.DataFrame([row]))["verdict"] == verdict
    alone = check.judged(claim, pd.DataFrame([row | {"low": float("nan")}]))["verdict"]
    assert alone == ("far" if value < 57.1 else verdict), "no interval adds nothing to the tolerance"


def test_a_gain_is_of_the_same_images(tmp_path: Path) -> None:
    """Its tolerance is that of paired differences: what all images share does not widen it."""
    clip, readings = tiny_clip(image_size=32, layers=2, width=32, patch_size=8), ["clip", "clip-surgery"]
    table = evaluate(clip, "explain", [], SAMPLES, readings, protocol="clip-surgery-explain", folder=tmp_path)
    values = table.set_index(["measure", "reading"])["value"]
    rows = next(iter(Parts.of(tmp_path).tables().values()))
    for measure in ("msc", "miou_searched"):
        claim = next(claim for claim in check.CLAIMS if claim.gain and claim.measure == measure)
        found = check.judged(claim, check.gains(tmp_path))
        assert found["value"] == pytest.approx(values[measure, "clip-surgery"] - values[measure, "clip"])
        if measure == "msc":
            wide = rows.pivot_table("msc", ["image", "label"], "reading").reset_index()
            gaps = (wide["clip-surgery"] - wide["clip"]).to_numpy()
            own = difference(gaps, wide["image"].to_numpy(), wide["label"].to_numpy())
            assert found["half"] == pytest.approx((own["high"] - own["low"]) / 2)


def test_what_is_no_check_list(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"checks": 3}')
    with pytest.raises(ValueError, match="no check list"):
        check.read(tmp_path / "a.json")
    with pytest.raises(FileNotFoundError):
        check.read(tmp_path / "b.json")
    with pytest.raises(ValueError, match="ViT-B-16 or ViT-L-14-336"):
        check.check({"RN50": clipsx.load("sketchbook")}, [], SAMPLES, tmp_path)
