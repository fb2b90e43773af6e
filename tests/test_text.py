"""Label features: the ensemble, the cut at the longest prompt, the cache."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from open_clip.model import CustomTextCLIP
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

import clipsx
from clipsx import paths, text
from clipsx.prompts import Tower, encode_prompts
from helpers import TEXT, VIT, full_disk, noise, tiny_clip, tiny_model, tokenizer, unchecked


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of this test's own."""
    monkeypatch.setenv("CLIPSX_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def files(cache: Path) -> list[Path]:
    return sorted(cache.rglob("*.safetensors"))


def test_templates() -> None:
    assert len(text.templates_of("clip-surgery")) == 85
    assert text.templates_of("clip-surgery")[:80] == text.templates_of("imagenet")
    assert "a bad photo of a {}." in text.templates_of("imagenet")
    assert "there is a {} in the scene." in text.templates_of("clip-surgery")
    assert all(t.count("{}") == 1 for t in text.templates_of("clip-surgery"))
    assert len(set(text.templates_of("clip-surgery"))) == 85


def test_ensemble_is_the_mean_of_unit_features(cache: Path) -> None:
    clip = tiny_clip()
    labels = ["cat", "a much longer label than the others", ""]
    expected = []
    with torch.no_grad():
        for label in labels:
            prompts = [t.format(label) for t in text.templates_of("clip-surgery")]
            mean = clip.model.encode_text(clip.tokenizer(prompts), normalize=True).mean(0)
            expected.append(mean / mean.norm())
    found = clip.encode_labels(labels)
    torch.testing.assert_close(found, torch.stack(expected), atol=1e-5, rtol=0)
    torch.testing.assert_close(clip.encode_labels(labels), found, atol=0, rtol=0)


@pytest.mark.parametrize(
    "options",
    [{}, {"pool_type": "eos", "eos_id": 49407}, {"pool_type": "last"}, {"no_causal_mask": True}, {"proj_bias": True},
     {"embed_cls": True}],
)  # fmt: skip
def test_prompts_are_cut_only_where_nothing_changes(options: dict) -> None:
    """The features are the model's own for every kind of text tower, in the given order, alone or together."""
    torch.manual_seed(0)
    model = CustomTextCLIP(32, dict(VIT), {**TEXT, **options}).eval()
    prompts = ["a cat", "a photo of a very small dog on a beach", "b", "", "a cat"]
    found = encode_prompts(model, tokenizer(), prompts)
    with torch.no_grad():
        expected = model.encode_text(tokenizer()(prompts), normalize=True)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    assert Tower(model).cuts == (options in ({}, {"pool_type": "eos", "eos_id": 49407}, {"proj_bias": True}))


def test_many_prompts_make_many_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    clip = tiny_clip()
    prompts = [("word " * (n % 7)).strip() + f" {n}" for n in range(23)]
    expected = clip.encode_text(prompts)
    monkeypatch.setattr("clipsx.prompts.BATCH", 4)
    torch.testing.assert_close(clip.encode_text(prompts), expected, atol=1e-5, rtol=0)


def test_a_prompt_that_is_too_long_warns() -> None:
    clip = tiny_clip()
    exact = "word " * 38  # with the two specials, 40 tokens: all of it is read
    clip.encode_text([exact])
    with pytest.warns(UserWarning, match="is longer than the model's 40 tokens"):
        clip.encode_text(["cat", exact, exact + "word"])


def test_labels_are_refused_in_words() -> None:
    clip = tiny_clip()
    assert clip.encode_labels([""], templates="photo").shape == (1, 32)
    for blank in (" ", "\t", "\n "):
        with pytest.raises(ValueError, match='exactly ""'):
            clip.encode_labels(["cat", blank])
    with pytest.raises(ValueError, match="At least one label"):
        clip.encode_labels([])
    with unchecked():
        with pytest.raises(TypeError, match=r"\['cat'\]"):
            clip.encode_labels("cat")
        with pytest.raises(TypeError, match="must be a text"):
            clip.encode_labels(["cat", 3])
    with pytest.raises(ValueError, match="did you mean 'imagenet'"):
        clip.encode_labels(["cat"], templates="imagnet")
    with pytest.raises(ValueError, match="where the label goes"):
        clip.encode_labels(["cat"], templates=["a photo"])
    with pytest.raises(ValueError, match="At least one template"):
        clip.encode_labels(["cat"], templates=[])


def test_own_templates_and_repeated_labels(cache: Path) -> None:
    clip = tiny_clip()
    found = clip.encode_labels(["cat", "dog", "cat"], templates=["{} on {}", "see {}"])
    assert torch.equal(found[0], found[2])
    prompts = F.normalize(clip.encode_text(["dog on dog", "see dog"]).mean(0), dim=-1)
    torch.testing.assert_close(found[1], prompts, atol=1e-6, rtol=0)
    assert len(files(cache)) == 2
    braces = clip.encode_labels(["{0} {}"], templates="photo")
    torch.testing.assert_close(braces, clip.encode_text(["a photo of a {0} {}."]), atol=1e-6, rtol=0)


def test_cache_is_keyed_by_all_that_matters(cache: Path) -> None:
    clip = tiny_clip()
    clip.encode_labels(["cat"], templates="photo")
    assert len(files(cache)) == 1
    clip.encode_labels(["cat"], templates="plain")
    clip.encode_labels(["dog"], templates="photo")
    assert len(files(cache)) == 3
    tiny_clip(seed=1).encode_labels(["cat"], templates="photo")  # other weights
    assert len(files(cache)) == 4
    other = clipsx.Clip(tiny_model(quick_gelu=True), clip.preprocess, clip.tokenizer)  # same weights, other activation
    assert float(
        (other.encode_labels(["cat"], templates="photo") - clip.encode_labels(["cat"], templates="photo")).norm()
    )
    assert len(files(cache)) == 5
    shifted = clipsx.Clip(clip.model, clip.preprocess, lambda prompts: clip.tokenizer([p[::-1] for p in prompts]))
    shifted.encode_labels(["cat"], templates="photo")  # another tokenizer
    assert len(files(cache)) == 6


def test_weights_changed_in_place_are_seen(cache: Path) -> None:
    clip = tiny_clip()
    before = clip.encode_labels(["cat"], templates="photo")
    with torch.no_grad():
        clip.model.ln_final.bias.add_(0.5)
    middle = clip.encode_labels(["cat"], templates="photo")
    assert not torch.equal(middle, before)
    clip.model.ln_final.bias.data.add_(0.5)  # which torch's version counter does not see
    assert not torch.equal(clip.encode_labels(["cat"], templates="photo"), middle)


def test_another_model_at_the_same_address_is_not_taken_for_the_first(cache: Path) -> None:
    """Freed memory is used again: a digest remembered by address alone would serve another model's features."""
    found = []
    for seed in (0, 1, 0):
        clip = tiny_clip(seed)
        found.append(clip.encode_labels(["cat"], templates="photo"))
        del clip
    assert torch.equal(found[0], found[2])
    assert not torch.equal(found[0], found[1])


def test_the_image_tower_does_not_matter_to_the_cache(cache: Path) -> None:
    clip = tiny_clip()
    clip.encode_labels(["cat"], templates="photo")
    with torch.no_grad():
        clip.model.visual.proj.add_(0.5)
    clip.encode_labels(["cat"], templates="photo")
    assert len(files(cache)) == 1


@pytest.mark.parametrize("damage", ["cut", "empty", "noise", "other"])
def test_a_cache_file_that_is_damaged_is_made_again(cache: Path, damage: str) -> None:
    clip = tiny_clip()
    expected = clip.encode_labels(["cat"], templates="photo")
    (file,) = files(cache)
    whole = file.read_bytes()
    if damage == "other":
        save_file({"feature": torch.full((32,), float("nan"))}, file)
    else:
        file.write_bytes({"cut": whole[:-7], "empty": b"", "noise": b"x" * len(whole)}[damage])
    torch.testing.assert_close(clip.encode_labels(["cat"], templates="photo"), expected)
    torch.testing.assert_close(load_file(file)["feature"], expected[0])
    assert sorted(f.suffix for f in file.parent.iterdir()) == [".json", ".safetensors"]


def test_a_full_disk_only_warns(cache: Path) -> None:
    with full_disk(100), pytest.warns(UserWarning, match=r"could not be kept in .* is full"):
        features = tiny_clip().encode_labels(["cat"], templates="photo")
    assert features.shape == (1, 32) and not [file for file in cache.rglob("*") if file.is_file()]


def test_a_cache_that_cannot_be_written_only_warns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    monkeypatch.setenv("CLIPSX_CACHE", str(blocked))
    with pytest.warns(UserWarning, match="could not be kept"):
        assert tiny_clip().encode_labels(["cat"], templates="photo").shape == (1, 32)


def test_a_write_that_is_interrupted_leaves_nothing(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    clip = tiny_clip()
    with monkeypatch.context() as patch:
        patch.setattr("os.replace", stop)
        with pytest.raises(KeyboardInterrupt):
            clip.encode_labels(["cat"], templates="photo")
    assert not any(f.is_file() for f in cache.rglob("*"))
    clip.encode_labels(["cat"], templates="photo")


def test_the_second_time_is_much_faster(cache: Path) -> None:
    clip = tiny_clip()
    labels = [f"thing {n}" for n in range(8)]
    start = time.process_time()
    first = clip.encode_labels(labels)
    middle = time.process_time()
    again = clip.encode_labels(labels)
    end = time.process_time()
    assert torch.equal(first, again)
    assert (middle - start) > 5 * (end - middle)


def test_tokens_of_a_prompt() -> None:
    clip = tiny_clip()
    words, features = clip.encode_tokens("a cat on grass")
    assert words == ["<start_of_text>", "a", "cat", "on", "grass", "<end_of_text>"]
    assert features.shape == (6, 32)
    torch.testing.assert_close(features[-1], clip.encode_text(["a cat on grass"])[0], atol=1e-6, rtol=0)
    assert clip.encode_tokens("")[1].shape == (2, 32)
    clip.model.attn_mask = None
    with pytest.raises(ValueError, match="not a causal text tower"):
        clip.encode_tokens("a cat")


def test_paths(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert paths.data().name in ("data", "_data")
    assert paths.notebooks().name in ("notebooks", "_notebooks")
    monkeypatch.setenv("CLIPSX_CACHE", str(tmp_path))
    assert paths.cache() == tmp_path
    monkeypatch.delenv("CLIPSX_CACHE")
    assert "clipsx" in str(paths.cache())


def _takers() -> dict[str, Callable[[Any], Any]]:
    """Every function that takes labels."""
    from clipsx import mfi
    from clipsx.analyses import coactivation, companions, redundancy
    from clipsx.datasets import Sample
    from clipsx.evaluation import explain, recognise, segment
    from clipsx.explain import explain as explained
    from clipsx.panels.state import accepted
    from clipsx.plots import sheets
    from clipsx.unmix import fit, gather

    clip, sample = tiny_clip(), Sample(noise(64, 64), ["c"], {}, name="x")
    square, table = np.eye(3), pd.DataFrame({"a": ["c"], "b": ["a"], "score": [1.0]})
    features, present = np.ones((2, 1, 32), np.float16), np.ones((2, 3), np.int64)
    return {
        "encode_labels": clip.encode_labels,
        "encode_text": clip.encode_text,
        "explain": lambda labels: explained(clip, sample.image, labels),
        "pairs": lambda labels: mfi.pairs(square, labels),
        "explain.measure": lambda labels: explain.measure(clip, labels),
        "segment.measure": lambda labels: segment.measure(clip, labels),
        "recognise.measure": lambda labels: recognise.measure(clip, labels),
        "coactivation.measure": lambda labels: coactivation.measure(clip, labels),
        "as_matrix": lambda labels: coactivation.as_matrix(table, labels),
        "presence": lambda labels: companions.presence([sample], labels),
        "redundancy": lambda labels: redundancy.measure(clip, labels),
        "index_map": sample.index_map,
        "gather": lambda labels: gather(clip, [sample], labels),
        "fit": lambda labels: fit(features, present, torch.ones(2, 3, 32), labels),
        "accepted": accepted,
        "methods": lambda labels: sheets.methods(clip, [sample], labels),
        "empty_label": lambda labels: sheets.empty_label(clip, [sample], labels),
    }


@pytest.mark.parametrize("name", _takers())
def test_one_text_where_a_list_belongs(name: str) -> None:
    with unchecked(), pytest.raises(TypeError, match=r"labels must be a list of texts: \['cat'\], not 'cat'"):
        _takers()[name]("cat")
