"""Figures and tables to take away: written whole or not at all, with what made them."""

import io
import os
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from clipsx import captions, tables
from clipsx.paths import component, write_whole

FORMATS = ("pdf", "png", "svg")
PAD = 0.1  # inches around a figure for the screen


def style(name: str) -> None:
    """Draw and save figures from now on for the "screen", a "column" (3.3 inches) or the "text" (6.9) of a paper.

    Errors: ValueError for an unknown name, with the nearest.
    """
    from clipsx.plots import styles

    os.environ[styles.VARIABLE] = styles.named(name).name


def figure(
    figure: Figure,
    out: str | os.PathLike[str],
    name: str,
    provenance: Mapping[str, Any],
    formats: Sequence[str] = FORMATS,
    kind: str = "",
    numbers: pd.DataFrame | None = None,
) -> list[Path]:
    """Write a figure to the folder `out` in every format ("pdf", "png", "svg"); return the files.

    numbers: the table that it shows, written beside it under its name (`table`).
    Its alternative text and caption, where its name or its kind has any, go into `captions.md` there (`captions`),
    with what made it.
    What made it is kept in the file's metadata, and printed small under it on a screen's style. In the others the file
    is as wide as the style says, and every word has its size, which the figure keeps (`plots.styles`).
    Errors: ValueError for a name that is no plain file name; OSError.
    """
    from clipsx.plots import styles  # dear, and only a figure needs it

    files = [Path(out) / f"{component(name)}.{form}" for form in formats]
    parts = [f"{key} {value}" for key, value in provenance.items() if value is not None and value == value]
    with styles.DRAWING:
        _draw(figure, files, parts)
    if caption := captions.of(name, kind):
        captions.add(Path(out), name, caption, " · ".join(parts))
    return files if numbers is None else [*files, table(numbers, out, name)]


def _draw(figure: Figure, files: Sequence[Path], parts: Sequence[str]) -> None:
    """A file per format, with what made the figure; the figure as it was, but for its width and its words' size."""
    from clipsx.plots import plain, styles

    now, note = styles.current(), None
    if now.width is not None:
        figure.set_size_inches(now.width, figure.get_figheight() * now.width / figure.get_figwidth())
    plain(figure)
    now.dress(figure)
    engine = figure.get_layout_engine()
    try:
        for _ in range(2):  # laid out for all formats; titles of several lines find their room the second time
            figure.draw_without_rendering()
        figure.set_layout_engine("none")
        for legend in figure.legends:  # stands where it is when the file is cut to what is drawn
            legend.set_bbox_to_anchor((0, 0, 1, 1), figure.transFigure)
        how: dict[str, Any] = {"dpi": 300}
        if now.width is None:
            width = int(figure.get_figwidth() * 18)  # characters of the footer's size in a line
            solid = "\u00a0· ".join(part.replace(" ", "\u00a0") for part in parts)  # lines break between parts alone
            under = textwrap.fill(solid, width, break_long_words=False, break_on_hyphens=False)
            least = min(0.0, figure.get_tightbbox().y0 / figure.get_figheight()) - 0.01  # below legends too
            note = figure.text(0.0, least, under, fontsize=5.5, color="#555555", va="top", ha="left")
            plain(figure)
            how = {"dpi": 160, "bbox_inches": figure.get_tightbbox().padded(PAD)}
        for file in files:
            form = file.suffix[1:]
            metadata = {"Subject" if form == "pdf" else "Description": " · ".join(parts), "Title": file.stem}
            buffer = io.BytesIO()
            with styles.fonts():
                figure.savefig(buffer, format=form, metadata=metadata, **how)
            write_whole(file, buffer.getvalue())
    finally:
        figure.set_layout_engine(engine)
        for legend in figure.legends:
            legend.set_bbox_to_anchor(None)  # type: ignore[arg-type]
        if note is not None:
            note.remove()


def table(table: pd.DataFrame, out: str | os.PathLike[str], name: str) -> Path:
    """Write a table to the folder `out` as CSV, and a short one for print too (`tables`: .tex, .md); return the CSV.

    Errors: as `figure`.
    """
    file = Path(out) / f"{component(name)}.csv"
    write_whole(file, table.to_csv(index=False, lineterminator="\n").encode())
    for ending, words in tables.printed(table, name).items():
        write_whole(file.with_suffix(ending), words.encode())
    return file
