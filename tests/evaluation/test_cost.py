"""What a reading costs, beside the model's own encoding in the same run."""

from clipsx.evaluation.cost import TOGETHER, cost
from helpers import tiny_clip


def test_a_row_per_reading_and_one_for_all() -> None:
    table = cost(tiny_clip(), "clip, clip+code, legrad, clip-surgery@2, naclip", pairs=1)
    assert list(table["reading"]) == ["clip", "legrad", "clip-surgery@2", "naclip", TOGETHER]  # no walk for surgery
    assert (table[["ratio", "milliseconds"]] > 0).all(axis=None)
    assert list(table["authority"]) == ["released code"] * 4 + [""]
    assert {"model", "weights", "image_size", "device", "threads"} <= set(table)
