"""A small byte-pair vocabulary for the sketchbook's captions, in the file format of open_clip's tokenizer."""

import gzip
import re
from collections import Counter
from itertools import pairwise
from pathlib import Path

from clipsx.paths import write_whole
from clipsx.sketchbook.scene import FORMS
from clipsx.sketchbook.world import Sketchbook
from clipsx.text import templates_of


def learn_merges(words: Counter[str], limit: int = 600) -> list[tuple[str, str]]:
    """Byte-pair merges, most frequent first, until every word is one symbol (Sennrich et al. 2016)."""
    spelled = {" ".join(word) + "</w>": count for word, count in words.items()}
    merges: list[tuple[str, str]] = []
    while len(merges) < limit:
        pairs: Counter[tuple[str, str]] = Counter()
        for word, count in spelled.items():
            for pair in pairwise(word.split()):
                pairs[pair] += count
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        apart = re.compile(rf"(?<!\S){re.escape(' '.join(best))}(?!\S)")
        spelled = {apart.sub("".join(best), word): count for word, count in spelled.items()}
    return merges


def write_vocabulary(path: Path) -> int:
    """Write open_clip's `bpe_path` format for the words of the captions and templates; return the vocabulary's size."""
    lines = [*templates_of("clip-surgery"), *FORMS]
    names = [*Sketchbook.NOUNS, *Sketchbook.COLOURS, *Sketchbook.BACKGROUNDS]
    words = Counter(
        w for line in lines for w in line.lower().replace("{}", " ").split() for w in [w.strip(".,'")] if w.isalpha()
    )
    words.update(dict.fromkeys(names, 100) | {"and": 100, "an": 100, "on": 100, "in": 100})
    merges = learn_merges(words)
    text = "\n".join(["#version: clipsx", *(" ".join(pair) for pair in merges)])
    write_whole(path, gzip.compress(text.encode(), mtime=0))
    return 512 + len(merges) + 2
