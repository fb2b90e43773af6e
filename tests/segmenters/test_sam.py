"""SAM and SAM 2 from transformers, on tiny random configurations of the real classes."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from clipsx import hub, segmenters
from clipsx.segmenters.sam import Sam
from clipsx.weights import digest
from helpers import noise

PICTURE = noise(30, 48)
POINTS = ([(5, 6), (40, 20), (20, 25)], [1, 0, 1])
DECODER = {"hidden_size": 32, "mlp_dim": 32, "num_attention_heads": 2, "iou_head_hidden_dim": 16}
PROMPT = {"hidden_size": 32, "image_size": 64, "mask_input_channels": 4}


def tiny_sam() -> tuple[Any, Any]:
    vision = {"hidden_size": 32, "output_channels": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
              "image_size": 64, "patch_size": 8, "window_size": 4, "global_attn_indexes": [1], "num_pos_feats": 16,
              "mlp_dim": 64, "initializer_range": 0.1}  # fmt: skip
    prompt = PROMPT | {"patch_size": 8}
    config = transformers.SamConfig(vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=DECODER)
    sizes = {"size": {"longest_edge": 64}, "pad_size": {"height": 64, "width": 64}}
    return transformers.SamModel(config), transformers.SamImageProcessor(**sizes)


def tiny_sam2() -> tuple[Any, Any]:
    trunk = {"model_type": "sam2_hiera_det_model", "hidden_size": 8, "image_size": [64, 64],
             "blocks_per_stage": [1, 1, 2, 1],
             "embed_dim_per_stage": [8, 16, 32, 64], "num_attention_heads_per_stage": [1, 1, 2, 2],
             "window_size_per_stage": [4, 4, 4, 4], "global_attention_blocks": [3]}  # fmt: skip
    vision = {"backbone_config": trunk, "backbone_channel_list": [64, 32, 16, 8], "fpn_hidden_size": 32,
              "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]]}  # fmt: skip
    prompt = PROMPT | {"patch_size": 16}
    config = transformers.Sam2Config(vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=DECODER)
    return transformers.Sam2Model(config), transformers.Sam2ImageProcessor(size={"height": 64, "width": 64})


def made(make: Any) -> tuple[Any, Any]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model, processor = make()
        with torch.no_grad():
            for value in model.parameters():
                value.add_(torch.randn_like(value) * 0.1)
    return model.eval(), processor


@pytest.fixture(scope="module", params=[tiny_sam, tiny_sam2], ids=["sam", "sam2"])
def kept(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, Any]:
    model, processor = made(request.param)
    folder = tmp_path_factory.mktemp("sams") / request.param.__name__.replace("_", "-")
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder, model, processor


def test_the_mask_is_that_of_transformers_own_call(kept: Any) -> None:
    """Points and masks by the library's processor, the whole model in one call."""
    folder, model, processor = kept
    sam = segmenters.load(folder)
    assert isinstance(sam, Sam) and isinstance(sam, segmenters.Segmenter)
    assert sam.name.startswith(f"{folder.name} sha256:")
    before = digest(sam.model)
    whole = (transformers.SamProcessor if "sam2" not in folder.name else transformers.Sam2Processor)(processor)
    for picture in (PICTURE, noise(64, 20, 5)):
        points = [(min(x, picture.width - 1), y) for x, y in POINTS[0]]
        given = {"input_points": [[[list(map(float, p)) for p in points]]], "input_labels": [[POINTS[1]]]}
        inputs = whole(images=picture, return_tensors="pt", **given)
        with torch.inference_mode():
            sizes = {k: inputs.pop(k) for k in ("original_sizes", "reshaped_input_sizes") if k in inputs}
            out = model(**inputs)
        (masks,) = whole.post_process_masks(out.pred_masks, **sizes)
        expected = masks[0, int(out.iou_scores[0, 0].argmax())].numpy()
        found = sam(picture, points, POINTS[1])
        assert found.shape == (picture.height, picture.width) and 0 < found.mean() < 1
        np.testing.assert_array_equal(found, expected)
    assert digest(sam.model) == before and not sam.model.training


def test_a_picture_is_encoded_once(kept: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sam, calls = segmenters.load(kept[0]), []
    encode = sam.model.get_image_embeddings
    monkeypatch.setattr(sam.model, "get_image_embeddings", lambda pixels: (calls.append(1), encode(pixels))[1])
    first = sam(PICTURE, *POINTS)
    sam(PICTURE, POINTS[0][:1], [1])
    np.testing.assert_array_equal(sam(PICTURE, *POINTS), first)
    assert len(calls) == 1
    sam(noise(30, 48, 9), *POINTS)
    np.testing.assert_array_equal(sam(PICTURE, *POINTS), first)
    assert len(calls) == 3
    assert not sam(PICTURE, [], []).any() and not sam(PICTURE, [(1, 1)], [0]).any() and len(calls) == 3
    with pytest.raises(ValueError, match="off the picture"):
        sam(PICTURE, [(48, 0)], [1])


def change(folder: Path, **values: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | values))


def spoil(folder: Path, what: str) -> None:
    weights = folder / "model.safetensors"
    if what == "another":
        change(folder, model_type="clip")
    elif what == "configuration":
        (folder / "config.json").unlink()
    elif what == "weights":
        weights.unlink()
    elif what == "cut":
        weights.write_bytes(weights.read_bytes()[:1000])
    elif what == "nan":
        model = transformers.SamModel.from_pretrained(folder)
        with torch.no_grad():
            next(model.parameters()).fill_(float("nan"))
        model.save_pretrained(folder)
    else:
        from safetensors.torch import load_file, save_file

        tensors = load_file(weights)
        save_file(dict(sorted(tensors.items())[5:]), weights, {"format": "pt"})


@pytest.mark.parametrize(
    ("what", "error", "words"),
    [
        ("another", ValueError, "one is a model of type 'clip', not a SAM"),
        ("configuration", FileNotFoundError, r"one holds no config\.json"),
        ("weights", ValueError, "one cannot be read by transformers"),
        ("cut", ValueError, "one cannot be read by transformers"),
        ("lacking", ValueError, "weights of one are not all there: 5 are missing"),
        ("nan", ValueError, "not finite"),
    ],
)
def test_a_folder_that_holds_something_else(what: str, error: type, words: str, tmp_path: Path) -> None:
    model, processor = made(tiny_sam)
    folder = tmp_path / "one"
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    spoil(folder, what)
    with pytest.raises(error, match=words):
        segmenters.load(folder)


def test_without_a_network_and_without_transformers(
    kept: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(hub, "_answers", lambda url: False)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    with pytest.raises(
        ConnectionError, match=r"nobody/no-such-sam \(a segmenter\) could not be downloaded.*random-walker"
    ):
        segmenters.load("nobody/no-such-sam")
    assert "looking for nobody/no-such-sam" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ImportError, match=r"pip install 'clipsx\[sam\]'"):
        segmenters.load(kept[0])


def test_pictures_of_one_colour(kept: Any) -> None:
    mask = segmenters.load(kept[0])(Image.new("RGB", (20, 10)), [(3, 3)], [1])
    assert mask.shape == (10, 20)
