"""Readings: one text form that parses and prints alike, what tables show of it, and one walk for many of them."""

import re
from collections import Counter
from collections.abc import Callable
from itertools import product
from typing import Any

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings

import clipsx
from clipsx import towers
from clipsx.methods import METHODS, PAIRS, rows_of
from clipsx.reading import SURGERIES, TAU, Reading, crossed, readings, served
from helpers import random_images, tiny_clip, tiny_resnet

# --- the text form ---

NUMBERS = st.one_of(st.sampled_from([0.0, 1.0, 2.0, 8.0, 0.5]), st.floats(0, 1e20, allow_nan=False))


@st.composite
def free_texts(draw: Any) -> str:
    words = draw(st.lists(st.sampled_from(list(PAIRS)), max_size=3))
    words += draw(st.lists(st.sampled_from(["unit", "sum", "itself", "bare", "ffn"]), unique=True))
    words += [f"{name}={draw(NUMBERS)!r}" for name in draw(st.sets(st.sampled_from(["sharpen", "neighbour"])))]
    words += draw(st.sampled_from([[], ["blocks=depth"], [f"blocks={draw(st.integers(1, 10**7))}"]]))
    space = draw(st.sampled_from(["", " "]))
    return f"free({space}{(',' + space).join(draw(st.permutations(words)))}{space})"


@st.composite
def parts(draw: Any) -> tuple[Any, ...]:
    """What a reading is made from."""
    method = draw(st.one_of(st.sampled_from(list(METHODS)), free_texts()))
    has_depth = method == "clip-surgery" or "blocks=depth" in method
    depth = draw(st.one_of(st.none(), st.integers(1, 99))) if has_depth else None
    surgeries = ["none"] if method in METHODS and METHODS[method].texts else SURGERIES  # what needs the texts has none
    return method, depth, draw(st.sampled_from(surgeries)), draw(NUMBERS)


@pytest.mark.slow
@given(parts())
@settings(max_examples=200, deadline=None)
def test_what_is_printed_is_read_back(made: tuple[Any, ...]) -> None:
    reading = Reading(*made)
    text = str(reading)
    assert Reading.parse(text) == reading
    assert str(Reading.parse(text)) == text
    assert Reading.parse(f"  {text} ") == reading
    assert Reading.parse(reading) is reading
    assert readings(text) == (reading,)
    assert readings(f"maskclip, {text},clip") == tuple(
        dict.fromkeys((Reading("maskclip"), reading, Reading("clip")))
    )  # a list of texts is a text too


@given(parts(), parts())
@settings(max_examples=100, deadline=None)
def test_equal_readings_print_alike_and_others_do_not(first: tuple[Any, ...], second: tuple[Any, ...]) -> None:
    one, other = Reading(*first), Reading(*second)
    assert (one == other) == (str(one) == str(other))
    assert (one == other) <= (hash(one) == hash(other))


@pytest.mark.parametrize(
    ("text", "reading", "printed"),
    [
        ("clip", Reading(), "clip"),
        ("clip+none", Reading("clip"), "clip"),
        ("clip-surgery@6", Reading("clip-surgery", 6), "clip-surgery@6"),
        ("clip-surgery@06+code(tau=2.0)", Reading("clip-surgery", 6, "code"), "clip-surgery@6+code"),
        ("maskclip+paper( τ = 1 )", Reading("maskclip", None, "paper", 1.0), "maskclip+paper(tau=1)"),
        ("clip+none(tau=5)", Reading("clip"), "clip"),
        ("clip+code(tau=-0.0)", Reading("clip", None, "code", 0.0), "clip+code(tau=0)"),
        ("clip + code", Reading("clip", None, "code"), "clip+code"),
        (
            "free( vv, blocks = depth )@3+code(tau=.5)",
            Reading("free(vv,blocks=depth)", 3, "code", 0.5),
            "free(vv,blocks=depth)@3+code(tau=0.5)",
        ),
        ("free(qq, kk, sharpen=1)", Reading("free(qq,kk)"), "free(qq,kk)"),
    ],
)
def test_defaults_are_not_printed(text: str, reading: Reading, printed: str) -> None:
    assert Reading.parse(text) == reading
    assert str(Reading.parse(text)) == printed


def test_without_surgery_tau_says_nothing() -> None:
    assert Reading("clip", tau=7.0) == Reading("clip") and Reading("clip", tau=7.0).tau == TAU
    assert Reading("clip", None, "code", 7.0) != Reading("clip", None, "code")
    assert Reading("clip-surgery", 3, "paper", 1.0).features == Reading("clip-surgery", 3)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", r"'' is not understood at 1 \('the end'\)"),
        ("@6", r"at 1 \('@6'\)"),
        ("+code", r"at 1 \('\+code'\)"),
        ("clip)", r"at 5 \('\)'\)"),
        ("clip@3@4", r"at 7 \('@4'\)"),
        ("clip+code(tau=1)x", r"at 17 \('x'\)"),
        ("clip-surgery@6+code(tau=1", r"at 20 \('\(tau=1'\)"),
        ("free(qq", r"at 5 \('\(qq'\)"),
        ("free(qq))", r"at 9 \('\)'\)"),
        ("free(qq)(tau=1)", r"at 9 \('\(tau=1\)'\)"),
        ("clip-surgery@", r"at 14 \('the end'\): a whole number of blocks"),
        ("clip-surgery@six", r"at 14 \('six'\): a whole number of blocks"),
        ("clip-surgery@1e3+code", r"at 14 \('1e3\+code'\): a whole number of blocks"),
        ("clip+code()", r"at 10 \('\(\)'\): \(tau=x\) goes here"),
        ("clip+code(t=1)", r"at 10 \('\(t=1\)'\): \(tau=x\) goes here"),
        ("clip+code(tau=nan)", r"at 10 .*: \(tau=x\) goes here"),
        ("clip+code(tau=one)", r"at 10 .*: \(tau=x\) goes here"),
        ("clip-sugery+code", r"Unknown method 'clip-sugery'; did you mean 'clip-surgery'.*\(at 1 of 'clip-su"),
        ("  clip-sugery ", r"did you mean 'clip-surgery'.*\(at 1 of 'clip-sugery'\)"),
        ("clip+cod", r"Unknown feature surgery 'cod'; did you mean 'code'.*\(at 6 of 'clip\+cod'\)"),
        ("clip+", r"Unknown feature surgery ''. Known: none, code, paper \(at 6"),
        ("clip+code+paper", r"Unknown feature surgery 'code\+paper'.*\(at 6"),
        ("clip+(tau=1)", r"Unknown feature surgery ''.*\(at 6"),
        ("clip-surgery@0", r"depth must be a whole number of at least 1, not 0 \(at 14"),
        ("clip-surgery@-1", r"depth must be a whole number of at least 1, not -1 \(at 14"),
        ("clip@3", r"depth must be left out, not 3: 'clip' has none to choose \(at 6"),
        ("free(vv)@3", r"depth must be left out.*\(at 10"),
        ("clip+code(tau=-1)", r"tau must be a finite number of at least 0, not -1.0 \(at 10"),
        ("clip+code(tau=inf)", r"tau must be a finite number of at least 0, not inf \(at 10"),
        ("free(qq, sumn)", r"'sumn' in 'free\(qq, sumn\)' is not understood; did you mean 'sum'.*\(at 1"),
        ("free(blocks=0)+code", r"blocks=0 in a free combination.*\(at 1 of"),
    ],
)  # fmt: skip
def test_what_is_not_understood_is_told_with_its_place(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Reading.parse(text)


@pytest.mark.slow
@given(st.text("clipmaskfreqkv-@+()=,.τau0123 depthcode", max_size=24))
@settings(max_examples=300, deadline=None)
def test_any_text_is_a_reading_or_a_value_error_with_a_place(text: str) -> None:
    told = ""
    try:
        reading = Reading.parse(text)
    except ValueError as error:
        told = str(error)
    assert re.search(r"at \d+ (\(|of )", told) if told else Reading.parse(str(reading)) == reading


def test_several_from_one_text() -> None:
    found = readings("clip, free(qq, kk)+code, maskclip")
    assert [str(reading) for reading in found] == ["clip", "free(qq,kk)+code", "maskclip"]
    found = readings("free(qq,kk),free(vv, sum , blocks=2)+code(tau=1), clip-surgery@2")
    assert [str(reading) for reading in found] == ["free(qq,kk)", "free(vv,blocks=2)+code(tau=1)", "clip-surgery@2"]
    assert readings("clip, ,clip,") == readings(["clip", "clip+none", Reading()]) == (Reading(),)
    assert readings(Reading("maskclip")) == (Reading("maskclip"),)
    assert readings(text for text in ("clip", "maskclip")) == (Reading("clip"), Reading("maskclip"))
    for nothing in ("", " , ", (), []):
        with pytest.raises(ValueError, match="at least one reading"):
            readings(nothing)
    with pytest.raises(ValueError, match="'cod'"):
        readings("clip, clip+cod")
    with pytest.raises(ValueError, match="is not understood"):
        readings(["clip", ""])


def test_crossed_is_every_method_with_every_surgery() -> None:
    assert [str(r) for r in crossed(("clip", "maskclip"))] == ["clip", "clip+code", "maskclip", "maskclip+code"]
    assert [str(r) for r in crossed(["clip"], ["paper"])] == ["clip+paper"]


def test_what_a_tower_can_serve_of_several() -> None:
    asked = "clip, sclip+code, free(kk, bare), free(kk), legrad, clip-surgery@1"
    assert served(asked, tiny_clip().tower) == [str(reading) for reading in readings(asked)]
    assert served(asked, tiny_resnet().tower) == ["clip", "free(kk,bare)", "clip-surgery@1"]


# --- what figures and tables say of it ---


def test_title() -> None:
    titles = {
        "clip": "CLIP",
        "clip-surgery@3+code": "CLIP Surgery, 3 blocks + feature surgery",
        "maskclip+paper(tau=1)": "MaskCLIP + feature surgery (paper), τ 1",
        "free(kk,neighbour=5)+code": "free(kk,neighbour=5) + feature surgery",
    }
    assert {text: Reading.parse(text).title for text in titles} == titles


def test_columns_show_the_depth_it_came_to() -> None:
    six, two, pool = tiny_clip().tower, tiny_clip(layers=2).tower, tiny_resnet().tower
    eight = tiny_clip(layers=8).tower
    reading = Reading("clip-surgery", None, "code")
    expected = {"reading": "clip-surgery+code", "method": "clip-surgery", "depth": 6, "authority": "released code",
                "surgery": "code", "tau": 2.0}  # fmt: skip
    assert reading.columns(six) == reading.columns(eight) == expected
    assert reading.columns(two) == expected | {"depth": 2}
    assert reading.columns(pool) == expected | {"depth": None, "authority": "formula"}
    assert Reading("clip").columns(six) == {
        "reading": "clip", "method": "clip", "depth": None, "authority": "released code", "surgery": "none",
        "tau": None,
    }  # fmt: skip
    assert Reading.parse("free(vv,blocks=depth)@3").columns(eight)["depth"] == 3
    assert Reading.parse("free(vv,blocks=4)").columns(eight)["depth"] is None


def test_a_depth_beyond_the_tower_is_refused() -> None:
    six, pool = tiny_clip().tower, tiny_resnet().tower
    assert Reading("clip-surgery", 6).plan(six)[1] == 6
    with pytest.raises(ValueError, match=r"depth must lie in 1…6 \(the tower's blocks\), not 7"):
        Reading("clip-surgery", 7).plan(six)
    with pytest.raises(ValueError, match=r"1…6 .*not 8"):
        Reading.parse("free(vv,blocks=depth)@8").plan(six)
    with pytest.raises(ValueError, match=r"1…1 .*not 3"):
        Reading("clip-surgery", 3).plan(pool)
    assert Reading("clip-surgery", 1).plan(pool) == Reading("clip-surgery").plan(pool)
    with pytest.raises(ValueError, match="does not apply to this image tower: its class token"):
        Reading("clip-surgery-released").columns(six)


def test_similarities_are_cosines_or_feature_surgery() -> None:
    clip = tiny_clip(layers=2)
    dense, text = clip.encode_dense(random_images(1, 64, 64)), clip.encode_text(["a cat", "a dog", "a boat"])
    empty = clip.encode_text([""])
    assert torch.equal(Reading().similarities(dense, text), clipsx.similarity(dense, text))
    for form in ("code", "paper"):
        found = Reading("clip", None, form, 5.0).similarities(dense, text)
        assert torch.equal(found, clipsx.feature_surgery(dense, text, 5.0, form))
    alone = Reading("clip", None, "code").similarities(dense, text[:1], empty)
    assert torch.equal(alone, clipsx.feature_surgery(dense, text[:1], redundant=empty))
    with pytest.raises(ValueError, match="one label alone"):
        Reading("clip", None, "code").similarities(dense, text[:1])


# --- many readings, one walk ---

COMBINATIONS = (
    "free()", "free(qq)", "free(qq,kk)", "free(kk,qq,sum,ffn)", "free(vv,unit,sharpen=8,bare)",
    "free(kk,neighbour=2,bare)", "free(vv,blocks=3,ffn)", "free(vv,itself,blocks=3)", "free(qk,itself,blocks=2,ffn)",
    "free(qv,blocks=depth)@2", "free(qk,bare)",
)  # fmt: skip


def several(clip: clipsx.Clip) -> list[str]:
    """Every method at its depths, and free combinations, where the tower can."""
    depths = [f"clip-surgery@{n}" for n in range(1, clip.tower.blocks + 1)]
    depths += ["gem@2"] if clip.tower.blocks > 1 else []
    asked = readings([*clip.methods, *depths, *COMBINATIONS])
    return [str(r) for r in asked if any(not clip.tower.refuses(row) for row in rows_of(r.method))]


MAKERS: dict[str, Callable[[], clipsx.Clip]] = {
    "8 blocks": lambda: tiny_clip(layers=8),
    "12 blocks": lambda: tiny_clip(layers=12, width=32, image_size=96),
    "average-pooled": lambda: tiny_clip(layers=3, pool_type="avg"),
    "ResNet": tiny_resnet,
}


@pytest.mark.slow
@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
@pytest.mark.parametrize("batch", [1, 3])
def test_together_they_are_what_they_are_one_by_one(make: Callable[[], clipsx.Clip], batch: int) -> None:
    clip = make()
    asked = several(clip)
    assert len(asked) >= (4 if clip.tower.blocks == 1 else 10)
    step = clip.patch_size[0]
    for size in (clip.image_size, (4 * step, 8 * step)):
        images = random_images(batch, *size)
        together = clip.encode_readings(images, asked)
        assert list(together) == asked
        for text in asked:
            reading = Reading.parse(text)
            alone = clip.encode_dense(images, reading.method, reading.depth)
            assert together[text].grid == clip.tower.grid(*size)
            torch.testing.assert_close(together[text].patches, alone.patches, atol=1e-6, rtol=0, msg=text)
            torch.testing.assert_close(together[text].cls, alone.cls, atol=1e-6, rtol=0, msg=text)


def test_readings_that_differ_only_in_surgery_share_their_features() -> None:
    clip = tiny_clip(layers=8)
    asked = [
        "clip",
        "clip+code",
        Reading("clip", None, "paper", 1.0),
        "clip-surgery",
        "clip-surgery@6+code",
        "maskclip",
    ]
    seen = clip.encode_readings(random_images(1, 64, 64), asked)
    assert list(seen) == [str(readings([one])[0]) for one in asked]
    assert seen["clip"] is seen["clip+code"] is seen["clip+paper(tau=1)"]
    assert seen["clip-surgery"] is seen["clip-surgery@6+code"]  # the default depth is 6
    assert len({id(dense) for dense in seen.values()}) == 3
    text = clip.encode_readings(random_images(1, 64, 64), "clip, clip-surgery@2")  # one text with commas
    assert list(text) == ["clip", "clip-surgery@2"]


def test_the_class_feature_does_not_depend_on_which_reading_came_first() -> None:
    """A row whose class feature is its own never becomes that of the picture."""
    clip = tiny_resnet()
    images = random_images(2, 64, 64)
    own = clip.encode_image(images)
    for asked in ("clip-surgery-released", "clip-surgery-released, clip", "clip, clip-surgery-released"):
        seen = clip.look(images, readings(asked))
        torch.testing.assert_close(seen.cls, own, atol=1e-6, rtol=0)
        released = seen.features[Reading("clip-surgery-released")].cls
        assert float((released - own).abs().max()) > 1e-4
    torch.testing.assert_close(clip.look(images).cls, own, atol=1e-6, rtol=0)


class Counted:
    """Calls of a method, by what a function says of each."""

    def __init__(self, patch: pytest.MonkeyPatch, owner: Any, name: str, key: Callable[..., Any]) -> None:
        self.calls: Counter[Any] = Counter()
        original = getattr(owner, name)

        def counted(*args: Any, **options: Any) -> Any:
            self.calls[key(*args)] += 1
            return original(*args, **options)

        patch.setattr(owner, name, counted)


def test_one_pass_computes_every_block_once_and_every_comparison_once(monkeypatch: pytest.MonkeyPatch) -> None:
    clip = tiny_clip(layers=8)
    original = [text for text in several(clip) if "itself" not in text]
    stem = Counted(monkeypatch, towers.ViT, "stem", lambda *_: "stem")
    blocks = Counted(monkeypatch, towers.ViT, "qkv", lambda self, index, x, grid: index)
    compared = Counted(
        monkeypatch, towers.ViT, "_second", lambda self, here, attend, start: (here.index, attend, start)
    )
    clip.encode_readings(random_images(2, 64, 64), [*original, *(f"{text}+code" for text in original)])
    assert stem.calls == {"stem": 1}
    assert blocks.calls == dict.fromkeys(range(8), 1)
    assert set(compared.calls.values()) == {1}
    # v-v in all eight blocks, whatever the depths; the others in the last one or three blocks alone.
    vv = [index for index, attend, _ in compared.calls if attend.pairs == ("vv",) and not attend.unit]
    assert sorted(vv) == list(range(8))


def test_a_row_that_feeds_itself_computes_its_own_later_blocks_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    clip = tiny_clip(layers=8)
    assert clip.tower.blocks == 8  # adapted here: that asks every block as well
    stem = Counted(monkeypatch, towers.ViT, "stem", lambda *_: "stem")
    blocks = Counted(monkeypatch, towers.ViT, "qkv", lambda self, index, x, grid: index)
    clip.encode_readings(
        random_images(1, 64, 64), ["clip", "free(vv,itself,blocks=3)", "free(vv,itself,blocks=3)+code"]
    )
    assert stem.calls == {"stem": 1}
    assert blocks.calls == {**dict.fromkeys(range(6), 1), 6: 2, 7: 2}  # its first block reads the original path


def test_a_resnet_walks_once(monkeypatch: pytest.MonkeyPatch) -> None:
    clip = tiny_resnet()
    stem = Counted(monkeypatch, towers.ResNet, "stem", lambda *_: "stem")
    qkv = Counted(monkeypatch, towers.ResNet, "_qkv", lambda *_: "qkv")
    clip.encode_readings(random_images(1, 64, 64), several(clip))
    assert stem.calls == {"stem": 1} and qkv.calls == {"qkv": 1}


def state(model: torch.nn.Module) -> dict[str, Any]:
    hooks = {n: (len(m._forward_hooks), len(m._forward_pre_hooks), m.training) for n, m in model.named_modules()}
    return {"hooks": hooks, **{n: v.clone() for n, v in (*model.named_parameters(), *model.named_buffers())}}


def identical(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one.keys() == other.keys() and all(
        torch.equal(v, other[n]) if isinstance(v, torch.Tensor) else v == other[n] for n, v in one.items()
    )


@pytest.mark.parametrize("make", [lambda: tiny_clip(layers=8), tiny_resnet])
def test_the_model_stays_as_it_was(make: Callable[[], clipsx.Clip], monkeypatch: pytest.MonkeyPatch) -> None:
    clip = make()
    before, asked = state(clip.model), several(clip)
    for size in (clip.image_size, (96, 160)):
        clip.encode_readings(random_images(1, *size), asked)
    assert identical(before, state(clip.model))
    with monkeypatch.context() as patch:

        def fail(*_: object) -> None:
            raise MemoryError("no room")

        patch.setattr(type(clip.tower), "project", fail)
        with pytest.raises(MemoryError, match="no room"):
            clip.encode_readings(random_images(1, 96, 160), asked)
    assert identical(before, state(clip.model))


def test_what_cannot_be_read_is_refused_before_the_tower_is_walked(monkeypatch: pytest.MonkeyPatch) -> None:
    clip = tiny_clip()
    stem = Counted(monkeypatch, towers.ViT, "stem", lambda *_: "stem")
    for asked, words in product(["clip, clip-surgery-released"], ["does not apply"]):
        with pytest.raises(ValueError, match=words):
            clip.encode_readings(random_images(1, 64, 64), asked)
    with pytest.raises(ValueError, match="depth must lie in 1…6"):
        clip.encode_readings(random_images(1, 64, 64), ["clip-surgery@7"])
    with pytest.raises(ValueError, match="did you mean"):
        clip.encode_readings(random_images(1, 64, 64), "clip-sugery")
    assert not stem.calls
