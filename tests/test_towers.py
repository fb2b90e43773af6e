"""Image towers: every supported variation gives the model's own class feature; what is not understood is refused."""

import itertools
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import clipsx
from clipsx import towers
from clipsx.towers.shared import positions
from helpers import VIT, random_images, tiny_clip, tiny_model, tiny_resnet

VARIATIONS = {
    "plain": {},
    "layer-scale": {"ls_init_value": 0.1},
    "average-pooled": {"pool_type": "avg"},
    "norm-after-pool": {"final_ln_after_pool": True},
    "average-pooled-norm-after-pool": {"pool_type": "avg", "final_ln_after_pool": True},
    "no-first-norm": {"no_ln_pre": True},
    "sine-positions": {"pos_embed_type": "sin_cos_2d"},
    "patch-dropout": {"patch_dropout": 0.5},
    "non-square": {"image_size": (48, 80)},
    "own-attention-class": {"block_type": "custom"},
    "qk-norm": {"qk_norm": True},
    "head-scales": {"scale_heads": True, "scale_attn_inner": True},
    "inner-norms": {"scale_attn": True, "scale_fc": True},
    "tokens-too": {"output_tokens": True},
}


@pytest.mark.parametrize("vision", VARIATIONS.values(), ids=VARIATIONS)
def test_class_feature_is_encode_image_and_batches_do_not_matter(vision: dict) -> None:
    clip = tiny_clip(**vision)
    images = random_images(3, *clip.image_size)
    with torch.no_grad():
        own = clip.model.encode_image(images)
        own = F.normalize(own[0] if isinstance(own, tuple) else own, dim=-1)
    for method in clip.methods:
        dense = clip.encode_dense(images, method, depth=3)
        assert float((dense.cls - own).abs().max()) < 1e-5, method
        alone = clip.encode_dense(images[1:2], method, depth=3)
        torch.testing.assert_close(alone.patches, dense.patches[1:2], atol=1e-5, rtol=0)
        torch.testing.assert_close(alone.cls, dense.cls[1:2], atol=1e-5, rtol=0)


@pytest.mark.parametrize("vision", [VARIATIONS[k] for k in ("plain", "layer-scale", "average-pooled", "qk-norm")])
def test_trace_adds_up(vision: dict) -> None:
    """Input plus what both halves add is the next block's input; the last gives the plain method's features."""
    clip = tiny_clip(**vision)
    images = random_images(2, *clip.image_size)
    with torch.no_grad():
        blocks = list(clip.tower.trace(images))
        assert [b.index for b in blocks] == list(range(clip.tower.blocks))
        for before, after in itertools.pairwise(blocks):
            torch.testing.assert_close(before.x + before.attention + before.ffn, after.x)
        last = blocks[-1]
        end = clip.tower.project(last.x + last.attention + last.ffn)
    assert last.q.shape == last.k.shape == last.v.shape == (2, 3, 17, 16)
    patches = F.normalize(end[:, 1:], dim=-1)
    torch.testing.assert_close(patches, clip.encode_dense(images, "clip").patches.flatten(1, 2), atol=1e-5, rtol=0)


def test_resnet_class_feature_is_encode_image_and_batches_do_not_matter() -> None:
    clip = tiny_resnet()
    images = random_images(3, *clip.image_size)
    with torch.no_grad():
        own = clip.model.encode_image(images, normalize=True)
    for method in ("clip", "maskclip", "clip-surgery"):
        dense = clip.encode_dense(images, method)
        assert float((dense.cls - own).abs().max()) < 1e-5, method
        torch.testing.assert_close(clip.encode_dense(images[:1], method).patches, dense.patches[:1])
    released = clip.encode_dense(images, "clip-surgery-released")
    assert float((released.cls - own).abs().max()) > 1e-4  # its class feature is not the original: that is its point
    with torch.no_grad():
        (block,) = clip.tower.trace(images)
    torch.testing.assert_close(F.normalize(block.attention[:, 0], dim=-1), own, atol=1e-5, rtol=0)


@pytest.mark.parametrize("make", [tiny_clip, tiny_resnet])
def test_any_size_and_back_again(make: Callable[[], clipsx.Clip]) -> None:
    """224 → 512 → 224 comes back: positions are interpolated for the call, never written."""
    clip = make()
    step = clip.patch_size[0]
    native = random_images(1, *clip.image_size)
    before = clip.encode_dense(native, "clip-surgery", 2)
    wide = random_images(2, 2 * step, 5 * step)
    assert clip.encode_dense(wide, "clip-surgery", 2).grid == (2, 5)
    cls = clip.encode_dense(wide, "clip").cls
    torch.testing.assert_close(clip.encode_image(wide), cls, atol=1e-6, rtol=0)
    after = clip.encode_dense(native, "clip-surgery", 2)
    assert torch.equal(before.patches, after.patches)
    assert torch.equal(before.cls, after.cls)


def test_positions() -> None:
    table = torch.randn(1 + 2 * 6, 4)
    assert positions(table, (2, 6), (2, 6)) is table
    other = positions(table, (2, 6), (3, 5))
    assert other.shape == (16, 4)
    assert torch.equal(other[0], table[0])
    rows = torch.arange(2.0).repeat_interleave(6)[:, None]  # each position holds its row: still so at twice the width
    wide = positions(torch.cat([torch.zeros(1, 1), rows]), (2, 6), (2, 12))
    torch.testing.assert_close(wide[1:, 0], torch.arange(2.0).repeat_interleave(12))
    half = positions(table.bfloat16(), (2, 6), (4, 4))
    assert half.dtype == torch.bfloat16


def test_a_part_that_is_not_understood_is_refused_by_name() -> None:
    model = tiny_model()
    model.visual.transformer.resblocks[2].gate = nn.Linear(2, 2)
    with pytest.raises(ValueError, match=r"Block 2 \(ResidualAttentionBlock\).*'gate'"):
        towers.adapt(model.visual)
    model = tiny_model()
    model.visual.transformer.resblocks[1].attn.bias_k = nn.Parameter(torch.zeros(1, 1, 48))
    with pytest.raises(ValueError, match=r"Block 1's attention.*'bias_k'"):
        towers.adapt(model.visual)
    model = tiny_model(vision={**VIT, "attentional_pool": True})
    with pytest.raises(ValueError, match="attn_pool"):
        towers.adapt(model.visual)
    model = tiny_model(vision={**VIT, "scaled_cosine_attn": True})
    with pytest.raises(ValueError, match=r"Block 0's attention.*'logit_scale'"):
        towers.adapt(model.visual)
    with pytest.raises(ValueError, match="Linear is not understood"):
        towers.adapt(nn.Linear(2, 2))


def test_a_block_that_computes_something_else_is_refused_by_name() -> None:
    """Known parts in an unknown order: seen by asking the block itself."""
    model = tiny_model()
    block = model.visual.transformer.resblocks[3]

    class Parallel(type(block)):
        def forward(self, q_x: torch.Tensor, **_: object) -> torch.Tensor:
            return q_x + self.attention(self.ln_1(q_x)) + self.mlp(self.ln_2(q_x))

    block.__class__ = Parallel
    with pytest.raises(ValueError, match=r"Block 3 \(Parallel\) does not compute what its parts say"):
        towers.adapt(model.visual)


def test_sequence_first_attention_is_read_all_the_same() -> None:
    """Older models keep the sequence first: what attention computes comes from its weights, not from its layout."""
    clip = tiny_clip()
    images = random_images(2, *clip.image_size)
    expected = clip.encode_dense(images, depth=2)
    model = tiny_model()
    for block in model.visual.transformer.resblocks:
        block.attn.batch_first = False
    model.visual.transformer.batch_first = False
    visual = model.visual
    order = visual.transformer.forward
    visual.transformer.forward = lambda x: order(x.transpose(0, 1)).transpose(0, 1)
    tower = towers.adapt(visual)
    with torch.no_grad():
        cls, _ = tower.dense(images, towers.Path(None, 0), 0)
    torch.testing.assert_close(F.normalize(cls, dim=-1), expected.cls, atol=1e-5, rtol=0)
