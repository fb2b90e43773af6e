"""Tables as one prints them: LaTeX (booktabs) and Markdown, numbers with their intervals, provenance said once."""

from typing import Any

import numpy as np
import pandas as pd

MOST = 60  # rows: what is longer is data, not a table for a page
DIGITS = 3  # that count, of a number
# What LaTeX reads otherwise than it stands, and what pdflatex does not know.
LATEX = str.maketrans({
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    **{character: f"\\{character}" for character in "&%$#_{}"}, "τ": r"$\tau$", "α": r"$\alpha$", "λ": r"$\lambda$",
    "→": r"$\to$", "×": r"$\times$", "−": "$-$", "≥": r"$\ge$", "≤": r"$\le$", "±": r"$\pm$", "…": r"\dots{}",
    "\u00a0": "~",
})  # fmt: skip


def split(table: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The columns that vary, and the value of those that do not; a table of one row keeps all."""
    constant = [c for c in table if len(table) > 1 and len(table[c].astype(str).unique()) == 1]
    return table.drop(columns=constant), {str(c): table[c].iloc[0] for c in constant}


def number(value: Any, like: Any = None) -> str:
    """A value in words: floats to three digits that count, or with as many decimals as `like`; "–" where not known."""
    if isinstance(value, float | np.floating) and np.isfinite(value):
        size = abs(value if like is None or not np.isfinite(like) else like)
        decimals = DIGITS - 1 - int(np.floor(np.log10(size))) if size else 1
        return f"{value:.{min(max(decimals, 0), 6)}f}"
    return "–" if value is None or value != value else " ".join(str(value).split())


def worded(table: pd.DataFrame) -> pd.DataFrame:
    """A table as words; `x` with `x_low` and `x_high`, or a value with `low` and `high`, becomes "x [low, high]"."""
    shown, main = table.map(number), [name for name in ("difference", "value", "auc") if name in table][:1]
    ends = {name: (f"{name}_low", f"{name}_high") for name in table} | dict.fromkeys(main, ("low", "high"))
    for name, (low, high) in ends.items():
        if {name, low, high} <= set(shown):
            spans = zip(*(table[column] for column in (name, low, high)), strict=True)
            shown[name] = [
                number(x) if a != a else f"{number(x)} [{number(a, x)}, {number(b, x)}]" for x, a, b in spans
            ]
            shown = shown.drop(columns=[low, high])
    return shown


def printed(table: pd.DataFrame, name: str) -> dict[str, str]:
    """By a file's ending, a table for LaTeX and for Markdown; nothing for one without rows or with more than `MOST`.

    What is the same in every row, as provenance is, stands once under it. LaTeX needs the package booktabs.
    """
    if not 0 < len(table) <= MOST:
        return {}
    varying, constant = split(table.rename(columns=str))
    shown, note = worded(varying), " · ".join(f"{key} {number(value)}" for key, value in constant.items())
    latex = shown.rename(columns=_latex).map(_latex).to_latex(index=False, escape=False)
    under = f"\\par\\footnotesize {_latex(note)}\n" if note else ""
    cells = [[cell.replace("|", "\\|") for cell in row] for row in [list(shown), *shown.to_numpy().tolist()]]
    lines = [f"| {' | '.join(row)} |" for row in cells]
    lines.insert(1, "|" + " --- |" * shown.shape[1])
    return {".tex": f"% {name}\n{latex}{under}", ".md": "\n".join([*lines, "", note]).rstrip() + "\n"}


def _latex(words: str) -> str:
    return words.translate(LATEX)
