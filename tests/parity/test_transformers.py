"""CLIPModel and SiglipModel of transformers, and the same as a Clip: features, pixels, token ids, what is kept."""

import io
import json
import logging
import subprocess
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

import clipsx
from clipsx import huggingface, text
from helpers import noise, random_images

transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.slow  # transformers alone takes seconds to import
logging.getLogger("transformers").setLevel(logging.ERROR)

WORDS = {"hidden_size": 32, "intermediate_size": 75, "num_hidden_layers": 2, "num_attention_heads": 2}
SIGHT = {"hidden_size": 48, "intermediate_size": 100, "num_hidden_layers": 3, "num_attention_heads": 3}
SIGHT |= {"image_size": 64, "patch_size": 16}
PROMPTS = ["a photo of a cat.", "two Dogs, on grass", "", "There's one boat in the scene!"]
SIZES = [(64, 64), (101, 67), (64, 65), (333, 500), (30, 41), (427, 640)]  # (H, W)


def moved(model: Any, seed: int = 0) -> Any:
    """In eval mode, with every parameter moved off its initial value: biases too."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if not name.startswith("logit"):
                value.add_(torch.randn(value.shape, generator=generator) * 0.05)
    return model.eval()


def clip_model(words: dict[str, Any] | None = None, sight: dict[str, Any] | None = None) -> Any:
    texts = {**WORDS, **(words or {})}
    config = transformers.CLIPConfig(text_config=texts, vision_config={**SIGHT, **(sight or {})}, projection_dim=24)
    return moved(transformers.CLIPModel(config))


def siglip_model(count: int, **sight: Any) -> Any:
    words = {**WORDS, "vocab_size": count, "projection_size": 48, "max_position_embeddings": 64}
    config = transformers.SiglipConfig(text_config=words, vision_config={**SIGHT, **sight})
    return moved(transformers.SiglipModel(config))


@pytest.fixture(scope="module")
def clips() -> Any:
    """CLIP's processor, as transformers makes it of CLIP's own vocabulary."""
    simple = open_clip.SimpleTokenizer()
    vocabulary = {huggingface.SPECIALS.get(token, token): number for token, number in simple.encoder.items()}
    tokenizer = transformers.CLIPTokenizer(vocab=vocabulary, merges=list(simple.bpe_ranks), model_max_length=77)
    return transformers.CLIPProcessor(pixels("CLIP"), tokenizer)


def pixels(family: str, backend: str = "Pil", **options: Any) -> Any:
    size = {"shortest_edge": 64} if family == "CLIP" else {"height": 64, "width": 64}
    crop = {"crop_size": {"height": 64, "width": 64}} if family == "CLIP" else {}
    kind = f"models.{family.lower()}.image_processing_{'pil_' if backend else ''}{family.lower()}"
    module = __import__(f"transformers.{kind}", fromlist=["*"])
    return getattr(module, f"{family}ImageProcessor{backend}")(size=size, **crop, **options)


@pytest.fixture(scope="module")
def siglips(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """SigLIP's processor with a small sentencepiece vocabulary."""
    import sentencepiece

    lines = ["a photo of a cat on the grass", "two dogs and a traffic light", "theres one boat in the scene"] * 40
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=model, vocab_size=60, model_type="unigram", pad_id=-1, bos_id=-1,
        eos_id=1, unk_id=2, hard_vocab_limit=False, minloglevel=2,
    )  # fmt: skip
    file = tmp_path_factory.mktemp("spm") / "spiece.model"
    file.write_bytes(model.getvalue())
    return transformers.SiglipProcessor(pixels("Siglip"), transformers.SiglipTokenizer(str(file)))


@pytest.fixture(scope="module")
def gemmas() -> Any:
    """SigLIP 2's processor with a small vocabulary of Gemma's kind: no lower case of its own, padded with 0."""
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    names = [
        "<pad>",
        "<eos>",
        "<bos>",
        "<unk>",
        "▁",
        *letters,
        *(letter.upper() for letter in letters),
        ".",
        "ca",
        "cat",
    ]
    vocabulary = {name: number for number, name in enumerate(names)}
    tokenizer = transformers.GemmaTokenizer(vocab=vocabulary, merges=[("c", "a"), ("ca", "t")], add_bos_token=False)
    tokenizer.add_eos_token = True
    tokenizer.padding_side = "right"
    return transformers.SiglipProcessor(pixels("Siglip", resample=2), tokenizer)


def saved(model: Any, processor: Any, folder: Path, **options: Any) -> Path:
    model.save_pretrained(folder, **options)
    processor.save_pretrained(folder)
    return folder


def feature(found: Any) -> Tensor:
    """Unit features (B, D) of what transformers returns."""
    return F.normalize(getattr(found, "pooler_output", found).float(), dim=-1)


def gaps(clip: clipsx.Clip, model: Any, processor: Any) -> tuple[float, float]:
    """The largest differences of image and of text features, unit length, for the texts as transformers reads them."""
    images = random_images(3, 64, 64)
    length = model.config.text_config.max_position_embeddings
    words = processor.tokenizer(PROMPTS, padding="max_length", max_length=length, return_tensors="pt")
    with torch.no_grad():
        seen = feature(model.get_image_features(pixel_values=images.to(model.device, model.dtype)))
        told = feature(model.get_text_features(**words.to(model.device)))
    found = clip.encode_image(images), clip.encode_text(PROMPTS)
    return float((found[0] - seen).abs().max()), float((found[1] - told).abs().max())


@pytest.mark.parametrize("act", ["quick_gelu", "gelu", "gelu_pytorch_tanh"])
def test_clip_features(act: str, clips: Any, tmp_path: Path) -> None:
    model = clip_model({"hidden_act": act, "layer_norm_eps": 1e-3}, {"hidden_act": act, "layer_norm_eps": 1e-4})
    for clip in (
        clipsx.from_transformers(model, clips),
        clipsx.load(saved(model, clips, tmp_path / "model"), device="cpu"),
    ):
        assert max(gaps(clip, model, clips)) < 1e-5
        assert clip.logit_scale == pytest.approx(float(model.logit_scale.detach().exp()))
        assert clip.embed_dim == 24 and clip.image_size == (64, 64)
        assert isinstance(clip.tokenizer, open_clip.SimpleTokenizer)
        assert clip.encode_dense(clip.prepare(noise(50, 90)), "clip-surgery").grid == (4, 4)


class Bomb:
    def __reduce__(self) -> tuple:
        return (Path.touch, (Path("exploded"),))


def _old(folder: Path) -> None:
    """As versions 4 and before wrote it: a vocabulary in two files, sizes as numbers, entries twice."""
    tokenizer = json.loads((folder / "tokenizer.json").read_text())["model"]
    (folder / "vocab.json").write_text(json.dumps(tokenizer["vocab"]))
    merges = "\n".join(" ".join(pair) for pair in tokenizer["merges"])
    (folder / "merges.txt").write_text(f"#version: 0.2\n{merges}\n", encoding="utf-8")
    own = json.loads((folder / "processor_config.json").read_text())["image_processor"]
    (folder / "preprocessor_config.json").write_text(json.dumps({**own, "size": 64, "crop_size": 64}))
    config = json.loads((folder / "config.json").read_text())
    for name in ("text_config", "vision_config"):  # the whole, and what differs from the defaults
        config[f"{name}_dict"] = config[name]
        config[name] = {**config[name], "num_attention_heads": 1, "hidden_act": "gelu"}
    (folder / "config.json").write_text(json.dumps(config))
    for name in ("tokenizer.json", "processor_config.json", "tokenizer_config.json"):
        (folder / name).unlink()


def _short(folder: Path) -> None:
    """Entries that are transformers' own defaults left out."""
    config = json.loads((folder / "config.json").read_text())
    for section in (config["text_config"], config["vision_config"]):
        for name in ("hidden_act", "layer_norm_eps", "vocab_size", "eos_token_id", "max_position_embeddings"):
            section.pop(name, None)
    (folder / "config.json").write_text(json.dumps(config))


def _pickled(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def _trainer(folder: Path) -> None:
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth", "training_args.bin"):
        torch.save(Bomb(), folder / name)
    (folder / "trainer_state.json").write_text("{")


def _prefixed(prefix: str, **others: Tensor) -> Any:
    def change(folder: Path) -> None:
        state = load_file(folder / "model.safetensors")
        save_file({prefix + name: value for name, value in state.items()} | others, folder / "model.safetensors")

    return change


LAYOUTS = {
    "old": _old,
    "short": _short,
    "pickled": _pickled,
    "trainer": _trainer,
    "module": _prefixed("module."),
    "compiled": _prefixed("_orig_mod."),
    "inside": _prefixed("backbone.clip.", head=torch.ones(3)),
    "both": _prefixed("module.model._orig_mod."),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_folders_as_people_have_them(layout: str, clips: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, folder = clip_model(), tmp_path / "run" / "checkpoint-500"
    LAYOUTS[layout](saved(model, clips, folder))
    monkeypatch.chdir(tmp_path)
    clip = clipsx.load(folder, device="cpu")
    assert max(gaps(clip, model, clips)) < 1e-5
    assert clip.name == "run/checkpoint-500" and clip.weights.startswith("run/checkpoint-500 sha256:")
    assert not (tmp_path / "exploded").exists()
    assert clipsx.load(**clip.recipe).describe() == clip.describe()


def test_weights_in_parts(clips: Any, tmp_path: Path) -> None:
    model = clip_model()
    folder = saved(model, clips, tmp_path / "parts", max_shard_size="100KB")
    assert len(list(folder.glob("model-*.safetensors"))) > 1
    assert max(gaps(clipsx.load(folder, device="cpu"), model, clips)) < 1e-5
    next(folder.glob("model-*-of-*.safetensors")).unlink()
    with pytest.raises(FileNotFoundError, match=r"lacks model-.*which model.safetensors.index.json names"):
        clipsx.load(folder)


@pytest.mark.parametrize("eos", [2, 49407])
def test_texts_are_pooled_where_transformers_pools_them(eos: int, clips: Any, tmp_path: Path) -> None:
    """Older files say eos_token_id 2 and mean the highest token; a token that was added is higher than the end."""
    processor = deepcopy(clips)
    processor.tokenizer.add_tokens(["<cat-toy>"])
    model = clip_model({"vocab_size": 49409, "eos_token_id": eos})
    folder = saved(model, processor, tmp_path / "model")
    prompts = ["a photo of a <cat-toy> on grass", "a cat"]
    words = processor.tokenizer(prompts, padding=True, return_tensors="pt")
    assert 49408 in words.input_ids
    with torch.no_grad():
        told = feature(model.get_text_features(**words))
    for clip in (clipsx.from_transformers(model, processor), clipsx.load(folder, device="cpu")):
        assert isinstance(clip.tokenizer, huggingface.Tokenizer)
        torch.testing.assert_close(clip.encode_text(prompts), told, atol=1e-5, rtol=0)
        torch.testing.assert_close(clip.encode_labels(prompts, templates="plain"), told, atol=1e-5, rtol=0)


def test_clip_needs_no_transformers(clips: Any, tmp_path: Path) -> None:
    folder = saved(clip_model(), clips, tmp_path / "model")
    code = (
        "import sys; sys.modules['transformers'] = None\n"
        "import clipsx\n"
        f"print(clipsx.load({str(folder)!r}, device='cpu').encode_text(['a cat']).shape)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "torch.Size([1, 24])", done.stderr


def test_a_siglip_says_what_it_needs(siglips: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = saved(siglip_model(60), siglips, tmp_path / "model")
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ImportError, match=r"tokenizer of model needs the package transformers.*clipsx\[hf\]"):
        clipsx.load(folder)


@pytest.mark.parametrize("kind", ["siglips", "gemmas"])
@pytest.mark.parametrize("act", ["gelu_pytorch_tanh", "gelu"])
def test_siglip_features(kind: str, act: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    processor = request.getfixturevalue(kind)
    model = siglip_model(len(processor.tokenizer), hidden_act=act, layer_norm_eps=1e-4)
    folder = saved(model, processor, tmp_path / "model")
    for clip in (clipsx.from_transformers(model, processor), clipsx.load(folder, device="cpu")):
        images = random_images(3, 64, 64)
        with torch.no_grad():
            seen = feature(model.get_image_features(pixel_values=images))
            told = feature(model.get_text_features(input_ids=clip.tokenizer(PROMPTS)))
        torch.testing.assert_close(clip.encode_image(images), seen, atol=1e-5, rtol=0)
        torch.testing.assert_close(clip.encode_text(PROMPTS), told, atol=1e-5, rtol=0)
        assert text.convention(clip.model) == "sigmoid"


@pytest.mark.parametrize("kind", ["siglips", "gemmas"])
def test_siglip_token_ids_are_open_clips(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """What open_clip feeds: lower case, no punctuation, padded to the end; templates and the empty label included."""
    processor = request.getfixturevalue(kind)
    folder = saved(siglip_model(len(processor.tokenizer)), processor, tmp_path / "model")
    theirs = open_clip.tokenizer.HFTokenizer(str(folder), context_length=64, clean="canonicalize")
    prompts = [*PROMPTS, *(template.replace("{}", "Cat") for template in text.templates_of("clip-surgery"))]
    for clip in (clipsx.load(folder, device="cpu"), clipsx.from_transformers(siglip_model(90), processor)):
        ids = text.token_ids(clip.tokenizer, prompts)
        assert ids.shape == (len(prompts), 64) and torch.equal(ids, theirs(prompts))
        assert torch.equal(clip.tokenizer(["A CAT!"]), clip.tokenizer(["a cat"]))
    processor.tokenizer.padding_side = "left"  # as SigLIP 2's own class has it where no file says otherwise
    clip = clipsx.from_transformers(siglip_model(90), processor)
    assert torch.equal(clip.tokenizer(prompts), theirs(prompts)) and processor.tokenizer.padding_side == "left"
    processor.tokenizer.padding_side = "right"
