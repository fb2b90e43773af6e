"""Models and methods by configurations alone: the same as the towers themselves say."""

import re

import open_clip
import pytest
import timm
import torch

import clipsx
from clipsx import cli, models
from clipsx.load import built_in
from clipsx.methods import METHODS, authority, serving
from clipsx.methods import able as served
from clipsx.towers.outline import outline


@pytest.mark.slow
def test_built_in_models_are_what_their_towers_say() -> None:
    found = models.table("sketchbook").set_index("model")
    for name in found.index:
        tower = clipsx.load(name, device="cpu").tower
        assert found.loc[name, "family"] == tower.family and found.loc[name, "blocks"] == tower.blocks
        able = {method: found.loc[name, method] in models.LETTERS for method in METHODS}
        assert [method for method in METHODS if able[method]] == [*served(tower), *served(tower, texts=True)]
        stands = models.stands(tower).set_index("name")["stands on"]
        assert list(stands.index) == list(METHODS)
        for method in (method for method in METHODS if able[method]):
            assert found.loc[name, method] == stands[method] == authority(serving(method, tower), tower)


def test_open_clips_architectures_by_family() -> None:
    found = models.table().set_index("model")
    assert set(found.index) == {*built_in(), *open_clip.list_models()}
    siglip = found.loc["ViT-B-16-SigLIP2"]
    assert siglip["family"] == "timm VisionTransformer" and siglip["clip-surgery"] == "our extension"
    assert siglip["sc-clip"] == "it has no class token that its image feature is read from"
    assert found.loc["ViT-B-16", "clip-surgery"] == "released code"
    assert found.loc["RN50", "clip-surgery-released"] == "released code"
    assert "no attention" in found.loc["convnext_base", "maskclip"]
    assert found.loc["swin_base_patch4_window7_224", "clip"] == "the tower is not understood"
    pairs = [name for name, _ in open_clip.list_pretrained()]
    served = {
        m: sum(found.loc[name, m] in models.LETTERS for name in pairs) for m in ("clip", "maskclip", "clip-surgery")
    }
    assert served["clip"] == len(pairs) and served["maskclip"] == served["clip-surgery"] >= 178


@pytest.mark.slow
def test_depths_are_timms_own() -> None:
    """Of the models that differ in their pictures' size alone, one stands for all."""
    configs = [open_clip.get_model_config(name)["vision_cfg"] for name in open_clip.list_models()]
    for vision in {re.sub(r"_\d+$", "", config.get("timm_model_name", "")): config for config in configs}.values():
        made, tower = vision.get("timm_model_name"), outline(vision)
        if made and tower is not None and tower.blocks > 1:
            with torch.device("meta"):
                trunk = timm.create_model(made)
            assert (len(trunk.blocks), f"timm {type(trunk).__name__}") == (tower.blocks, tower.family), made


def test_the_command_prints_a_letter_a_cell(capsys: pytest.CaptureFixture, tmp_path) -> None:
    assert cli.main(["models", "siglip2", "--out", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "ViT-gopt-16-SigLIP2-256" in said and models.LEGEND in said and (tmp_path / "models.csv").is_file()
    row = next(line.split() for line in said.splitlines() if "ViT-B-16-SigLIP2-256" in line)
    whys = dict(line.split(" ", 1) for line in said.splitlines() if line[0].isdigit())
    cells = dict(zip(METHODS, row[-len(METHODS) :], strict=True))
    assert (
        cells["clip"] == "E" and whys[cells["sc-clip"]] == "it has no class token that its image feature is read from"
    )
    assert cli.main(["models", "siglop"]) == 2
    assert "No model's name holds 'siglop'" in capsys.readouterr().err
