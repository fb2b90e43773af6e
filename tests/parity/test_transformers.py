"""CLIPModel and SiglipModel of transformers, and the same as a Clip: features, pixels, token ids, what is kept."""

import json
import logging
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

import fresh
import open_clip
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

import clipsx
from clipsx import huggingface, text, tokenizer
from clipsx.prompts import token_ids
from clipsx.quiet import quiet
from helpers import noise, random_images

transformers = pytest.importorskip("transformers")
import small_tokenizers  # noqa: E402

pytestmark = pytest.mark.slow  # transformers alone takes seconds to import
logging.getLogger("transformers").setLevel(logging.ERROR)

WORDS = {"hidden_size": 32, "intermediate_size": 75, "num_hidden_layers": 2, "num_attention_heads": 2}
SIGHT = {"hidden_size": 48, "intermediate_size": 100, "num_hidden_layers": 3, "num_attention_heads": 3}
SIGHT |= {"image_size": 64, "patch_size": 16}
PROMPTS = ["a photo of a cat.", "two Dogs, on grass", "", "There's one boat in the scene!"]
SIZES = [(64, 64), (101, 67), (64, 65), (333, 500), (30, 44), (427, 650)]  # (H, W)


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
    vocabulary = {tokenizer.SPECIALS.get(token, token): number for token, number in simple.encoder.items()}
    words = transformers.CLIPTokenizer(vocab=vocabulary, merges=list(simple.bpe_ranks), model_max_length=77)
    return transformers.CLIPProcessor(pixels("CLIP"), words)


def pixels(family: str, backend: str = "Pil", **options: Any) -> Any:
    size = {"shortest_edge": 64} if family == "CLIP" else {"height": 64, "width": 64}
    crop = {"crop_size": {"height": 64, "width": 64}} if family == "CLIP" else {}
    kind = f"models.{family.lower()}.image_processing_{'pil_' if backend else ''}{family.lower()}"
    module = __import__(f"transformers.{kind}", fromlist=["*"])
    return getattr(module, f"{family}ImageProcessor{backend}")(size=size, **crop, **options)


@pytest.fixture(scope="module")
def siglips(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """SigLIP's processor with a small sentencepiece vocabulary."""
    words = small_tokenizers.siglip(tmp_path_factory.mktemp("spm"))
    return transformers.SiglipProcessor(pixels("Siglip"), words)


@pytest.fixture(scope="module")
def gemmas(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """SigLIP 2's processor with a small vocabulary of Gemma's kind."""
    words = small_tokenizers.gemma(tmp_path_factory.mktemp("gemma"))
    return transformers.SiglipProcessor(pixels("Siglip", resample=2), words)


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
    words = json.loads((folder / "tokenizer.json").read_text())["model"]
    (folder / "vocab.json").write_text(json.dumps(words["vocab"]))
    merges = "\n".join(" ".join(pair) for pair in words["merges"])
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
    file = next(folder / name for name in huggingface.WEIGHTS if (folder / name).is_file())
    assert clipsx.load(file, device="cpu").describe() == clip.describe()


def test_weights_in_parts(clips: Any, tmp_path: Path) -> None:
    model = clip_model()
    folder = saved(model, clips, tmp_path / "parts", max_shard_size="100KB")
    assert len(list(folder.glob("model-*.safetensors"))) > 1
    assert max(gaps(clipsx.load(folder, device="cpu"), model, clips)) < 1e-5
    next(folder.glob("model-*-of-*.safetensors")).unlink()
    with pytest.raises(FileNotFoundError, match=r"lacks model-.*which model.safetensors.index.json names"):
        clipsx.load(folder)


def in_cache(folder: Path, cache: Path, name: str) -> None:
    """The layout that huggingface_hub keeps a repository in."""
    place = cache / f"models--{name.replace('/', '--')}"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text("0" * 40)
    (place / "snapshots").mkdir()
    folder.rename(place / "snapshots" / ("0" * 40))


@pytest.mark.parametrize("parts", [False, True])
def test_a_repository_of_the_hub(parts: bool, clips: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it lies in the hub's cache, where no host answers; by its name alone, and by open_clip's prefix."""
    model = clip_model()
    options = {"max_shard_size": "50KB"} if parts else {}
    in_cache(saved(model, clips, tmp_path / "saved", **options), tmp_path / "cache", "owner/clip-tiny")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("clipsx.hub._answers", lambda url: False)
    for name in ("owner/clip-tiny", "hf-hub:owner/clip-tiny@main"):
        clip = clipsx.load(name, device="cpu")
        assert max(gaps(clip, model, clips)) < 1e-5 and clip.name == name.removeprefix("hf-hub:")
        assert clip.weights.startswith(f"{clip.name} sha256:")
    with pytest.raises(ValueError, match="clip-tiny brings its own weights"):
        clipsx.load("owner/clip-tiny", "openai")
    with pytest.raises(ConnectionError, match=r"owner/other .* could not be downloaded: .* does not answer.*folder"):
        clipsx.load("owner/other")
    with pytest.raises(ValueError, match="did you mean 'ViT-B-16'"):
        clipsx.load("ViT-B/61", "openai")


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
        assert isinstance(clip.tokenizer, tokenizer.Tokenizer)
        torch.testing.assert_close(clip.encode_text(prompts), told, atol=1e-5, rtol=0)
        torch.testing.assert_close(clip.encode_labels(prompts, templates="plain"), told, atol=1e-5, rtol=0)


def test_clip_needs_no_transformers(clips: Any, tmp_path: Path) -> None:
    folder = saved(clip_model(), clips, tmp_path / "model")
    code = (
        "import sys; sys.modules['transformers'] = None\n"
        "import clipsx\n"
        f"print(clipsx.load({str(folder)!r}, device='cpu').encode_text(['a cat']).shape)"
    )
    assert fresh.run(code, tmp_path).strip() == "torch.Size([1, 24])"


def test_a_siglip_says_what_it_needs(siglips: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = saved(siglip_model(60), siglips, tmp_path / "model")
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ImportError, match=r"tokenizer of model needs the package transformers.*clipsx\[hf\]"):
        clipsx.load(folder)


@pytest.mark.parametrize("kind", ["siglips", "gemmas"])
@pytest.mark.parametrize("act", ["gelu_pytorch_tanh", "gelu"])
def test_siglip_features(kind: str, act: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    processor = request.getfixturevalue(kind)
    # As SigLIP's own at 384 pixels with patches of 14, the size is no whole number of patches.
    model = siglip_model(len(processor.tokenizer), hidden_act=act, layer_norm_eps=1e-4, image_size=70)
    folder = saved(model, processor, tmp_path / "model")
    for clip in (clipsx.from_transformers(model, processor), clipsx.load(folder, device="cpu")):
        images = random_images(3, 70, 70)
        with torch.no_grad():
            seen = feature(model.get_image_features(pixel_values=images))
            told = feature(model.get_text_features(input_ids=clip.tokenizer(PROMPTS)))
        torch.testing.assert_close(clip.encode_image(images), seen, atol=1e-5, rtol=0)
        torch.testing.assert_close(clip.encode_text(PROMPTS), told, atol=1e-5, rtol=0)
        assert clip.embed_dim == 48 and clip.image_size == (70, 70)
        dense = clip.encode_dense(clip.prepare(noise(50, 90), (96, 64)), "clip-surgery")
        assert dense.grid == (6, 4) and dense.patches.shape == (1, 6, 4, 48)


@pytest.mark.parametrize("kind", ["siglips", "gemmas"])
def test_siglip_token_ids_are_open_clips(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """What open_clip feeds: lower case, no punctuation, padded to the end; templates and the empty label included."""
    processor = request.getfixturevalue(kind)
    folder = saved(siglip_model(len(processor.tokenizer)), processor, tmp_path / "model")
    theirs = open_clip.tokenizer.HFTokenizer(str(folder), context_length=64, clean="canonicalize")
    prompts = [*PROMPTS, *(template.replace("{}", "Cat") for template in text.templates_of("clip-surgery"))]
    for clip in (clipsx.load(folder, device="cpu"), clipsx.from_transformers(siglip_model(90), processor)):
        ids = token_ids(clip.tokenizer, prompts)
        assert ids.shape == (len(prompts), 64) and torch.equal(ids, theirs(prompts))
        assert torch.equal(clip.tokenizer(["A CAT!"]), clip.tokenizer(["a cat"]))
    processor.tokenizer.padding_side = "left"  # as SigLIP 2's own class has it where no file says otherwise
    clip = clipsx.from_transformers(siglip_model(90), processor)
    assert torch.equal(clip.tokenizer(prompts), theirs(prompts)) and processor.tokenizer.padding_side == "left"
    processor.tokenizer.padding_side = "right"


SETTINGS: dict[str, dict[str, Any]] = {
    "own": {},
    "bilinear": {"resample": 2},
    "of 0…255": {"do_rescale": False, "image_mean": [120.0, 110.0, 100.0], "image_std": [60.0, 50.0, 55.0]},
    "of -1…1": {"rescale_factor": 1 / 127.5},
    "not normalised": {"do_normalize": False},
}


@pytest.mark.parametrize("family", ["CLIP", "Siglip"])
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_pixels_are_the_processors(family: str, settings: dict[str, Any], clips: Any, siglips: Any) -> None:
    processor = deepcopy(clips if family == "CLIP" else siglips)
    processor.image_processor = pixels(family, **settings)
    clip = clipsx.from_transformers(clip_model() if family == "CLIP" else siglip_model(60), processor)
    assert clip.preprocess is not None
    for size in SIZES:
        image = noise(*size)
        theirs = torch.as_tensor(processor.image_processor(images=image, return_tensors="pt")["pixel_values"][0])
        torch.testing.assert_close(clip.preprocess(image), theirs, atol=1e-5, rtol=1e-5)
        found = clip.prepare(image, fit="crop" if family == "CLIP" else "squash")[0]
        torch.testing.assert_close(found, theirs, atol=1e-5, rtol=1e-5)


def test_the_middle_that_is_cut_out_is_open_clips(clips: Any) -> None:
    """Of 67 columns 64 are kept, from the second one: transformers rounds 1.5 down, open_clip to an even number."""
    clip, image = clipsx.from_transformers(clip_model(), clips), noise(64, 67)
    theirs = clips.image_processor(images=image, return_tensors="pt")["pixel_values"][0]
    torch.testing.assert_close(clip.prepare(image, fit="crop")[0, :, :, :-1], torch.as_tensor(theirs)[:, :, 1:])


def test_a_processor_of_other_pixels_is_refused(clips: Any) -> None:
    processor = deepcopy(clips)
    processor.image_processor.resample = 0
    with pytest.raises(ValueError, match=r"resample=0 is not understood; known: 2 \(bilinear\)"):
        clipsx.from_transformers(clip_model(), processor)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_dtype_is_kept_and_the_model_is_not_touched(dtype: torch.dtype, clips: Any) -> None:
    model = clip_model().to(dtype).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    clip = clipsx.from_transformers(model, clips)
    assert clip.dtype == dtype and {p.dtype for p in clip.model.parameters()} == {dtype}
    assert clip.encode_image(clip.prepare(noise(64, 64))).dtype == torch.float32
    assert (
        max(gaps(clip, model.eval(), clips)) < {torch.float32: 1e-5, torch.bfloat16: 0.05, torch.float16: 5e-3}[dtype]
    )
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    with torch.no_grad():
        clip.model.visual.conv1.weight.zero_()  # its weights are its own
    assert torch.equal(
        model.vision_model.embeddings.patch_embedding.weight, before["vision_model.embeddings.patch_embedding.weight"]
    )


def test_precision_of_a_folder(clips: Any, tmp_path: Path) -> None:
    folder = saved(clip_model().half(), clips, tmp_path / "model")
    assert clipsx.load(folder, device="cpu").dtype == torch.float32
    clip = clipsx.load(folder, device="cpu", precision="bf16")
    assert clip.dtype == torch.bfloat16 and clip.model.ln_final.weight.dtype == torch.float32


@pytest.mark.parametrize("merged", [False, True])
def test_adapters_are_merged_in_a_copy(merged: bool, clips: Any, siglips: Any, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    for base, processor in ((clip_model(), clips), (siglip_model(60), siglips)):
        alone = clipsx.from_transformers(base, processor)
        config = peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj", "fc1"], init_lora_weights=False)
        with quiet():  # the two libraries' words to each other
            model = moved(peft.get_peft_model(base, config))
        if merged:
            model.merge_adapter()
        before = {name: value.clone() for name, value in model.state_dict().items()}
        clip = clipsx.from_transformers(model, processor)
        images = random_images(2, 64, 64)
        ids = clip.tokenizer(PROMPTS)
        with torch.no_grad():
            seen = feature(model.get_image_features(pixel_values=images))
            told = feature(model.get_text_features(input_ids=ids))
        torch.testing.assert_close(clip.encode_image(images), seen, atol=1e-5, rtol=0)
        torch.testing.assert_close(clip.encode_text(PROMPTS), told, atol=1e-5, rtol=0)
        assert float((clip.encode_image(images) - alone.encode_image(images)).abs().max()) > 1e-3
        assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
        assert model.active_adapters == ["default"] and any(".lora_" in name for name in before)
        assert clip.name == f"{type(base).__name__} + default"
        if not merged:
            with model.disable_adapter(), torch.no_grad():
                off = clipsx.from_transformers(model, processor)
                seen = feature(model.get_image_features(pixel_values=images))
            torch.testing.assert_close(off.encode_image(images), seen, atol=1e-5, rtol=0)
            assert off.name == type(base).__name__
    model.save_pretrained(tmp_path / "adapter")
    with pytest.raises(ValueError, match=r"adapter of PEFT, not a whole model.*from_transformers"):
        clipsx.load(tmp_path / "adapter")
    siglip_model(60).config.save_pretrained(tmp_path / "adapter")
    siglips.save_pretrained(tmp_path / "adapter")
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, tmp_path / "adapter" / "model.safetensors")
    with pytest.raises(ValueError, match="adapters that are not merged"):
        clipsx.load(tmp_path / "adapter")


OTHERS = {
    "blip": "BlipForImageTextRetrieval|blip",
    "dinov2": "Dinov2Model|dinov2",
    "clip_vision_model": "CLIPVisionModel|clip_vision_model",
    "clipseg": "CLIPSegModel|clipseg",
    "siglip2": "Siglip2Model|siglip2",
    "chinese_clip": "ChineseCLIPModel|chinese_clip",
}


@pytest.mark.parametrize("kind", OTHERS)
def test_other_models_are_refused_by_name(kind: str, tmp_path: Path) -> None:
    transformers.AutoConfig.for_model(kind).save_pretrained(tmp_path)
    with pytest.raises(
        ValueError, match=f"is a ({OTHERS[kind]}) of transformers; clipsx takes CLIPModel and SiglipModel"
    ):
        clipsx.load(tmp_path)


def test_objects_that_are_refused(clips: Any, siglips: Any) -> None:
    sight = transformers.CLIPVisionModel(transformers.CLIPVisionConfig(**SIGHT))
    with pytest.raises(ValueError, match="The model is a CLIPVisionModel"):
        clipsx.from_transformers(sight, clips)
    with pytest.raises(TypeError, match=r"processor must have an image_processor and a tokenizer.*not CLIPTokenizer"):
        clipsx.from_transformers(clip_model(), clips.tokenizer)
    with pytest.raises(TypeError, match="must be a CLIPModel or SiglipModel of transformers, not Linear"):
        clipsx.from_transformers(torch.nn.Linear(2, 2), clips)
    with pytest.raises(TypeError, match=r"clipsx\.from_transformers\(model, processor\)"):
        clipsx.Clip(clip_model(), None, clips.tokenizer)
    with pytest.raises(ValueError, match="hidden_act differs between the towers"):
        clipsx.from_transformers(clip_model({"hidden_act": "gelu"}), clips)
    with pytest.raises(ValueError, match=r"hidden_act='relu' is not understood; known: quick_gelu"):
        clipsx.from_transformers(clip_model({"hidden_act": "relu"}), clips)


def _without(*names: str) -> Any:
    return lambda folder: [(folder / name).unlink() for name in names]


def _config(**entries: Any) -> Any:
    def change(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, **entries}))

    return change


def _write(name: str, content: str) -> Any:
    return lambda folder: (folder / name).write_text(content)


def _config_of(section: str, **entries: Any) -> Any:
    def change(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, section: {**config[section], **entries}}))

    return change


def _fewer(folder: Path) -> None:
    state = load_file(folder / "model.safetensors")
    save_file({n: v for n, v in state.items() if not n.startswith("text_model.encoder")}, folder / "model.safetensors")


def _only(folder: Path) -> None:
    save_file({"vit.weight": torch.ones(2)}, folder / "model.safetensors")


BROKEN = {
    "no weights": (_without("model.safetensors"), FileNotFoundError, "holds a configuration but no weights"),
    "no processor": (_without("processor_config.json"), FileNotFoundError, "says nothing of how pictures are read"),
    "no tokenizer": (_without("tokenizer.json"), FileNotFoundError, "holds no tokenizer"),
    "a bad tokenizer": (
        _write("tokenizer.json", '{"model": {}}'),
        ValueError,
        "holds no tokenizer that transformers can",
    ),
    "other tokenizer": (_config_of("text_config", vocab_size=300), ValueError, "has 49408 tokens, the model 300"),
    "no json": (_write("config.json", "{"), ValueError, "is no JSON"),
    "a list": (_write("config.json", "[]"), ValueError, "is not a configuration"),
    "width": (_config(projection_dim=40), ValueError, "weights of model do not fit its configuration.*size mismatch"),
    "text": (_config(vision_config="x"), ValueError, "vision_config must be a section"),
    "heads": (_config_of("vision_config", num_attention_heads="x"), ValueError, "model is not understood"),
    "fewer": (_fewer, ValueError, "weights of model do not fit.*Missing key"),
    "other": (_only, ValueError, "holds no image tower of a CLIPModel or SiglipModel"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_folders_that_are_broken(kind: str, clips: Any, tmp_path: Path) -> None:
    change, error, words = BROKEN[kind]
    folder = saved(clip_model(), clips, tmp_path / "model")
    change(folder)
    with pytest.raises(error, match=words):
        clipsx.load(folder, device="cpu")


def test_what_contradicts_a_folder(clips: Any, tmp_path: Path) -> None:
    folder = saved(clip_model(), clips, tmp_path / "model")
    with pytest.raises(ValueError, match="quickgelu=False contradicts what is known"):
        clipsx.load(folder, quickgelu=False)
    with pytest.raises(ValueError, match="brings its own weights"):
        clipsx.load(folder, pretrained="openai")
