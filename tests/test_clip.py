"""Clip: wraps any open_clip model, never changes it, and refuses what would give wrong numbers."""

import copy
import threading
from collections.abc import Callable

import open_clip
import pytest
import torch
from torchvision.transforms import Compose, Normalize, Resize, ToTensor

import clipsx
from helpers import RESNET, TEXT, VIT, noise, random_images, tiny_clip, tiny_model, tiny_resnet, tokenizer, unchecked


def state(model: torch.nn.Module) -> dict:
    hooks = {n: (len(m._forward_hooks), len(m._forward_pre_hooks), m.training) for n, m in model.named_modules()}
    values = {n: v.clone() for n, v in (*model.named_parameters(), *model.named_buffers())}
    return {"hooks": hooks, "values": values, "grad": {n: p.requires_grad for n, p in model.named_parameters()}}


def same(before: dict, after: dict) -> bool:
    return (
        before["hooks"] == after["hooks"]
        and before["grad"] == after["grad"]
        and before["values"].keys() == after["values"].keys()
        and all(torch.equal(v, after["values"][n]) for n, v in before["values"].items())
    )


@pytest.mark.parametrize("make", [tiny_clip, tiny_resnet])
def test_the_model_is_never_changed(make: Callable[[], clipsx.Clip]) -> None:
    clip = make()
    next(clip.model.visual.parameters()).requires_grad_(False)
    attention = [type(m) for m in clip.model.modules()]
    before = state(clip.model)
    for size in ((64, 64), (96, 32)):
        for method in clip.methods:
            clip.encode_dense(random_images(1, *size), method)
        clip.encode_readings(random_images(2, *size), [*clip.methods, "free(kk,bare)+code"])
        clip.look(random_images(1, *size), keep=True)
        clip.encode_image(random_images(1, *size))
    clip.encode_labels(["cat"], templates="photo")
    clip.encode_tokens("a cat")
    assert same(before, state(clip.model))
    assert [type(m) for m in clip.model.modules()] == attention


def test_the_model_is_never_changed_after_an_exception(monkeypatch: pytest.MonkeyPatch) -> None:
    clip = tiny_clip()
    before = state(clip.model)
    last = clip.tower._blocks[-1].mlp

    def fail(*_: object) -> None:
        raise RuntimeError("out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(last, "forward", fail)
        with pytest.raises(RuntimeError, match="out of memory"):
            clip.encode_dense(random_images(1, 96, 96))
    assert same(before, state(clip.model))


@pytest.mark.parametrize("part", ["", "visual.ln_post", "transformer"])
def test_train_mode_is_refused(part: str) -> None:
    clip = tiny_clip()
    clip.model.get_submodule(part).train()
    for call in (
        lambda: clip.encode_dense(random_images(1, 64, 64)),
        lambda: clip.encode_image(random_images(1, 64, 64)),
        lambda: clip.encode_readings(random_images(1, 64, 64), "clip"),
        lambda: clip.encode_tokens("a cat"),
        lambda: clip.encode_text(["cat"]),
        lambda: clip.encode_labels(["cat"]),
    ):
        with pytest.raises(ValueError, match=r"train mode.*model\.eval\(\)"):
            call()


def test_batch_norm_statistics_stay() -> None:
    clip = tiny_resnet()
    clip.model.train()
    before = copy.deepcopy(clip.model.state_dict())
    with pytest.raises(ValueError, match="train mode"):
        clip.encode_dense(random_images(2, 64, 64))
    assert all(torch.equal(v, before[k]) for k, v in clip.model.state_dict().items())


def test_methods_and_depth_are_refused_in_words() -> None:
    clip, images = tiny_clip(), random_images(1, 64, 64)
    assert clip.methods[:3] == ("clip", "maskclip", "clip-surgery") and "clip-surgery-released" not in clip.methods
    with pytest.raises(ValueError, match="did you mean 'clip-surgery'"):
        clip.encode_dense(images, "clip-sugery")
    with pytest.raises(ValueError, match=r"does not apply.*a path of its own.*It can do: clip, maskclip, clip-surgery"):
        clip.encode_dense(images, "clip-surgery-released")
    for depth in (0, -1):
        with pytest.raises(ValueError, match=f"depth must be a whole number of at least 1, not {depth}"):
            clip.encode_dense(images, "clip-surgery", depth)
    with pytest.raises(ValueError, match="depth must lie in 1…6"):
        clip.encode_dense(images, "clip-surgery", 7)
    # A method without a depth can be asked in one loop with those that have one.
    assert torch.equal(clip.encode_dense(images, "maskclip", 2).patches, clip.encode_dense(images, "maskclip").patches)
    assert clip.encode_dense(images, "clip").grid == (4, 4)
    same = clip.encode_dense(images, "clip-surgery", 6).patches  # of six blocks, the default goes over all
    assert torch.equal(clip.encode_dense(images).patches, same)
    assert tiny_resnet().methods[:4] == ("clip", "maskclip", "clip-surgery", "clip-surgery-released")
    assert tiny_resnet().encode_dense(random_images(1, 64, 64)).grid == (2, 2)


def test_images_are_refused_in_words() -> None:
    clip = tiny_clip()
    with unchecked():
        for wrong in (
            torch.rand(3, 64, 64),
            torch.rand(1, 4, 64, 64),
            torch.zeros(1, 3, 64, 64, dtype=torch.uint8),
            "x",
        ):
            with pytest.raises(ValueError, match=r"\(B, 3, H, W\)"):
                clip.encode_dense(wrong)
    with pytest.raises(ValueError, match="not finite"):
        clip.encode_dense(torch.full((1, 3, 64, 64), float("inf")))
    with pytest.raises(ValueError, match=r"65 × 64 pixels does not divide into patches of 16 × 16"):
        clip.encode_dense(random_images(1, 65, 64))


def test_weights_that_are_not_finite_are_refused_by_name() -> None:
    model = tiny_model()
    with torch.no_grad():
        model.visual.ln_post.bias[3] = float("nan")
    with pytest.raises(ValueError, match=r"visual\.ln_post\.bias"):
        clipsx.Clip(model, None, tokenizer())


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["bf16", "fp16", "pure_bf16", "pure_fp16"])
@pytest.mark.parametrize("vision", [VIT, RESNET])
def test_half_precision(precision: str, vision: dict) -> None:
    """Features come out float32 and near those of the full model, whatever the model computes in."""
    full = tiny_resnet() if vision is RESNET else tiny_clip()
    dtype = torch.bfloat16 if "bf16" in precision else torch.float16
    if precision.startswith("pure"):
        model = tiny_model(vision=vision).to(dtype)
    else:
        model = open_clip.model.CLIP(32, dict(vision), dict(TEXT), cast_dtype=dtype).eval()
        open_clip.model.convert_weights_to_lp(model, dtype)
        model.load_state_dict(full.model.state_dict())
    clip = clipsx.Clip(model, full.preprocess, tokenizer())
    assert clip.dtype == dtype
    image = clip.prepare(noise(64, 64))
    assert image.dtype == dtype
    for method in clip.methods:
        depth = 2 if method == "clip-surgery" and vision is VIT else None
        dense, expected = clip.encode_dense(image, method, depth), full.encode_dense(image.float(), method, depth)
        assert dense.patches.dtype == torch.float32
        assert float((dense.cls * expected.cls).sum(-1).min()) > 0.98
        assert float((dense.patches * expected.patches).sum(-1).min()) > 0.98
    text = clip.encode_labels(["cat"], templates="photo")
    assert float(text[0] @ full.encode_labels(["cat"], templates="photo")[0]) > 0.99
    clipsx.similarity(dense, text)


@pytest.mark.parametrize(("size", "expected"), [(None, (64, 64)), (70, (64, 64)), (72, (64, 64)), (73, (80, 80)),
                                                ((33, 100), (32, 96)), (3, (16, 16))])  # fmt: skip
def test_prepare_rounds_to_whole_patches(size: int | tuple | None, expected: tuple) -> None:
    images = tiny_clip().prepare(noise(50, 90), size)
    assert images.shape == (1, 3, *expected)
    assert images.dtype == torch.float32


def test_prepare_is_open_clips_own_at_the_models_size() -> None:
    clip = tiny_clip()
    for picture in (noise(64, 64), noise(200, 90), noise(30, 47), noise(1, 1)):
        expected = clip.preprocess(picture)[None]
        torch.testing.assert_close(clip.prepare(picture, fit="crop"), expected, atol=1e-6, rtol=0)
    squash = open_clip.transform.image_transform(64, is_train=False, resize_mode="squash")
    picture = noise(200, 90)
    torch.testing.assert_close(clip.prepare(picture), squash(picture)[None], atol=1e-6, rtol=0)


def test_prepare_reads_mean_and_deviation_from_the_given_transform() -> None:
    model = tiny_model()
    half = Compose([Resize(64), ToTensor(), Normalize((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))])
    images = clipsx.Clip(model, half, tokenizer()).prepare(noise(64, 64))
    assert float(images.min()) >= -1
    assert float(images.max()) <= 1
    with pytest.raises(ValueError, match="no Normalize step"):
        clipsx.Clip(model, Compose([ToTensor()]), tokenizer())


def test_pixels_are_what_prepare_moves_to_the_model() -> None:
    clip = tiny_clip()
    for size, fit in ((None, "squash"), ((32, 80), "crop")):
        pixels = clip.pixels(noise(50, 90), size, fit)
        assert torch.equal(pixels, clip.prepare(noise(50, 90), size, fit)) and pixels.dtype == torch.float32
    half = clipsx.Clip(tiny_model().to(torch.bfloat16), clip.preprocess, tokenizer())
    assert half.pixels(noise(50, 90)).dtype == torch.float32 and half.prepare(noise(50, 90)).dtype == torch.bfloat16


def test_prepare_refuses_in_words() -> None:
    clip = tiny_clip()
    with pytest.raises(ValueError, match="size must be a whole number"):
        clip.prepare(noise(9, 9), 0)
    with pytest.raises(ValueError, match='"squash"'):
        clip.prepare(noise(9, 9), fit="stretch")


def test_heads_come_after_clip_and_leave_it_as_it_is() -> None:
    """The same model, its features through other functions: wherever they come from."""
    clip, images = tiny_clip(), random_images(2, 64, 64)
    before = state(clip.model)
    half = clipsx.clip.Heads(
        image=lambda x: torch.nn.functional.normalize(x[..., :16], dim=-1),
        text=lambda x: torch.nn.functional.normalize(x[..., 16:], dim=-1),
        width=16,
        logit_scale=50.0,
        name=" halved",
        weights=" + halves",
    )
    other = clip.with_heads(half)
    assert other.model is clip.model and other.methods == clip.methods
    assert (other.embed_dim, clip.embed_dim) == (16, 32)
    assert other.logit_scale == 50.0 and clip.logit_scale == pytest.approx(1 / 0.07, rel=1e-5)
    assert other.describe() == {"model": "tiny halved", "weights": "seed 0 + halves", "positions": "bicubic-antialias"}
    assert (
        clip.describe() == {"model": "tiny", "weights": "seed 0", "positions": "bicubic-antialias"}
        and other.recipe is None
    )
    seen, plain = (c.encode_readings(images, "clip, clip-surgery@2, free(kk)") for c in (other, clip))
    for text, dense in seen.items():
        assert torch.equal(dense.patches, half.image(plain[text].patches)), text
        assert torch.equal(dense.cls, half.image(plain[text].cls)), text
    assert torch.equal(other.look(images).cls, half.image(clip.look(images).cls))
    assert torch.equal(other.encode_image(images), half.image(clip.encode_image(images)))
    tokens = clip.look(images, keep=True).blocks[-1].ffn
    assert torch.equal(other.project(tokens), half.image(clip.project(tokens)))
    assert torch.equal(other.encode_text(["a cat"]), half.text(clip.encode_text(["a cat"])))
    labels = ["cat", ""]
    assert torch.equal(other.encode_labels(labels, "photo"), half.text(clip.encode_labels(labels, "photo")))
    words, features = other.encode_tokens("a cat")
    assert words == clip.encode_tokens("a cat")[0] and torch.equal(features, half.text(clip.encode_tokens("a cat")[1]))
    assert same(before, state(clip.model)) and clip.heads is not other.heads


def test_provenance() -> None:
    clip = tiny_clip()
    assert clip.describe() == {"model": "tiny", "weights": "seed 0", "positions": "bicubic-antialias"}
    assert clip.image_size == (64, 64)
    assert clip.patch_size == (16, 16)
    assert clip.embed_dim == 32
    assert clip.logit_scale == pytest.approx(1 / 0.07, rel=1e-5)
    own = clipsx.Clip(clip.model, clip.preprocess, clip.tokenizer)
    assert own.name == "CLIP"
    before = own.weights
    assert before.startswith("sha256:")
    with torch.no_grad():
        clip.model.visual.ln_post.bias.add_(1)
    assert own.weights != before


def test_features_can_train_something_else() -> None:
    """No inference-mode tensors come out: a projector can be trained on them."""
    clip = tiny_clip()
    dense = clip.encode_dense(random_images(1, 64, 64))
    weight = torch.eye(32, requires_grad=True)
    (dense.patches @ weight).sum().backward()
    assert weight.grad is not None


def test_threads_share_a_model() -> None:
    clip = tiny_clip()
    images = [random_images(1, 64, 64, seed) for seed in range(4)]
    expected = [clip.encode_dense(i).patches for i in images]
    found: dict[int, torch.Tensor] = {}

    def work(n: int) -> None:
        found[n] = clip.encode_dense(images[n]).patches

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(found[n], expected[n]) for n in range(4))
