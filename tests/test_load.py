"""load(): names, tags, directories and files; contradictions and files that hold something else are errors."""

import gzip
import json
import logging
import pickle
import sys
import warnings
from pathlib import Path

import open_clip
import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

import clipsx
from clipsx import paths
from clipsx.load import built_in
from clipsx.openclip import settle
from helpers import TEXT, VIT, random_images, tiny_model

ARCHITECTURE = {"embed_dim": 32, "vision_cfg": VIT, "text_cfg": TEXT}


@pytest.fixture(scope="module")
def tiny_name(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A small architecture that open_clip knows by name, and its twin with QuickGELU."""
    folder = tmp_path_factory.mktemp("architectures")
    for name, quick in (("tiny-test", False), ("tiny-test-quickgelu", True)):
        (folder / f"{name}.json").write_text(json.dumps({**ARCHITECTURE, "quick_gelu": quick}))
    open_clip.add_model_config(folder)
    return "tiny-test"


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    file = tmp_path / "weights.safetensors"
    save_file(tiny_model().state_dict(), file)
    return file


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A model in open_clip's own format with a small vocabulary of its own and half-precision weights."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    with gzip.open(folder / "bpe.txt.gz", "wt", encoding="utf-8") as file:
        file.write("#version\nc a\nca t</w>")
    text = {**TEXT, "vocab_size": 516, "tokenizer_kwargs": {"bpe_path": "bpe.txt.gz"}}
    config = {
        "model_cfg": {**ARCHITECTURE, "text_cfg": text},
        "preprocess_cfg": {"mean": [0.1, 0.2, 0.3], "std": [0.5, 0.5, 0.5], "resize_mode": "squash"},
    }
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    torch.manual_seed(0)
    model = open_clip.model.CLIP(32, dict(VIT), text)
    save_file({k: v.half() for k, v in model.state_dict().items()}, folder / "open_clip_model.safetensors")
    return folder


def test_directory(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(directory.parent.parent)  # its vocabulary is found from anywhere
    clip = clipsx.load(str(directory), device="cpu")
    assert clip.name == "tiny"
    assert clip.weights.startswith("tiny sha256:")
    assert clip.dtype == torch.float32
    assert not any(m.training for m in clip.model.modules())
    assert clip.tokenizer(["cat"])[0, :3].tolist() == [514, 513, 515]
    images = clip.prepare(torch.zeros(4, 4, 3).numpy())
    torch.testing.assert_close(images[0, :, 0, 0], torch.tensor([-0.2, -0.4, -0.6]))
    assert clip.encode_dense(images, "clip").grid == (4, 4)
    same = clipsx.load(str(directory / "open_clip_model.safetensors"), device="cpu")
    assert same.describe() == clip.describe()
    monkeypatch.chdir(directory)
    assert clipsx.load(".", device="cpu").name == "tiny"
    theirs, _, _ = open_clip.create_model_and_transforms(f"local-dir:{directory}")
    with torch.no_grad():
        expected = theirs.eval().encode_image(images, normalize=True)
    torch.testing.assert_close(clip.encode_image(images), expected)


def test_built_in_models_are_directories_of_the_package(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "data", lambda: directory.parent)
    assert list(built_in()) == ["tiny"]
    assert clipsx.load("tiny", device="cpu").name == "tiny"
    with pytest.raises(ValueError, match="did you mean 'tiny'"):
        clipsx.load("tinny")


def test_directories_that_are_not_models(directory: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"open_clip_config\.json"):
        clipsx.load(str(tmp_path))
    with pytest.raises(ValueError, match="brings its own weights"):
        clipsx.load(str(directory), pretrained="openai")
    with pytest.raises(ValueError, match="quickgelu=True contradicts"):
        clipsx.load(str(directory), quickgelu=True)
    file = directory / "open_clip_model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(ValueError, match="cut short or damaged"):
        clipsx.load(str(directory))
    file.unlink()
    with pytest.raises(FileNotFoundError, match="no weights"):
        clipsx.load(str(directory))
    config = directory / "open_clip_config.json"
    for wrong in ("{", "[]", '{"model_cfg": {}}'):
        config.write_text(wrong)
        (directory / "model.bin").touch()
        with pytest.raises(ValueError, match="not a configuration of open_clip's"):
            clipsx.load(str(directory))
    config.write_text(json.dumps({"model_cfg": {**ARCHITECTURE, "vision_cfg": {"colour": 3}}}))
    with pytest.raises(ValueError, match="not understood by open_clip"):
        clipsx.load(str(directory))


@pytest.mark.slow
def test_file_with_its_architecture(tiny_name: str, weights: Path) -> None:
    images = random_images(1, 64, 64)
    for quick in (False, True):
        clip = clipsx.load(tiny_name, pretrained=str(weights), quickgelu=quick, device="cpu")
        with torch.no_grad():
            expected = tiny_model(quick_gelu=quick).encode_image(images, normalize=True)
        torch.testing.assert_close(clip.encode_image(images), expected)
        assert clip.weights.startswith("weights.safetensors sha256:")
    named = clipsx.load(f"{tiny_name}-quickgelu", pretrained=str(weights), device="cpu")
    torch.testing.assert_close(named.encode_image(images), expected)


def test_quickgelu_must_be_known_and_may_not_be_contradicted(tiny_name: str, weights: Path) -> None:
    with pytest.raises(ValueError, match="state quickgelu=True"):
        clipsx.load(tiny_name, pretrained=str(weights))
    with pytest.raises(ValueError, match="quickgelu=False contradicts"):
        clipsx.load(f"{tiny_name}-quickgelu", pretrained=str(weights), quickgelu=False)
    with pytest.raises(ValueError, match="the tag 'openai' of ViT-B-16 was trained with quick_gelu=True"):
        clipsx.load("ViT-B-16", pretrained="openai", quickgelu=False)
    with pytest.raises(ValueError, match="the tag 'laion2b_s34b_b88k'"):
        clipsx.load("ViT-B-16", pretrained="laion2b_s34b_b88k", quickgelu=True)


@pytest.mark.slow
def test_quickgelu_comes_from_the_tag(tiny_name: str, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tags = {"quick": {"quick_gelu": True, "mean": (0.5,) * 3}, "plain": {"quick_gelu": False}}
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, tiny_name, tags)
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, f"{tiny_name}-quickgelu", tags)
    monkeypatch.setattr(open_clip, "download_pretrained", lambda tag: str(weights))
    images = random_images(1, 64, 64)
    for tag, config in tags.items():
        clip = clipsx.load(tiny_name, pretrained=tag, device="cpu")
        with torch.no_grad():
            expected = tiny_model(quick_gelu=config["quick_gelu"]).encode_image(images, normalize=True)
        torch.testing.assert_close(clip.encode_image(images), expected)
        assert clip.describe() == {"model": tiny_name, "weights": tag, "positions": "bicubic-antialias"}
    assert float(clipsx.load(tiny_name, pretrained="quick").prepare(torch.zeros(2, 2).numpy()).mean()) < -1
    with pytest.raises(ValueError, match="uses QuickGELU and the tag 'plain' does not: load 'tiny-test'"):
        clipsx.load(f"{tiny_name}-quickgelu", pretrained="plain")


def test_no_network_is_one_clear_message(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(tag: dict) -> str:
        raise FileNotFoundError("Failed to download file. Last error: no route to host")

    monkeypatch.setattr(open_clip, "download_pretrained", fail)
    with pytest.raises(ConnectionError, match=r"ViT-B-16 \(openai\) could not be downloaded.*local file") as caught:
        clipsx.load("ViT-B-16", pretrained="openai")
    assert caught.value.__suppress_context__
    assert len(str(caught.value)) < 700
    assert logging.root.manager.disable == 0


def test_unknown_names_come_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="did you mean 'ViT-B-16'"):
        clipsx.load("ViT-B-61", pretrained="openai")
    with pytest.raises(ValueError, match="did you mean 'openai'"):
        clipsx.load("ViT-B-16", pretrained="openia")
    with pytest.raises(ValueError, match=r"Which weights of ViT-B-16.*openai"):
        clipsx.load("ViT-B/16")
    with pytest.raises(ValueError, match="Unknown precision"):
        clipsx.load("ViT-B-16", pretrained="openai", precision="fp23")


def test_random_weights_are_the_same_each_time_and_leave_the_generator_alone(tiny_name: str) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one, two = (clipsx.load(tiny_name, pretrained="random", device="cpu") for _ in range(2))
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(one.model.parameters(), two.model.parameters(), strict=True))
    assert one.weights == "random, seed 0"


def test_torchscript_archives_are_refused_and_the_way_is_named(tiny_name: str, tmp_path: Path) -> None:
    file = tmp_path / "ViT-B-16.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(torch.nn.Linear(2, 2), torch.rand(1, 2)).save(str(file))
    with pytest.raises(ValueError, match=r"TorchScript archive.*pretrained='openai'"):
        clipsx.load(tiny_name, pretrained=str(file), quickgelu=True)


class Bomb:
    def __reduce__(self) -> tuple:
        return (Path.touch, (Path("exploded"),))


@pytest.mark.parametrize("content", ["code", "list", "tensor", "empty", "short", "text", "other"])
def test_files_that_hold_something_else(
    tiny_name: str, tmp_path: Path, content: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "weights.pt"
    if content == "code":
        torch.save({"state_dict": Bomb()}, file)
    elif content == "text":
        file.write_bytes(pickle.dumps({"a": 1}))
    elif content == "short":
        torch.save(tiny_model().state_dict(), file)
        file.write_bytes(file.read_bytes()[:5000])
    else:
        values = {"list": [1, 2], "tensor": torch.ones(3), "empty": {}, "other": {"layer.weight": torch.ones(2)}}
        torch.save(values[content], file)
    with pytest.raises(ValueError, match=r"weights\.pt (holds something else|is cut short|does not fit)"):
        clipsx.load(tiny_name, pretrained=str(file), quickgelu=False, device="cpu")
    assert not (tmp_path / "exploded").exists()


def test_other_files_are_refused(tiny_name: str, weights: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="does not say its architecture"):
        clipsx.load(str(weights))
    odd = tmp_path / "weights.npz"
    odd.touch()
    with pytest.raises(ValueError, match="not a weights file"):
        clipsx.load(tiny_name, pretrained=str(odd), quickgelu=False)


def test_weights_that_are_not_finite(tiny_name: str, tmp_path: Path) -> None:
    state = tiny_model().state_dict()
    state["ln_final.weight"] = state["ln_final.weight"] * float("inf")
    file = tmp_path / "w.safetensors"
    save_file(state, file)
    with pytest.raises(ValueError, match=r"not finite: ln_final\.weight"):
        clipsx.load(tiny_name, pretrained=str(file), quickgelu=False)


@pytest.mark.slow
def test_precision(tiny_name: str) -> None:
    full = clipsx.load(tiny_name, pretrained="random", device="cpu")
    images = random_images(1, 64, 64)
    for precision, dtype in (("bf16", torch.bfloat16), ("fp16", torch.float16), ("pure_bf16", torch.bfloat16)):
        clip = clipsx.load(tiny_name, pretrained="random", precision=precision, device="cpu")
        assert clip.dtype == dtype
        assert float(F.cosine_similarity(clip.encode_image(images), full.encode_image(images))) > 0.99


@pytest.mark.parametrize("name", ["roberta-ViT-B-32", "ViT-L-14-CLIPA", "ViT-B-16-SigLIP2", "nllb-clip-base"])
def test_a_model_whose_texts_need_transformers_says_so(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ImportError, match=rf"^{name} needs the package transformers.*pip install 'clipsx\[hf\]'"):
        clipsx.load(name, pretrained="random")


def test_a_folder_whose_texts_need_transformers_says_so(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    file = directory / "open_clip_config.json"
    config = json.loads(file.read_text())
    config["model_cfg"]["text_cfg"]["hf_tokenizer_name"] = "bert-base-uncased"
    file.write_text(json.dumps(config))
    with pytest.raises(ImportError, match=r"^tiny needs the package transformers"):
        clipsx.load(directory)


def test_an_architecture_that_is_quick_without_saying_so_is_not_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """roberta-ViT-B-32 uses QuickGELU, its tag does not say so, and it has no twin."""

    def fail(tag: dict) -> str:
        raise FileNotFoundError("no route to host")

    monkeypatch.setattr(open_clip, "download_pretrained", fail)
    with pytest.raises(ConnectionError, match=r"roberta-ViT-B-32 \(laion2b_s12b_b32k\) could not be downloaded"):
        clipsx.load("roberta-ViT-B-32", pretrained="laion2b_s12b_b32k")
    with pytest.raises(ValueError, match="was trained with quick_gelu=True"):
        clipsx.load("roberta-ViT-B-32", pretrained="laion2b_s12b_b32k", quickgelu=False)


def test_models_without_an_image_tower_are_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    class CLAP(torch.nn.Module):
        pass

    with pytest.raises(TypeError, match=r"open_clip model \(with its \.visual\).*not CLAP as the model"):
        clipsx.Clip(CLAP(), None, open_clip.SimpleTokenizer())
    monkeypatch.setattr(open_clip, "list_models", lambda: ["HTSAT-tiny"])
    monkeypatch.setattr(open_clip, "get_model_config", lambda name: {"embed_dim": 8, "audio_cfg": {}, "text_cfg": {}})
    with pytest.raises(ValueError, match=r"HTSAT-tiny has no image tower: it is made of audio_cfg, text_cfg\."):
        clipsx.load("HTSAT-tiny", pretrained="laion")


def test_what_open_clip_leaves_as_memory_was_is_seeded() -> None:
    class Decoder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.text_projection = torch.nn.Parameter(torch.full((64, 8), float("nan")))

    model = torch.nn.Module()
    model.text_decoder = Decoder()
    settle(model)
    assert 0.05 < float(model.text_decoder.text_projection.detach().std()) < 0.25
