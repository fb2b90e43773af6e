"""The package against the formulas written out literally."""

import literal
import pytest
import torch
from torch.nn import functional as F

import clipsx
from helpers import random_images, tiny_clip, tiny_resnet


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
    expected = oracle(dense.cls, dense.cls[:, None], text, tau)[:, 0]
    torch.testing.assert_close(clipsx.surgery_scores(dense, text, form=form, tau=tau), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("vision", [{}, {"ls_init_value": 0.3}, {"image_size": (48, 80)}])
@pytest.mark.parametrize("depth", [1, 3, 6])
def test_vit_two_paths(depth: int, vision: dict) -> None:
    clip = tiny_clip(**vision)
    images = random_images(2, *clip.image_size)
    dense = clip.encode_dense(images, "clip-surgery", depth)
    for i, image in enumerate(images):
        cls, patches = literal.clip_surgery(clip.model.visual, image, depth)
        torch.testing.assert_close(dense.cls[i], cls, atol=1e-5, rtol=0)
        torch.testing.assert_close(dense.patches[i].flatten(0, 1), patches, atol=1e-5, rtol=0)


def test_vit_maskclip() -> None:
    clip = tiny_clip()
    image = random_images(1, *clip.image_size)
    found = clip.encode_dense(image, "maskclip").patches[0].flatten(0, 1)
    torch.testing.assert_close(found, literal.maskclip(clip.model.visual, image[0]), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("method", "kind"),
    [("clip", "qk"), ("maskclip", "none"), ("clip-surgery", "surgery"), ("clip-surgery-released", "released")],
)
def test_resnet_pool(method: str, kind: str) -> None:
    clip = tiny_resnet()
    images = random_images(2, *clip.image_size)
    dense = clip.encode_dense(images, method)
    for i, image in enumerate(images):
        cls, patches = literal.resnet_pool(clip.model.visual, image, kind)
        torch.testing.assert_close(dense.cls[i], cls, atol=1e-5, rtol=0)
        torch.testing.assert_close(dense.patches[i].flatten(0, 1), patches, atol=1e-5, rtol=0)
