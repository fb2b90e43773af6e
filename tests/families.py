"""Every family of image towers, small: few blocks of seeded random weights, built by open_clip and timm themselves."""

import functools
from collections.abc import Mapping
from typing import Any
from unittest import mock

import open_clip.timm_model
import pytest
import timm
import torch
from open_clip.model import CustomTextCLIP
from open_clip.transform import PreprocessCfg, image_transform_v2

import clipsx
from helpers import TEXT, VIT, tokenizer

WIDE = {"embed_dim": 48, "depth": 3, "num_heads": 3, "img_size": 64}
TIMM: dict[str, tuple[str, str, str | None, dict[str, Any]]] = {  # timm's name, pool, projection, what makes it small
    "siglip": ("vit_base_patch16_siglip_224", "map", "none", WIDE),
    "siglip, 14 px of 65": ("vit_so400m_patch14_siglip_384", "map", "none", {**WIDE, "img_size": 65}),
    "vitamin": ("vitamin_small_224", "", "linear", {"depth": 2, "img_size": 64}),
    "vitamin, no positions": ("vitamin_small_224", "", "linear", {"depth": 2, "img_size": 64, "pos_embed": "none"}),
    "mobileclip-b": ("vit_base_mci_224", "token", None, {"depth": 2, "img_size": 64}),
    "clip's layout": ("vit_large_patch14_clip_224", "token", None, {**WIDE, "img_size": 56}),
    "registers": (
        *("vit_base_patch16_224", "avg", "mlp"),
        {**WIDE, "reg_tokens": 2, "no_embed_class": True, "qk_norm": True, "init_values": 0.3},
    ),
    "eva01": ("eva_giant_patch14_224", "token", None, {**WIDE, "img_size": 56}),
    "eva02": ("eva02_base_patch16_clip_224", "token", None, WIDE),
    "eva02-e": ("eva02_enormous_patch14_clip_224", "token", None, {**WIDE, "img_size": 56}),
    "pe-core": ("vit_pe_core_base_patch16_224", "map", None, {**WIDE, "attn_pool_num_heads": 2}),
    "pe-core, no class token": (
        *("vit_pe_core_gigantic_patch14_448", "map", None),
        {**WIDE, "img_size": 56, "attn_pool_num_heads": 2},
    ),
    "naflex": ("naflexvit_base_patch16_siglip", "map", "none", {"embed_dim": 48, "depth": 3, "num_heads": 3}),
    "convnext": ("convnext_base", "", "mlp", {"depths": (1, 1, 2, 1), "dims": (8, 16, 24, 32)}),
    "fastvit": ("fastvit_mci0", "avg", None, {"layers": (1, 1, 1, 1), "embed_dims": (16, 32, 64, 128)}),
}
OPEN_CLIP: dict[str, dict[str, Any]] = {
    "coca": {**VIT, "layers": 3, "attentional_pool": True, "attn_pooler_heads": 2},
    "coca, as wide": {**VIT, "layers": 3, "attentional_pool": True, "attn_pooler_heads": 2, "width": 48},
}
SLOW = ("mobileclip-b",)  # its stem is as wide as it is
FAMILIES: list[Any] = [pytest.param(n, marks=[pytest.mark.slow] * (n in SLOW)) for n in (*TIMM, *OPEN_CLIP)]


def but(*names: str) -> list[Any]:
    """All families but some."""
    return [family for family in FAMILIES if family.values[0] not in names]


def model(name: str, **more: Any) -> Any:
    """open_clip's model of a family, in eval mode; more: what its trunk is told beside what makes it small."""
    if name in OPEN_CLIP:
        vision: Any = OPEN_CLIP[name]
        width, told = (48 if "as wide" in name else 32), {}
    else:
        made, pool, projection, small = TIMM[name]
        size = small.get("img_size", 64)
        vision = {"timm_model_name": made, "timm_pool": pool, "timm_proj": projection, "image_size": size}
        width, told = (48 if projection == "none" else 32), {**small, **more}
    with torch.random.fork_rng(devices=[]), mock.patch.object(open_clip.timm_model, "timm", _Small(told)):
        torch.manual_seed(0)
        found = CustomTextCLIP(width, vision, TEXT)  # type: ignore[arg-type]
        with torch.no_grad():
            for part, value in found.named_parameters():
                if part != "logit_scale":
                    value.add_(torch.randn_like(value) * 0.1 * value.std(correction=0).clamp(min=0.2))
    return found.eval()


class _Small:
    """timm, with what makes a model small told to it beside what open_clip tells it."""

    def __init__(self, told: Mapping[str, Any]) -> None:
        self.create_model = functools.partial(_create, told)

    def __getattr__(self, name: str) -> Any:
        return getattr(timm, name)


def _create(told: Mapping[str, Any], name: str, **given: Any) -> Any:
    return timm.create_model(name, **given, **told)


def clip(name: str, dtype: torch.dtype = torch.float32) -> clipsx.Clip:
    """A family's small model as a Clip."""
    made = model(name).to(dtype)
    preprocess: Any = image_transform_v2(PreprocessCfg(size=made.visual.image_size), is_train=False)
    return clipsx.Clip(made, preprocess, tokenizer(), name=name, weights="seed 0")
