"""Text towers other than CLIP's: what they are fed, and what they make of it, against open_clip itself."""

import json
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

import clipsx
from clipsx import text
from clipsx.prompts import Tower, token_ids
from clipsx.quiet import quiet
from helpers import VIT

transformers = pytest.importorskip("transformers")
import small_tokenizers  # noqa: E402

pytestmark = pytest.mark.slow  # transformers alone takes seconds to import

NATIVE = {"width": 32, "heads": 2, "layers": 2}
TINY = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
LAST = {"pool_type": "last", "no_causal_mask": True}
CLEAN = {"tokenizer_kwargs": {"clean": "canonicalize"}}
TOWERS: dict[str, tuple[str, dict[str, Any], dict[str, Any] | None]] = {  # tokenizer, open_clip's text_cfg, encoder
    "CLIPA": ("bert", {**NATIVE, **LAST, "tokenizer_kwargs": {"strip_sep_token": True}}, None),
    "SigLIP": ("siglip", {**NATIVE, **LAST, **CLEAN, "context_length": 64, "proj_bias": True}, None),
    "SigLIP2": ("gemma", {**NATIVE, **LAST, **CLEAN, "context_length": 64, "proj_bias": True}, None),
    "worldwide": ("xlm_roberta", {**NATIVE, "pool_type": "eos", "eos_id": 2}, None),
    "roberta": ("roberta", {"hf_pooler_type": "mean_pooler"}, {"model_type": "roberta", "pad_token_id": 1, **TINY}),
    "xlm-roberta": (
        "xlm_roberta", {"hf_pooler_type": "mean_pooler"}, {"model_type": "xlm-roberta", "pad_token_id": 1, **TINY}
    ),
    "mt5": (
        "t5", {"hf_pooler_type": "mean_pooler"},
        {"model_type": "mt5", "d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2},
    ),
    "nllb": (
        "nllb", {"hf_proj_type": "linear", "hf_pooler_type": "cls_pooler"},
        {"model_type": "m2m_100", "d_model": 32, "encoder_layers": 2, "encoder_attention_heads": 2,
         "encoder_ffn_dim": 64, "decoder_layers": 1, "decoder_attention_heads": 2, "decoder_ffn_dim": 64},
    ),
}  # fmt: skip
PROMPTS = ["a photo of a cat.", "Two Cats, on grass!", "", "b", "it's a t-shirt"]


def folder_of(kind: str, folder: Path) -> Path:
    """A model with such a text tower, in open_clip's format."""
    tokenizer_name, text_cfg, encoder = TOWERS[kind]
    tokenizer = getattr(small_tokenizers, tokenizer_name)(folder)
    tokenizer.save_pretrained(folder)
    cfg = {**text_cfg, "hf_tokenizer_name": "local", "vocab_size": 128}
    if encoder is not None:
        (folder / "config.json").write_text(json.dumps({**encoder, "vocab_size": 128, "max_position_embeddings": 128}))
        cfg |= {"hf_model_name": str(folder)}
    config = {"embed_dim": 32, "vision_cfg": VIT, "text_cfg": cfg, "custom_text": True}
    if "SigLIP" in kind:
        config["init_logit_bias"] = -10
    whole = {"model_cfg": config, "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3}}
    (folder / "open_clip_config.json").write_text(json.dumps(whole))
    torch.manual_seed(0)
    with quiet():
        model = open_clip.create_model(f"local-dir:{folder}", load_weights=False, pretrained_text=False)
    state = {name: value + 0.02 * torch.randn_like(value) for name, value in model.state_dict().items()
             if value.is_floating_point()}  # fmt: skip
    state |= {name: value for name, value in model.state_dict().items() if not value.is_floating_point()}
    state["logit_scale"] = model.state_dict()["logit_scale"]
    save_file(
        {name: value.contiguous().clone() for name, value in state.items()}, folder / "open_clip_model.safetensors"
    )
    return folder


@pytest.mark.parametrize("kind", TOWERS)
def test_texts_are_fed_and_read_as_open_clip_does(kind: str, tmp_path: Path) -> None:
    folder = folder_of(kind, tmp_path)
    clip = clipsx.load(folder, device="cpu")
    theirs = open_clip.get_tokenizer(f"local-dir:{folder}")
    ensemble = [template.replace("{}", "Traffic light") for template in text.templates_of("clip-surgery")]
    for prompts in (PROMPTS, ensemble):
        ids = theirs(prompts)
        assert torch.equal(token_ids(clip.tokenizer, prompts), ids)
        with torch.no_grad():
            expected = F.normalize(clip.model.encode_text(ids), dim=-1)
        torch.testing.assert_close(clip.encode_text(prompts), expected, atol=1e-5, rtol=0)
    label = F.normalize(expected.mean(0), dim=-1)
    torch.testing.assert_close(clip.encode_labels(["Traffic_light"])[0], label, atol=1e-5, rtol=0)
    assert Tower(clip.model).cuts == (kind == "worldwide")  # the only one that is causal and pooled at its end


@pytest.mark.parametrize("kind", TOWERS)
def test_a_text_that_is_too_long_is_named(kind: str, tmp_path: Path) -> None:
    clip = clipsx.load(folder_of(kind, tmp_path), device="cpu")
    length = clip.tokenizer([""]).shape[1]
    fits = next(n for n in range(length, 0, -1) if _whole(clip, "b " * n))
    assert fits > length // 2 - 4
    clip.encode_text(["b", "b " * fits])
    with pytest.warns(UserWarning, match=rf"'(b ){{{fits + 1}}}' is longer than the model's {length} tokens"):
        clip.encode_text(["b", "b " * fits, "b " * (fits + 1)])


def _whole(clip: clipsx.Clip, prompt: str) -> bool:
    """Whether the tokenizer loses nothing of a text, by its own count at twice the length."""
    length = clip.tokenizer([""]).shape[1]
    own, twice = clip.tokenizer([prompt])[0], clip.tokenizer([prompt], context_length=2 * length)[0]
    return torch.equal(own, twice[:length])
