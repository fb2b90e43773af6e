"""Tables for print: numbers with their intervals, provenance once, words that LaTeX takes."""

import pandas as pd
import pytest

from clipsx import tables

NAN = float("nan")
TABLE = pd.DataFrame(
    {
        "model": "m_1",
        "a_b": ["x&y", "τ|2 → 50 %", "q"],
        "msc": [1.2345, -20.0, NAN],
        "msc_low": [0.1, -22.0, NAN],
        "msc_high": [2.0, -18.0, NAN],
    }
)


def test_a_table_for_print_says_values_with_intervals_and_provenance_once() -> None:
    made = tables.printed(TABLE, "name")
    assert made[".md"].splitlines() == [
        "| a_b | msc |",
        "| --- | --- |",
        "| x&y | 1.23 [0.10, 2.00] |",
        "| τ\\|2 → 50 % | -20.0 [-22.0, -18.0] |",
        "| q | – |",
        "",
        "model m_1",
    ]
    assert [line for line in made[".tex"].splitlines() if line.endswith(r"\\")] == [
        r"a\_b & msc \\",
        r"x\&y & 1.23 [0.10, 2.00] \\",
        r"$\tau$|2 $\to$ 50 \% & -20.0 [-22.0, -18.0] \\",
        r"q & – \\",
    ]
    assert made[".tex"].endswith("\\par\\footnotesize model m\\_1\n")


@pytest.mark.parametrize("rows", [0, tables.MOST + 1])
def test_what_fills_no_page_or_many_is_not_for_print(rows: int) -> None:
    assert tables.printed(pd.DataFrame({"x": range(rows)}), "name") == {}


@pytest.mark.parametrize(
    ("value", "words"),
    [(3, "3"), (0.0, "0.0"), (1234.5, "1234"), (0.01234, "0.0123"), (1e-9, "0.000000"), (NAN, "–"), (None, "–"),
     (float("inf"), "inf"), ("a\n b", "a b"), (True, "True")],
)  # fmt: skip
def test_numbers_in_words(value: object, words: str) -> None:
    assert tables.number(value) == words


def test_named_ends_belong_to_the_value() -> None:
    table = pd.DataFrame({"x": ["a", "b"], "difference": [1.0, 2.0], "low": [0.5, NAN], "high": [1.5, NAN]})
    assert tables.worded(table).to_dict("list") == {"x": ["a", "b"], "difference": ["1.00 [0.50, 1.50]", "2.00"]}
    assert tables.split(table.iloc[:1])[1] == {}


def test_an_interval_of_a_value_that_is_not_known_is_printed_too() -> None:
    rows = pd.DataFrame({"difference": [float("nan"), 2.0], "low": [1.0, 1.0], "high": [3.0, 3.0]})
    assert tables.worded(rows)["difference"].tolist() == ["– [1.00, 3.00]", "2.00 [1.00, 3.00]"]
