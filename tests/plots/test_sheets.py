"""The picture sheets: which cells they hold, and that the maps in them are those of the formulas."""

from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pytest

import clipsx
from clipsx import feature_surgery, minmax, plots, similarity, upsample
from clipsx.analyses import attention, deletion
from clipsx.datasets import Sample
from clipsx.evaluation import segment
from clipsx.evaluation.protocols import PROTOCOLS
from clipsx.evaluation.stream import Measure, looks
from clipsx.evaluation.windows import Windows
from clipsx.metrics import coverage
from clipsx.plots import sheets, styles
from clipsx.segmenters import RandomWalker
from helpers import noise, tiny_clip, tiny_resnet


@pytest.fixture(scope="module")
def clip() -> clipsx.Clip:
    return tiny_clip(image_size=32, layers=2, width=32, patch_size=8)


def sample(seed: int, labels: tuple[str, ...]) -> Sample:
    masks = {label: np.random.default_rng(seed + n).random((20, 28)) < 0.5 for n, label in enumerate(labels)}
    return Sample(noise(20, 28, seed), labels, masks, name=f"image {seed}")


SAMPLES = [sample(1, ("cat",)), Sample(noise(9, 9), ("cat",)), sample(2, ("cat", "dog")), sample(3, ("dog", "boat"))]
LABELS = ("cat", "dog", "sky")


def test_several_takes_those_with_masks_and_more_labels_first() -> None:
    assert [s.name for s in sheets.several(SAMPLES)] == ["image 2", "image 3", "image 1"]
    assert [s.name for s in sheets.several(SAMPLES, 1)] == ["image 2"]
    assert len(sheets.several(SAMPLES[1:2])) == 1  # none has a mask: the first ones, whatever they are
    assert sheets.several([]) == []


def test_a_picture_without_masks_shows_the_likely_label(clip: clipsx.Clip) -> None:
    (row,) = sheets.methods(clip, SAMPLES[1:2], LABELS, "clip")
    scores = clip.encode_image(clip.prepare(SAMPLES[1].image)) @ clip.encode_labels(LABELS).T
    assert row[0].title == f"{LABELS[int(scores.argmax())]}\ntiny"
    assert all(cell.outline is None for cell in row)


def test_methods_puts_a_row_per_label_that_is_asked(clip: clipsx.Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clip, "encode_labels", lambda labels: clip.encode_text([f"a {label}" for label in labels]))
    rows = sheets.methods(clip, [SAMPLES[2], SAMPLES[3]], LABELS, "clip, clip+code", each=2)
    assert [[cell.title.split("\nmSC")[0] for cell in row] for row in rows] == [
        [f"{label}\ntiny", "CLIP", "CLIP + feature surgery"] for label in ("cat", "dog", "dog")
    ]
    for cell in (cell for row in rows for cell in row[1:]):
        score = 100 * (cell.map[cell.outline].mean() - cell.map[~cell.outline].mean())
        assert cell.title.endswith(f"\nmSC {round(float(score))} %")
    dense = clip.encode_dense(clip.prepare(SAMPLES[2].image), "clip")
    text = clip.encode_labels(LABELS)
    for cell, sim in zip(rows[1][1:], (similarity(dense, text), feature_surgery(dense, text)), strict=True):
        np.testing.assert_allclose(cell.map, upsample(minmax(sim), (20, 28))[0, ..., 1].numpy(), atol=1e-5)
        assert cell.outline is SAMPLES[2].masks["dog"]
    assert rows[0][0].map is None


def test_anchors_rings_the_patch_most_like_the_label(clip: clipsx.Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clip, "encode_labels", lambda labels: clip.encode_text([f"a {label}" for label in labels]))
    rows = sheets.anchors(clip, [SAMPLES[2], SAMPLES[0]])
    titles = [[cell.title.partition("\n")[0] for cell in row] for row in rows]
    assert titles == [["cat", "cat"], ["q-k attention"] * 2, ["v-v attention"] * 2]
    images = clip.prepare(SAMPLES[2].image)
    sim = similarity(clip.encode_dense(images, "clip"), clip.encode_labels(["cat"]))[0, ..., 0]
    (y, x), grid = rows[1][0].ring
    assert grid == (4, 4) and sim[y, x] == sim.max()
    row = attention.relation(clip, images, -1, "vv")[0, 1 + 4 * y + x, 1:].reshape(1, 4, 4, 1)
    expected = upsample(minmax(row), (20, 28))[0, ..., 0].numpy()
    np.testing.assert_allclose(rows[2][0].map, expected, atol=1e-5)
    inside = ((row / row.sum()).numpy()[0, ..., 0] * coverage(SAMPLES[2].masks["cat"], (4, 4))).sum()
    assert rows[2][0].title.endswith(f"\n{100 * inside:.0f} % inside")
    with pytest.raises(ValueError, match="no transformer blocks"):
        sheets.anchors(tiny_resnet(), [SAMPLES[0]])


def test_empty_label_comes_last_and_absent_ones_are_named(clip: clipsx.Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clip, "encode_labels", lambda labels: clip.encode_text([f"a {label}" for label in labels]))
    (row,) = sheets.empty_label(clip, [SAMPLES[3]], LABELS, count=3)
    titles = [cell.title.partition("\nmSC")[0] for cell in row]
    assert titles == ["photo", "dog", "boat", "cat (absent)", "(empty label)"]
    assert [cell.outline is not None for cell in row] == ["\nmSC" in cell.title for cell in row]
    for cell in row[1:]:
        assert cell.map is not None and cell.map.shape == (20, 28) and cell.map.min() >= 0 and cell.map.max() <= 1


def test_prompted_shows_points_and_the_mask_they_yield() -> None:
    clip = tiny_clip(image_size=32, layers=2, width=32, patch_size=4)
    rows = sheets.prompted(clip, [SAMPLES[1], SAMPLES[2]], LABELS, "clip, clip-surgery@1+code", threshold=0.6)
    assert [len(row) for row in rows] == [5, 5] and rows[1][0].title == "cat" and rows[0][0].outline is None
    dense, text = clip.encode_dense(clip.prepare(SAMPLES[2].image), "clip"), clip.encode_labels(LABELS)
    sim = similarity(dense, text)[0, ..., 0]
    xy, signs = clipsx.points_from_map(sim, (20, 28), 0.6)
    mask = RandomWalker()(SAMPLES[2].image, xy, signs)
    _, first, second, *_ = rows[1]
    np.testing.assert_array_equal(first.points[0], xy)
    np.testing.assert_array_equal(first.points[1], signs)
    np.testing.assert_array_equal(second.map, mask)
    truth = SAMPLES[2].masks["cat"]
    assert second.title == f"its mask, IoU {100 * (mask & truth).sum() / (mask | truth).sum():.0f} %"
    figure = plots.sheet(rows)
    assert len(figure.axes[1].collections) >= 2  # points of both kinds
    plt.close(figure)


def test_deleted_shows_what_is_gone_and_the_score_without_it(clip: clipsx.Clip) -> None:
    full = SAMPLES[0].replace(masks={"cat": np.ones((20, 28), bool)})  # nothing beside it: left out
    (row,) = sheets.deleted(clip, [full, SAMPLES[1], SAMPLES[2]], LABELS, "clip, clip-surgery")
    said = ["cat", "the object gone", "CLIP: brightest gone", "CLIP Surgery: brightest gone"]
    assert [cell.title.split("\n")[0] for cell in row] == said
    assert row[0].outline is SAMPLES[2].masks["cat"] and all(cell.image.size == (28, 20) for cell in row)
    whole = deletion.score(
        clip.encode_image(clip.prepare(SAMPLES[2].image)), clip.encode_labels(LABELS), LABELS.index("cat")
    )
    assert row[0].title == f"cat\nscore {whole[0]:.1f}"


@pytest.mark.parametrize("name", ["segment", "sclip-voc21"])
def test_class_maps_colour_the_winners(clip: clipsx.Clip, name: str) -> None:
    rules = PROTOCOLS[name]
    if rules.windows:
        rules = replace(rules, windows=Windows(40, 32, 16), area=0.0, least=0.04)
    (row,) = sheets.class_maps(clip, [SAMPLES[2]], ("cat", "dog", "sky"), "clip, maskclip+code", rules)
    assert [cell.title for cell in row] == ["cat, dog", "CLIP", "MaskCLIP + feature surgery"]
    asked = ("clip", "maskclip+code")
    said, needs, _ = segment.predictor(clip, LABELS, asked, rules.background, rules.templates, None, rules)
    (look,) = looks(
        clip, [SAMPLES[2]], [Measure("", lambda _: (), needs)], size=clip.patch_size if rules.windows else None
    )
    grey = np.asarray(SAMPLES[2].image.convert("L"))
    for cell, (_, places, _) in zip(row[1:], said(look), strict=True):
        pixels = np.asarray(cell.image).astype(float)
        assert (pixels[places == 3] == grey[places == 3][:, None]).all(), "the background stays grey"
        true = np.any(list(SAMPLES[2].masks.values()), axis=0)
        assert cell.outline is not None and (cell.outline == true).all()
        for region, strength in ((true, 0.65), (~true, 0.3)):  # what is no true class is pale
            tint = pixels - (1 - strength) * grey[..., None]
            for k in np.unique(places[region & (places < 3)]):
                assert np.ptp(tint[region & (places == k)], axis=0).max() <= 1.01, "one colour a class"
        given = [LABELS[np.bincount(places[mask & (places < 3)]).argmax()] for mask in SAMPLES[2].masks.values()
                 if (mask & (places < 3)).any()]  # fmt: skip
        assert [word for *_, word in cell.words] == given


def test_words_stand_in_large_pictures_and_colours_take_no_room_from_small_ones(clip: clipsx.Clip) -> None:
    sides = {}
    for style in ("screen", "column"):
        with styles.using(style):
            figure = plots.sheet(sheets.class_maps(clip, [SAMPLES[2]], LABELS, "clip, maskclip, clip-surgery"))
            figure.draw_without_rendering()
            first = figure.axes[0]
            sides[style] = first.get_window_extent().width / figure.dpi * 4 / figure.get_figwidth()
            assert [text.get_text() for text in first.texts] == ["cat", "dog"] * (style == "screen")
            (legend,) = figure.legends
            assert legend.get_window_extent().y1 <= first.get_window_extent().y0
    assert sides["column"] > 0.9 * sides["screen"] > 0.8
