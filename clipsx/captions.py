"""What figures show, in words: an alternative text, a caption that says what to see, the sources as BibTeX."""

import re
import tomllib
from functools import cache
from pathlib import Path
from typing import NamedTuple

from clipsx.paths import PACKAGE, write_whole

FILE = "captions.md"  # beside the figures
HEAD = "# Figures: alternative texts and captions\n"
SOURCES = "Sources"


class Caption(NamedTuple):
    """alt: what is there, for who cannot see it; see: what to look at; sources: BibTeX keys."""

    alt: str
    see: str
    sources: tuple[str, ...] = ()


@cache
def _known() -> tuple[dict[str, Caption], dict[str, str]]:
    """Captions by figure, and BibTeX by key, as the package states them."""
    found = tomllib.loads((PACKAGE / "captions.toml").read_text(encoding="utf-8"))
    figures = {name: Caption(row["alt"], row["see"], tuple(row["sources"])) for name, row in found["figures"].items()}
    return figures, found["bibtex"]


def of(*names: str) -> Caption | None:
    """The caption of a figure by the first of its names that has one, as it stands or after "13_" or "laboratory_"."""
    figures, _ = _known()
    keys = (key for name in names for key in (name, re.sub(r"^(\d\d|laboratory)_", "", name)))
    return next((figures[key] for key in keys if key in figures), None)


def add(out: Path, name: str, caption: Caption, about: str = "") -> Path:
    """Put a figure's caption into `captions.md` in its folder, in place of an older one; other text is kept.

    about: what made the figure, which one in print does not say itself.
    """
    file = out / FILE
    head, *parts = re.split(r"^## ", file.read_text(encoding="utf-8") if file.exists() else HEAD, flags=re.MULTILINE)
    entries = {part.partition("\n")[0]: part.partition("\n")[2] for part in parts}
    entries.pop(SOURCES, None)
    entries[name] = f"\nAlternative text: {caption.alt}\n\nCaption: {caption.see}\n"
    if about:
        entries[name] += f"\nMade from: {about}\n"
    if caption.sources:
        entries[name] += f"\nSources: {', '.join(caption.sources)}\n"
    used, bibtex = " ".join(entries.values()), _known()[1]
    entries[SOURCES] = "\n```bibtex\n" + "".join(text for key, text in bibtex.items() if key in used) + "```\n"
    text = "\n".join(f"## {key}\n{words.rstrip()}\n" for key, words in entries.items())
    write_whole(file, f"{head.rstrip()}\n\n{text}".encode())
    return file
