"""CLIP Surgery's own ablation: its rows are those of the readings, and the reversed map is the raw one's opposite."""

import families
import pytest

from clipsx.analyses import ablation
from clipsx.evaluation import explain, summary
from clipsx.evaluation.stream import stream
from helpers import masked, tiny_clip, tiny_resnet

LABELS = ("cat", "dog", "boat")
SAMPLES = [masked(20, 28, ("cat", "dog"), n) for n in range(3)]


@pytest.mark.slow
def test_corners_depths_and_the_reversed_map() -> None:
    clip = tiny_clip(image_size=32, layers=2, width=32, patch_size=8)
    table, plain = stream(
        clip, SAMPLES, [ablation.measure(clip, LABELS), explain.measure(clip, LABELS, "clip-surgery@1")]
    )
    rows = {reading: part.reset_index(drop=True) for reading, part in table.groupby("reading", sort=False)}
    assert list(rows) == ["clip", *ablation.CORNERS, "clip-surgery@1", "clip-surgery@2", ablation.REVERSED]
    assert rows["clip-surgery@1"]["msc"].tolist() == plain["msc"].tolist()
    assert rows["clip-surgery@2"]["msc"].tolist() == rows["clip-surgery"]["msc"].tolist()  # all blocks of this tower
    assert rows["free(vv,ffn,blocks=depth)"]["msc"].tolist() != rows["clip-surgery"]["msc"].tolist()
    assert rows[ablation.REVERSED]["msc"].to_numpy() == pytest.approx(-rows["clip"]["msc"].to_numpy(), abs=1e-3)
    found = ablation.against(table).drop_duplicates("reading").set_index("reading")
    assert found["what"].notna().all() and found.loc["clip-surgery@1", "what"] == "CLIP Surgery in the last block alone"
    assert found.loc["clip-surgery@2", "difference"] == 0 and (found["against"] == "clip-surgery").all()


def test_a_resnet_has_one_corner() -> None:
    assert [str(reading) for reading in ablation.asked(tiny_resnet())] == ["clip", "clip-surgery"]


def test_a_tower_without_attention_has_the_raw_map_and_its_reverse() -> None:
    (table,) = stream(families.clip("convnext"), SAMPLES[:1], [ablation.measure(families.clip("convnext"), LABELS)])
    found = ablation.against(table)
    assert set(found["against"]) == {"clip"} and set(found["reading"]) == {ablation.REVERSED}
    alone = summary.against(table[table["reading"] == "clip"])
    assert not len(alone) and not len(alone.query("measure == 'msc'"))
