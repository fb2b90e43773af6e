"""Pictures: what is drawn where, what is refused, and sheets of several."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib import colormaps

from clipsx import plots
from clipsx.metrics import THRESHOLDS
from clipsx.plots import styles
from clipsx.plots.texts import in_words
from clipsx.statistics import bootstrap, interval
from helpers import noise, unchecked

TABLE = pd.DataFrame(
    {
        "method": ["clip", "maskclip"] * 2,
        "surgery": ["none", "none", "code", "code"],
        "msc": [1.0, 2.0, 3.0, 4.0],
        "msc_low": [0.0, 1.0, 3.5, np.nan],  # an interval beside its mean, and one that is not known
        "msc_high": [2.0, 3.0, 4.0, np.nan],
        "block": [0, 1, 0, 1],
    }
)


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


@pytest.mark.slow
def test_functions_of_axes_draw_on_them_and_return_them() -> None:
    half = np.linspace(1, 0, len(THRESHOLDS))
    drawn = [
        lambda ax: plots.overlay(noise(6, 8), np.zeros((6, 8)), ax),
        lambda ax: plots.ring((1, 2), (3, 4), (6, 8), ax),
        lambda ax: plots.intervals(TABLE, "msc", "method", ax, hue="surgery", zero=True),
        lambda ax: plots.lines(TABLE, "block", "msc", "surgery", ax),
        lambda ax: plots.distribution(THRESHOLDS, half[None], half[None] ** 2, ax),
        lambda ax: plots.heatmap(TABLE[["msc", "block"]], ax, centre=0),
        lambda ax: plots.histogram(TABLE.assign(image="a"), "msc", ax, hue="surgery"),
        lambda ax: plots.matrix(pd.DataFrame(np.eye(3) + 0.1, list("abc"), list("abc")), ax, centre=0),
    ]
    _, axes = plt.subplots(1, len(drawn) + 1)
    plt.sca(axes[-1])  # the current axes stay empty
    for draw, ax in zip(drawn, axes, strict=False):
        assert draw(ax) is ax and ax.has_data()
    assert not axes[-1].has_data() and plots.overlay(noise(6, 8), np.zeros((6, 8))) is axes[-1]


def test_overlay_shows_the_map_as_it_is() -> None:
    map = np.random.default_rng(0).random((6, 8))
    ax = plots.overlay(noise(6, 8), map, opacity=0.3, title="cat")
    picture, over = ax.images
    np.testing.assert_array_equal(picture.get_array()[..., 1], np.asarray(noise(6, 8).convert("L")))
    assert (plots.overlay(noise(6, 8), map, opacity=0).images[-1].get_array() == np.asarray(noise(6, 8))).all()
    np.testing.assert_array_equal(over.get_array(), map)
    assert over.get_clim() == (0, 1) and over.get_alpha() == 0.3 and ax.get_title() == "cat"


def test_overlay_refuses_what_does_not_fit() -> None:
    with unchecked():
        with pytest.raises(ValueError, match=r"map is \(8, 6\), the picture \(6, 8\).*upsample"):
            plots.overlay(noise(6, 8), np.zeros((8, 6)))
        with pytest.raises(ValueError, match=r"outline is \(3, 4\)"):
            plots.overlay(noise(6, 8), np.zeros((6, 8)), outline=np.zeros((3, 4), bool))
    with pytest.raises(ValueError, match=r"0…1, not 1\.5"):
        plots.overlay(noise(6, 8), np.zeros((6, 8)), opacity=1.5)


@pytest.mark.parametrize("full", [False, True])
def test_an_outline_is_closed_at_the_border(full: bool) -> None:
    region = np.zeros((6, 8), bool)
    region[:3, :4] = True
    ax = plots.overlay(noise(6, 8), np.zeros((6, 8)), outline=region | full)
    assert len(ax.collections) == 2  # black under white
    path = ax.collections[-1].get_paths()[0]
    (x0, y0), (x1, y1) = path.vertices.min(axis=0), path.vertices.max(axis=0)
    np.testing.assert_allclose([x0, y0, x1, y1], [-0.5, -0.5, 7.5, 5.5] if full else [-0.5, -0.5, 3.5, 2.5])
    np.testing.assert_allclose(path.vertices[0], path.vertices[-1])
    assert (ax.get_xlim(), ax.get_ylim()) == ((-0.5, 7.5), (5.5, -0.5))
    assert not plots.overlay(noise(6, 8), np.zeros((6, 8)), plt.figure().gca(), outline=region & False).collections


def test_a_ring_is_round_the_middle_of_its_patch() -> None:
    ax = plots.ring((1, 2), (3, 4), (6, 8))
    assert [(line.get_xdata()[0], line.get_ydata()[0]) for line in ax.lines] == [(4.5, 2.5)] * 2


def test_distributions_have_the_area_one() -> None:
    values = np.random.default_rng(0).random(500)
    share = np.array([[(part >= t).mean() for t in THRESHOLDS] for part in (values, values[:250], values[250:])])
    table = pd.DataFrame({"image": np.arange(500) // 5, "score": values, "part": values > 0.5})
    drawn = plots.distribution(THRESHOLDS, share, share**2), plots.histogram(table, "score", plt.figure().gca(), "part")
    for ax in drawn:
        for patch, band in zip(ax.patches, ax.collections, strict=True):
            heights, edges, _ = patch.get_data()
            assert (heights * np.diff(edges)).sum() == pytest.approx(1)
            ends = band.get_paths()[0].get_extents()
            assert (ends.x0, ends.x1) == (edges[0], edges[-1]) and ends.y1 >= heights.max()


@pytest.mark.parametrize(("names", "turned"), [(["a", "b", "c"], False), (["hot air balloon"] * 12, True)])
def test_names_under_a_heatmap_turn_before_they_overlap(names: list[str], turned: bool) -> None:
    _, ax = plt.subplots(figsize=(6, 3))
    plots.heatmap(pd.DataFrame(np.eye(len(names)), columns=names), ax)
    labels = ax.get_xticklabels()
    assert [label.get_text() for label in labels] == names
    assert {label.get_rotation() != 0 for label in labels} == {turned}


def test_a_heatmap_without_a_number_is_empty() -> None:
    for nothing in (pd.DataFrame(), pd.DataFrame({"a": [np.nan]})):
        ax = plots.heatmap(nothing, plt.subplots()[1])
        assert not ax.collections and not len(ax.get_xticks())


def test_figures_made_of_tables() -> None:
    both = TABLE.assign(miou=TABLE["msc"], miou_low=TABLE["msc_low"], miou_high=TABLE["msc_high"])
    both["reading"] = both["method"] + "+" + both["surgery"]
    floor = both.drop(columns=["method", "surgery"])  # bands of chance
    names = {"msc": "mSC (%)", "miou": "mIoU (%)", "auc": "not measured"}
    figure = plots.measures(both, names, floor)
    assert [ax.get_xlabel() for ax in figure.axes] == ["mSC (%)", "mIoU (%)"]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["CLIP", "MaskCLIP"]
    words = [text.get_text() for text in figure.legends[0].get_texts()]
    assert words == ["95 % of random starts", "no feature surgery", "feature surgery"]
    assert [text.get_text() for text in plots.measures(both, names).legends[0].get_texts()] == words[1:]


def test_measures_of_two_models_fit_a_column_and_name_them_in_the_free_place() -> None:
    values = {f"m{n}{end}": 1.0 for n in range(7) for end in ("", "_low", "_high")}
    rows = [
        {"model": m, "reading": r} | values for m in ("one", "two") for r in ("clip", "clip+code", "clip-surgery@3")
    ]
    with styles.using("column"):
        figure = plots.measures(pd.DataFrame(rows), {f"m{n}": f"measure {n} (%)" for n in range(7)})
    assert figure.get_figheight() <= 4.5 and figure.get_figwidth() == styles.STYLES["column"].width
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["CLIP", "CLIP Surgery, 3 blocks"]
    legend = figure.axes[7].get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["one", "one\n+ feature surgery", "two",
                                                                "two\n+ feature surgery"]  # fmt: skip
    assert not figure.legends and not figure.axes[8].axison


def test_blocks_are_whole_numbers_and_chance_is_in_the_legend() -> None:
    shares = pd.DataFrame({"block": [0, 1] * 2, "kind": ["qk", "qk", "vv", "vv"], "share_others": [1.0, 2, 3, 4]})
    cosines = pd.DataFrame({"block": [0, 1], "part": ["ffn"] * 2, "cosine": [0.1, 0.2], "cosine_text": [0.0, 0.1]})
    figure = plots.blocks(shares.assign(chance=20.0), cosines)
    assert "its share of the picture" in [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    for ax in figure.axes:
        assert all(tick == round(tick) for tick in ax.get_xticks())


@pytest.mark.slow
def test_a_sheet_has_a_place_for_every_cell() -> None:
    cell = plots.Cell(noise(6, 8), np.ones((6, 8)), np.eye(6, 8) > 0, "$5 or $6", ((1, 2), (3, 4)))
    figure = plots.sheet([[cell, plots.Cell(noise(5, 5))], [cell]], side=0.5)
    figure.canvas.draw()
    assert [len(ax.images) for ax in figure.axes] == [1, 1, 1, 0, 0] and figure.axes[0].get_title() == "$5 or $6"
    grey = np.asarray(cell.image.convert("L"))[..., None]
    painted = (1 - cell.opacity) * grey + cell.opacity * 255 * np.array(colormaps["viridis"](1.0)[:3])
    np.testing.assert_allclose(figure.axes[0].images[0].get_array(), painted, atol=0.5)
    assert [text.get_text() for text in figure.axes[-1].get_xticklabels()] == ["lowest of the map", "highest"]
    with styles.using("column"):  # what a row has no room for goes on below; many short rows stand in two halves
        assert plots.sheet([[cell] * 9]).axes[0].get_gridspec().get_geometry() == (2, 6)
        assert plots.sheet([[cell] * 3] * 14).axes[0].get_gridspec().get_geometry() == (7, 6)
    for rows in ([], [[], []]):
        with pytest.raises(ValueError, match="no picture to draw"):
            plots.sheet(rows)


def test_like_classes_stand_side_by_side() -> None:
    rng = np.random.default_rng(0)
    group = np.array([0, 1, 0, 2, 1, 2, 0])
    order = plots.leaf_order(np.equal.outer(group, group) + 0.01 * rng.random((7, 7)))
    assert sorted(order) == list(range(7))
    assert (np.diff(group[order]) != 0).sum() == 2  # each group is one run
    assert plots.leaf_order(np.eye(2)) == [0, 1]
    assert sorted(plots.leaf_order(np.full((4, 4), np.nan))) == [0, 1, 2, 3]


def test_bands_are_those_of_the_image_bootstrap() -> None:
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"image": np.repeat(range(8), 4), "x": [0, 0, 1, 1] * 8, "form": ["none", "code"] * 16})
    table["y"] = rng.random(32)
    ax = plots.lines(table, "x", "y", "form")
    for line, band, form in zip(ax.lines, ax.collections, ("none", "code"), strict=True):
        for at, mean in zip(*line.get_data(), strict=True):
            some = table[(table["form"] == form) & (table["x"] == at)]
            ends = interval(bootstrap(some["y"].to_numpy(), some["image"].to_numpy(), resamples=200)[1])
            assert mean == pytest.approx(some["y"].mean())
            ys = {round(y, 9) for x, y in band.get_paths()[0].vertices if x == at}
            assert {round(end, 9) for end in ends} <= ys
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["no feature surgery", "feature surgery"]
    bare = plots.lines(table.drop(columns="image"), "x", "y", "form", plt.figure().gca())
    assert len(bare.lines) == 2


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [("surgery", "none", "no feature surgery"), ("form", "paper", "feature surgery (paper)"), ("surgery", "x", "x"),
     ("reading", "clip-surgery@6+code", "CLIP Surgery, 6 blocks + feature surgery"), ("method", "maskclip", "MaskCLIP"),
     ("reading", "no such", "no such"), ("kind", "vv", "v-v attention"), ("label", "clip", "clip"), (None, 3, "3")],
)  # fmt: skip
def test_figures_speak_in_words(column: object, value: object, words: str) -> None:
    assert in_words(column, value) == words


def test_numbers_without_room_are_left_out() -> None:
    _, (narrow, wide) = plt.subplots(1, 2, figsize=(1.5, 3))
    plots.heatmap(pd.DataFrame(100 * np.ones((1, 30))), narrow)
    plots.heatmap(pd.DataFrame(np.ones((1, 1))), wide)
    assert not narrow.texts and len(wide.texts) == 1


def test_the_diagonal_of_a_matrix_does_not_set_its_colours() -> None:
    table = pd.DataFrame(
        np.full((3, 3), 0.5) + 0.01 * np.arange(9).reshape(3, 3) + 9 * np.eye(3), list("abc"), list("abc")
    )
    ax = plots.matrix(table)
    assert ax.collections[0].get_clim()[1] < 1


def test_matrices_before_and_after_share_one_scale_and_its_bar() -> None:
    one, other = (pd.DataFrame(np.full((3, 3), v) + np.eye(3), list("abc"), list("abc")) for v in (0.2, 0.9))
    figure, axes = plots.row(2)
    for ax, table in zip(axes, (one, other), strict=True):
        plots.matrix(table, ax, among=(one, other), beside=list(axes) if ax is axes[1] else None)
    assert {ax.collections[0].get_clim() for ax in axes} == {(0.2, 0.9)} and len(figure.axes) == 3


def test_the_ends_of_bands_may_stand_in_the_table() -> None:
    table = pd.DataFrame({"x": [0, 1], "y": [1.0, 2.0], "y_low": [0.5, 1.0], "y_high": [2.0, 4.0], "form": "none"})
    band = plots.lines(table, "x", "y", "form").collections[0].get_paths()[0].vertices
    assert {tuple(point) for point in band.tolist()} == {(0, 0.5), (0, 2.0), (1, 1.0), (1, 4.0)}
