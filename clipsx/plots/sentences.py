"""A sentence with its strongest words marked, over the maps of the picture that it speaks of."""

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
from jaxtyping import Float
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.offsetbox import AnchoredOffsetbox, HPacker, TextArea, VPacker
from torch import Tensor

from clipsx.analyses import words
from clipsx.clip import Clip
from clipsx.datasets import Sample
from clipsx.evaluation.stream import Size
from clipsx.maps import minmax, upsample
from clipsx.metrics import msc
from clipsx.plots import styles
from clipsx.plots.axes import STYLE
from clipsx.plots.over import overlay, ring, scale
from clipsx.plots.reduced import reduced
from clipsx.plots.texts import LETTER, broken, plain, short
from clipsx.reading import Reading
from clipsx.sentence import Sentence

PICTURES = 6  # of a sentence: photo, the whole sentence, its three strongest words, one more
# Told apart by colour (with or without colour vision), by line and, in grey as well, by the number beside the word.
MARKS = (("#e69f00", "-", "①"), ("#56b4e9", "--", "②"), ("#f0e442", ":", "③"))


def sentence(read: Sentence, marked: Sequence[int] = (), ax: Axes | None = None, size: float = 11) -> Axes:
    """A sentence written as wide as the axes are, its marked places (strongest first) in boxes with their numbers.

    Words that the model does not read stand in grey, in brackets.
    """
    ax = plt.gca() if ax is None else ax
    ax.axis("off")
    parts: list[tuple[str, dict[str, Any]]] = []
    for place in read.places("word", "punctuation"):
        style: dict[str, Any] = {"color": STYLE["text"]}
        word = short(read.words[place])
        if place in marked[: len(MARKS)]:
            colour, line, number = MARKS[marked.index(place)]
            word, box = f"{word} {number}", {"boxstyle": "round,pad=0.2", "facecolor": colour, "edgecolor": "black"}
            style = {"color": "black", "fontweight": "bold", "bbox": box | {"linestyle": line}}
        parts.append((word, style))
    parts += [(f"[{short(word)}]", {"color": STYLE["chance"]}) for word in read.cut]
    points = ax.get_window_extent().width * 72 / ax.figure.dpi
    most, used, lines = points / (LETTER * size), 0, [[]]
    for word, style in parts:
        used += len(word) + 1
        if used > most and lines[-1]:
            lines, used = [*lines, []], len(word) + 1
        lines[-1].append(TextArea(word, textprops={"fontsize": size} | style))
    rows: list[Artist] = [HPacker(children=line, pad=0, sep=0.6 * size, align="baseline") for line in lines if line]
    if rows:
        packed = VPacker(children=rows, pad=0, sep=0.7 * size, align="left")
        ax.add_artist(AnchoredOffsetbox("center left", child=packed, frameon=False, pad=0, borderpad=0.4))
    return ax


def canvas(bar: bool = True) -> tuple[float, float]:
    """Width and height, in inches, of a sentence over its pictures, with or without the scale of colours."""
    style = styles.current()
    if style.width is None:
        return 11, 2.9 + 0.4 * bar
    return style.width, 0.95 + style.width / (PICTURES - 1) + 0.4 * bar


def draw(
    target: Figure | SubFigure,
    sample: Sample,
    read: Sentence,
    sim: Float[Tensor, "h w W"],
    also: Sequence[int] = (),
    patch: tuple[int, int] | None = None,
    bar: bool = True,
) -> None:
    """The sentence, its three strongest words marked, above the photo, the sentence's map and the words' own.

    sample: at the size that is shown; sim: the maps of all the sentence's entries; also: more places of it to show;
    patch: ringed on the photo, with the three words that fire most there. The sentence's map is that of its end token.
    A word that names an object with a mask has it outlined, and its map's mSC; bar: draw the maps' scale of colours.
    Source: CLIP Surgery, multimodal visualisation.
    """
    found, end = words.strongest(read, sim), len(read.words) - 1
    shown = list(dict.fromkeys([end, *found, *also]))
    size = (sample.size[1], sample.size[0])
    values = upsample(minmax(sim[None, ..., shown]), size)[0].float().cpu().numpy()  # (H, W, n)
    high = sim.amax((0, 1)).tolist()
    style, names = styles.current(), ["photo", *map(str, shown)]
    lines = 1 + int(1.2 * sum(map(len, read.words)) * LETTER * style.points(11) / 72 / canvas()[0])  # of the sentence
    tall = [0.1 + 0.2 * lines, 1]
    axes = target.subplot_mosaic([["sentence"] * len(names), names], height_ratios=tall)  # type: ignore[arg-type]
    letters = 72 * (style.width or 99) / len(names) / (LETTER * style.points(9))
    sentence(read, found, axes["sentence"], style.points(11))
    axes["photo"].imshow(sample.image)
    axes["photo"].set(xticks=[], yticks=[])
    axes["photo"].set_title(broken(short(sample.name), letters), fontsize=style.points(9))
    if patch is not None:
        ring(patch, (sim.shape[0], sim.shape[1]), size, axes["photo"])
        here = words.firing(read, sim, patch).query("kind == 'word'").head(len(MARKS))
        said = ", ".join(f"{short(row['word'], 16)} {row['fires']:.2f}" for row in here.to_dict("records"))
        axes["photo"].set_xlabel(said, fontsize=8)
    for n, place in enumerate(shown):
        named = [mask for label, mask in sample.masks.items() if place in read.find(label)]
        ax = overlay(sample.image, values[..., n], axes[str(place)], outline=named[0] if named else None)
        title = "the whole sentence" if place == end else short(read.words[place])
        colour, line, number = MARKS[found.index(place)] if place in found else ("none", "-", "")
        score = f", mSC\u00a0{msc(values[..., n], named[0], sample.ignore):.0f}\u00a0%" if named else ""
        ax.set_title(broken(f"{title} {number}\n{high[place]:#.2g}{score}", letters), fontsize=style.points(9))
        for side in ax.spines.values():
            side.set(edgecolor=colour, linestyle=line, linewidth=3 * style.thin)
    if bar:
        scale([ax for name, ax in axes.items() if name != "sentence"])
    plain(*axes.values())


def sheet(
    clip: Clip, samples: Sequence[Sample], asked: str | Reading = "clip", text: str = "", size: Size = None
) -> Figure:
    """`draw` for every sample, below each other; text: one sentence for all, else each one's own (`sentence_of`)."""
    reading = Reading.parse(asked)
    heights = [canvas(sample is samples[-1])[1] for sample in samples]  # the last one has the scale of colours
    figure = styles.blank(figsize=(canvas()[0], sum(heights)), layout="constrained")
    rows = figure.subfigures(len(samples), 1, squeeze=False, height_ratios=heights)[:, 0]
    for target, sample in zip(rows, samples, strict=True):
        read = words.read(clip, text or words.sentence_of(sample))
        (sim,) = clip.maps(clip.prepare(sample.image, size), reading, read.features).values()  # (1, h, w, W)
        draw(target, reduced(sample), read, sim[0], bar=sample is samples[-1])
    figure.suptitle(f"Maps by {reading.title}; under a word, the highest value of its map", fontsize=10)
    plain(figure)
    return figure
