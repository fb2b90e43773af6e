"""Figures for print: as wide as a column, words that can be read, fonts that can be searched."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib import rcParams
from matplotlib.text import Text

from clipsx import plots, save
from clipsx.plots import styles
from helpers import noise


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def sizes(figure):
    figure.draw_without_rendering()
    return {text.get_fontsize() for text in figure.findobj(Text) if text.get_text() and text.get_visible()}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "width"), [("column", 3.3), ("text", 6.9)])
def test_a_figure_in_print_is_as_wide_as_its_style_and_can_be_read(name, width, tmp_path):
    pypdf = pytest.importorskip("pypdf")
    before = dict(rcParams)
    with styles.using(name):
        cells = [plots.Cell(noise(6, 8), np.ones((6, 8)), title="CLIP Surgery + feature surgery\nmSC 12 %")] * 7
        figures = [plots.sheet([cells]), plots.row(4)[0], plt.figure(figsize=(9, 3))]
        figures[1].axes[0].set_title("τ → 猫", fontsize=3)
        for figure in figures:
            pdf, svg = save.figure(figure, tmp_path, "print", {"weights": "sha256:1a2b"}, ["pdf", "svg"])
            page = pypdf.PdfReader(pdf).pages[0]
            assert float(page.mediabox.width) / 72 == pytest.approx(width, abs=0.01)
            fonts = [font.get_object() for font in page.get("/Resources").get("/Font", {}).values()]
            assert len(fonts) >= (figure is not figures[2])
            assert "/Type3" not in {font["/Subtype"] for font in fonts}
            inside = {kid.get_object()["/Subtype"] for font in fonts for kid in font.get("/DescendantFonts", ())}
            assert inside <= {"/CIDFontType2"}
            assert "sha256:1a2b" in pypdf.PdfReader(pdf).metadata["/Subject"] and "sha256:1a2b" in svg.read_text()
            assert "sha256:1a2b" not in page.extract_text()
            assert min(sizes(figure), default=7) >= 7
    assert dict(rcParams) == before and styles.current().name == "screen"


@pytest.mark.parametrize(("name", "shape"), [("screen", (1, 3)), ("column", (3, 1)), ("text", (1, 3))])
def test_a_row_of_axes_goes_on_below_where_it_is_narrow(name, shape):
    with styles.using(name):
        _, axes = plots.row(3, sharey=True)
        assert axes.shape == (3,) and axes[0].get_gridspec().get_geometry() == shape
        _, axes = plots.row(3, 2)
        assert axes.shape == (2, 3)
        assert not isinstance(plots.row(1)[1], np.ndarray) and plots.row(1, squeeze=False)[1].shape == (1, 1)


def test_the_style_is_that_of_the_environment_or_stated(monkeypatch):
    monkeypatch.setenv(styles.VARIABLE, "text")
    assert styles.current().width == 6.9
    save.style("column")
    assert styles.current().width == 3.3
    for call in (save.style, styles.named):
        with pytest.raises(ValueError, match=r"Unknown style 'colum'; did you mean 'column'"):
            call("colum")
    monkeypatch.setenv(styles.VARIABLE, "slide")
    with pytest.raises(ValueError, match="Unknown style 'slide'"):
        plots.row(2)
