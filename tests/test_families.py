"""Every family of image towers, built small: its own class feature, any size, any precision, nothing changed."""

from typing import Any

import families
import pytest
import torch
from torch import Tensor, nn

import clipsx
from clipsx import towers
from helpers import random_images

EVERY = pytest.mark.parametrize("family", families.FAMILIES)


@pytest.fixture(scope="module", params=families.FAMILIES)
def clip(request: pytest.FixtureRequest) -> clipsx.Clip:
    return families.clip(request.param)


def own(clip: clipsx.Clip, images: Tensor) -> Tensor:
    with torch.no_grad():
        return clip.model.encode_image(images, normalize=True).float()


def snapshot(model: nn.Module) -> tuple[Any, ...]:
    """All that a model is: its tensors, its modes, its hooks, its plain attributes."""
    tensors = {n: (t.data_ptr(), t._version, t.clone()) for n, t in (*model.named_parameters(), *model.named_buffers())}
    plain = {
        name: {k: v for k, v in vars(part).items() if isinstance(v, int | float | str | bool | tuple | type(None))}
        for name, part in model.named_modules()
    }
    hooks = {n: (len(m._forward_hooks), len(m._forward_pre_hooks), m.training) for n, m in model.named_modules()}
    return tensors, plain, hooks


def test_class_feature_batches_any_size_and_nothing_changed(clip: clipsx.Clip) -> None:
    before = snapshot(clip.model)
    images, (rows, columns) = random_images(2, *clip.image_size), clip.patch_size
    wide = random_images(2, 3 * rows, 5 * columns, seed=1)
    assert isinstance(clip.tower, towers.Tower) and clip.embed_dim == own(clip, images).shape[1]
    for method in clip.methods:
        dense = clip.encode_dense(images, method)
        torch.testing.assert_close(dense.cls, own(clip, images), atol=1e-5, rtol=0)
        assert dense.grid == clip.tower.grid(*clip.image_size)
        alone = clip.encode_dense(images[1:], method)
        torch.testing.assert_close(alone.patches, dense.patches[1:], atol=1e-5, rtol=0)
        torch.testing.assert_close(alone.cls, dense.cls[1:], atol=1e-5, rtol=0)
        other = clip.encode_dense(wide, method)
        assert other.grid == (3, 5)
        torch.testing.assert_close(other.cls, clip.encode_image(wide), atol=1e-5, rtol=0)
        assert torch.equal(clip.encode_dense(images, method).patches, dense.patches)
    after = snapshot(clip.model)
    assert before[1:] == after[1:]
    for name, (address, version, value) in before[0].items():
        assert after[0][name][:2] == (address, version) and torch.equal(after[0][name][2], value), name


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@EVERY
def test_half_precision_says_the_same(family: str, dtype: torch.dtype) -> None:
    clip, half = families.clip(family), families.clip(family, dtype)
    images, (rows, columns) = random_images(1, *clip.image_size), clip.patch_size
    assert half.dtype == dtype and half.methods == clip.methods
    for method in clip.methods:
        for given in (images, random_images(1, 2 * rows, 3 * columns)):
            one, other = clip.encode_dense(given, method), half.encode_dense(given, method)
            assert other.patches.dtype == torch.float32
            assert float((one.cls * other.cls).sum(-1).min()) > 0.99, method
            assert float((one.patches * other.patches).sum(-1).min()) > 0.97, method


@pytest.mark.parametrize("family", families.but("naflex", "convnext", "fastvit", "coca", "coca, as wide"))
def test_another_size_is_that_of_timms_own_dynamic_twin(family: str) -> None:
    clip = families.clip(family)
    twin = families.model(family, dynamic_img_size=True)
    twin.load_state_dict(clip.model.state_dict())
    rows, columns = clip.patch_size
    images = random_images(2, 3 * rows, 6 * columns)
    expected = twin.encode_image(images, normalize=True)
    torch.testing.assert_close(clip.encode_image(images), expected.detach(), atol=1e-5, rtol=0)


@pytest.mark.parametrize("family", ["naflex", "convnext", "fastvit"])
def test_another_size_is_that_of_the_model_itself(family: str) -> None:
    clip = families.clip(family)
    images = random_images(2, 96, 160)
    torch.testing.assert_close(clip.encode_image(images), own(clip, images), atol=1e-5, rtol=0)
    assert clip.positions == ("bilinear-antialias" if family == "naflex" else "none")
