"""The live panel of words on pictures: hover a word and see its map, point at the picture and see which words fire."""

import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import ipywidgets as W
import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from clipsx.analyses import words
from clipsx.maps import is_constant, minmax
from clipsx.metrics import msc
from clipsx.panels.code import recipe
from clipsx.panels.elements import Words, colours, outline
from clipsx.panels.gallery import PicturePanel
from clipsx.panels.pictures import Kept
from clipsx.panels.session import PictureView, at_pixels
from clipsx.panels.state import Entries, offered
from clipsx.plots import sentences
from clipsx.reading import Reading
from clipsx.sentence import Sentence

WHOLE = "the whole sentence"  # the end token's map


@dataclass(frozen=True)
class Spoken(Entries):
    """What the panel shows. JSON holds it: `patch` may come as a list.

    image: a place in the samples, or the path of a picture; sentence: None for the sample's caption, or one of its
    labels; word: the place of the word whose map is shown, None for the strongest; patch: (row, column), None for none;
    reading: the text of a `Reading`; size: the side that the picture is read at, None for the model's own.
    """

    image: int | str = 0
    sentence: str | None = None
    word: int | None = None
    patch: tuple[int, int] | None = None
    reading: str = "clip-surgery"
    opacity: float = 0.6
    size: int | None = None


@dataclass(frozen=True, eq=False)
class SentenceView(PictureView):
    """A picture and a sentence under a state; `known` keeps sentences by their text."""

    state: Spoken
    known: Kept

    @property
    def text(self) -> str:
        """The sentence as it stands."""
        typed = self.state.sentence
        return words.sentence_of(self.picture.sample) if typed is None else typed

    @cached_property
    def sentence(self) -> Sentence:
        """Its words and their features; those that the model does not read stand in it (`cut`)."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # the panel says it
            return self.known.made(self.text, lambda: words.read(self.session.clip, self.text))

    @cached_property
    def sim(self) -> Float[Tensor, "h w W"]:
        """The maps of all entries by the reading."""
        return self.session.similarities(self.picture, self.sentence.features, self.reading, self.state.size)[0]

    @property
    def place(self) -> int:
        """Which entry's map is shown."""
        if self.state.word is None:
            return next(iter(words.strongest(self.sentence, self.sim, 1)), len(self.sentence.words) - 1)
        return min(self.state.word, len(self.sentence.words) - 1)

    @property
    def patch(self) -> tuple[int, int] | None:
        """The chosen patch, on the grid."""
        if self.state.patch is None:
            return None
        row, column = (min(max(n, 0), size - 1) for n, size in zip(self.state.patch, self.sim.shape, strict=False))
        return row, column

    @cached_property
    def named(self) -> dict[int, str]:
        """The places of words that name an object whose true region is known, and which."""
        return {place: label for label in self.picture.shown.masks for place in self.sentence.find(label)}

    def table(self) -> pd.DataFrame:
        """A row per entry: strength, where, rank, how much it fires at the patch, mSC on the object that it names."""
        table = words.strengths(self.sentence, self.sim).assign(label=None, msc=np.nan)
        maps = minmax(self.sim[None])[0].permute(2, 0, 1).float().cpu().numpy()  # (W, h, w)
        for place, label in self.named.items():
            (map,) = at_pixels(maps[[place]], self.picture.size)  # (H, W)
            table.loc[place, "label"] = label
            table.loc[place, "msc"] = msc(map, self.picture.shown.masks[label], self.picture.shown.ignore)
        if self.patch is not None:
            here = words.firing(self.sentence, self.sim, self.patch)[["place", "fires", "value"]]
            table = table.merge(here, on="place").assign(patch=f"{self.patch[0]}, {self.patch[1]}")
        return table.assign(constant=is_constant(self.sim[None])[0].tolist(), **self.provenance())

    def provenance(self) -> dict[str, Any]:
        """Model, data, sentence, reading and protocol."""
        return self.about(f"min-max per map; {self.sentence.how}", self.sim.shape[:2], sentence=self.text)

    def figure(self) -> Figure:
        """The sentence, its strongest words marked, over their maps and the chosen word's (`sentences.draw`)."""
        figure = Figure(figsize=sentences.canvas(), layout="constrained")
        shown, also = self.picture.shown, [self.place]
        sentences.draw(figure, shown, self.sentence, self.sim, also, self.patch)
        return figure

    def code(self) -> str:
        """Code that makes the maps and the figure again, without a panel."""
        return recipe("words", view=self, s=self.state)

    def news(self) -> str:
        """What the model does not read of the sentence, and how it reads the rest where that is not as usual."""
        read, said = self.sentence, []
        if read.cut:
            said.append(f"Longer than the model reads; not read: {', '.join(read.cut)}.")
        if read.dropped:
            said.append(f"The tokenizer leaves out: {', '.join(read.dropped)}.")
        if read.alone:
            said.append("This text tower is not causal: every word is read alone.")
        return " ".join(said)

    def entries(self) -> list[dict[str, Any]]:
        """What the browser shows of every entry."""
        found = []
        for row in self.table().to_dict("records"):
            word = WHOLE if row["kind"] == "end" else "start" if row["kind"] == "start" else row["word"]
            rank = f", number {row['rank']} of its words" if row["rank"] else ""
            msc = "" if row["msc"] != row["msc"] else f", mSC {row['msc']:.1f} % on its object"
            about = f"{word}: highest value {row['strength']:#.2g} at patch {row['row']}, {row['column']}{rank}{msc}"
            about = f"{word}: a constant map, which says nothing" if row["constant"] else about
            label = self.named.get(row["place"])
            shape = {} if label is None else {"outline": outline(self.picture.shown.masks[label])}
            found.append({"word": word, "kind": row["kind"], "rank": row["rank"], "about": about} | shape)
        return found


class WordsPanel(PicturePanel):
    """A sentence over a picture: go to a word and see its map, to a place in the picture and see what fires there.

    By the pointer, or by arrow keys in the sentence and on the picture. The three strongest words are marked.

    Args: as of `PicturePanel`; a model whose text tower is not causal reads every word alone; entries of `Spoken`.
    """

    stem, doing = "words", "reading the sentence"
    entries = Spoken

    def _build(self) -> None:
        self._known = Kept(64)
        wide: dict[str, Any] = {"style": {"description_width": "64px"}}
        options = [(reading.title, str(reading)) for reading in offered(self.clip)]
        self._readings = W.Dropdown(description="reading", options=options, **wide)
        opacity = W.FloatSlider(description="opacity", max=1, step=0.01, **wide)
        self._controls = {"reading": self._readings, "opacity": opacity}
        self._typed = W.Text(description="sentence", placeholder="a photo of …", continuous_update=False, **wide)
        self._typed.layout = W.Layout(width="auto", flex="1 1 320px")
        self._own = W.Button(description="Its own", tooltip="the picture's caption, or a sentence of its labels")
        self._sentence = Words(colours=colours(), marks=[[colour, number] for colour, _, number in sentences.MARKS])
        self._link = W.jslink((opacity, "value"), (self._sentence, "opacity"))  # in the browser
        self._typed.observe(lambda change: self._heard(sentence=change["new"], word=None), "value")
        self._own.on_click(lambda _: self._heard(sentence=None, word=None))
        self._sentence.observe(lambda change: self._heard(word=change["new"]), "word")
        self._sentence.observe(lambda change: self._heard(patch=change["new"]), "patch")
        controls = W.HBox([self._readings, opacity]), W.HBox([self._typed, self._own])
        rows = [self._gallery, *controls, self._sentence]
        self._begin("Words on pictures: point at a word, or at the picture", *rows)

    @property
    def view(self) -> SentenceView:
        picture = self.pictures.open(self._state.image)
        return SentenceView(self.session, self.samples, picture, self._state, self._known)

    def _checked(self, state: Spoken) -> Spoken:
        if state.sentence is not None and not state.sentence.strip():
            raise ValueError("Type a sentence, such as 'a photo of a cat and a boat'.")
        self.pictures.open(state.image)
        return state.checked(self.clip)

    def _choose(self, image: int | str) -> None:
        self._heard(image=image, word=None, patch=None)

    def _put(self) -> None:
        s, options = self._state, list(self._readings.options)
        if s.reading not in dict(options).values():
            self._readings.options = [*options, (Reading.parse(s.reading).title, s.reading)]
        super()._put()
        self._typed.value = self.view.text
        self._sentence.word, self._sentence.patch = -1 if s.word is None else s.word, s.patch and list(s.patch)

    def _draw(self) -> None:
        view = self.view
        maps = minmax(view.sim[None])[0].permute(2, 0, 1).float().cpu().contiguous()  # (W, h, w)
        about = f"{view.session.about['model']} · {Reading.parse(view.state.reading).title} · {view.sentence.how}"
        scene = {"grid": list(view.sim.shape[:2]), "maps": maps.numpy().tobytes(), "words": view.entries()}
        with self._sentence.hold_sync():
            self._sentence.picture = view.picture.sent
            self._sentence.scene = scene | {"cut": list(view.sentence.cut), "about": about}

    def _shown(self, state: Any, news: str) -> None:
        super()._shown(state, " ".join(part for part in (news, self.view.news()) if part))
