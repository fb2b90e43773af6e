"""Every row of the table, and free combinations, against their formulas written out literally."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import families
import literal
import literal_methods
import pytest
import torch
from torch import Tensor, nn

import clipsx
from clipsx.methods import METHODS
from helpers import random_images, tiny_clip, tiny_resnet

VISIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "layer-scale": {"ls_init_value": 0.3},
    "non-square": {"image_size": (48, 80)},
    "8 blocks": {"layers": 8},
    "12 blocks": {"layers": 12, "width": 32},
}


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("vision", VISIONS.values(), ids=VISIONS)
def test_every_row_on_a_vision_transformer(vision: dict[str, Any]) -> None:
    clip = tiny_clip(**vision)
    images, visual = random_images(2, *clip.image_size), clip.model.visual
    depths = (1, 3, 6)
    seen = clip.encode_readings(images, ["clip", "maskclip", *(f"clip-surgery@{depth}" for depth in depths)])
    for i, image in enumerate(images):
        cls, patches = literal.plain(visual, image)
        close(seen["clip"].patches[i].flatten(0, 1), patches)
        close(seen["maskclip"].patches[i].flatten(0, 1), literal.maskclip(visual, image))
        for dense in seen.values():
            close(dense.cls[i], cls)
        for depth in depths:
            same, patches = literal.clip_surgery(visual, image, depth)
            close(same, cls)
            close(seen[f"clip-surgery@{depth}"].patches[i].flatten(0, 1), patches)


def combined(*pairs: str, **options: Any) -> Callable[[nn.Module, Tensor], Tensor]:
    return lambda visual, image: literal.combination(visual, image, pairs, **options)


ORACLES: dict[str, Callable[[nn.Module, Tensor], Tensor]] = {
    "clip": lambda visual, image: literal.plain(visual, image)[1],
    "maskclip": literal.maskclip,
    "clip-surgery": lambda visual, image: literal.clip_surgery(visual, image, 6)[1],
    "maskclip-original": literal_methods.maskclip_original,
    "gem": lambda visual, image: literal_methods.gem(visual, image, 6),
    "gem@2": lambda visual, image: literal_methods.gem(visual, image, 2),
    "sclip": combined("qq", "kk", summed=True, ffn=True),
    "clearclip": combined("qq", bare=True),
    "naclip": combined("kk", bare=True, neighbour=5.0),
    "kk": combined("kk", bare=True),
    "pearl": lambda visual, image: literal_methods.pearl(visual, image, svd=False),
    "pearl-svd": lambda visual, image: literal_methods.pearl(visual, image, svd=True),
    "itaclip": literal_methods.itaclip,
    "resclip-rcs": literal_methods.resclip_rcs,
    "sc-clip": lambda visual, image: literal_methods.self_calibrated(visual, image, "sc-clip"),
    "sfp": lambda visual, image: literal_methods.self_calibrated(visual, image, "sfp"),
}
SIZES = {"96 px": 96, "160 px": 160, "96 × 160": (96, 160)}


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("layers", [8, 12])
def test_every_later_method_on_a_vision_transformer(layers: int, size: int | tuple[int, int]) -> None:
    """All in one walk, so that what they share is held against the formulas too; the model stays as it was."""
    clip = tiny_clip(layers=layers, width=32, image_size=size)
    visual, images = clip.model.visual, random_images(2, *clip.image_size)
    before = {name: value.clone() for name, value in clip.model.state_dict().items()}
    asked = [text for text in ORACLES if text.split("@")[0] in clip.methods]
    texts = {"legrad", "legrad-all-layers", "gradcam"}
    missing = set() if layers == 12 else {"resclip-rcs", "sc-clip", "sfp"}  # they number blocks that are not there
    assert set(METHODS) - set(clip.methods) == missing | {"clip-surgery-released", *texts}
    seen = clip.encode_readings(images, asked)
    for text in asked:
        for i, image in enumerate(images):
            found = seen[text].patches[i].flatten(0, 1)
            torch.testing.assert_close(found, ORACLES[text](visual, image), atol=2e-5, rtol=0, msg=text)
            torch.testing.assert_close(seen[text].cls[i], literal.plain(visual, image)[0], atol=1e-5, rtol=0)
        alone = clip.encode_readings(images[1:], [text])[text]
        torch.testing.assert_close(alone.patches[0], seen[text].patches[1], atol=2e-5, rtol=0, msg=text)
    assert all(torch.equal(value, before[name]) for name, value in clip.model.state_dict().items())


@pytest.mark.parametrize("blocks", [8, 12])
@pytest.mark.parametrize("method", ["legrad", "legrad-all-layers"])
def test_maps_that_need_the_texts(method: str, blocks: int) -> None:
    clip, layers = tiny_clip(layers=blocks, image_size=(48, 80)), 2 if method == "legrad" else blocks
    images, text = random_images(2, 48, 80), clip.encode_labels(["cat", "boat"], "photo")
    before = {name: value.clone() for name, value in clip.model.state_dict().items()}
    with pytest.raises(ValueError, match=f"'{method}' has no features: its maps need the texts"):
        clip.encode_readings(images, [method])
    wanted = [value.requires_grad for value in clip.model.parameters()]
    with torch.inference_mode():
        found = clip.maps(images, ["clip", method], text)
    expected = clip.encode_dense(images, "clip").patches @ text.T
    torch.testing.assert_close(found["clip"], expected, atol=1e-6, rtol=0)
    for i, image in enumerate(images):
        oracle = literal_methods.legrad(clip.model.visual, image, text, layers)  # (h·w, N)
        assert float(oracle.max()) > 0
        torch.testing.assert_close(found[method][i].flatten(0, 1), oracle, atol=1e-7, rtol=1e-4)
    assert all(torch.equal(value, before[name]) for name, value in clip.model.state_dict().items())
    assert [value.requires_grad for value in clip.model.parameters()] == wanted
    assert all(value.grad is None for value in clip.model.parameters())


LAYERS: dict[str, tuple[Callable[[], clipsx.Clip], Callable[[Any], nn.Module]]] = {  # where Grad-CAM looks
    "8 blocks": (lambda: tiny_clip(layers=8, image_size=(48, 80)), lambda v: v.transformer.resblocks[-1].ln_1),
    "12 blocks": (lambda: tiny_clip(layers=12, image_size=(80, 48)), lambda v: v.transformer.resblocks[-1].ln_1),
    "resnet": (tiny_resnet, lambda v: v.layer4[-1]),
    "coca": (lambda: families.clip("coca"), lambda v: v.transformer.resblocks[-1].ln_1),
    "siglip": (lambda: families.clip("siglip"), lambda v: v.trunk.blocks[-1].norm1),
    "eva02": (lambda: families.clip("eva02"), lambda v: v.trunk.blocks[-1].norm1),
    "convnext": (lambda: families.clip("convnext"), lambda v: v.trunk.norm_pre),
    "fastvit": (lambda: families.clip("fastvit"), lambda v: v.trunk.final_conv),
}


@pytest.mark.slow
@pytest.mark.parametrize("family", LAYERS)
def test_grad_cam_is_its_formula_and_leaves_the_model_alone(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mean gradients over positions weigh the channels of a layer of the whole model; what is positive of the sum."""
    make, layer = LAYERS[family]
    clip = make()
    images, cat = random_images(2, *clip.image_size), clip.encode_labels(["cat"], "photo")
    text = torch.cat([cat, -cat])  # so that not all is cut off
    before = {name: value.clone() for name, value in clip.model.state_dict().items()}
    wanted = [value.requires_grad for value in clip.model.parameters()]
    with torch.inference_mode():
        found = clip.maps(images, ["clip", "gradcam"], text)["gradcam"]
    alone = clip.look(images, clipsx.reading.readings("gradcam")).of(1).maps(clipsx.Reading("gradcam"), text)
    assert float(found.max()) > 0
    torch.testing.assert_close(alone, found[1:], atol=1e-4 * float(found.max()), rtol=0)
    gone = "clipsx.gradients._Ending.forward"
    monkeypatch.setattr(gone, lambda self, tokens: self.layer(tokens) and None)  # a hook is there, then an exception
    with pytest.raises(RuntimeError, match="ambiguous"):
        clip.maps(images, "gradcam", text)
    assert all(torch.equal(value, before[name]) for name, value in clip.model.state_dict().items())
    assert [value.requires_grad for value in clip.model.parameters()] == wanted
    assert all(value.grad is None for value in clip.model.parameters())
    assert not any(module._forward_hooks or module._backward_hooks for module in clip.model.modules())

    kept: list[Tensor] = []
    other = deepcopy(clip.model)
    layer(other.visual).register_forward_hook(lambda module, given, out: kept.append(out))
    cosines = nn.functional.normalize(other.encode_image(images), dim=-1) @ text.T  # (B, N)
    for n in range(2):
        slopes = torch.autograd.grad(cosines[:, n].sum(), kept[0], retain_graph=True)[0]
        activations, slopes = (
            x.flatten(2) if x.ndim == 4 else x[:, -found[0, ..., 0].numel() :].mT for x in (kept[0], slopes)
        )  # (B, C, h·w)
        weights = slopes.mean(dim=2, keepdim=True)  # (B, C, 1)
        expected = (weights * activations).sum(dim=1).detach()  # (B, h·w)
        close = {"atol": 1e-4 * float(expected.abs().max()), "rtol": 0}
        torch.testing.assert_close(found[..., n].flatten(1), expected.clamp(min=0), **close)


def test_grad_cam_without_its_package_and_what_it_has_not(monkeypatch: pytest.MonkeyPatch) -> None:
    clip = tiny_clip(layers=1)
    images, text = random_images(1, 64, 64), clip.encode_labels(["cat"], "photo")
    with pytest.raises(ValueError, match="'gradcam' has no features: its maps need the texts"):
        clip.encode_readings(images, "gradcam")
    monkeypatch.setattr("clipsx.messages.find_spec", lambda package: None)
    said = r"Grad-CAM needs the package pytorch_grad_cam, .* pip install 'clipsx\[gradcam\]'"
    with pytest.raises(ImportError, match=said):
        clip.maps(images, "gradcam", text)


SUM: dict[str, Any] = {"summed": True}
BARE: dict[str, Any] = {"bare": True}
FREE: dict[str, tuple[str, dict[str, Any]]] = {
    "free(bare)": ("", BARE),
    "free(ffn)": ("", {"ffn": True}),
    "free()": ("", {}),
    "free(qq)": ("qq", {}),
    "free(kk)": ("kk", {}),
    "free(qk)": ("qk", {}),
    "free(qk,ffn)": ("qk", {"ffn": True}),  # the model's own last block
    "free(qv,vk,bare)": ("qv vk", BARE),
    "free(qq,kk)": ("qq kk", {}),
    "free(qq,kk,sum)": ("qq kk", SUM),
    "free(qq,kk,sum,ffn)": ("qq kk", SUM | {"ffn": True}),
    "free(qq,bare)": ("qq", BARE),
    "free(kk,bare)": ("kk", BARE),
    "free(kk,neighbour=5,bare)": ("kk", BARE | {"neighbour": 5.0}),
    "free(qq,kk,sum,neighbour=0.7,ffn)": ("qq kk", SUM | {"neighbour": 0.7, "ffn": True}),
    "free(vv,unit)": ("vv", {"unit": True}),
    "free(vv,unit,sharpen=8,bare)": ("vv", BARE | {"unit": True, "sharpen": 8.0}),
    "free(qq,kk,vv,unit,sharpen=20)": ("qq kk vv", {"unit": True, "sharpen": 20.0}),
    "free(kk,sharpen=0)": ("kk", {"sharpen": 0.0}),
    "free(vv,blocks=2)": ("vv", {"blocks": 2}),
    "free(vv,blocks=2,bare)": ("vv", BARE | {"blocks": 2}),
    "free(vv,blocks=2,ffn)": ("vv", {"blocks": 2, "ffn": True}),
    "free(kk,blocks=2,bare,ffn,neighbour=2)": ("kk", BARE | {"blocks": 2, "ffn": True, "neighbour": 2.0}),
    "free(vv,itself)": ("vv", {"itself": True}),  # one block: there is nothing of its own to read yet
    "free(vv,itself,blocks=2)": ("vv", {"itself": True, "blocks": 2}),
    "free(vv,itself,blocks=3,bare)": ("vv", BARE | {"itself": True, "blocks": 3}),
    "free(kk,itself,blocks=2,ffn,neighbour=1.5)": ("kk", {"itself": True, "blocks": 2, "ffn": True, "neighbour": 1.5}),
    "free(qk,itself,blocks=3,ffn)": ("qk", {"itself": True, "blocks": 3, "ffn": True}),  # the model's own path again
    "free(itself,blocks=2,ffn)": ("", {"itself": True, "blocks": 2, "ffn": True}),
}


@pytest.mark.slow
@pytest.mark.parametrize("vision", VISIONS.values(), ids=VISIONS)
def test_free_combinations_on_a_vision_transformer(vision: dict[str, Any]) -> None:
    """All in one walk, so that what they share is held against the formulas too."""
    clip = tiny_clip(**vision)
    images, visual = random_images(2, *clip.image_size), clip.model.visual
    seen = clip.encode_readings(images, list(FREE))
    assert len(seen) == len(FREE)
    for (text, (pairs, options)), dense in zip(FREE.items(), seen.values(), strict=True):
        for i, image in enumerate(images):
            expected = literal.combination(visual, image, pairs.split(), **options)
            torch.testing.assert_close(dense.patches[i].flatten(0, 1), expected, atol=2e-5, rtol=0, msg=text)
            close(dense.cls[i], literal.plain(visual, image)[0])


def test_combinations_that_are_the_models_own_path_or_a_row_are_so() -> None:
    clip = tiny_clip()
    images = random_images(2, *clip.image_size)
    same = {
        "free(qk,ffn)": "clip",
        "free(qk,itself,blocks=4,ffn)": "clip",
        "free(bare)": "maskclip",
        "free(vv,blocks=3)": "clip-surgery@3",
        "free(vv,blocks=depth)@4": "clip-surgery@4",
        "free(vv,itself)": "free(vv)",
    }
    seen = clip.encode_readings(images, [*same, *same.values()])
    for one, other in same.items():
        found = seen[str(clipsx.Reading.parse(one))]
        torch.testing.assert_close(found.patches, seen[other].patches, atol=1e-5, rtol=0, msg=one)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "kind"),
    [
        ("clip", "qk"),
        ("maskclip", "none"),
        ("clip-surgery", "surgery"),
        ("clip-surgery-released", "released"),
        ("free(qk,bare)", "qk"),
        ("free(bare)", "none"),
        ("free(vv,unit,sharpen=8,bare)", "surgery"),
        ("free(qq,kk,sum,bare)", "kk+qq"),
        ("clearclip", lambda q, k, v: literal.own(q, q, v)),
        ("kk", lambda q, k, v: literal.own(k, k, v)),
        ("naclip", lambda q, k, v: literal.softmax(k @ k.T / k.shape[-1] ** 0.5 + literal.neighbours((2, 3), 5.0))),
        ("pearl", literal_methods.turned(svd=False)),
        ("pearl-svd", literal_methods.turned(svd=True)),
    ],
)
def test_rows_and_combinations_on_a_resnet_that_is_not_square(method: str, kind: str | Callable[..., Tensor]) -> None:
    clip, places = tiny_resnet(), torch.randn(1 + 2 * 3, 512, generator=torch.Generator().manual_seed(0))
    clip.model.visual.attnpool.positional_embedding = nn.Parameter(places / 512**0.5)
    clip.model.visual.image_size = (64, 96)
    images = random_images(2, *clip.image_size)
    dense = clip.encode_dense(images, method)
    for i, image in enumerate(images):
        cls, patches = literal.resnet_pool(clip.model.visual, image, kind)
        close(dense.cls[i], cls)
        close(dense.patches[i].flatten(0, 1), patches)
