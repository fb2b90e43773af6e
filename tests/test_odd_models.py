"""Weights files and models as people have them: wrapped, prefixed, mistaken, damaged, oddly configured."""

import json
import shutil
import sys
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import clipsx
import clipsx.load
from clipsx import config, hub, paths
from clipsx.checkpoint import fill
from clipsx.prompts import token_ids
from helpers import random_images, tiny_clip, tiny_model

LOAD = sys.modules["clipsx.load"]  # `clipsx.load` is the function


def prefixed(prefix: str) -> dict[str, torch.Tensor]:
    return {prefix + name: value for name, value in tiny_model(seed=4).state_dict().items()}


WRAPPED: dict[str, Callable[[], Any]] = {
    "plain": lambda: prefixed(""),
    "data parallel": lambda: {"epoch": 3, "state_dict": prefixed("module.")},
    "compiled": lambda: prefixed("_orig_mod."),
    "both": lambda: {"state_dict": prefixed("module._orig_mod.")},
    "model": lambda: {"model": prefixed("")},
    "trainer": lambda: {"state_dict": prefixed("model."), "optimizer": {}, "lr": 0.1},
    "nested": lambda: {"model": {"state_dict": prefixed("model.module.")}},
    "part": lambda: {n.replace("visual.", "visual._orig_mod."): v for n, v in prefixed("").items()},
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "suffix"),
    [(kind, ".pt") for kind in WRAPPED] + [(kind, ".safetensors") for kind in ("plain", "compiled", "part")],
)
def test_wrappers_and_prefixes_are_taken_off(tmp_path: Path, kind: str, suffix: str) -> None:
    content, file = WRAPPED[kind](), tmp_path / f"weights{suffix}"
    (torch.save if suffix == ".pt" else save_file)(content, file)
    model = tiny_model()
    fill(model, file)
    for name, value in tiny_model(seed=4).state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name


OTHERS = {
    b"": "is empty",
    b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n": "pointer of Git LFS.*git lfs pull",
    b"\n\n<!DOCTYPE html><html>": "web page.*download it again",
    b"<?xml version='1.0'?><Error/>": "web page",
    b'{"error": "not found"}': "JSON text",
}


@pytest.mark.parametrize("content", OTHERS)
@pytest.mark.parametrize("suffix", [".pt", ".safetensors", ".bin"])
def test_what_stands_in_the_place_of_weights_is_called_that(tmp_path: Path, content: bytes, suffix: str) -> None:
    file = tmp_path / f"weights{suffix}"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=rf"weights{suffix} .*{OTHERS[content]}"):
        fill(tiny_model(), file)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.bool, torch.complex64, torch.float8_e4m3fn, torch.uint8, torch.int8])
def test_weights_of_other_types_are_refused(tmp_path: Path, dtype: torch.dtype) -> None:
    state = tiny_model().state_dict()
    state["visual.proj"] = state["visual.proj"].to(dtype)
    torch.save(state, tmp_path / "weights.pt")
    with pytest.raises(ValueError, match=r"weights\.pt: visual\.proj is of type \w+.*take weights of 16 or 32 bits"):
        fill(tiny_model(), tmp_path / "weights.pt")
    if not dtype.is_floating_point and not dtype.is_complex:
        return  # no parameter of a module can be of such a type
    model = tiny_model()
    model.visual.proj = nn.Parameter(model.visual.proj.detach().to(dtype))
    with pytest.raises(ValueError, match=r"The model's weights: visual\.proj is of type"):
        clipsx.Clip(model, tiny_clip().preprocess, tiny_clip().tokenizer)


@pytest.mark.parametrize("value", [100.0, -8.0, 9.3, float("inf")])
def test_a_logit_scale_beyond_reason_is_refused(value: float) -> None:
    model = tiny_model()
    nn.init.constant_(model.logit_scale, value)
    with pytest.raises(ValueError, match="logit_scale"):
        clipsx.Clip(model, tiny_clip().preprocess, tiny_clip().tokenizer)


@pytest.mark.slow
def test_mistaken_models_get_the_sentence_that_helps() -> None:
    clip = tiny_clip()
    model, rest = clip.model, (clip.preprocess, clip.tokenizer)
    with pytest.raises(TypeError, match=r"wrapped \(DataParallel\): give Clip\(model\.module"):
        clipsx.Clip(nn.DataParallel(model), *rest)
    with pytest.raises(TypeError, match=r"wrapped \(OptimizedModule\): give Clip\(model\._orig_mod"):
        clipsx.Clip(torch.compile(model), *rest)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript itself is on its way out
        traced = torch.jit.trace(nn.Linear(2, 2), torch.rand(1, 2))
    with pytest.raises(TypeError, match=r"TorchScript.*jit=False"):
        clipsx.Clip(traced, *rest)
    with pytest.raises(TypeError, match=r"two transforms.*get_tokenizer"):
        clipsx.Clip(model, clip.preprocess, clip.preprocess)
    with pytest.raises(TypeError, match="not Linear as the model"):
        clipsx.Clip(nn.Linear(2, 2), *rest)


TOKENIZERS: dict[str, Callable[[Any], Any]] = {
    "lists": lambda ids: ids.tolist(),
    "arrays": lambda ids: ids.numpy(),
    "int32": lambda ids: ids.int(),
    "batches": lambda ids: {"input_ids": ids, "attention_mask": ids > 0},
    "ragged": lambda ids: [[i for i in row if i] for row in ids.tolist()],
    "tuples of tensors": lambda ids: tuple(ids),
}


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_tokenizers_return_what_they_like(kind: str) -> None:
    clip, prompts = tiny_clip(), ["a cat", "a photo of a dog"]
    other = clipsx.Clip(clip.model, clip.preprocess, lambda texts: TOKENIZERS[kind](clip.tokenizer(texts)))
    assert torch.equal(other.encode_text(prompts), clip.encode_text(prompts))
    assert torch.equal(other.encode_labels(["cat"]), clip.encode_labels(["cat"]))


def test_a_tokenizer_that_raises_on_long_prompts() -> None:
    clip, long = tiny_clip(), "a very long prompt " * 40

    def strict(texts: list[str], truncate: bool = False) -> torch.Tensor:
        if not truncate and any(len(text) > 200 for text in texts):
            raise RuntimeError("Input is too long for context length 77")
        return clip.tokenizer(texts)

    cut = clipsx.Clip(clip.model, clip.preprocess, strict)
    with pytest.warns(UserWarning, match="longer than the model"):
        assert torch.equal(cut.encode_text(["a cat", long]), clip.encode_text(["a cat", long[:400]]))

    def stubborn(texts: list[str]) -> torch.Tensor:
        raise RuntimeError("Input is too long")

    with pytest.raises(ValueError, match=r"tokenizer refuses 'a very long prompt.*too long"):
        clipsx.Clip(clip.model, clip.preprocess, stubborn).encode_text([long])
    with pytest.raises(ValueError, match=r"gave \(3,\) for 1 prompts"):
        token_ids(lambda texts: np.zeros(3), ["a"])


BROKEN: dict[str, tuple[Any, str]] = {
    "model_cfg": (None, "a section"),
    "model_cfg.embed_dim": (None, "is missing; it must be a whole number"),
    "model_cfg.vision_cfg": ([], "a section"),
    "model_cfg.vision_cfg.patch_size": (0, "is 0"),
    "model_cfg.vision_cfg.image_size": (-64, "is -64"),
    "model_cfg.vision_cfg.layers": ("six", 'is "six"'),
    "model_cfg.vision_cfg.width": (True, "is true"),
    "model_cfg.text_cfg.heads": (0, "is 0"),
    "model_cfg.text_cfg.context_length": (-1, "is -1"),
    "model_cfg.text_cfg.vocab_size": ("many", "whole number"),
    "model_cfg.quick_gelu": ("yes", "true or false"),
    "preprocess_cfg.mean": ([0.5, 0.5], "three numbers"),
    "preprocess_cfg.std": ([0, 1, 1], "three numbers above 0"),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(paths.data() / "sketchbook", tmp_path / "model"))


@pytest.mark.parametrize("place", BROKEN)
def test_an_odd_configuration_names_the_entry(folder: Path, place: str) -> None:
    value, words = BROKEN[place]
    found = json.loads((folder / config.NAME).read_text())
    *above, name = place.split(".")
    section = found
    for part in above:
        section = section[part]
    section.pop(name, None)
    if value is not None:
        section[name] = value
    (folder / config.NAME).write_text(json.dumps(found))
    with pytest.raises(ValueError, match=rf"{config.NAME} is not a configuration of open_clip's: '{place}'.*{words}"):
        clipsx.load(str(folder))


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe{", b"[1]", b"null", b'"text"'])
def test_a_configuration_that_is_none(folder: Path, content: bytes) -> None:
    (folder / config.NAME).write_bytes(content)
    with pytest.raises(ValueError, match="is not a configuration of open_clip's"):
        clipsx.load(str(folder))


def test_schemas_of_names_work_as_in_open_clip(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    images = random_images(1, 64, 64)
    expected = clipsx.load("sketchbook", device="cpu").encode_image(images)
    assert torch.equal(clipsx.load(f"local-dir:{folder}", device="cpu").encode_image(images), expected)
    monkeypatch.setattr(hub, "_answers", lambda url: False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    snapshot = tmp_path / "hub" / "models--someone--model" / "snapshots" / "abc"
    shutil.copytree(folder, snapshot)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("abc")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    clip = clipsx.load("hf-hub:someone/model", device="cpu")
    assert torch.equal(clip.encode_image(images), expected)
    assert clip.describe()["model"] == "someone/model"
    with pytest.raises(ConnectionError, match=r"hf-hub:someone/other.*could not be downloaded"):
        clipsx.load("hf-hub:someone/other")


def test_the_message_without_a_network_comes_soon(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    tested = threading.Event()

    def never_answer(*_: object, **__: object) -> None:
        tested.wait()
        raise OSError

    monkeypatch.setattr(hub.urllib.request, "urlopen", never_answer)
    monkeypatch.setattr(hub, "PATIENCE", 0.5)
    start = time.monotonic()
    with pytest.raises(ConnectionError, match=r"ViT-B-16 \(openai\) could not be downloaded: .* does not answer"):
        clipsx.load("ViT-B-16", pretrained="openai")
    assert time.monotonic() - start < 30  # while the host goes on saying nothing
    tested.set()
    assert "looking for ViT-B-16 (openai)" in capsys.readouterr().err


def test_a_tag_of_an_architecture_that_has_no_sibling_loads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its configuration says QuickGELU, its only tag says nothing: what it was trained with is the configuration's."""
    cfg = open_clip.get_model_config("roberta-ViT-B-32")
    assert cfg["quick_gelu"]
    monkeypatch.setattr(LOAD, "downloaded", lambda tag, answers: tmp_path / "file")
    monkeypatch.setattr(hub, "_answers", lambda url: False)
    asked = {}
    monkeypatch.setattr(LOAD, "made", lambda name, *a, **own: asked.update(own) or (tiny_model(), None))
    with pytest.raises(ValueError, match="not a weights file"):  # which is where its weights would be read
        clipsx.load("roberta-ViT-B-32", pretrained="laion2b_s12b_b32k")
    assert asked["force_quick_gelu"] is True


def test_half_precision_at_another_size() -> None:
    clip = clipsx.load("sketchbook", device="cpu", precision="fp16")
    images = clip.prepare(np.zeros((90, 120, 3), np.uint8), size=(96, 128))
    assert clip.encode_dense(images).patches.dtype == torch.float32
    assert clip.encode_image(images).shape == (1, clip.embed_dim)
