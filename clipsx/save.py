"""Figures and tables to take away: written whole or not at all, with what made them."""

import io
import os
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from clipsx.paths import component, write_whole


def figure(
    figure: Figure,
    out: str | os.PathLike[str],
    name: str,
    provenance: Mapping[str, Any],
    formats: Sequence[str] = ("pdf", "png"),
) -> list[Path]:
    """Write a figure to the folder `out` in every format ("pdf", "png", "svg"); return the files.

    What made it is printed small under it and kept in the file's metadata.
    Errors: ValueError for a name that is no plain file name; OSError.
    """
    from clipsx.plots import plain  # dear, and only a figure needs it

    files = [Path(out) / f"{component(name)}.{form}" for form in formats]
    parts = [f"{key} {value}" for key, value in provenance.items() if value is not None and value == value]
    width = int(figure.get_figwidth() * 18)  # characters of the footer's size in a line
    solid = "\u00a0· ".join(part.replace(" ", "\u00a0") for part in parts)  # lines break between parts alone
    under = textwrap.fill(solid, width, break_long_words=False, break_on_hyphens=False)
    note = figure.text(0.0, -0.01, under, fontsize=5.5, color="#555555", va="top", ha="left")
    plain(figure)
    try:
        for file, form in zip(files, formats, strict=True):
            metadata = {"Subject" if form == "pdf" else "Description": " · ".join(parts), "Title": name}
            buffer = io.BytesIO()
            figure.savefig(buffer, format=form, dpi=160, bbox_inches="tight", metadata=metadata)
            write_whole(file, buffer.getvalue())
    finally:
        note.remove()
    return files


def table(table: pd.DataFrame, out: str | os.PathLike[str], name: str) -> Path:
    """Write a table to the folder `out` as CSV; return the file. Errors: as `figure`."""
    file = Path(out) / f"{component(name)}.csv"
    write_whole(file, table.to_csv(index=False, lineterminator="\n").encode())
    return file
