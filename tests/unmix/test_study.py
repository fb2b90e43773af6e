"""The comparisons of the paper over towers and seeds: what is shipped has them all, and differences are paired."""

import numpy as np
import pytest

from clipsx import unmix
from clipsx.metrics import mean_average_precision
from clipsx.unmix import Config
from clipsx.unmix.study import CASES, Case, against, shipped, study, summary


def test_what_is_shipped_is_whole() -> None:
    rows, differences = shipped()
    found = rows.groupby(["model", "positions read", "setting"])["seed"].agg(list)
    for case in CASES:
        for setting in case.settings:
            assert sorted(found[case.model, case.reading, setting]) == [0, 1, 2, 3, 4]
    assert len(rows) == 5 * sum(len(case.settings) for case in CASES)
    published = rows[rows["setting"] == "α·λ 1.4e-5, as published"]
    assert np.allclose(published["alpha·lambda"], 1.4e-5) and (rows["parameters"] == 27_040).all()
    assert (rows["trained on"] == 700).all() and (rows["tested on"] == 300).all() and (rows["threads"] == 1).all()
    means = summary(rows).set_index(["model", "positions read", "setting"])
    for row in differences.to_dict("records"):
        one = means.loc[row["model"], row["positions read"], row["what"]]
        other = one["cosine mAP"] if row["against"] == "cosine" else means.loc[
            row["model"], row["positions read"], row["against"]]["mAP"]  # fmt: skip
        assert row["difference"] == pytest.approx(one["mAP"] - other, abs=0.11) and row["low"] <= row["high"]
        assert one["mAP std"] > 0 and row["seeds"] == one["seeds"] == 5


def test_differences_are_paired_by_image_and_seed() -> None:
    rng, present = np.random.default_rng(1), np.random.default_rng(0).integers(0, 2, (40, 3))
    noise = {seed: rng.normal(size=(40, 3)) for seed in range(3)}
    worse = {seed: noise[seed] + 0.5 * present for seed in noise}
    better = {seed: noise[seed] + 1.5 * present for seed in noise}
    scores = {("a", s): p for s, p in better.items()} | {("b", s): p for s, p in worse.items()}
    found = against(scores, present, {"cosine": worse[0]}, [("a", "b"), ("a", "cosine"), ("a", "not there")], 50)
    assert list(found["against"]) == ["b", "cosine"] and (found["seeds"] == 3).all()
    mean = {name: np.mean([mean_average_precision(p, present) for p in of.values()])
            for name, of in {"a": better, "b": worse}.items()}  # fmt: skip
    assert found["difference"][0] == pytest.approx(mean["a"] - mean["b"]) and found["verdict"][0] == "higher"
    assert found["value"][0] == pytest.approx(mean["a"])
    same = against({("a", 0): better[0], ("b", 0): better[0]}, present, pairs=[("a", "b")], resamples=20)
    assert same[["difference", "low", "high"]].iloc[0].tolist() == [0, 0, 0] and same["verdict"][0] == "not apart"
    again = against(scores, present, None, [("a", "b")], 50)
    assert again.loc[0, "low"] == found.loc[0, "low"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:No positive image")
def test_it_is_made_of_ablations(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("CLIPSX_CACHE", str(tmp_path))
    case = Case("sketchbook-rn", 96, "maskclip", {name: unmix.SETTINGS[name] for name in ("unmix", "pooling kept")})
    rows, differences = study([case], (0, 1), 16, 12, Config(epochs=1, batch=8))
    assert list(rows["read"]) == ["maskclip"] * 2 + ["class token"] * 2 and set(rows["image_size"]) == {"96×96"}
    assert list(differences["against"]) == ["pooling kept", "cosine"] and len(summary(rows)) == 2
    assert rows.columns.tolist()[:2] == differences.columns.tolist()[:2] == ["model", "positions read"]
