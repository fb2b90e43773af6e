"""Training: the vocabulary, the loss, and a run that is cut off and goes on as if it had not been."""

import dataclasses
import json
from collections import Counter

import numpy as np
import open_clip
import pytest
import torch
import torch.nn.functional as F

import clipsx
from clipsx.datasets import Sketchbook
from clipsx.load import built_in
from clipsx.sketchbook.scene import Thing
from clipsx.sketchbook.training import grid, loop, remake, train
from clipsx.sketchbook.training.pools import Pool, caption, draw_pool
from clipsx.sketchbook.training.recipes import RECIPES, Recipe, Stage
from clipsx.sketchbook.training.vocabulary import learn_merges, write_vocabulary
from clipsx.text import templates_of
from helpers import full_disk

TINY = Recipe(
    {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 16, "layers": 1, "width": 16, "head_width": 8, "patch_size": 8},
        "text_cfg": {"context_length": 32, "width": 16, "heads": 2, "layers": 1},
    },
    (
        Stage(32, 16, (1, 1), alone=1.0, colours=0.0, ground=0.0, patch_dropout=0.5),
        Stage(32, 16, (1, 3), alone=0.5, colours=0.5, ground=0.5, patch_dropout=0.25),
    ),
    batch=8,
    warmup=2,
)


@pytest.fixture(autouse=True)
def _few_scenes_for_the_log(monkeypatch):
    monkeypatch.setattr(loop, "CHECKED", 10)


def test_merges_follow_frequency():
    assert learn_merges(Counter({"ab": 3, "abc": 1})) == [("a", "b</w>"), ("a", "b"), ("ab", "c</w>")]


def test_the_vocabulary_knows_every_word_of_the_captions(tmp_path):
    size = write_vocabulary(tmp_path / "bpe.txt.gz")
    tokenizer = open_clip.SimpleTokenizer(str(tmp_path / "bpe.txt.gz"), context_length=32)
    assert tokenizer.vocab_size == size
    for word in (*Sketchbook.NOUNS, *Sketchbook.COLOURS, *Sketchbook.BACKGROUNDS, "photo", "scene"):
        assert len(tokenizer.encode(word)) == 1, word
    assert tokenizer.decode(tokenizer.encode("a zebra!")).strip() == "a zebra !"  # words it never saw are spelled


def test_the_loss_is_clips_own_when_no_caption_repeats():
    image, text = (F.normalize(torch.randn(6, 8, generator=torch.Generator().manual_seed(s)), dim=1) for s in (0, 1))
    scale, order = torch.tensor(9.0), torch.arange(6)
    own = open_clip.ClipLoss()(image, text, scale)
    assert torch.allclose(loop.contrastive_loss(image, text, order, scale), own)


def test_images_with_the_same_caption_are_all_its_positives():
    """One caption for all images: nothing to tell apart, and nothing that could be better."""
    image, text = F.normalize(torch.randn(4, 8), dim=1), F.normalize(torch.randn(1, 8), dim=1)
    same = image[:1].expand(4, 8)
    which, scale = torch.zeros(4, dtype=torch.long), torch.tensor(5.0)
    assert loop.contrastive_loss(same, text, which, scale) == pytest.approx(np.log(4) / 2, abs=1e-5)
    assert loop.contrastive_loss(image, text, which, scale) >= np.log(4) / 2 - 1e-5


def test_a_caption_means_what_the_scene_shows():
    rng = np.random.default_rng(0)
    things = [Thing(noun, colour, (0, 0, 0), []) for noun, colour in (("boat", "red"), ("fish", "blue"))]
    stage = Stage(1, 1, (1, 4), alone=0.5, colours=0.5, ground=0.5)
    seen = {caption(rng, "water", things, stage) for _ in range(200)}
    assert {"a boat", "a fish", "a red boat on water", "a red boat and a blue fish"} <= {meaning for _, meaning in seen}
    assert all(("boat" in text) == ("boat" in meaning) for text, meaning in seen)
    assert any(text in {t.format("boat") for t in templates_of("clip-surgery")} for text, _ in seen)


def test_a_pool_is_drawn_once_and_batches_depend_on_the_step_alone(tmp_path):
    world = Sketchbook(seed=1, length=12, size=16)
    file = draw_pool(world, tmp_path)
    before = file.stat().st_mtime_ns
    assert draw_pool(world, tmp_path) == file
    assert file.stat().st_mtime_ns == before
    assert np.array_equal(np.load(file)[5], np.asarray(world[5].image))
    pool = Pool(file, world, TINY.stages[1])
    (a, texts, which), (b, again, _) = (pool.batch(np.random.default_rng([7, 3]), 8) for _ in range(2))
    assert torch.equal(a, b)
    assert texts == again
    assert len(set(texts)) == len(texts) > int(which.max())


@pytest.mark.slow
def test_a_run_that_was_cut_off_ends_in_the_same_weights(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "REPORT", 3)
    found = train(TINY, tmp_path / "whole", tmp_path / "work" / "a", test_length=20)
    with monkeypatch.context() as patch:
        patch.setattr(loop, "scores", _interrupt_at(loop.scores, 2))
        with pytest.raises(KeyboardInterrupt):
            train(TINY, tmp_path / "cut", tmp_path / "other" / "b", test_length=20)
    train(TINY, tmp_path / "cut", tmp_path / "other" / "b", test_length=20)
    whole, cut = (clipsx.load(str(tmp_path / name)).model.state_dict() for name in ("whole", "cut"))
    assert all(torch.equal(whole[key], cut[key]) for key in whole)
    assert json.loads((tmp_path / "whole" / "scores.json").read_text())["mAP"] == found["mAP"]
    rows = (tmp_path / "whole" / "log.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["step", "3", "4", "6", "8"]
    after = sorted(file.name for file in (tmp_path / "work" / "a").glob("after-*"))
    assert after == ["after-32.safetensors", "after-64.safetensors"]


@pytest.mark.slow
def test_a_pool_that_was_cut_short_is_drawn_again(tmp_path):
    world = Sketchbook(seed=1, length=12, size=16)
    file = draw_pool(world, tmp_path)
    whole = file.read_bytes()
    for damaged in (whole[:-1], whole[:20], b"", b"x"):
        file.write_bytes(damaged)
        assert draw_pool(world, tmp_path).read_bytes() == whole


@pytest.mark.slow
def test_a_full_disk_is_said_and_leaves_no_half_pool(tmp_path):
    with full_disk(5_000), pytest.raises(OSError, match=r"is full: .*npy was not written. Free space"):
        train(TINY, tmp_path / "out", tmp_path / "work" / "a", test_length=20)
    assert list((tmp_path / "work" / "pools").iterdir()) == []


@pytest.mark.slow
def test_a_damaged_checkpoint_is_named_and_can_be_gone_round(tmp_path, monkeypatch):
    """A run's own one is named; one that runs share is passed over for the one before."""
    monkeypatch.setattr(loop, "scores", lambda *_: {"top1": 0.0, "mAP": 0.0})
    train(TINY, tmp_path / "a", tmp_path / "work" / "a", test_length=2)
    own = tmp_path / "work" / "a" / "checkpoint.pt"
    own.write_bytes(own.read_bytes()[:-50])
    with pytest.raises(ValueError, match=r"checkpoint\.pt is not a whole checkpoint.*delete it"):
        train(TINY, tmp_path / "a", tmp_path / "work" / "a", test_length=2)
    own.unlink()
    last = tmp_path / "work" / "begun" / f"{loop._beginning(TINY, 2)}.pt"
    last.write_bytes(last.read_bytes()[:-50])
    seen: list[int] = []
    monkeypatch.setattr(Pool, "batch", lambda *a, own=Pool.batch: (seen.append(1), own(*a))[1])
    with pytest.warns(UserWarning, match=last.name):
        train(TINY, tmp_path / "a", tmp_path / "work" / "a", test_length=2)
    assert len(seen) == 4


@pytest.mark.slow
def test_a_recipe_that_begins_as_another_goes_on_from_there(tmp_path, monkeypatch):
    other = dataclasses.replace(TINY, stages=(TINY.stages[0], dataclasses.replace(TINY.stages[1], colours=0.0)))
    assert loop._beginning(TINY, 1) == loop._beginning(other, 1) != loop._beginning(TINY, 2)
    assert loop._beginning(TINY, 2) != loop._beginning(other, 2)
    train(TINY, tmp_path / "first", tmp_path / "work" / "a", test_length=20)
    train(other, tmp_path / "alone", tmp_path / "apart" / "b", test_length=20)
    seen: list[int] = []
    monkeypatch.setattr(Pool, "batch", lambda *a, own=Pool.batch: (seen.append(1), own(*a))[1])
    train(other, tmp_path / "shared", tmp_path / "work" / "b", test_length=20)
    assert len(seen) == 4  # the second stage alone
    alone, shared = (clipsx.load(str(tmp_path / name)).model.state_dict() for name in ("alone", "shared"))
    assert all(torch.equal(alone[key], shared[key]) for key in alone)


@pytest.mark.slow
@pytest.mark.parametrize("tower", ["vit", "resnet"])
def test_bfloat16_computes_and_float32_learns(tmp_path, tower):
    """The same run in both precisions ends close by; a weight moves by less than bfloat16 could hold."""
    vision = TINY.model["vision_cfg"]
    if tower == "resnet":
        vision = {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "head_width": 16}
    plain = dataclasses.replace(TINY, model=TINY.model | {"vision_cfg": vision}, lr=1e-4)
    ends = []
    for name, half in (("plain", False), ("half", True)):
        train(dataclasses.replace(plain, bfloat16=half), tmp_path / name, tmp_path / f"w{name}" / "a", test_length=10)
        saved = torch.load(tmp_path / f"w{name}" / "a" / "checkpoint.pt", weights_only=True)["model"]
        ends.append(saved)
    torch.manual_seed(plain.seed)
    for key, one in ends[0].items():
        assert ends[1][key].dtype == one.dtype
        if one.is_floating_point() and torch.isfinite(one).all() and one.ndim > 1:
            assert torch.allclose(one, ends[1][key], atol=2e-3), key
    moved = ends[1]["text_projection"]
    assert not torch.equal(moved, moved.bfloat16().float())


@pytest.mark.slow
def test_a_new_cycle_begins_from_what_would_be_shipped(tmp_path):
    """Two cycles in one run, and a second cycle on the weights that the first one shipped, end in the same weights."""
    cycle = Stage(16, 16, (1, 3), alone=0.5, colours=0.0, ground=0.0, patch_dropout=0.25, restart=5e-4)
    both = dataclasses.replace(TINY, stages=(*TINY.stages, cycle))
    train(both, tmp_path / "both", tmp_path / "work" / "a", test_length=10)
    train(TINY, tmp_path / "first", tmp_path / "other" / "b", test_length=10)
    kept = torch.load(tmp_path / "other" / "b" / "checkpoint.pt", weights_only=True)
    shipped = clipsx.load(str(tmp_path / "first")).model.state_dict()
    kept["model"] = {name: shipped[name] for name in kept["model"]}
    torch.save(kept, tmp_path / "other" / "b" / "checkpoint.pt")
    train(both, tmp_path / "second", tmp_path / "other" / "b", test_length=10)
    one, two = (clipsx.load(str(tmp_path / name)).model.state_dict() for name in ("both", "second"))
    assert all(torch.equal(one[key], two[key]) for key in one)
    rates = [loop._rate(both, [4, 8, 10], stage, step) for step, stage in ((7, 1), (8, 2), (9, 2))]
    assert rates == pytest.approx([1e-3 * 0.5 * (1 + np.cos(np.pi * 7 / 8)), 2.5e-4, 2.5e-4])


def _interrupt_at(function, call):
    calls = []

    def interrupted(*args):
        calls.append(1)
        if len(calls) == call:
            raise KeyboardInterrupt
        return function(*args)

    return interrupted


def test_open_clip_itself_opens_the_folder(tmp_path):
    recipe = dataclasses.replace(TINY, stages=())
    train(recipe, tmp_path / "random", tmp_path / "work", test_length=10)
    model = open_clip.create_model(f"local-dir:{tmp_path / 'random'}").eval()
    ours = clipsx.load(str(tmp_path / "random"))
    image = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(ours.encode_image(image), model.encode_image(image, normalize=True), atol=1e-6)


def test_an_unknown_recipe_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match="sketchbook-rn"):
        remake("sketchbok-rn")


def test_what_is_shipped_was_made_by_the_recipes():
    """Each built-in model says the recipe it was made by, and that recipe is the one in the code."""
    for name, folder in built_in().items():
        made = json.loads((folder / "train.json").read_text())["recipe"]
        recipe = RECIPES.get(name) or grid.recipe(name)
        assert made == json.loads(json.dumps(dataclasses.asdict(recipe))), name


@pytest.mark.slow
def test_a_recipe_can_go_on_from_what_is_shipped(tmp_path, monkeypatch):
    train(TINY, tmp_path / "data" / "first", tmp_path / "work" / "a", test_length=10)
    monkeypatch.setattr(clipsx.paths, "data", lambda: tmp_path / "data")
    first = clipsx.load("first").model.state_dict()
    still = dataclasses.replace(TINY, stages=(dataclasses.replace(TINY.stages[1], images=8),), lr=0.0, begins="first")
    train(still, tmp_path / "on", tmp_path / "other" / "b", test_length=10)
    later = clipsx.load(str(tmp_path / "on")).model.state_dict()
    assert all(torch.equal(first[key], later[key]) for key in first)
