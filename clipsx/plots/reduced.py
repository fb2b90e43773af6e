"""Pictures no larger than a screen or a figure shows them."""

import numpy as np
from PIL import Image

from clipsx.datasets import Sample
from clipsx.images import fitting


def reduced(sample: Sample) -> Sample:
    """A sample at the size at which it is shown; masks keep the pixels nearest to the new ones' centres."""
    (width, height), (w, h) = sample.size, fitting(sample.size)
    if (w, h) == (width, height):
        return sample
    rows, columns = ((np.arange(n) + 0.5) * m // n for n, m in ((h, height), (w, width)))
    kept = np.ix_(rows.astype(int), columns.astype(int))
    return Sample(
        sample.image.resize((w, h), Image.Resampling.BICUBIC, reducing_gap=1.0),
        sample.labels,
        {label: mask[kept] for label, mask in sample.masks.items()},
        sample.captions,
        sample.ignore[kept],
        sample.name,
    )
