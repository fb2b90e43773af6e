"""A CLIPModel or SiglipModel of transformers as an open_clip model: its configuration, and its tensors by other names.

The features are the same to rounding: activations and epsilons as stated, texts pooled where transformers pools them.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn

from clipsx.messages import brief
from clipsx.quiet import making
from clipsx.weights import require_numbers

_SMALL = {"hidden_size": 512, "intermediate_size": 2048, "num_attention_heads": 8}
_BASE = {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12, "image_size": 224}
_CLIP = {"num_hidden_layers": 12, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5, "max_position_embeddings": 77}
_SIGLIP = {"num_hidden_layers": 12, "hidden_act": "gelu_pytorch_tanh", "layer_norm_eps": 1e-6}
DEFAULTS: dict[str, dict[str, dict[str, Any]]] = {
    "clip": {
        "vision": {**_CLIP, **_BASE, "patch_size": 32},
        "text": {**_CLIP, **_SMALL, "vocab_size": 49408, "eos_token_id": 49407},
    },
    "siglip": {
        "vision": {**_SIGLIP, **_BASE, "patch_size": 16},
        "text": {**_SIGLIP, **_BASE, "vocab_size": 32000, "max_position_embeddings": 64},
    },
}
"""By model_type (SigLIP 2's at fixed sizes is "siglip"): what transformers takes where a configuration is silent."""
ACTIVATIONS = {  # of transformers: of timm, and what open_clip's is made with
    "quick_gelu": ("quick_gelu", None),
    "gelu": ("gelu", None),
    "gelu_pytorch_tanh": ("gelu_tanh", {"approximate": "tanh"}),
    "gelu_new": ("gelu_tanh", {"approximate": "tanh"}),
}

_BLOCK = {
    ".self_attn.in_proj.": ".attn.in_proj_",
    ".self_attn.": ".attn.",
    ".layer_norm": ".ln_",
    ".fc1.": ".c_fc.",
    ".fc2.": ".c_proj.",
}
_TEXT = {
    "text_model.embeddings.token_embedding.": "token_embedding.",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_model.encoder.layers.": "transformer.resblocks.",
    "text_model.final_layer_norm.": "ln_final.",
    "text_projection.weight": "text_projection",
    "text_model.head.": "text_projection.",
    **_BLOCK,
}
_IMAGE = {
    "vision_model.embeddings.class_embedding": "visual.class_embedding",
    "vision_model.embeddings.patch_embedding.": "visual.conv1.",
    "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
    "vision_model.encoder.layers.": "visual.transformer.resblocks.",
    "vision_model.pre_layrnorm.": "visual.ln_pre.",  # spelled so
    "vision_model.post_layernorm.": "visual.ln_post.",
    "visual_projection.weight": "visual.proj",
    **_BLOCK,
}
_TRUNK = {
    "vision_model.embeddings.patch_embedding.": "visual.trunk.patch_embed.proj.",
    "vision_model.embeddings.position_embedding.weight": "visual.trunk.pos_embed",
    "vision_model.encoder.layers.": "visual.trunk.blocks.",
    "vision_model.post_layernorm.": "visual.trunk.norm.",
    "vision_model.head.probe": "visual.trunk.attn_pool.latent",
    "vision_model.head.attention.out_proj.": "visual.trunk.attn_pool.proj.",
    "vision_model.head.layernorm.": "visual.trunk.attn_pool.norm.",
    "vision_model.head.": "visual.trunk.attn_pool.",
    ".self_attn.in_proj.": ".attn.qkv.",
    ".self_attn.out_proj.": ".attn.proj.",
    ".layer_norm": ".norm",
}


def require_family(config: Mapping[str, Any], where: str) -> str:
    """The key in `DEFAULTS` of a configuration. Errors: ValueError naming another model, and what is served."""
    family, kind = config.get("model_type"), (config.get("architectures") or [None])[0]
    if family not in DEFAULTS or str(kind).endswith("ForImageClassification"):
        raise ValueError(
            f"{where} is a {kind or family or 'model without a model_type'} of transformers; clipsx takes CLIPModel "
            "and SiglipModel, which have an image tower and a text tower."
        )
    return family


def sections(config: Mapping[str, Any], family: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the image tower and the text tower are made of, with what transformers takes where nothing is said."""
    found: list[dict[str, Any]] = []
    for name, silent in DEFAULTS[family].items():
        stated, legacy = (config.get(f"{name}_config{end}") or {} for end in ("", "_dict"))
        if not isinstance(stated, dict) or not isinstance(legacy, dict):
            raise ValueError(f"{name}_config must be a section {{…}}, not {str(stated)[:60]!r}.")
        found.append(silent | stated | (silent | legacy if legacy else {}))  # of older files: it goes before
    return found[0], found[1]


def is_quick(config: Mapping[str, Any], family: str) -> bool:
    """Whether the towers use QuickGELU. Errors: ValueError where only one does, and for an unknown activation."""
    acts = [section["hidden_act"] for section in sections(config, family)]
    for act in acts:
        if act not in ACTIVATIONS:
            raise ValueError(f"hidden_act={act!r} is not understood; known: {', '.join(ACTIVATIONS)}.")
    if family == "clip" and len({act == "quick_gelu" for act in acts}) > 1:
        raise ValueError(f"hidden_act differs between the towers ({acts[0]}, {acts[1]}): open_clip has one for both.")
    return acts[1] == "quick_gelu"


def made(
    config: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    preprocess: Mapping[str, Any],
    device: torch.device,
    precision: str,
    where: str,
) -> Any:
    """An open_clip model in eval mode with the weights of one of transformers.

    config: as config.json has it; tensors: the model's, under any prefix; preprocess: open_clip's preprocess_cfg;
    precision: as `load` takes it; where: what messages call it.
    Errors: ValueError, naming `where`, for another model's configuration or tensors.
    """
    family = require_family(config, where)
    state = _bare(tensors, where)
    require_numbers(state.items(), where)
    try:
        model = _empty(config, family, preprocess, device, precision)
        model.load_state_dict(_renamed(state, family))
    except (TypeError, ValueError, AssertionError, ArithmeticError, OSError) as error:
        raise ValueError(f"The configuration of {where} is not understood: {brief(error)}") from None
    except (RuntimeError, KeyError) as error:
        raise ValueError(f"The weights of {where} do not fit its configuration: {brief(error)}") from None
    return model.eval()


def _bare(tensors: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    """A model's tensors by the names that transformers gives them, without what wrappers put before."""
    named = {name.replace("_orig_mod.", ""): value for name, value in tensors.items()}
    if any(".lora_" in name or ".base_layer." in name for name in named):
        raise ValueError(
            f"{where} holds adapters that are not merged: load them with peft, and give "
            "clipsx.from_transformers(model, processor)."
        )
    anchor = "vision_model.embeddings.patch_embedding.weight"
    first = next((name for name in named if name.endswith(anchor)), None)
    if first is None:
        raise ValueError(f"{where} holds no image tower of a CLIPModel or SiglipModel: no {anchor}.")
    prefix = first.removesuffix(anchor)
    inside = {name.removeprefix(prefix): value for name, value in named.items() if name.startswith(prefix)}
    return {name: value for name, value in inside.items() if not name.endswith("position_ids")}  # of older files


def _empty(
    config: Mapping[str, Any], family: str, preprocess: Mapping[str, Any], device: torch.device, precision: str
) -> Any:
    """An open_clip model of a configuration, made by open_clip (and timm) from a folder in their format."""
    import open_clip

    image, text = sections(config, family)
    model_cfg = {"quick_gelu": is_quick(config, family), "text_cfg": _text(text)}
    with TemporaryDirectory() as place, making(seed=0):
        if family == "clip":
            heads = {"head_width": image["hidden_size"] // image["num_attention_heads"]}
            size = {"image_size": image["image_size"], "patch_size": image["patch_size"]}
            model_cfg |= {"embed_dim": config.get("projection_dim", 512), "vision_cfg": _tower(image) | heads | size}
        else:
            trunk = {"architecture": "vit_base_patch16_siglip_224", "model_args": _trunk(image), "pretrained_cfg": {}}
            Path(place, "config.json").write_text(json.dumps(trunk), encoding="utf-8")
            timm = {"timm_model_name": f"local-dir:{place}", "timm_pool": "map", "timm_proj": "none"}
            model_cfg["text_cfg"] |= {"no_causal_mask": True, "proj_bias": True, "pool_type": "last"}
            model_cfg |= {"embed_dim": image["hidden_size"], "custom_text": True, "init_logit_bias": 0.0}
            model_cfg |= {"vision_cfg": {"image_size": image["image_size"], **timm}}
        own = {"model_cfg": model_cfg, "preprocess_cfg": dict(preprocess)}
        Path(place, "open_clip_config.json").write_text(json.dumps(own), encoding="utf-8")
        bare: dict[str, Any] = {"load_weights": False, "pretrained_image": False, "pretrained_text": False}
        model: Any = open_clip.create_model(f"local-dir:{place}", device=device, precision=precision, **bare)
    for part in model.visual.trunk.modules() if family == "siglip" else ():
        if isinstance(part, nn.LayerNorm):
            part.eps = image["layer_norm_eps"]
    return model


def _ratio(section: Mapping[str, Any]) -> float:
    """The factor from which int(width · factor) is the width in between, whatever rounding does."""
    return (section["intermediate_size"] + 0.5) / section["hidden_size"]


def _tower(section: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "width": section["hidden_size"],
        "layers": section["num_hidden_layers"],
        "mlp_ratio": _ratio(section),
        "norm_kwargs": {"eps": section["layer_norm_eps"]},
        "act_kwargs": ACTIVATIONS[section["hidden_act"]][1],
    }


def _text(section: Mapping[str, Any]) -> dict[str, Any]:
    """A text tower. Where transformers looks for the highest token (eos_token_id 2, of older files) or for the first
    eos_token_id, and that is the highest there is, open_clip's "argmax" is the same."""
    eos, count = section.get("eos_token_id"), section["vocab_size"]
    pool = {"pool_type": "argmax"} if eos in (2, count - 1) else {"pool_type": "eos", "eos_id": eos}
    sizes = {"heads": section["num_attention_heads"], "context_length": section["max_position_embeddings"]}
    return _tower(section) | sizes | {"vocab_size": count} | pool


def _trunk(section: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "img_size": section["image_size"],
        "patch_size": section["patch_size"],
        "embed_dim": section["hidden_size"],
        "depth": section["num_hidden_layers"],
        "num_heads": section["num_attention_heads"],
        "mlp_ratio": _ratio(section),
        "act_layer": ACTIVATIONS[section["hidden_act"]][0],
    }


def _renamed(state: dict[str, Tensor], family: str) -> dict[str, Tensor]:
    """Tensors of transformers as open_clip keeps them: other names, q, k and v packed, projections transposed."""
    for name in [name for name in state if ".q_proj." in name]:
        parts = [state.pop(name.replace(".q_proj.", f".{part}_proj.")) for part in "qkv"]  # (C, C) or (C,) each
        state[name.replace(".q_proj.", ".in_proj.")] = torch.cat(parts)  # (3·C, C) or (3·C,)
    if family == "siglip":
        for kind in ("weight", "bias"):  # of the pool: one query, and keys with values
            packed = state.pop(f"vision_model.head.attention.in_proj_{kind}")  # (3·C, C) or (3·C,)
            width = len(packed) // 3
            state |= {f"vision_model.head.q.{kind}": packed[:width], f"vision_model.head.kv.{kind}": packed[width:]}
    found = {}
    for name, value in state.items():
        is_text = name.startswith("text_")
        for theirs, ours in (_TEXT if is_text else _IMAGE if family == "clip" else _TRUNK).items():
            name = name.replace(theirs, ours)
        found[f"text.{name}" if is_text and family == "siglip" else name] = value
    if family == "clip":
        found |= {name: found[name].T for name in ("visual.proj", "text_projection")}  # (C, D)
    else:
        found["visual.trunk.pos_embed"] = found["visual.trunk.pos_embed"][None]  # (1, h·w, C)
        found |= {name: found[name].reshape(()) for name in ("logit_scale", "logit_bias")}
    return found
