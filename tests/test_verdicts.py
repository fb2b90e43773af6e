"""Sentences about results: true whichever way a result falls, and silent where nothing can be said."""

import numpy as np
import pandas as pd
import pytest

from clipsx import verdicts

NAN = float("nan")


def summary(*rows: tuple[str, str, float, float]) -> pd.DataFrame:
    """(method, surgery, low, high) of mSC; mIoU rises from row to row."""
    found = []
    for n, (method, surgery, low, high) in enumerate(rows):
        reading = method if surgery == "none" else f"{method}+{surgery}"
        row = {"model": "toy", "reading": reading, "pairs": 9, "msc": (low + high) / 2}
        row |= {"msc_low": low, "msc_high": high}
        for name in ("opposite", "miou"):
            row |= {name: 20.0 + n, f"{name}_low": 10.0, f"{name}_high": 40.0}
        found.append(row)
    return pd.DataFrame(found)


@pytest.mark.parametrize(
    ("low", "high", "words", "others"),
    [
        (-9, -1, "prefers the background", ["prefers the object", "prefers neither"]),
        (1, 9, "is not there on average", ["prefers the background", "prefers neither"]),
        (-3, 4, "prefers neither", ["prefers the background", "prefers the object"]),
        (NAN, NAN, "too few images", ["prefers neither", "prefers the background"]),
    ],
)
def test_background_names_the_sign(low: float, high: float, words: str, others: list[str]) -> None:
    said = verdicts.background(summary(("clip", "none", low, high)))
    assert words in said and not any(other in said for other in others)
    assert "9 pairs" in said and said.endswith("Best mIoU: CLIP.")


def test_what_has_no_msc_prefers_nothing() -> None:
    table = summary(("clip", "none", NAN, NAN), ("maskclip", "none", NAN, NAN))
    for given in (table, table.assign(miou=NAN)):
        said = verdicts.background(given, given[:1])
        assert said.count("no pair has both an object and a background") == 2
        assert not any(words in said for words in ("prefers the", "wins", "clearly", "paper"))


@pytest.mark.parametrize(
    ("low", "high", "change", "end"),
    [
        (5, 9, "raises mSC", "the object wins"),
        (-9, -5, "lowers mSC", "the background wins"),
        (-1, 9, "does not clearly move mSC", "neither side clearly wins"),
        (0.5, 3, "does not clearly move mSC", "the object wins"),
    ],
)
def test_background_compares_every_method_with_raw(low: float, high: float, change: str, end: str) -> None:
    said = verdicts.background(summary(("clip", "none", -2, 1), ("clip-surgery", "code", low, high)))
    sentence = next(part for part in said.split(". ") if part.startswith("CLIP Surgery"))
    assert sentence.startswith(f"CLIP Surgery + feature surgery {change}: {(low + high) / 2:.1f} %") and end in sentence
    assert said.endswith("Best mIoU: CLIP Surgery + feature surgery.")
    assert "not measured" in verdicts.background(summary(("maskclip", "none", 1, 2)))


def shares(qk: list[float], vv: list[float], on: bool = True) -> pd.DataFrame:
    rows = []
    for kind, values in (("qk", qk), ("vv", vv)):
        for n, value in enumerate(values):
            row = {"image": f"i{n}", "label": "cat", "kind": kind, "share_others": value, "on_object": on}
            rows += [row | {"block": 0, "share_others": 100 - value}, row | {"block": 1}]  # only the last block is told
    return pd.DataFrame(rows).assign(chance=25.0)


def test_attention_compares_image_by_image() -> None:
    low, high = [10.0, 30.0, 20.0, 40.0], [12.0, 32.0, 22.0, 43.0]
    said = verdicts.attention(shares(low, high))
    assert "stays more on the object than q-k" in said and "qk attention keeps 25.0 %" in said and "25.0 %" in said
    assert "stays less on the object than q-k" in verdicts.attention(shares(high, low))
    for same in (low, [12.0, 28.0, 22.0, 38.0]):
        assert "neither clearly more nor clearly less" in verdicts.attention(shares(low, same))
    assert "neither" in verdicts.attention(shares([10.0], [20.0]))  # one image: no interval
    assert "than q-k" not in verdicts.attention(shares(low, []))  # never compared, never told
    assert "No anchor lies on its object" in verdicts.attention(shares(low, high, on=False))


def test_submodules_holds_the_last_halves_against_each_other() -> None:
    def table(attention: float, ffn: float) -> pd.DataFrame:
        rows = [(0, "attention", 0.0), (0, "ffn", 0.9), (1, "attention", attention), (1, "ffn", ffn)]
        return pd.DataFrame(rows, columns=["block", "part", "cosine"])

    far = verdicts.submodules(table(0.8, 0.1))
    assert "cosine 0.10" in far and "as the paper finds (0.80)" in far
    for attention in (0.1, 0.05):
        assert "the paper's finding is not there" in verdicts.submodules(table(attention, 0.1))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([0.8, 0.9, 0.85], "lights the same places"),
        ([0.2, 0.3, 0.25], "label resembles"),
        ([-0.3, -0.2, 0.0], "does not resemble"),
        ([-0.4, 0.9, 0.3], "may or may not"),
        ([0.8], "may or may not"),  # one image: no interval
    ],
)
def test_redundancy_says_how_sure_it_is(values: list[float], words: str) -> None:
    rows = [{"image": n, "correlation": v, "shared": 40.0 + n, "present": False} for n, v in enumerate(values)]
    table = pd.DataFrame([row | {"reading": "clip"} for row in rows] + [rows[0] | {"method": "x", "correlation": -1.0}])
    said = verdicts.redundancy(table)
    assert words in said and f"correlation {np.mean(values):.2f}" in said
    assert "for the others" in said and "in the picture" not in said and "nan for" not in said
    both = verdicts.redundancy(table.assign(present=table["image"] == 0))
    assert f"{values[0]:.2f} for labels in the picture" in both


def test_repair_gives_every_form_its_change() -> None:
    rows = []
    for n in range(4):
        for form, energy, gap in (("none", 60.0, 5.0), ("code", 40.0 - n, 5.0), ("paper", 70.0 + n, 9.0)):
            row = {"image": n, "label": "cat", "form": form, "energy": energy, "msc": gap, "iou": 30.0}
            rows += [row | {"varied": "labels", "labels": 20}, row | {"varied": "labels", "labels": 2, "energy": 0.0}]
    table = pd.DataFrame(rows)
    code, paper = verdicts.repair(table).split(' Form "paper": ')
    assert code.startswith('Form "code": energy outside all objects 60.0 → 38.5 % (-21.5 [')
    assert "mSC 5.0 → 5.0 % (+0.0 [+0.0, +0.0])" in code and "60.0 → 71.5 % (+11.5 [" in paper
    table.loc[(table["form"] == "code") & (table["image"] == 0), "energy"] = NAN  # both sides over the same pairs
    assert "60.0 → 38.0 % (-22.0 [" in verdicts.repair(table)


@pytest.mark.parametrize(("chance", "words"), [(-7.0, "cannot be told from"), (9.0, "differ from")])
def test_raw_maps_are_compared_with_random_weights(chance, words):
    def row(msc):
        spans = {
            f"{name}{end}": value
            for name, value in (("msc", msc), ("opposite", 60.0), ("miou", 7.0))
            for end, value in (("", value), ("_low", value - 1), ("_high", value + 1))
        }
        return pd.DataFrame([{"model": "m", "reading": "clip", "surgery": "none", "pairs": 10, **spans}])

    said = verdicts.background(row(-7.5), row(chance))
    assert f"Its raw maps {words} those of random weights by mSC ({chance:.1f} %" in said
    assert "random weights" not in verdicts.background(row(-7.5))


@pytest.mark.parametrize(
    ("accuracy", "gain", "empty", "words"),
    [
        ((50, 40, 60), (5, 1, 9), 0, ["above chance", "better than", "mIoU 30.0 against 25.0 % (+5.0 [+1.0, +9.0])."]),
        ((1, 0, 3), (-5, -9, -1), 2, ["below chance", "worse than", "2 of 9 maps give no point"]),
        ((11, 6, 20), (0, -1, 1), 0, ["not clearly apart from chance", "not clearly apart from those"]),
        ((50, NAN, NAN), (5, NAN, NAN), 0, ["not clearly apart from chance", "not clearly apart from those"]),
        ((NAN, NAN, NAN), (0, 0, 0), 9, ["9 of 9 maps give no point."]),
    ],
)
def test_points_against_chance_and_a_threshold(accuracy: tuple, gain: tuple, empty: int, words: list[str]) -> None:
    row = {"reading": "clip-surgery", "pairs": 9, "empty": empty, "miou_points": 30.0, "miou_plain": 30.0 - gain[0]}
    for name, values in (("accuracy", accuracy), ("chance", (10, 5, 15)), ("gain", gain)):
        row |= dict(zip((name, f"{name}_low", f"{name}_high"), map(float, values), strict=True))
    said = verdicts.points(pd.DataFrame([row]))
    assert said.startswith("CLIP Surgery: ") and all(part in said for part in words)
    assert ("lie on the object" in said) == (accuracy[0] == accuracy[0]) and "nan %" not in said
