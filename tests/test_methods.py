"""The table of methods, what a tower can serve of it, free combinations, and the words about unknown names."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import clipsx
from clipsx import methods
from clipsx.messages import nearest
from clipsx.methods import METHODS, PAIRS, ROWS, Attend, Recipe, able, authority, free, rows_of, serving
from clipsx.towers.rules import RULES
from clipsx.towers.tails import TAILS
from helpers import random_images, tiny_clip, tiny_resnet


def test_every_row_says_whose_it_is_and_who_can_do_it() -> None:
    towers = (tiny_clip(layers=12, width=32).tower, tiny_resnet().tower)
    for row in ROWS:
        assert row.name and row.title and row.source and row.licence
        assert {authority(row, tower) for tower in towers} & {"released code", "formula"}, row.name
        assert row.fed_by in ("original", "itself")
        assert row.attend is None or set(row.attend.pairs) <= set(PAIRS)
        assert row.attend is None or row.attend.rule in {"", *RULES, *TAILS}
        assert all(number < row.least for number in row.reads)
    for name, row in METHODS.items():
        assert row.name == name


def test_the_table_is_in_the_order_of_its_rows_and_a_name_may_have_two() -> None:
    assert set(METHODS) == {
        "clip", "maskclip", "maskclip-original", "clip-surgery", "clip-surgery-released", "gem", "sclip", "clearclip",
        "naclip", "kk", "pearl", "pearl-svd", "sc-clip", "sfp", "itaclip", "resclip-rcs", "legrad",
        "legrad-all-layers", "gradcam",
    }  # fmt: skip
    assert list(METHODS) == list(dict.fromkeys(row.name for row in ROWS))
    vit, resnet = rows_of("clip-surgery")
    assert METHODS["clip-surgery"] is vit  # the first row of a name stands for it
    assert vit.attend == Attend(("vv",)) and vit.blocks is None and vit.residual
    assert resnet.attend == Attend(("vv",), unit=True, sharpen=8.0) and resnet.blocks == 1 and not resnet.residual
    assert serving("clip-surgery", tiny_clip().tower) is vit
    assert serving("clip-surgery", tiny_resnet().tower) is resnet
    assert clipsx.METHODS is METHODS


def test_what_a_tower_can_do_and_why_not() -> None:
    vit, resnet = tiny_clip().tower, tiny_resnet().tower
    texts = {"legrad", "legrad-all-layers", "gradcam"}
    assert set(able(vit, texts=True)) == texts and able(resnet, texts=True) == ("gradcam",)
    with pytest.raises(ValueError, match="reads gradients of attention in blocks, and it has no such blocks"):
        serving("legrad", resnet)
    numbered = {*texts, "sc-clip", "sfp", "itaclip", "resclip-rcs"}
    assert able(vit) == tuple(name for name in METHODS if name not in {"clip-surgery-released", *numbered})
    assert able(tiny_clip(layers=8).tower) == (*able(vit), "itaclip")
    assert set(able(tiny_clip(layers=12, width=32).tower)) == set(METHODS) - {"clip-surgery-released", *texts}
    assert able(resnet) == (
        "clip", "maskclip", "clip-surgery", "clip-surgery-released", "clearclip", "naclip", "kk", "pearl", "pearl-svd",
    )  # fmt: skip
    with pytest.raises(ValueError, match=r"it has 6 blocks, and the method numbers blocks of 10 or more"):
        serving("resclip-rcs", vit)
    with pytest.raises(ValueError, match="did you mean 'maskclip'"):
        serving("maskclp", vit)
    with pytest.raises(ValueError, match=r"'clip-surgery-released' does not apply.*class token has a path of its own.*"
                                         r"It can do: clip, maskclip, clip-surgery, maskclip-original, "):  # fmt: skip
        serving("clip-surgery-released", vit)
    for text in ("free(vv)", "free(vv, bare, ffn)", "free(vv, bare, blocks=2)", "free(vv, bare, blocks=depth)"):
        with pytest.raises(ValueError, match="attention pool is one block, without residual and FFN"):
            serving(text, resnet)
    assert serving("free(qk,bare)", resnet).attend == Attend(("qk",))
    with pytest.raises(ValueError, match="it has 6 blocks, not 7"):
        serving("free(vv,blocks=7)", vit)


@pytest.mark.parametrize("make", [tiny_clip, tiny_resnet])
def test_every_method_of_a_tower_gives_features_of_its_own(make: Callable[[], clipsx.Clip]) -> None:
    clip = make()
    images = random_images(1, *clip.image_size)
    own = [method for method in clip.methods if method != "pearl-svd"]  # the factor that pearl's steps go towards
    found = [clip.encode_dense(images, method).patches for method in own]
    assert all(float((a - b).abs().max()) > 1e-4 for i, a in enumerate(found) for b in found[:i])


def test_on_what_a_method_stands_is_a_column_of_every_table() -> None:
    twelve, eight, pool = tiny_clip(layers=12, width=32).tower, tiny_clip(layers=8).tower, tiny_resnet().tower
    pooled = tiny_clip(layers=12, width=32, pool_type="avg").tower

    def stands(method: str, tower: Any) -> str:
        return authority(rows_of(method)[-1 if tower is pool else 0], tower)

    assert [stands("itaclip", tower) for tower in (twelve, eight)] == ["released code", "our extension"]
    assert [stands("naclip", tower) for tower in (twelve, eight, pool)] == ["released code"] * 2 + ["our extension"]
    assert [stands("clip-surgery", tower) for tower in (twelve, pool)] == ["released code", "formula"]
    assert [stands("pearl-svd", tower) for tower in (twelve, pool)] == ["formula", "our extension"]
    assert stands("sc-clip", pooled) == "it has no class token that its image feature is read from"
    assert stands("gem", pooled) == stands("free(vv)", twelve) == "our extension"
    assert clipsx.Reading("gem").columns(twelve)["authority"] == "released code"


def test_the_readme_has_every_row() -> None:
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    for row in ROWS:
        assert f"| `{row.name}` | {row.title}: {row.source} | {row.licence} |" in readme


def test_a_method_that_compares_31_patches_is_refused_fewer() -> None:
    clip = tiny_clip(layers=12, width=32, image_size=96)
    assert clip.encode_dense(random_images(1, 16, 31 * 16), "sc-clip").grid == (1, 31)
    with pytest.raises(ValueError, match=r"every patch with 30 others, and there are 30 patches \(5 × 6\)"):
        clip.encode_dense(random_images(1, 80, 96), "sc-clip")


@pytest.mark.parametrize("method", ["clip-surgery", "gem"])
def test_depth_reaches_further_back(method: str) -> None:
    clip = tiny_clip()
    images = random_images(1, *clip.image_size)
    one, two, six = (clip.encode_dense(images, method, depth).patches for depth in (1, 2, 6))
    assert float((one - two).abs().max()) > 1e-3
    assert float((two - six).abs().max()) > 1e-3


FREE: list[tuple[str, Recipe, str]] = [  # text, what it means, its shortest form
    ("free()", Recipe("", "", "", Attend()), "free()"),
    ("free(qq)", Recipe("", "", "", Attend(("qq",))), "free(qq)"),
    ("free( kk , qq )", Recipe("", "", "", Attend(("kk", "qq"))), "free(kk,qq)"),
    ("free(sum, qq, kk, ffn)", Recipe("", "", "", Attend(("qq", "kk"), mean=False), ffn=True), "free(qq,kk,sum,ffn)"),
    ("free(unit, vv, sharpen=8.0, bare)", Recipe("", "", "", Attend(("vv",), True, 8.0), residual=False),
     "free(vv,unit,bare,sharpen=8)"),
    ("free(kk,neighbour=5)", Recipe("", "", "", Attend(("kk",), neighbour=5.0)), "free(kk,neighbour=5)"),
    ("free(qk, itself, blocks=3)", Recipe("", "", "", Attend(("qk",)), 3, "itself"), "free(qk,itself,blocks=3)"),
    ("free(vv, blocks=depth)", Recipe("", "", "", Attend(("vv",)), None), "free(vv,blocks=depth)"),
    ("free(qv,blocks=1,sharpen=1,neighbour=0)", Recipe("", "", "", Attend(("qv",))), "free(qv)"),
    ("free(kk,neighbour=1.23456789,sharpen=0.1)", Recipe("", "", "", Attend(("kk",), False, 0.1, True, 1.23456789)),
     "free(kk,sharpen=0.1,neighbour=1.23456789)"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "meant", "short"), FREE, ids=[text for text, *_ in FREE])
def test_a_free_combination_is_a_row_of_its_own(text: str, meant: Recipe, short: str) -> None:
    row = free(text)
    assert row == dataclasses.replace(meant, name=short, title=short, source="free combination")
    assert free(short) == row  # its name is a text that says the same
    assert rows_of(text) == (row,)


@pytest.mark.parametrize("text", [text for text, *_ in FREE if "depth" not in text and "itself" not in text])
def test_a_free_combination_is_carried_out(text: str) -> None:
    clip = tiny_clip(layers=2)
    dense = clip.encode_dense(random_images(1, *clip.image_size), text)
    assert dense.grid == (4, 4)


def test_a_sum_of_one_map_is_that_map() -> None:
    assert free("free(qq, sum)") == free("free(qq)")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("free(qx)", r"'qx' in 'free\(qx\)' is not understood; did you mean 'vq' or 'qv' or 'qq'"),
        ("free(bear)", "did you mean 'bare'"),
        ("free(residual)", "Known: qq, .*unit, sum, itself, bare, ffn, no-pool-mlp, blocks, sharpen, neighbour"),
        ("free(qq,neighbor=5)", "did you mean 'neighbour'"),
        ("free(qq,sharpen)", "'sharpen' in .* is not understood"),
        ("free(qq,unit=1)", "'unit=1' in .* is not understood"),
        ("free(blocks=0)", "blocks=0 .*at least 1"),
        ("free(blocks=1.5)", "blocks=1.5 .*at least 1"),
        ("free(blocks=deep)", "blocks=deep .*at least 1"),
        ("free(sharpen=-1)", "sharpen=-1 .*at least 0"),
        ("free(sharpen=nan)", "sharpen=nan .*at least 0"),
        ("free(neighbour=inf)", "neighbour=inf .*at least 0"),
        ("free(neighbour=)", "neighbour= .*at least 0"),
        ("free(qq", "is written free"),
        ("free(qq)x", "is written free"),
        ("free((qq))", "is written free"),
    ],
)
def test_a_free_combination_that_is_not_understood_is_told(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        free(text)


def test_pairs_are_all_of_queries_keys_and_values() -> None:
    assert len(methods.PAIRS) == 9 and methods.PAIRS["qk"] == "q-k" and methods.PAIRS["vv"] == "v-v"


def test_a_tower_is_anything_that_says_what_it_refuses() -> None:
    class Picky:
        blocks = 4

        def refuses(self, recipe: Recipe) -> str:
            return "" if recipe.attend is None else "it only knows its own path"

    tower: Any = Picky()
    assert able(tower) == ("clip",)
    with pytest.raises(ValueError, match=r"it only knows its own path\. It can do: clip"):
        serving("maskclip", tower)


def test_nearest() -> None:
    assert nearest("Clip", ["clip", "boat"]) == "; did you mean 'clip'? Known: clip, boat"
    assert nearest("zzz", ["a", "b", "c"], show=2) == ". Known: a, b and 1 more"
    assert nearest("zzz", []) == ". None is known"
