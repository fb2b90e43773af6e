"""Attention relations and sub-modules against literal formulas on the model's own weights."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch.nn import functional as F

import clipsx
from clipsx import metrics
from clipsx.analyses import attention
from clipsx.datasets import Sample
from clipsx.evaluation.stream import stream
from clipsx.methods import PAIRS
from helpers import noise, random_images, tiny_clip, tiny_resnet

PROMPTS = ("a photo of a {}.",)
GRID = (4, 4)


@pytest.fixture(scope="module")
def clip() -> clipsx.Clip:
    return tiny_clip(image_size=32, layers=2, width=32, patch_size=8)


def shares(clip: clipsx.Clip, given: Sequence[Sample], **options: Any) -> pd.DataFrame:
    return stream(clip, given, [attention.shares(clip, templates=PROMPTS, **options)])[0]


def cosines(clip: clipsx.Clip, given: Sequence[Sample]) -> pd.DataFrame:
    return stream(clip, given, [attention.cosines(clip, templates=PROMPTS)])[0]


def samples() -> list[Sample]:
    """Two photographs of different sizes, objects with soft edges in patches, and one without any mask."""
    found = []
    for seed, shape in enumerate([(32, 32), (19, 40)]):
        masks = {}
        for n, label in enumerate(("cat", "dog")):
            masks[label] = np.zeros(shape, bool)
            masks[label][n * 5 : n * 5 + 13, 3 + n : 29] = True
        found.append(Sample(noise(*shape, seed), ("cat", "dog"), masks, name=f"image {seed}"))
    return [*found, Sample(noise(9, 9), ("cat",), name="without a mask")]


@torch.no_grad()
def literal(clip: clipsx.Clip, images: torch.Tensor, block: int, kind: str) -> torch.Tensor:
    """The relation of one block, head by head, from what nn.MultiheadAttention holds; input from a forward hook."""
    visual, seen = clip.model.visual, []
    module = visual.transformer.resblocks[block]
    hook = module.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    visual(images)
    hook.remove()
    y, attn = module.ln_1(seen[0]), module.attn
    weights = dict(zip("qkv", attn.in_proj_weight.chunk(3), strict=True))
    biases = dict(zip("qkv", attn.in_proj_bias.chunk(3), strict=True))
    left, right = (y @ weights[name].T + biases[name] for name in kind)  # (B, L, C)
    found = []
    for a, b in zip(left.chunk(attn.num_heads, -1), right.chunk(attn.num_heads, -1), strict=True):
        scores = a @ b.transpose(1, 2) / a.shape[-1] ** 0.5
        found.append(scores.exp() / scores.exp().sum(-1, keepdim=True))
    return torch.stack(found).mean(0)  # (B, L, L)


@pytest.mark.parametrize("block", [0, 1])
@pytest.mark.parametrize("kind", list(PAIRS))
def test_relation_is_the_literal_softmax(clip: clipsx.Clip, block: int, kind: str) -> None:
    images = random_images(2, 32, 32)
    found = attention.relation(clip, images, block, kind)
    assert found.shape == (2, 17, 17)
    torch.testing.assert_close(found, literal(clip, images, block, kind), atol=1e-5, rtol=0)
    torch.testing.assert_close(found.sum(-1), torch.ones(2, 17))
    torch.testing.assert_close(found, attention.relation(clip, images, block - 2, kind))  # counted from the last


def test_the_models_own_attention_is_qk(clip: clipsx.Clip) -> None:
    """nn.MultiheadAttention itself gives the same weights."""
    images = random_images(1, 32, 32)
    with torch.no_grad():
        block = clip.look(images, keep=True).blocks[1]
        module = clip.model.visual.transformer.resblocks[1]
        own = torch.nn.MultiheadAttention(32, module.attn.num_heads, batch_first=True)
        own.load_state_dict(module.attn.state_dict())
        y = module.ln_1(block.x)
        _, weights = own(y, y, y, need_weights=True)  # mean over heads
    torch.testing.assert_close(attention.relation(clip, images, -1, "qk"), weights, atol=1e-5, rtol=0)


def test_what_cannot_be_looked_at_is_named(clip: clipsx.Clip) -> None:
    images = random_images(1, 32, 32)
    for block in (2, -3):
        with pytest.raises(ValueError, match=rf"0…1.*not {block}"):
            attention.relation(clip, images, block)
    with pytest.raises(ValueError, match="Unknown attention relation 'xx'"):
        attention.relation(clip, images, 0, "xx")
    with pytest.raises(ValueError, match="Unknown attention relation 'vvv'; did you mean 'vv'"):
        attention.shares(clip, ("qk", "vvv"), PROMPTS)
    with pytest.raises(ValueError, match="No image has a mask"):
        shares(clip, samples()[2:])


def test_a_resnet_is_refused_in_words() -> None:
    resnet = tiny_resnet()
    assert attention.has_attention(
        tiny_clip(image_size=32, layers=2, width=32, patch_size=8)
    ) and not attention.has_attention(resnet)
    with pytest.raises(ValueError, match=r"tiny-rn has no transformer blocks.*vision transformer"):
        attention.relation(resnet, random_images(1, 64, 64))
    with pytest.raises(ValueError, match="no transformer blocks"):
        attention.cosines(resnet, PROMPTS)
    with pytest.raises(ValueError, match="no transformer blocks"):
        attention.shares(resnet, templates=PROMPTS)


def test_ignored_pixels_count_nowhere(clip: clipsx.Clip) -> None:
    """Whatever a mask says there; and an object that fills all that is seen holds all of the attention."""
    sample = samples()[0]
    shape = sample.image.size[::-1]
    mask, ignore = np.zeros(shape, bool), np.zeros(shape, bool)
    mask[3:20, 5:17], ignore[:, 12:] = True, True
    masks = (mask, mask ^ ignore, mask | ~ignore)
    tables = [shares(clip, [Sample(sample.image, ("cat",), {"cat": m}, (), ignore)]) for m in masks]
    for column in ("share", "share_others", "chance", "cells"):
        assert tables[0][column].tolist() == tables[1][column].tolist()
    assert tables[2]["share"].to_numpy() == pytest.approx(100) and tables[2]["chance"].to_numpy() == pytest.approx(100)


def test_share_inside_equals_the_loop_over_every_patch_of_the_object(clip: clipsx.Clip) -> None:
    table = shares(clip, samples())
    assert len(table) == 2 * 2 * 2 * 2  # images, labels, blocks, kinds; the image without a mask has no row
    for sample in samples()[:2]:
        images = clip.prepare(sample.image)
        for label in ("cat", "dog"):
            cover = metrics.coverage(sample.masks[label], GRID).ravel()
            for block in (0, 1):
                for kind in ("qk", "vv"):
                    relation, found = attention.relation(clip, images, block, kind)[0], []
                    for patch in (place for place in range(16) if cover[place] >= 0.5):
                        weights = [float(value) for value in relation[1 + patch, 1:]]
                        others = [place for place in range(16) if place != patch]
                        share = sum(w * c for w, c in zip(weights, cover, strict=True)) / sum(weights)
                        rest = sum(weights[k] * cover[k] for k in others) / sum(weights[k] for k in others)
                        found.append((100 * share, 100 * rest, 100 * cover[others].mean()))
                    row = table.query("image == @sample.name and label == @label and block == @block and kind == @kind")
                    columns = ["share", "share_others", "chance", "cells"]
                    np.testing.assert_allclose(row[columns], [[*np.mean(found, axis=0), len(found)]], atol=1e-3)
    assert table["data"].unique().tolist() == ["3 given samples"] and set(table["image_size"]) == {"32×32"}


def test_an_object_that_fills_no_patch_gives_no_row(clip: clipsx.Clip) -> None:
    mask = np.zeros((32, 32), bool)
    mask[7:9, 7:9] = True
    both = {"dot": mask, "all": ~mask}
    assert set(shares(clip, [Sample(noise(32, 32), ("dot", "all"), both)])["label"]) == {"all"}
    with pytest.raises(ValueError, match="half a patch"):
        shares(clip, [Sample(noise(32, 32), ("dot",), {"dot": mask})])


def test_every_pair_can_be_asked_and_both_tables_come_from_one_walk(clip: clipsx.Clip) -> None:
    kinds = ("qk", "kq", "qv", "vv")
    alone = shares(clip, samples(), kinds=kinds)
    assert list(dict.fromkeys(alone["kind"])) == list(kinds) and alone["share"].between(0, 100.001).all()
    both = stream(clip, samples(), [attention.shares(clip, kinds, PROMPTS), attention.cosines(clip, PROMPTS)])
    pd.testing.assert_frame_equal(both[0], alone)
    pd.testing.assert_frame_equal(both[1], cosines(clip, samples()))
    assert len(both[1]) == 3 * 2 * 2  # every picture, with a mask or not: blocks, parts


@given(hnp.arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12))), st.integers(1, 5), st.integers(1, 5))
@settings(max_examples=25, deadline=None)
def test_coverage_is_a_share_of_every_patch(mask: np.ndarray, rows: int, columns: int) -> None:
    whole = np.kron(mask, np.ones((rows, columns), bool))  # the mask enlarged: each of its pixels is a patch
    np.testing.assert_allclose(metrics.coverage(whole, mask.shape), mask, atol=1e-12)
    # On any other grid the parts still add up to the mask.
    assert metrics.coverage(mask, (rows, columns)).mean() == pytest.approx(mask.mean(), abs=1e-9)


def test_all_parts_and_the_stem_make_the_class_token(clip: clipsx.Clip) -> None:
    """What `cosines` looks at adds up to the class token before the last norm."""
    sample = samples()[0]
    images = clip.prepare(sample.image)
    seen = []
    hook = clip.model.visual.ln_post.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    with torch.no_grad():
        final = clip.encode_image(images)[0]
        hook.remove()
        blocks = clip.look(images, keep=True).blocks
        parts = [(b.index, name, getattr(b, name)[0, 0]) for b in blocks for name in ("attention", "ffn")]
        total = clip.tower.stem(images)[0, 0] + sum(added for *_, added in parts)
        before = seen[0][0, 0] if seen[0].ndim == 3 else seen[0][0]
        torch.testing.assert_close(total, before, atol=1e-5, rtol=1e-5)
        visual = clip.model.visual
        text = clip.encode_labels(sample.labels, PROMPTS)
        table = cosines(clip, [sample]).set_index(["block", "part"])
        assert len(table) == len(parts) == 4
        for index, name, added in parts:
            feature = F.normalize(visual.ln_post(added) @ visual.proj, dim=-1)
            assert table.loc[(index, name), "cosine"] == pytest.approx(float(feature @ final), abs=1e-5)
            words = float((text @ feature).mean())
            assert table.loc[(index, name), "cosine_text"] == pytest.approx(words, abs=1e-5)


def test_without_labels_the_text_column_is_empty_and_means_are_by_block(clip: clipsx.Clip) -> None:
    unlabelled = Sample(noise(16, 16), (), name="plain")
    near = cosines(clip, [unlabelled])
    assert near["cosine_text"].isna().all() and near["cosine"].between(-1.0001, 1.0001).all()
    found = shares(clip, samples()[:1])
    table = attention.by_block(found, near)
    assert len(table) == 4 + 4 and "patches" in table["protocol"].iloc[0]
    assert set(table["model"]) == {"tiny"} and set(table["image_size"]) == {"32×32"}
    one = table[(table["kind"] == "vv") & (table["block"] == 1)]["share"].item()
    assert one == pytest.approx(found.query("kind == 'vv' and block == 1")["share"].mean())
