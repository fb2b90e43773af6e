"""Part of a data set, or of a plain list."""

import pytest

from clipsx.datasets import Sample, Subset
from helpers import noise


def test_part_of_a_plain_list():
    samples = [Sample(noise(4, 4, n), (), name=str(n)) for n in range(4)]
    part = Subset(samples, [3, 1], "some")
    assert [s.name for s in part] == ["3", "1"] and part[-1].name == "1" and part.labels == ()
    assert part.describe() == {"data": "4 given samples, some: 2"} and part.recipe() is None
    assert part.fingerprint() != Subset(samples, [1, 3], "some").fingerprint()
    with pytest.raises(IndexError):
        part[2]
