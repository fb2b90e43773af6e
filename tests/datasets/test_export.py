"""What is written in VOC's layout is read back as it was."""

import numpy as np
import pytest

from clipsx.datasets import VOC, Sample
from clipsx.datasets.export import export_voc
from helpers import noise


def test_export_writes_what_voc_reads(tmp_path):
    masks = {"cat": np.eye(4, 6) > 0, "dog": np.arange(24).reshape(4, 6) > 20}
    ignore = np.zeros((4, 6), bool)
    ignore[0] = True
    names = ["boats/my own.jpg", ""]
    back = VOC(export_voc([Sample(noise(4, 6), (), masks, (), ignore, n) for n in names], ["cat", "dog"], tmp_path))
    assert [s.name for s in back] == ["boats_my_own.jpg", "000001"] and back.labels == ("cat", "dog")
    for sample in back:
        assert sample.labels == ("cat", "dog") and (sample.ignore == ignore).all()
        assert (sample.masks["dog"] == masks["dog"]).all()
        assert (sample.masks["cat"] == (masks["cat"] & ~ignore & ~masks["dog"])).all()
    with pytest.raises(ValueError, match="at most 254"):
        export_voc([], [str(n) for n in range(255)], tmp_path)
