"""The paper's figure of a sentence: which words are marked, and what is drawn under them."""

from collections.abc import Iterator
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text

import clipsx
from clipsx import plots
from clipsx.analyses import words
from clipsx.metrics import msc
from clipsx.plots import sentences
from helpers import masked, noise, tiny_clip


@pytest.fixture(scope="module")
def clip() -> clipsx.Clip:
    return tiny_clip(image_size=32, layers=2, width=32, patch_size=8)


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    plt.close("all")


def texts(figure: Figure) -> list[Text]:
    found = [artist for artist in figure.findobj(Text) if isinstance(artist, Text)]
    return [text for text in found if text.get_text()]


def test_the_strongest_words_are_marked_and_their_maps_drawn(
    clip: clipsx.Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[tuple[np.ndarray, np.ndarray | None]] = []

    def overlay(*args: Any, **options: Any) -> Axes:
        drawn.append((args[1], options["outline"]))
        return plots.overlay(*args, **options)

    monkeypatch.setattr(sentences, "overlay", overlay)
    sample = masked(20, 28, ("cat", "dog"), 1).replace(captions=("A red cat, a dog and a $5 boat",))
    figure = sentences.sheet(clip, [sample], "clip")
    read = clip.encode_words(sample.captions[0])
    sim = clip.maps(clip.prepare(sample.image), "clip", read.features)["clip"]  # (1, h, w, W)
    strong = words.strongest(read, sim[0])
    maps = clipsx.upsample(clipsx.minmax(sim), (20, 28))[0].numpy()
    for (map, outline), place in zip(drawn, [len(read.words) - 1, *strong], strict=True):
        np.testing.assert_allclose(map, maps[..., place], atol=1e-6)
        label = read.words[place]
        assert (outline is None) == (label not in sample.masks)
        assert outline is None or np.array_equal(outline, sample.masks[label])
    written = [text.get_text() for text in texts(figure)]
    assert [word for word in written if word in ("red", "cat", ",", "$", "5")]
    for (_, _, number), place in zip(sentences.MARKS, strong, strict=True):
        assert f"{read.words[place]} {number}" in written  # in the sentence
        word, mask = read.words[place], sample.masks.get(read.words[place])
        score = "" if mask is None else f", mSC\u00a0{msc(maps[..., place], mask, sample.ignore):.0f}\u00a0%"
        assert f"{word} {number}\n{float(sim[..., place].max()):#.2g}{score}" in written  # over its map
    figure.savefig("/dev/null", format="png")


def test_marks_are_told_apart_in_grey_and_without_colours() -> None:
    assert len({line for _, line, _ in sentences.MARKS}) == len({number for *_, number in sentences.MARKS}) == 3
    for colour, _, _ in sentences.MARKS:  # black on each can be read: WCAG's contrast of 4.5 and more
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
        luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
        assert (luminance + 0.05) / 0.05 > 7


def test_long_sentences_are_wrapped_and_what_is_cut_stands_in_brackets(clip: clipsx.Clip) -> None:
    with pytest.warns(UserWarning, match="not read: 'boat'"):
        read = clip.encode_words("cat " * 38 + "boat")
    figure = plt.figure(figsize=(6, 3))
    ax = sentences.sentence(read, [], figure.add_subplot())
    figure.canvas.draw()
    written = texts(figure)
    assert [text.get_text() for text in written] == ["cat"] * 38 + ["[boat]"]
    boxes = [text.get_window_extent() for text in written]
    assert len({round(box.y0) for box in boxes}) > 1 and max(box.x1 for box in boxes) <= ax.get_window_extent().x1
    sentences.sentence(clip.encode_words(""), [], ax)  # nothing to write


def test_one_sentence_for_all_and_pictures_without_masks(clip: clipsx.Clip) -> None:
    samples = [clipsx.datasets.Sample(noise(30, 20, n), name=f"n{n}") for n in range(2)]
    figure = sentences.sheet(clip, samples, "clip-surgery@1+code", "one cat")
    written = [text.get_text() for text in texts(figure)]
    assert {"n0", "n1"} <= set(written) and sum(word.startswith("one ") and "\n" not in word for word in written) == 2
    figure.savefig("/dev/null", format="png")
