"""Verdicts of the laboratory's tables are those of the numbers in them, whichever way they fall."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from clipsx import chance, paths, verdicts
from clipsx.load import built_in
from clipsx.sketchbook.laboratory import answers, default
from clipsx.sketchbook.laboratory.floors import tower_of
from clipsx.sketchbook.laboratory.runs import Results, tidy, wide
from clipsx.statistics import beyond

SETTINGS = {"background_bias": 0.6, "co_occurrence": 0.5, "named": 0.5, "blocks": 8.0, "pooling": "tok", "lifted": 0.0}


def made(raw: dict[str, tuple[float, float, float]], measures: dict[str, dict[str, tuple]] | None = None) -> Results:
    """Results of runs with these raw mSC (value, low, high); surgery adds 20; measures by name and run."""
    runs, maps, rows = [], [], []
    for run, (value, low, high) in raw.items():
        name, _, images = run.partition("@")
        random = name == "sketchbook-random"
        cell, _, seed = (name, "", "7") if random else name.removeprefix("lab-").rpartition("-s")
        factor = (
            "random weights" if random else {"centre": "centre", "co-0": "co_occurrence"}.get(cell, "background_bias")
        )
        about = {"run": run, "cell": cell, "seed": int(seed), "factor": factor}
        about |= {
            "images": int(images or 1000),
            "patches": 12,
            "tower": "ViT",
            "top-1, default dials": 96.0,
            "mAP, default dials": 80.0,
            "image_size": 64,
        }
        dials = SETTINGS | {"co_occurrence": 0.0 if cell == "co-0" else 0.5}
        runs.append(about | (dict.fromkeys(SETTINGS) if random else dials))
        for method, surgery, depth, label_set, plus in (
            ("clip", "none", None, "nouns", 0),
            ("maskclip", "none", None, "nouns", 5),
            ("clip-surgery", "none", 2, "nouns", 1),
            ("clip-surgery", "none", 4, "nouns", 20),
            ("clip-surgery", "code", 4, "nouns", 25),
            ("clip-surgery", "code", 4, "nouns and grounds", 26),
        ):
            row = {"run": run, "method": method, "surgery": surgery, "depth": depth, "label_set": label_set}
            for column in ("msc", "opposite", "miou"):
                row |= {column: value + plus, f"{column}_low": low + plus, f"{column}_high": high + plus}
            maps.append(row)
        for measure, each in (measures or {"top-1": {}}).items():
            one = each.get(run, (50.0, 40.0, 60.0))
            rows.append({"run": run, "measure": measure, **dict(zip(("value", "low", "high"), one, strict=True))})
    table = pd.DataFrame(runs)
    return Results(table, pd.DataFrame(maps), pd.DataFrame(rows))


CENTRE = {"lab-centre-s7": (-10.0, -12.0, -8.0)}


def test_one_number_stands_for_surgery_at_depth_six_or_all_blocks():
    found = made(CENTRE)
    found.maps.loc[found.maps["depth"] == 4, "depth"] = 6
    extra = found.maps[found.maps["depth"] == 6].assign(depth=8, msc=99.0)
    deep = Results(found.runs, pd.concat([found.maps, extra]), found.measures)
    for results, value in ((made(CENTRE), 10.0), (deep, 10.0)):
        table = tidy(results).set_index("measure")
        assert table.loc["mSC clip-surgery none", "value"] == value
        assert table.loc["mSC clip-surgery code nouns and grounds", "value"] == 16.0


@pytest.mark.parametrize(
    ("bias", "verdict", "seen"),
    [((0.0, -2.0, 2.0), "stands", "higher"), ((-20.0, -22.0, -18.0), "died", "lower"),
     ((-9.0, -11.0, -7.0), "not seen", "not apart")],
)  # fmt: skip
def test_an_expectation_stands_or_dies_by_its_intervals(bias, verdict, seen):
    table = answers.hypotheses(made(CENTRE | {"lab-bias-0-s7": bias})).set_index("number")
    assert table.loc[1, "verdict"] == verdict
    assert table.loc[1, "seen"] == seen
    assert table.loc[1, "value"] == bias[0] and table.loc[1, "other"] == -10.0
    assert table.loc[2, "verdict"] == "not tried"


def test_two_seeds_must_agree():
    raw = CENTRE | {"lab-centre-s8": (-10.0, -12.0, -8.0), "lab-bias-0-s7": (0.0, -2.0, 2.0)}
    both = answers.hypotheses(made(raw | {"lab-bias-0-s8": (-9.0, -11.0, -7.0)}))
    assert set(both[both["number"] == 1]["verdict"]) == {"not seen"}
    both = answers.hypotheses(made(raw | {"lab-bias-0-s8": (1.0, -1.0, 3.0)}))
    assert set(both[both["number"] == 1]["verdict"]) == {"stands"}


def test_a_checkpoint_is_no_cell_of_its_own():
    found = made(CENTRE | {"lab-bias-0-s7@500": (0.0, -2.0, 2.0)})
    assert answers.hypotheses(found).set_index("number").loc[1, "verdict"] == "not tried"
    assert set(answers.by_model(found)["run"]) == {"lab-centre-s7"}


def test_a_model_is_held_against_starts_of_its_own_tower_and_a_repair_against_its_raw_maps():
    raw = CENTRE | {"lab-bias-0-s7": (-30.0, -31.0, -29.0), "sketchbook-random": (-9.0, -9.5, -8.5)}
    table = answers.by_model(made(raw)).set_index(["run", "what"])
    bands = chance.shipped().query("measure == 'msc' and reading == 'clip'").set_index("model")
    band = bands.loc[tower_of("lab-centre-s7")].to_dict()
    assert "sketchbook-random" not in table.index and band["n"] >= 20
    for run, expected in (("lab-centre-s7", "not apart"), ("lab-bias-0-s7", "lower")):
        row, own = table.loc[(run, "raw maps")], beyond(*raw[run], band)
        assert row["verdict"] == own["verdict"] == expected and row["low"] == pytest.approx(own["low"])
        assert row["value"] == raw[run][0] and row["against"] == "20 random starts"
        mended = table.loc[(run, "MaskCLIP")]
        half = np.hypot(raw[run][2] - raw[run][1], raw[run][2] - raw[run][1]) / 2
        assert mended["difference"] == pytest.approx(5) and mended["low"] == pytest.approx(5 - half)
        assert mended["verdict"] == ("higher" if half < 5 else "not apart")


def test_over_models_is_a_mean_over_cells():
    raw = {f"lab-{name}": (value, value - 1, value + 1) for name, value in (
        ("centre-s7", -30.0), ("centre-s8", -28.0), ("bias-0-s7", -25.0), ("bias-0.9-s7", -3.0), ("blocks-4-s7", -35.0)
    )}  # fmt: skip
    rows = answers.by_model(made(raw))
    table = answers.over_models(rows).set_index("what")
    own = rows[rows["what"] == "raw maps"]
    cells = own.groupby("cell")["difference"].mean()
    half = np.hypot(stats.t.ppf(0.975, len(cells) - 1) * cells.std() / len(cells) ** 0.5, own["starts"].max())
    assert table.loc["raw maps", ["low", "high"]].tolist() == pytest.approx([cells.mean() - half, cells.mean() + half])
    assert table.loc["raw maps", "counted"] == "of 5 models 4 lower, 1 not apart"
    assert table.loc["CLIP Surgery", ["verdict", "difference"]].tolist() == ["higher", 20.0]
    assert "| of 5 models 4 lower, 1 not apart |" in verdicts.differences(table.reset_index()).data


def test_a_change_is_held_against_what_seeds_do():
    raw = {"centre-s7": -10.0, "centre-s8": -14.0, "bias-0-s7": -30.0, "bias-0-s8": -32.0, "bias-0.9-s7": -11.0}
    found = made({f"lab-{name}": (value, value - 1, value + 1) for name, value in raw.items()})
    table = answers.by_cell(found, {"raw maps": answers.RAW}).set_index("what")
    sd = ((8 + 2) / 2) ** 0.5  # variances 8 and 2, of one degree of freedom each
    row, half = table.loc["`bias-0`, raw maps"], stats.t.ppf(0.975, 2) * sd * (1 / 2 + 1 / 2) ** 0.5
    assert [row["difference"], row["low"], row["high"]] == pytest.approx([-19, -19 - half, -19 + half])
    assert table["verdict"].tolist() == ["lower", "not apart"] and table["sd"].tolist() == pytest.approx([sd, sd])
    assert table["counted"].tolist() == ["2 and 2 seeds", "1 and 2 seeds"]
    single = answers.by_cell(made(CENTRE | {"lab-bias-0-s7": (-30.0, -31.0, -29.0)}))  # nothing is known of seeds
    assert set(single["verdict"]) == {"not apart"} and single["low"].isna().all()


def test_the_default_passes_by_the_rule_with_the_scores_that_are_shipped():
    table = default.shipped()
    assert set(table["model"]) == set(default.MODELS) and set(table["verdict"]) <= {"passes", "fails"}
    assert (table[table["model"] == "sketchbook"]["verdict"] == "passes").all()
    for name, rows in table.groupby("model"):
        scores = json.loads((built_in()[name] / "scores.json").read_text(encoding="utf-8"))
        assert rows["value"].tolist()[:2] == [scores["top1"], scores["mAP"]]
        assert [v == "passes" for v in rows["verdict"][:2]] == (rows["difference"][:2] >= 0).tolist()
        for row in rows[2:].itertuples():
            side = "higher" if row.low > 0 else "lower" if row.high < 0 else "not apart"
            assert row.verdict == ("passes" if side == row.expect else "fails")
    page = (paths.data() / "laboratory" / "README.md").read_text(encoding="utf-8")
    assert all(f"{title.removesuffix(' (%)')} at least {bar:g} %" in page for title, bar in default.BARS.values())


@pytest.mark.slow
def test_the_rule_is_measured_on_paired_scenes():
    table = default.judged(["sketchbook"], images=6)
    kept = default.shipped().query("model == 'sketchbook'")
    assert (
        table[["what", "measure", "against", "expect"]].values.tolist()
        == kept[["what", "measure", "against", "expect"]].values.tolist()
    )
    assert table["low"].notna().sum() == 5
    with pytest.raises(ValueError, match="'clip' is not built in"):
        default.judged(["clip"])


def test_the_whole_table_has_a_row_per_run():
    table = wide(made(CENTRE | {"lab-co-0-s7": (1.0, -1.0, 3.0)}), ("mSC clip none", "top-1"))
    assert table["mSC clip none"].tolist() == ["-10.0 [-12.0, -8.0]", "1.0 [-1.0, 3.0]"]
