"""Published numbers beside measured ones: what differs is said, and no model's number is passed off as another's."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from clipsx import save
from clipsx.evaluation.protocols import PROTOCOLS
from clipsx.evaluation.published import beside, published
from clipsx.evaluation.tasks import TASKS
from clipsx.methods import METHODS
from clipsx.reading import Reading


def measured(**changes: object) -> pd.DataFrame:
    row = {"reading": "sclip", "measure": "mIoU", "value": 60.0, "low": 59.0, "high": 61.0, "n": 1449}
    row |= {"model": "ViT-B-16", "weights": "openai", "dataset": "voc21", "data": "voc21 val n=1449"}
    return pd.DataFrame([row | {"protocol": f"{PROTOCOLS['sclip-voc21']}; more"} | changes])


def test_every_published_row_says_what_it_is() -> None:
    table = published()
    assert table[["paper", "reading", "dataset", "protocol", "measure", "value", "source"]].notna().all(axis=None)
    assert not table.duplicated(["paper", "table", "reading", "model", "dataset", "protocol", "measure"]).any()
    measures = {name for names in TASKS.values() for name in names} | {"miou_searched", "miou_fixed", "p-mIoU"}
    assert set(table["measure"]) <= measures and table["value"].between(-100, 100).all()
    for reading in table["reading"]:
        if reading.partition("+")[0] in METHODS and " " not in reading:
            assert str(Reading.parse(reading)) == reading


def test_the_same_thing_has_a_difference_and_nothing_else() -> None:
    found = beside(measured()).set_index("paper")
    row = found.loc["SCLIP (arXiv 2312.01597)"]
    assert {"authority", "positions"} <= set(found)
    assert row["published"] == 59.63 and row["difference"] == pytest.approx(0.37)
    assert row["differs"] == "nothing that is stated" and row["published_data"] == "voc21"
    assert set(found["published_data"]) == {"voc21"}, "other data sets stand there where nothing else does alone"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model": "ViT-L-14-336"}, "model ViT-B-16, here ViT-L-14-336"),
        ({"weights": "laion2b"}, "weights openai, here laion2b"),
        ({"n": 40}, "40 of 1449 images"),
        ({"protocol": "sclip-voc21+antialias: …"}, "protocol sclip-voc21, here sclip-voc21+antialias"),
        ({"protocol": "argmax"}, "protocol sclip-voc21, here None"),
        ({"protocol": "sclip-voc21: …; words of voc21; more"}, "words voc21.sclip, here voc21"),
        ({"protocol": "sclip-voc21: …; words of voc21.sclip; more"}, "nothing that is stated"),
    ],
)
def test_what_differs_is_said(changes: dict[str, object], words: str) -> None:
    found = beside(measured(**changes)).set_index("paper").loc["SCLIP (arXiv 2312.01597)"]
    assert found["differs"] == words and found["published_model"] == "ViT-B-16 openai"


def test_other_data_has_no_difference(tmp_path: Path) -> None:
    found = beside(measured(model="sketchbook", weights="sha256:1", dataset="sketchbook"))
    assert len(found) > 10 and found["difference"].isna().all()
    assert found["differs"].str.contains(", here sketchbook; model ViT-B-16, here sketchbook").all()
    save.table(found, tmp_path, "published")
    assert {file.suffix for file in tmp_path.iterdir()} == {".csv", ".md", ".tex"}


def test_a_depth_that_is_the_published_one() -> None:
    table = measured(reading="clip-surgery@6", dataset="context59", protocol=str(PROTOCOLS["clip-surgery-segment"]))
    row = beside(table).set_index("paper").loc["CLIP Surgery (arXiv 2304.05653)"]
    assert (row["published"], row["reading"]) == (29.3, "clip-surgery@6")
    assert not len(beside(measured(reading="clip-surgery@3"))) and not len(beside(measured(measure="mAP")))


def test_other_tables_are_refused() -> None:
    with pytest.raises(ValueError, match="no column n, dataset"):
        beside(measured().drop(columns=["n", "dataset"]))
    two = pd.concat([measured(), measured(protocol=str(PROTOCOLS["naclip-voc21"]))])
    with pytest.raises(ValueError, match="different protocols"):
        beside(two)
    assert np.isnan(beside(measured(dataset="given"))["difference"]).all()
