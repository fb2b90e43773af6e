"""Feature surgery against the formula written out literally."""

import literal
import pytest
import torch
from torch.nn import functional as F

import clipsx


def features(batch: int, h: int, w: int, labels: int, width: int = 24) -> tuple[clipsx.DenseFeatures, torch.Tensor]:
    draw = torch.Generator().manual_seed(batch + h + w + labels)
    cls, patches, text = (
        F.normalize(torch.randn(*shape, width, generator=draw), dim=-1)
        for shape in ((batch,), (batch, h, w), (labels,))
    )
    return clipsx.DenseFeatures(cls, patches), text


@pytest.mark.parametrize("tau", [0.0, 2.0, 30.0])
@pytest.mark.parametrize("labels", [2, 7])
@pytest.mark.parametrize("form", ["code", "paper"])
def test_feature_surgery(form: str, labels: int, tau: float) -> None:
    dense, text = features(3, 2, 5, labels)
    oracle = {"code": literal.feature_surgery_code, "paper": literal.feature_surgery_paper}[form]
    expected = oracle(dense.cls, dense.patches.flatten(1, 2), text, tau).unflatten(1, (2, 5))
    found = clipsx.feature_surgery(dense, text, tau=tau, form=form)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    reading = clipsx.Reading("clip", None, form, tau)
    torch.testing.assert_close(reading.similarities(dense, text), expected, atol=1e-5, rtol=0)
    expected = oracle(dense.cls, dense.cls[:, None], text, tau)[:, 0]
    torch.testing.assert_close(clipsx.surgery_scores(dense, text, form=form, tau=tau), expected, atol=1e-5, rtol=0)
