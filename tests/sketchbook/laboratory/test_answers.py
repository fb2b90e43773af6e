"""What is said of the laboratory's tables is what stands in them, whichever way they fall."""

import pandas as pd
import pytest

from clipsx.sketchbook.laboratory import answers
from clipsx.sketchbook.laboratory.runs import Results

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
    return Results(table, pd.DataFrame(maps), pd.DataFrame(), pd.DataFrame(rows), pd.DataFrame())


CENTRE = {"lab-centre-s7": (-10.0, -12.0, -8.0)}


def test_one_number_stands_for_surgery_at_depth_six_or_all_blocks():
    found = made(CENTRE)
    found.maps.loc[found.maps["depth"] == 4, "depth"] = 6
    extra = found.maps[found.maps["depth"] == 6].assign(depth=8, msc=99.0)
    deep = Results(found.runs, pd.concat([found.maps, extra]), found.blocks, found.measures, found.log)
    for results, value in ((made(CENTRE), 10.0), (deep, 10.0)):
        table = answers.tidy(results).set_index("measure")
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


def test_what_a_seed_does_is_said_beside_what_a_change_does():
    raw = CENTRE | {"lab-centre-s8": (-2.0, -3.0, -1.0), "lab-bias-0-s7": (-5.0, -6.0, -4.0)}
    found = made(raw)
    table = answers.hypotheses(found).set_index("number")
    assert table.loc[1, "verdict"] == "stands" and table.loc[1, "between_seeds"] == 8.0
    said = " ".join(answers.sentences(found))
    assert "By its seed alone, mSC of raw maps differs by up to 8.0 points (centre 8.0)." in said
    assert "a seed of the centre does as much as the change in: 1." in said
    assert "By background bias in training, mSC clip none:" in said
    far = made(raw | {"lab-bias-0-s7": (5.0, 4.0, 6.0), "lab-centre-s8": (-9.0, -10.0, -8.0)})
    assert "does as much" not in " ".join(answers.sentences(far))
    assert answers.hypotheses(made(CENTRE | {"lab-bias-0-s7": (5.0, 4.0, 6.0)}))["between_seeds"].isna().all()


def test_a_checkpoint_is_no_cell_of_its_own():
    found = made(CENTRE | {"lab-bias-0-s7@500": (0.0, -2.0, 2.0)})
    assert answers.hypotheses(found).set_index("number").loc[1, "verdict"] == "not tried"
    assert "in 1 of 1 models" in answers.sentences(found)[0]


def test_sentences_follow_the_numbers():
    raw = CENTRE | {"lab-bias-0-s7": (6.0, 4.0, 8.0), "sketchbook-random": (-9.0, -9.5, -8.5)}
    said = " ".join(answers.sentences(made(raw)))
    assert "interval below 0) in 1 of 2 models: centre (seed 7) -10.0 [-12.0, -8.0]" in said
    assert "They prefer the object in 1: bias-0 (seed 7) 6.0 [4.0, 8.0]" in said
    assert "give a ViT mSC -9.0 [-9.5, -8.5] here; 0 of 2 trained ones lie clearly below that: none" in said
    assert "CLIP Surgery raises mSC in 2 of 2 models, above 0 in 2, and lowers it in 0 (none)" in said
    assert "MaskCLIP raises mSC in 2 of 2 models, above 0 in 1" in said


def test_company_is_listed_by_co_occurrence():
    name = "similarity, companions − others"
    each = {name: {"lab-centre-s7": (0.2, 0.1, 0.3), "lab-co-0-s7": (0.05, 0.0, 0.1)}}
    said = answers.sentences(made(CENTRE | {"lab-co-0-s7": (-10.0, -12.0, -8.0)}, each))
    assert f"By co-occurrence in training, {name}: 0: 0.050 [0.000, 0.100]; 0.5: 0.200 [0.100, 0.300]." in said


def test_the_default_is_the_one_that_passes_shows_and_gains():
    found = made(CENTRE | {"lab-bias-0-s7": (-3.0, -4.0, -2.0), "lab-co-0-s7": (1.0, -1.0, 3.0)})
    found.runs.loc[found.runs["cell"] == "centre", "top-1, default dials"] = 80.0
    table = answers.candidates(found)
    assert table["run"].tolist() == ["lab-bias-0-s7", "lab-co-0-s7", "lab-centre-s7"]
    assert table["passes"].tolist() == [True, True, False] and table["shows"].tolist() == [True, False, True]
    assert (table["gain"] == 25).all()


def test_the_whole_table_has_a_row_per_run():
    table = answers.wide(made(CENTRE | {"lab-co-0-s7": (1.0, -1.0, 3.0)}), ("mSC clip none", "top-1"))
    assert table["mSC clip none"].tolist() == ["-10.0 [-12.0, -8.0]", "1.0 [-1.0, 3.0]"]
