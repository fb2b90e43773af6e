"""What is said of results: true whichever way a result falls, and silent where nothing can be said."""

import numpy as np
import pandas as pd
import pytest

from clipsx import verdicts
from clipsx.evaluation import explain, summary

NAN = float("nan")


def explained(**gaps: list[float]) -> pd.DataFrame:
    """Rows of `explain` by reading: mSC of one cat in each picture; maps that are lit on half of everything."""
    found = []
    for reading, values in gaps.items():
        for n, value in enumerate(values):
            row = {"image": f"i{n}", "label": "cat", "reading": reading.replace("_", "-"), "msc": value, "area": 20.0}
            row |= dict.fromkeys(explain.INSIDE, 0.5) | dict.fromkeys(explain.OUTSIDE, 0.5)
            found.append(row | {"others": value, "absent": value, "auc": 50 + value, "pointing": 10.0, "oracle": 80.0})
    return pd.DataFrame(found)


def chance(**values: tuple[float, float]) -> pd.DataFrame:
    """Bands of twenty starts: mean and standard deviation by measure."""
    rows = [{"measure": name.replace("__", " "), "mean": m, "sd": sd} for name, (m, sd) in values.items()]
    return pd.DataFrame(rows).assign(reading="clip", n=20, low=-1.0, high=1.0)


def said(table: pd.DataFrame, **of: str) -> str:
    """The one verdict of a row by its entries."""
    return table.loc[(table[list(of)] == pd.Series(of)).all(axis=1), "verdict"].item()


LOW, HIGH, BOTH = [-9.0, -8.0, -7.0, -8.5], [5.0, 6.0, 7.0, 5.5], [-6.0, 5.0, 6.0, -5.0]


@pytest.mark.parametrize(
    ("values", "verdict"), [(LOW, "lower"), (HIGH, "higher"), (BOTH, "not apart"), ([-9.0], "not apart")]
)
def test_background_holds_raw_maps_against_neither_side(values: list[float], verdict: str) -> None:
    table = verdicts.background(explained(clip=values))
    assert len(table) == 1 and said(table, against="0, neither side") == verdict
    assert table["value"].item() == table["difference"].item() == pytest.approx(np.mean(values))
    assert verdicts.background(explained(maskclip=values)).empty  # without raw maps


def test_background_compares_the_same_objects_whose_own_intervals_overlap() -> None:
    table = verdicts.background(explained(clip=BOTH, clip_surgery=[v + 0.5 for v in BOTH], maskclip=BOTH[::-1]))
    assert said(table, what="CLIP Surgery", measure="msc") == "higher"
    for what, measure in (("MaskCLIP", "msc"), ("CLIP Surgery", "miou")):
        assert said(table, what=what, measure=measure) == "not apart"


def test_raw_maps_are_compared_with_a_band_of_starts() -> None:
    """Outside the band and its own interval, by each measure; a measure that the band lacks is not told."""
    bands = chance(msc=(-1.0, 5.0), others=(0.0, 1.0), auc=(50.0, 1.0), absent=(0.0, np.nan))
    table = verdicts.background(explained(clip=LOW), chance=bands)
    against = table[table["against"] == "20 random starts"].set_index("measure")
    expected = {"msc": "not apart", "others": "lower", "auc": "lower", "absent": "not apart"}
    assert against["verdict"].to_dict() == expected
    assert against.loc["msc", "difference"] == pytest.approx(np.mean(LOW) + 1)
    assert len(verdicts.background(explained(clip=LOW), chance=bands[:0])) == 1
    first = verdicts.background(explained(clip=LOW, maskclip=BOTH), chance=bands).query("decides")
    told = [("CLIP", "msc"), ("CLIP", "msc"), ("CLIP", "others"), ("MaskCLIP", "msc")]
    assert [*zip(first["what"], first["measure"], strict=True)] == told
    assert verdicts.background(explained(maskclip=LOW)).query("decides").empty


def shares(qk: list[float], vv: list[float]) -> pd.DataFrame:
    rows = []
    for kind, values in (("qk", qk), ("vv", vv)):
        for n, value in enumerate(values):
            row = {"image": f"i{n}", "label": "cat", "kind": kind, "share_others": value}
            rows += [row | {"block": 0, "share_others": 100 - value}, row | {"block": 1}]  # only the last block is told
    return pd.DataFrame(rows).assign(chance=25.0)


def test_attention_compares_image_by_image() -> None:
    low, high = [10.0, 30.0, 20.0, 40.0], [12.0, 32.0, 22.0, 43.0]
    of = {"what": "v-v attention", "against": "q-k attention"}
    table = verdicts.attention(shares(low, high), chance(attention__qk=(9.0, 1.0), attention__vv=(27.0, 1.0)))
    assert said(table, **of) == "higher" and said(verdicts.attention(shares(high, low)), **of) == "lower"
    assert said(table, what="q-k attention", against="the object's share of the picture") == "not apart"
    assert said(table, what="q-k attention", against="20 random starts") == "higher"
    assert said(table, what="v-v attention", against="20 random starts") == "not apart"
    for same in (low, [12.0, 28.0, 22.0, 38.0]):
        assert said(verdicts.attention(shares(low, same)), **of) == "not apart"
    assert said(verdicts.attention(shares([10.0], [20.0])), **of) == "not apart"  # one image: no interval
    assert "q-k attention" not in set(verdicts.attention(shares([], high))["against"])  # never compared, never told


def test_submodules_are_held_against_each_other_by_both_readings() -> None:
    rows = []
    for n in range(4):
        parts = (("attention", 0.8, 0.1), ("ffn", 0.1 + n / 100, 0.2))
        rows += [{"image": n, "block": 1, "part": p, "cosine": c, "cosine_text": t} for p, c, t in parts]
        rows += [{"image": n, "block": 0, "part": p, "cosine": 0.5, "cosine_text": 0.5} for p, *_ in parts]
    table = verdicts.submodules(pd.DataFrame(rows), chance(cosine__ffn=(0.5, 0.01)))
    assert said(table, measure="cosine", against="last attention") == "lower"
    assert said(table, measure="cosine_text", against="last attention") == "higher"
    assert said(table, measure="cosine", against="20 random starts") == "lower"


def test_redundancy_has_its_chance_and_what_is_left_on_the_ground() -> None:
    rows = [
        {"image": n, "label": label, "reading": reading, "correlation": 0.5 + n / 100, "shared": 40.0 + n,
         "correlation_ground": np.nan, "shared_ground": 30.0 + n}
        for n in range(4) for label in "ab" for reading in ("clip", "maskclip")
    ]  # fmt: skip
    table = verdicts.redundancy(pd.DataFrame(rows), chance(correlation=(0.96, 0.01), shared=(42.0, 5.0)))
    assert said(table, measure="correlation", against="20 random starts") == "lower"
    assert said(table, measure="shared", against="20 random starts") == "not apart"
    assert said(table, measure="correlation", against="0, nothing in common") == "higher"
    assert said(table, measure="correlation_ground", against="0, nothing in common") == "not apart"  # no masks
    assert table.set_index(["measure", "against"])["pairs"]["shared", "0, nothing in common"] == 4  # once an image


def test_repair_gives_every_form_its_change() -> None:
    rows = []
    for n in range(4):
        for form, energy, gap in (("none", 60.0, 5.0), ("code", 40.0 - n, 5.0), ("paper", 70.0 + n, 9.0)):
            row = {"image": n, "label": "cat", "form": form, "energy": energy, "msc": gap, "iou": 30.0}
            rows += [row | {"varied": "labels", "labels": 20}, row | {"varied": "labels", "labels": 2, "energy": 0.0}]
    table = pd.DataFrame(rows)
    found = verdicts.repair(table)
    assert said(found, what="feature surgery", measure="energy") == "lower"
    assert said(found, what="feature surgery (paper)", measure="energy") == "higher"
    assert said(found, what="feature surgery", measure="msc") == "not apart"
    table.loc[(table["form"] == "code") & (table["image"] == 0), "energy"] = NAN  # both sides over the same pairs
    again = verdicts.repair(table).query("measure == 'energy'").set_index("what")["difference"]
    assert again["feature surgery"] == pytest.approx(-22)


def test_a_table_of_differences_is_markdown_with_the_verdict_first() -> None:
    table = verdicts.background(explained(clip=BOTH, clip_surgery=HIGH), chance=chance(msc=(0.0, np.nan)))
    text = verdicts.differences(table.replace("CLIP Surgery", "a|b")).data.splitlines()
    assert text[0].startswith("| verdict | of | measure | value | against |") and len(text) == 2 + len(table)
    assert text[2].startswith("| **not apart** | CLIP | mSC (%) | 0.0 | 0, neither side | +0.0 | -")
    assert "| – … – |" in text[3] and "a\\|b" in text[4]
    assert "CLIP Surgery" in verdicts.differences(summary.against(explained(clip=BOTH, clip_surgery=HIGH))).data


def test_nothing_to_compare_is_said() -> None:
    assert verdicts.differences(pd.DataFrame(), pd.DataFrame()).data == "Nothing could be compared."


@pytest.mark.parametrize(
    ("lead", "gain", "empty", "expected"),
    [
        ((40, 30, 50), (5, 1, 9), 0, ["higher", "higher"]),
        ((-9, -15, -5), (-5, -9, -1), 2, ["lower", "lower"]),
        ((1, -4, 9), (0, -1, 1), 0, ["not apart", "not apart"]),
        ((NAN, NAN, NAN), (0, 0, 0), 9, ["not apart", "not apart"]),
    ],
)
def test_points_against_chance_and_a_threshold(lead: tuple, gain: tuple, empty: int, expected: list[str]) -> None:
    row = {"reading": "clip-surgery", "pairs": 9, "empty": empty, "miou_points": 30.0, "accuracy": 10.0 + lead[0]}
    for name, values in (("lead", lead), ("gain", gain)):
        row |= dict(zip((name, f"{name}_low", f"{name}_high"), map(float, values), strict=True))
    table = verdicts.points(pd.DataFrame([row]))
    assert table["verdict"].tolist() == expected and table["against"].tolist() == ["the object's area", "a threshold"]
    shown = verdicts.differences(table).data
    assert f"CLIP Surgery, {empty} of 9 maps without a point" in shown and "nan" not in shown


@pytest.mark.parametrize(
    ("rank", "p", "verdict"),
    [(0.4, 0.01, "higher"), (-0.4, 0.01, "lower"), (0.4, 0.2, "not apart"), (NAN, NAN, "not apart")],
)
def test_companions_stand_by_their_permutations(rank: float, p: float, verdict: str) -> None:
    row = {"model": "m", "measure": "text similarity", "rank": rank, "rank_low": rank - 0.1, "rank_high": rank + 0.1}
    table = verdicts.companions(pd.DataFrame([row | {"p": p}]))
    assert table["verdict"].item() == verdict and "text similarity" in verdicts.differences(table).data


def test_unmixed_is_paired_by_seed() -> None:
    rows = [
        {"setting": setting, "seed": seed, "after": base + seed + gap, "held after": 0.5}
        for setting, gap in (("unmix", 0.0), ("without MFI loss", 0.2))
        for seed, base in enumerate((0.1, 0.4, 0.3))
    ]
    table = verdicts.unmixed(pd.DataFrame(rows))
    assert table["difference"].tolist() == pytest.approx([-0.2, 0.0]) and table["verdict"].tolist() == [
        "lower",
        "not apart",
    ]
    assert table["value"][0] == pytest.approx(np.mean([0.1, 1.4, 2.3]))
    assert "| – … – |" in verdicts.differences(verdicts.unmixed(pd.DataFrame(rows[::3]))).data  # one seed: no interval
