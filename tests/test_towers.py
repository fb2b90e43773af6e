"""Image towers: every supported variation gives the model's own class feature; what is not understood is refused."""

import inspect
import itertools
from collections.abc import Callable, Sequence
from typing import Any, get_origin, get_type_hints

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import clipsx
from clipsx import metrics, towers
from clipsx.analyses import attention, high_norm
from clipsx.datasets import Sample
from clipsx.evaluation.parts import made_by
from clipsx.evaluation.stream import stream
from clipsx.methods import ROWS, Attend, Recipe
from clipsx.plots import sheets
from clipsx.reading import Reading, readings
from clipsx.towers import Block, Plan, Walk
from clipsx.towers.shared import merge, mix, pair, positions, split
from helpers import VIT, noise, random_images, tiny_clip, tiny_model, tiny_resnet

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


@pytest.mark.slow
@pytest.mark.parametrize("vision", VARIATIONS.values(), ids=VARIATIONS)
def test_class_feature_is_encode_image_and_batches_do_not_matter(vision: dict) -> None:
    clip = tiny_clip(**vision)
    images = random_images(3, *clip.image_size)
    with torch.no_grad():
        own = clip.model.encode_image(images)
        own = F.normalize(own[0] if isinstance(own, tuple) else own, dim=-1)
    for method in clip.methods:
        depth = 3 if method in ("clip-surgery", "gem") else None
        dense = clip.encode_dense(images, method, depth)
        assert float((dense.cls - own).abs().max()) < 1e-5, method
        alone = clip.encode_dense(images[1:2], method, depth)
        torch.testing.assert_close(alone.patches, dense.patches[1:2], atol=1e-5, rtol=0)
        torch.testing.assert_close(alone.cls, dense.cls[1:2], atol=1e-5, rtol=0)


@pytest.mark.parametrize("vision", [VARIATIONS[k] for k in ("plain", "layer-scale", "average-pooled", "qk-norm")])
def test_blocks_add_up(vision: dict) -> None:
    """Input plus what both halves add is the next block's input; the last gives the plain method's features."""
    clip = tiny_clip(**vision)
    images = random_images(2, *clip.image_size)
    seen = clip.look(images, keep=True)
    assert not seen.features and not clip.look(images).blocks  # nothing that nobody asked for
    blocks = seen.blocks
    assert [b.index for b in blocks] == list(range(clip.tower.blocks))
    for before, after in itertools.pairwise(blocks):
        torch.testing.assert_close(before.x + before.attention + before.ffn, after.x)
    last = blocks[-1]
    assert last.q.shape == last.k.shape == last.v.shape == (2, 3, 17, 16)
    patches = clip.project(last.x + last.attention + last.ffn)[:, 1:]
    expected = clip.encode_dense(images, "clip").patches.flatten(1, 2)
    torch.testing.assert_close(patches, expected, atol=1e-5, rtol=0)
    one = last.of(1)
    assert one.index == last.index and one.q.shape == (1, 3, 17, 16)
    assert torch.equal(one.relation("qk"), last.relation("qk")[1:])


@pytest.mark.parametrize("make", [tiny_clip, tiny_resnet])
def test_blocks_are_those_of_the_original_path_whatever_is_read_beside(make: Callable[[], clipsx.Clip]) -> None:
    """Where nobody reads its patches the last block is cut short, and where somebody keeps it, it is not."""
    clip = make()
    images = random_images(2, *clip.image_size)
    alone = clip.look(images, keep=True)
    beside = clip.look(images, readings("maskclip, clip-surgery, free(vv,bare)"), keep=True)
    short = clip.look(images, readings("maskclip, clip-surgery, free(vv,bare)"))
    assert len(alone.blocks) == len(beside.blocks) == clip.tower.blocks
    for one, other in zip(alone.blocks, beside.blocks, strict=True):
        for name in ("x", "q", "k", "v", "attention", "ffn"):
            torch.testing.assert_close(getattr(one, name), getattr(other, name), atol=1e-6, rtol=0)
    for reading, dense in beside.features.items():
        torch.testing.assert_close(dense.patches, short.features[reading].patches, atol=1e-6, rtol=0)
    torch.testing.assert_close(beside.cls, short.cls, atol=1e-6, rtol=0)
    part = beside.of(1)
    assert part.cls.shape == (1, 32) and torch.equal(part.cls[0], beside.cls[1])
    for reading, dense in part.features.items():
        assert torch.equal(dense.patches[0], beside.features[reading].patches[1])
    assert [block.x.shape[0] for block in part.blocks] == [1] * clip.tower.blocks


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
    (block,) = clip.look(images, keep=True).blocks
    torch.testing.assert_close(F.normalize(block.attention[:, 0], dim=-1), own, atol=1e-5, rtol=0)
    assert not block.ffn.any()
    patches = F.normalize(block.attention[:, 1:], dim=-1).unflatten(1, (2, 2))
    torch.testing.assert_close(patches, clip.encode_dense(images, "clip").patches, atol=1e-6, rtol=0)


@pytest.mark.parametrize("make", [tiny_clip, tiny_resnet])
def test_any_size_and_back_again(make: Callable[[], clipsx.Clip]) -> None:
    """224 → 512 → 224 comes back: positions are interpolated for the call, never written."""
    clip = make()
    step = clip.patch_size[0]
    native = random_images(1, *clip.image_size)
    before = clip.encode_dense(native)
    wide = random_images(2, 2 * step, 5 * step)
    assert clip.encode_dense(wide).grid == (2, 5)
    cls = clip.encode_dense(wide, "clip").cls
    torch.testing.assert_close(clip.encode_image(wide), cls, atol=1e-6, rtol=0)
    after = clip.encode_dense(native)
    assert torch.equal(before.patches, after.patches)
    assert torch.equal(before.cls, after.cls)


def test_positions() -> None:
    table = torch.randn(1 + 2 * 6, 4)
    assert positions(table, (2, 6), (2, 6)) is table
    other = positions(table, (2, 6), (3, 5))
    assert other.shape == (16, 4)
    assert torch.equal(other[0], table[0])
    three = torch.cat([torch.randn(2, 4), table])  # two more tokens before the patches
    assert torch.equal(positions(three, (2, 6), (3, 5), prefix=3)[3:], other[1:])
    assert torch.equal(positions(three, (2, 6), (3, 5), prefix=3)[:3], three[:3])
    assert torch.equal(positions(table[1:], (2, 6), (3, 5), prefix=0), other[1:])
    rows = torch.arange(2.0).repeat_interleave(6)[:, None]  # each position holds its row: still so at twice the width
    wide = positions(torch.cat([torch.zeros(1, 1), rows]), (2, 6), (2, 12))
    torch.testing.assert_close(wide[1:, 0], torch.arange(2.0).repeat_interleave(12))
    half = positions(table.bfloat16(), (2, 6), (4, 4))
    assert half.dtype == torch.bfloat16


POSITIONS: dict[str, Callable[[torch.Tensor, int, int], torch.Tensor]] = {  # of (1, C, h, w), as their codes call it
    "bicubic-antialias": lambda x, h, w: F.interpolate(x, (h, w), mode="bicubic", antialias=True),
    "bilinear": lambda x, h, w: F.interpolate(x, (h, w), mode="bilinear"),
    "bicubic": lambda x, h, w: F.interpolate(x, (h, w), mode="bicubic", align_corners=False),
    "bicubic-scale": lambda x, h, w: F.interpolate(
        x, scale_factor=((h + 0.1) / x.shape[2], (w + 0.1) / x.shape[3]), mode="bicubic"
    ),
    "bilinear-antialias": lambda x, h, w: F.interpolate(x, (h, w), mode="bilinear", antialias=True),
}


@pytest.mark.slow
@pytest.mark.parametrize("make", [tiny_clip, tiny_resnet])
def test_positions_by_every_rule_are_those_of_a_model_that_was_resized(make: Callable[[], clipsx.Clip]) -> None:
    """Another size by a rule is a model whose table was interpolated by it, read at its own size."""
    clip = make()
    side = clip.patch_size[0]
    images, tables = random_images(2, 3 * side, 5 * side), []
    assert set(POSITIONS) == set(towers.POSITIONS) and clip.positions == next(iter(POSITIONS))
    for rule, resize in POSITIONS.items():
        twin = make()
        place = twin.model.visual if hasattr(twin.model.visual, "positional_embedding") else twin.model.visual.attnpool
        old = place.positional_embedding.data  # (1 + h0·w0, C)
        native = clip.tower.grid(*clip.image_size)
        new = resize(old[1:].T.unflatten(1, native)[None], 3, 5)[0].flatten(1).T
        place.positional_embedding = nn.Parameter(torch.cat([old[:1], new]))
        twin.model.visual.image_size = (3 * side, 5 * side)
        other = clip.with_positions(rule)
        dense = other.encode_dense(images, "maskclip")
        torch.testing.assert_close(dense.patches, twin.encode_dense(images, "maskclip").patches, atol=1e-6, rtol=0)
        torch.testing.assert_close(dense.cls, clip.encode_dense(images, "clip", positions=rule).cls, atol=1e-6, rtol=0)
        assert other.describe() == {**clip.describe(), "positions": rule} and made_by(other).endswith(rule)
        tables.append(dense.patches)
        own = random_images(1, *clip.image_size)
        assert torch.equal(other.encode_image(own), clip.encode_image(own))
    assert all(float((tables[0] - tables[place]).abs().max()) > 1e-5 for place in (1, 3))  # the others when it shrinks
    for wrong in (lambda: clip.with_positions("bicubik"), lambda: clip.encode_dense(images, positions="bicubik")):
        with pytest.raises(ValueError, match=r"Unknown rule for positions 'bicubik'; did you mean 'bicubic'"):
            wrong()


def test_a_model_is_loaded_with_its_rule_for_positions() -> None:
    clip = clipsx.load("sketchbook", device="cpu", positions="bilinear")
    plain = clipsx.load("sketchbook", device="cpu")
    images = random_images(1, 96, 128)
    assert torch.equal(clip.encode_dense(images).patches, plain.encode_dense(images, positions="bilinear").patches)
    assert plain.recipe is not None and clip.recipe == {**plain.recipe, "positions": "bilinear"}
    with pytest.raises(ValueError, match="Unknown rule for positions 'nearest'"):
        clipsx.load("sketchbook", positions="nearest")


def test_a_part_that_is_not_understood_is_refused_by_name() -> None:
    model = tiny_model()
    model.visual.transformer.resblocks[2].gate = nn.Linear(2, 2)
    with pytest.raises(ValueError, match=r"Block 2 \(ResidualAttentionBlock\).*'gate'"):
        towers.adapt(model.visual)
    model = tiny_model()
    model.visual.transformer.resblocks[1].attn.bias_k = nn.Parameter(torch.zeros(1, 1, 48))
    with pytest.raises(ValueError, match=r"Block 1's attention.*'bias_k'"):
        towers.adapt(model.visual)
    model = tiny_model(vision={**VIT, "attentional_pool": "parallel"})
    with pytest.raises(ValueError, match="'attn_pool_contrastive'"):
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
        ((cls, patches),) = tower.walk(images, [Reading("clip-surgery", 2).plan(tower)]).features
    torch.testing.assert_close(F.normalize(cls, dim=-1), expected.cls, atol=1e-5, rtol=0)
    torch.testing.assert_close(F.normalize(patches, dim=-1), expected.patches.flatten(1, 2), atol=1e-5, rtol=0)


# --- what every tower answers to ---


@pytest.mark.parametrize("make", [tiny_clip, tiny_resnet])
def test_an_adapter_has_every_member_of_the_interface(make: Callable[[], clipsx.Clip]) -> None:
    tower = make().tower
    assert isinstance(tower, towers.Tower)
    for name, kind in get_type_hints(towers.Tower).items():
        if get_origin(kind) is tuple:
            value = getattr(tower, name)
            assert isinstance(value, tuple) and [type(side) for side in value] == [int, int], name
        else:
            assert isinstance(getattr(tower, name), kind), name
    written = {name: member for name, member in vars(towers.Tower).items() if inspect.isfunction(member)}
    named = {name: member for name, member in written.items() if not name.startswith("_")}
    assert set(named) == {"grid", "refuses", "walk", "ending", "project"}
    for name, member in named.items():
        own = inspect.signature(getattr(type(tower), name))
        assert list(own.parameters) == list(inspect.signature(member).parameters), name
    assert tower.grid(*tower.image_size) == tuple(
        side // step for side, step in zip(tower.image_size, tower.patch_size, strict=True)
    )
    assert all(isinstance(tower.refuses(row), str) for row in ROWS)


class Fake:
    """A tower of two transformer blocks that has no class token, or more tokens than one, before its patches."""

    family = "Fake"
    blocks = 2
    prefix = 0
    transformer = True
    positions = "none"
    can: tuple[str, ...] | None = None  # the methods that it serves; None: all of one block

    def __init__(self, visual: Any) -> None:
        self.visual = visual
        self.image_size, self.patch_size = pair(visual.image_size), pair(visual.conv1.kernel_size)

    @staticmethod
    def fits(visual: Any) -> bool:
        return hasattr(visual, "conv1")

    def grid(self, height: int, width: int) -> tuple[int, int]:
        return height // self.patch_size[0], width // self.patch_size[1]

    def refuses(self, recipe: Recipe) -> str:
        if self.can is not None and recipe.name not in self.can:
            return "it was not made for that"
        short = recipe.blocks == recipe.least == 1 and recipe.own_class and not recipe.ffn
        return (
            ""
            if recipe.attend is None or (short and not recipe.attend.unit and not recipe.attend.rule)
            else "it looks into its last block alone"
        )

    def walk(self, images: torch.Tensor, plans: Sequence[Plan], keep: bool = False) -> Walk:
        visual, grid = self.visual, self.grid(*images.shape[2:])
        patches = visual.conv1(images).flatten(2).transpose(1, 2)  # (B, h·w, C)
        first = visual.positional_embedding[: self.prefix].expand(len(images), -1, -1)
        x, blocks = torch.cat([first, patches], dim=1), []
        for index in range(self.blocks):
            block = visual.transformer.resblocks[index]
            packed = F.linear(block.ln_1(x), block.attn.in_proj_weight, block.attn.in_proj_bias).chunk(3, dim=-1)
            q, k, v = (split(part, block.attn.num_heads) for part in packed)
            attention = block.attn.out_proj(merge(F.scaled_dot_product_attention(q, k, v)))
            ffn = block.mlp(block.ln_2(x + attention))
            blocks.append(Block(index, x, q, k, v, attention, ffn))
            before, x = x, x + attention + ffn
        features = []
        cls = self.project(x)[:, 0] if self.prefix else self.project(x).mean(dim=1)
        for recipe, _ in plans:
            tokens = x[:, self.prefix :]
            if recipe.attend is not None:
                sides = {"q": (q, q), "k": (k, k), "v": (v, v)}
                mixed = mix(recipe.attend, sides, v, self.prefix, grid, self.prefix)
                tokens = block.attn.out_proj(merge(mixed)) + (before[:, self.prefix :] if recipe.residual else 0)
            features.append((cls, self.project(tokens)))
        return Walk(tuple(features), before, tuple(blocks) if keep else ())

    def project(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.visual.ln_post(tokens) @ self.visual.proj

    def ending(self, last: torch.Tensor, grid: tuple[int, int]) -> Any:
        return last, lambda tokens: self.project(tokens).mean(dim=1)


@pytest.fixture(params=[0, 3], ids=["no class token", "class token and registers"])
def fake(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> clipsx.Clip:
    """A CLIP whose tower has another number of tokens before its patches than one."""
    family = type("Fake", (Fake,), {"prefix": request.param})
    monkeypatch.setattr(towers, "FAMILIES", (family, *towers.FAMILIES))
    clip = tiny_clip()
    assert type(clip.tower) is family and isinstance(clip.tower, towers.Tower)
    return clip


def masked(*labels: str, seed: int = 0, size: tuple[int, int] = (40, 72)) -> Sample:
    """A picture of noise, an object a label: strips from left to right."""
    masks = {}
    for n, label in enumerate(labels):
        masks[label] = np.zeros(size, bool)
        masks[label][5 + n :, 20 * n : 20 * n + 18] = True
    return Sample(noise(*size, seed), labels, masks, name=f"picture {seed}")


def test_a_tower_with_any_number_of_tokens_before_its_patches_is_looked_into(fake: clipsx.Clip) -> None:
    prefix, images = fake.tower.prefix, random_images(2, 48, 80)
    asked = readings("clip, maskclip, free(kk,neighbour=1), clip+code")
    seen = fake.look(images, asked, keep=True)
    assert seen.cls.shape == (2, 32)
    last = seen.blocks[-1]
    assert last.x.shape == (2, prefix + 15, 48)
    end = fake.project(last.x + last.attention + last.ffn)
    torch.testing.assert_close(seen.features[Reading("clip")].patches, end[:, prefix:].unflatten(1, (3, 5)))
    assert fake.encode_dense(images, "maskclip").grid == (3, 5)
    assert fake.methods == ("clip", "maskclip", "clearclip", "naclip", "kk")
    with pytest.raises(ValueError, match=r"does not apply.*looks into its last block alone.*clip, maskclip"):
        fake.encode_dense(images)
    torch.testing.assert_close(fake.encode_image(images), seen.cls, atol=1e-6, rtol=0)
    # A bias between neighbours touches patches alone: row and column of other tokens hold what they held.
    near, plain = (
        mix(Attend(("kk",), neighbour=n), {"k": (last.k, last.k)}, last.v, prefix, (3, 5), 0) for n in (1, 0)
    )
    torch.testing.assert_close(near[:, :, :prefix], plain[:, :, :prefix], atol=1e-6, rtol=0)
    assert float((near - plain).abs().max()) > 1e-4


def test_a_tower_that_only_has_its_own_path_gives_class_features_at_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(towers, "FAMILIES", (type("Fake", (Fake,), {"can": ("clip",)}),))
    clip = tiny_clip()
    images = random_images(2, 48, 80)
    assert clip.methods == ("clip",)
    torch.testing.assert_close(clip.encode_image(images), clip.look(images).cls, atol=1e-6, rtol=0)


@pytest.mark.slow
def test_analyses_and_sheets_read_its_patches(fake: clipsx.Clip) -> None:
    prefix, sample = fake.tower.prefix, masked("cat", "dog")
    images = fake.prepare(sample.image)
    seen = fake.look(images, [Reading("clip")], keep=True)
    relation = attention.relation(fake, images, -1, "vv")
    assert relation.shape == (1, prefix + 16, prefix + 16)
    torch.testing.assert_close(relation.sum(-1), torch.ones(1, prefix + 16))
    measures = [attention.shares(fake, templates="photo"), high_norm.measure(fake, "photo")]
    measures += [attention.cosines(fake, "photo")]
    shares, norms, cosines = stream(fake, [sample, masked("dog", seed=1)], measures)

    covered = metrics.coverage(sample.masks["cat"], (4, 4)).ravel()
    rows = relation[0, prefix:, prefix:].numpy()[covered >= 0.5 - 1e-9]  # of every patch that is the cat's
    found = shares.query("image == 'picture 0' and label == 'cat' and block == 1 and kind == 'vv'")
    assert found["share"].item() == pytest.approx(100 * (rows @ covered / rows.sum(axis=1)).mean(), abs=1e-3)

    last = seen.blocks[-1]
    expected = (last.x + last.attention + last.ffn)[0, prefix:].norm(dim=-1).tolist()
    assert norms.query("image == 'picture 0' and label == 'cat'")["norm"].tolist() == pytest.approx(expected, rel=1e-5)
    assert len(norms) == 3 * 16

    added = last.ffn[0, 0] if prefix else last.ffn[0].mean(dim=0)
    cosine = float(fake.project(added) @ seen.cls[0])
    assert cosines.query("image == 'picture 0' and block == 1 and part == 'ffn'")["cosine"].item() == pytest.approx(
        cosine, abs=1e-5
    )

    rows = sheets.anchors(fake, [sample], pairs=("qk",))
    (y, x), grid = rows[1][0].ring
    sim = fake.encode_dense(images, "clip").patches[0] @ fake.encode_labels(["cat"])[0]
    assert grid == (4, 4) and sim[y, x] == sim.max()
    row = attention.relation(fake, images, -1, "qk")[0, prefix + 4 * y + x, prefix:].reshape(1, 4, 4, 1)
    shown = clipsx.upsample(clipsx.minmax(row), (40, 72))[0, ..., 0].numpy()
    np.testing.assert_allclose(rows[1][0].map, shown, atol=1e-5)
    assert len(sheets.methods(fake, [sample], ["cat", "dog"])[0]) == 3  # the photo, clip, maskclip
    assert len(sheets.empty_label(fake, [sample], ["cat", "dog"])[0]) == 4
