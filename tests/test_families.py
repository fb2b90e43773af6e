"""Every family of image towers, built small: its own class feature, any size, any precision, nothing changed."""

import re
from collections.abc import Callable
from typing import Any

import families
import literal
import numpy as np
import open_clip
import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import clipsx
from clipsx import towers
from clipsx.analyses import attention, high_norm
from clipsx.datasets import Sample
from clipsx.evaluation import recognise
from clipsx.evaluation.stream import stream
from clipsx.panels.pictures import Picture
from clipsx.panels.session import Session
from clipsx.panels.state import State
from clipsx.reading import Reading
from helpers import masked, noise, random_images, tiny_clip, tiny_resnet, tokenizer

pytestmark = pytest.mark.slow

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


def blocks_of(visual: Any) -> list[nn.Module]:
    return list(visual.trunk.blocks if hasattr(visual, "trunk") else visual.transformer.resblocks)


def inputs(model: Any, images: Tensor) -> list[Tensor]:
    """What enters every block as the model itself runs, (B, L, C) each; of a model that is thrown away."""
    seen: list[Tensor] = []
    for block in blocks_of(model.visual):
        block.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    model.encode_image(images)
    return seen


def vv(block: Any, x: Tensor) -> Tensor:
    """What v-v attention adds to tokens (L, C) of one image, head by head."""
    attn, after = block.attn, "PostNorm" in type(block).__name__
    y = x if after else block.norm1(x)
    if getattr(attn, "qkv", None) is None:
        v = attn.v_proj(y)
    else:
        bias = attn.v_bias if getattr(attn, "v_bias", None) is not None else attn.qkv.bias.chunk(3)[2]
        v = y @ attn.qkv.weight.chunk(3)[2].T + bias
    mixed = []
    for one in v.chunk(attn.num_heads, dim=-1):  # (L, d)
        scores = attn.q_norm(one) @ attn.k_norm(one).T / one.shape[-1] ** 0.5
        mixed.append(literal.softmax(scores) @ one)
    out = attn.proj(attn.norm(torch.cat(mixed, dim=-1)))
    if after:
        return block.norm1(out)
    gamma = getattr(block, "gamma_1", None)
    return getattr(block, "ls1", nn.Identity())(out) if gamma is None else out * gamma


def head(visual: Any, token: Tensor) -> Tensor:
    """A token (C) in the joint space: the tower's own pool asked of a sequence of that token alone."""
    if not hasattr(visual, "trunk"):
        return visual.ln_post(visual.attn_pool(token[None, None]))[0, 0] @ visual.proj
    trunk, x = visual.trunk, visual.trunk.norm(token)[None, None]
    x = x[:, 0] if trunk.attn_pool is None else trunk.attn_pool(x)
    return visual.head(trunk.head(trunk.fc_norm(x)))[0]


@torch.no_grad()
@pytest.mark.parametrize("family", families.but("convnext", "fastvit"))
def test_clip_surgery_is_the_literal_walk(family: str) -> None:
    clip, twin = families.clip(family), families.model(family)
    images = random_images(2, *clip.image_size)
    entered, prefix = inputs(twin, images), clip.tower.prefix
    found = clip.encode_dense(images, "clip-surgery", 2).patches.flatten(1, 2)
    for n in range(2):
        path = entered[-2][n]
        for block, x in zip(blocks_of(twin.visual)[-2:], entered[-2:], strict=True):
            own_way = hasattr(block, "norm1")  # timm's
            added = vv(block, x[n]) if own_way else literal.attention(block, x[n], lambda q, k, v: literal.own(v, v, v))
            path = path + added
        expected = torch.stack([head(twin.visual, token) for token in path[prefix:]])
        torch.testing.assert_close(found[n], F.normalize(expected, dim=-1), atol=1e-5, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("family", ["siglip", "pe-core"])
def test_an_attention_pools_own_network_can_be_left_out_by_name(family: str) -> None:
    clip = families.clip(family)
    images, trunk = random_images(1, *clip.image_size), clip.model.visual.trunk
    short = clip.encode_dense(images, "free(vv,bare,no-pool-mlp)").patches.flatten(0, 2)
    whole = clip.encode_dense(images, "free(vv,bare)").patches.flatten(0, 2)
    assert float((short - whole).abs().max()) > 1e-3
    tokens = vv(clip.model.visual.trunk.blocks[-1], inputs(families.model(family), images)[-1][0])[clip.tower.prefix :]
    pool = trunk.attn_pool
    values = pool.proj(trunk.norm(tokens) @ pool.kv.weight.chunk(2)[1].T + pool.kv.bias.chunk(2)[1])
    expected = clip.model.visual.head(trunk.head(trunk.fc_norm(values)))
    torch.testing.assert_close(short, F.normalize(expected, dim=-1), atol=1e-5, rtol=0)
    assert str(clipsx.Reading("free(no-pool-mlp, vv, bare)")) == "free(vv,bare,no-pool-mlp)"
    with pytest.raises(ValueError, match="no attention pool whose feed-forward network could be left out"):
        families.clip("eva02").encode_dense(random_images(1, 64, 64), "free(vv,no-pool-mlp)")


def test_towers_without_attention_say_so() -> None:
    for family in ("convnext", "fastvit"):
        clip = families.clip(family)
        assert clip.methods == ("clip",) and not attention.has_attention(clip)
        with pytest.raises(ValueError, match=r"has no attention, which the method replaces\. It can do: clip"):
            clip.encode_dense(random_images(1, *clip.image_size), "clip-surgery")
        with pytest.raises(ValueError, match="has no transformer blocks"):
            attention.relation(clip, random_images(1, *clip.image_size))
    clip, picture = families.clip("fastvit"), Picture(Sample(noise(64, 64), (), {}, name="noise"))
    images = random_images(1, *clip.image_size)
    cells = clip.tower.walk(images, [Reading("clip").plan(clip.tower)]).features[0]
    torch.testing.assert_close(cells[1].mean(1), cells[0])  # its head is linear
    shown = Session(clip).relation(picture, "qk", -1)
    assert shown.shape == (4, 4) and not shown.any()
    for _, step in Session(clip).steps(picture, ["cat"], State(reading="clip")):
        step()


def test_without_a_class_token_analyses_read_what_there_is() -> None:
    clip = families.clip("siglip")
    left, right = np.zeros((2, 64, 64), bool)
    left[:32, :32], right[32:, 32:] = True, True
    samples = [Sample(noise(64, 64), ["cat", "dog"], {"cat": left, "dog": right})]
    measures = [
        attention.shares(clip, templates="photo"),
        high_norm.measure(clip, "photo"),
        attention.cosines(clip, "photo"),
    ]
    shares, norms, cosines = stream(clip, samples, measures)
    assert len(norms) == 2 * 16 and set(shares["block"]) == {0, 1, 2} and not cosines["cosine"].isna().any()
    rows = attention.relation(clip, clip.prepare(samples[0].image), 1, "qk")
    assert rows.shape == (1, 16, 16)
    with pytest.raises(ValueError, match="no class token that its image feature is read from"):
        clip.encode_dense(random_images(1, 64, 64), "sc-clip")


ODD: dict[str, Callable[[Any], Any]] = {
    "Block 1's attention (Attention) has a part that is not understood: 'gate'": (
        lambda trunk: setattr(trunk.blocks[1].attn, "gate", nn.Linear(48, 48))
    ),
    "Block 0's attention shares keys among heads": lambda trunk: setattr(trunk.blocks[0].attn, "num_kv_groups", 2),
    "differ from block to block": lambda trunk: setattr(trunk, "rope_mixed", True),
    "pool (AttentionPoolLatent) has a part that is not understood: 'pos_embed'": (
        lambda trunk: setattr(trunk.attn_pool, "pos_embed", nn.Parameter(torch.zeros(16, 48)))
    ),
    "Block 2 (Block) does not compute what its parts say": (
        lambda trunk: setattr(trunk.blocks[2], "forward", lambda x: x + trunk.blocks[2].attn(x))
    ),
    "made of other parts than open_clip's and timm's usual": lambda trunk: delattr(trunk, "no_embed_class"),
    "Image tower VisionTransformer is not understood: local": lambda trunk: delattr(trunk, "norm_pre"),
}


@pytest.mark.parametrize("words", ODD)
def test_a_tower_that_is_refused_says_what_and_still_gives_class_features(words: str) -> None:
    model = families.model("siglip")
    images = random_images(1, 64, 64)
    ODD[words](model.visual.trunk)
    model.eval()
    clip = clipsx.Clip(model, families.clip("siglip").preprocess, tokenizer(), "odd", "seed 0")
    assert clip.methods == () and clip.positions == "none"
    with pytest.raises(ValueError, match=re.escape(words)):
        clip.encode_dense(images)
    if "local" not in words and "usual" not in words:  # where the model itself still runs
        torch.testing.assert_close(clip.encode_image(images), own(clip, images), atol=1e-6, rtol=0)


def test_a_refused_tower_is_prepared_for_and_recognised_with() -> None:
    model = families.model("siglip")
    model.visual.trunk.blocks[0].attn.num_kv_groups = 2
    clip = clipsx.Clip(model, families.clip("siglip").preprocess, tokenizer(), "odd", "seed 0")
    samples = [masked(64, 64, ["cat"], seed) for seed in range(2)]
    images = torch.cat([clip.prepare(sample.image) for sample in samples])
    asked = ["clip", "clip+code"]
    (rows,) = stream(clip, samples, [recognise.measure(clip, ["cat", "dog"], asked)])
    expected = clip.encode_image(images) @ clip.encode_labels(["cat", "dog"]).T
    np.testing.assert_allclose(recognise.as_arrays(rows[rows["reading"] == "clip"])[0], expected, atol=1e-6)
    assert set(rows["reading"]) == set(asked)
    with pytest.raises(ValueError, match="num_kv_groups"):
        recognise.measure(clip, ["cat"], ["maskclip"])
    with pytest.raises(ValueError, match="num_kv_groups"):
        clip.prepare(samples[0].image, size=96)


def test_the_size_is_that_of_the_stem() -> None:
    model = families.model("vitamin")
    model.visual.image_size = (32, 32)  # as ViTamin-XL-384's configuration has it
    clip = clipsx.Clip(model, families.clip("vitamin").preprocess, tokenizer())
    assert clip.image_size == (64, 64) and clip.encode_image(clip.prepare(noise(50, 60))).shape == (1, 32)
    clip = families.clip("siglip, 14 px of 65")  # a size that the patch does not divide is the model's own all the same
    assert clip.prepare(noise(50, 60)).shape[2:] == (65, 65) and clip.prepare(noise(50, 60), 64).shape[2:] == (70, 70)


RESBLOCK = (
    "@ln_1 @ln_2 @ls_1 @ls_2 @mlp @attn.in_proj_weight @attn.in_proj_bias @attn.out_proj @attn.num_heads".replace(
        "@", "transformer.resblocks.0."
    )
)
VISION = f"conv1 class_embedding positional_embedding ln_pre transformer.resblocks ln_post proj pool_type {RESBLOCK}"
BLOCK = "blocks.0.attn.proj blocks.0.attn.num_heads blocks.0.norm1 blocks.0.norm2 blocks.0.mlp"
COMMON = f"{BLOCK} norm_pre norm attn_pool fc_norm head forward_head"
READ = {  # what the adapters ask of a tower, by name: where one moves, the line that breaks says which
    "siglip": f"{COMMON} patch_embed.proj patch_embed.feat_ratio patch_embed.img_size patch_embed.grid_size pos_embed "
    "num_prefix_tokens no_embed_class cls_token global_pool blocks.0.attn.qkv.weight blocks.0.attn.num_heads "
    "blocks.0.attn.q_norm blocks.0.attn.k_norm attn_pool.kv attn_pool.proj attn_pool.norm attn_pool.mlp",
    "mobileclip-b": f"{COMMON} patch_embed.backbone patch_embed.proj",
    "registers": f"{COMMON} reg_token blocks.0.ls1 blocks.0.ls2",
    "eva01": f"{COMMON} blocks.0.attn.q_bias blocks.0.attn.k_bias blocks.0.attn.v_bias blocks.0.attn.qkv.weight",
    "eva02": f"{COMMON} rope.get_embed rope.feat_shape rope.update_feat_shape blocks.0.attn.q_proj "
    "blocks.0.attn.v_proj",
    "eva02-e": COMMON,
    "pe-core": f"{COMMON} rope.get_embed rope_mixed attn_pool.kv",
    "naflex": f"{COMMON} embeds.proj embeds.is_linear embeds.norm embeds.pos_embed embeds.pos_embed_grid_size "
    "embeds.pos_embed_interp_mode embeds.patch_size embeds.cls_token",
    "convnext": "stem stages norm_pre head forward_features forward_head feature_info",
    "fastvit": "stem stages final_conv head forward_features forward_head feature_info",
    "coca": f"{VISION} attn_pool.ln_k attn_pool.attn.in_proj_bias attn_pool.attn.v_proj_weight attn_pool.attn.out_proj",
    "vit": f"{VISION} image_size final_ln_after_pool",
    "resnet": "stem layer1 layer2 layer3 layer4 image_size attnpool.q_proj attnpool.k_proj attnpool.v_proj "
    "attnpool.c_proj attnpool.num_heads attnpool.positional_embedding",
    "text": "token_embedding positional_embedding transformer.get_cast_dtype ln_final text_projection attn_mask "
    "text_pool_type text_eos_id",
    "custom text": "token_embedding positional_embedding transformer.get_cast_dtype ln_final text_projection attn_mask "
    "pool_type eos_id cls_emb use_pad_mask",
}


def read(family: str) -> Any:
    """The part of a family's model that is read by name."""
    if family == "custom text":
        return families.model("siglip").text
    if family in ("vit", "resnet", "text"):
        clip = tiny_resnet() if family == "resnet" else tiny_clip(layers=1)
        return clip.model if family == "text" else clip.model.visual
    visual = families.model(family).visual
    return getattr(visual, "trunk", visual)


def moved(where: Any, names: str) -> list[str]:
    """The names, parts of parts behind dots, that are not there."""
    gone = []
    for name in names.split():
        part = where
        for step in name.split("."):
            part = part[int(step)] if step.isdecimal() else getattr(part, step, Ellipsis)
            if part is Ellipsis:
                gone.append(name)
                break
    return gone


@pytest.mark.parametrize("family", READ)
def test_what_the_adapters_read_is_still_there(family: str) -> None:
    gone = moved(read(family), READ[family])
    versions = f"open_clip {open_clip.__version__}, timm {timm.__version__}"
    assert not gone, f"{versions}: {family} has moved {', '.join(gone)}"


def test_what_has_moved_is_named() -> None:
    model = tiny_clip(layers=1).model
    model.visual.transformer.resblocks[0].norm_1 = model.visual.transformer.resblocks[0].ln_1
    del model.visual.transformer.resblocks[0].ln_1, model.visual.conv1
    assert moved(model.visual, READ["vit"]) == ["conv1", "transformer.resblocks.0.ln_1"]
