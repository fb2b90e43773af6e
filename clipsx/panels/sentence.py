"""The live panel of words on pictures: hover a word and see its map, point at the picture and see which words fire."""

from dataclasses import replace
from typing import Any

import ipywidgets as W

from clipsx.maps import minmax
from clipsx.messages import require
from clipsx.panels.elements import Words, colours
from clipsx.panels.gallery import PicturePanel
from clipsx.panels.pictures import Kept
from clipsx.panels.sentence_view import SentenceView, Spoken
from clipsx.plots import sentences
from clipsx.reading import Reading, crossed


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
        options = [(reading.title, str(reading)) for reading in crossed(self.clip.methods)]
        self._readings = W.Dropdown(description="reading", options=options, **wide)
        opacity = W.FloatSlider(description="opacity", max=1, step=0.01, **wide)
        self._controls = {"reading": self._readings, "opacity": opacity}
        self._typed = W.Text(description="sentence", placeholder="a photo of …", continuous_update=False, **wide)
        self._typed.layout = W.Layout(width="auto", flex="1 1 0")
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
        reading = Reading.parse(state.reading)
        reading.plan(self.clip.tower)
        require("opacity", state.opacity, 0, 1)
        if state.sentence is not None and not state.sentence.strip():
            raise ValueError("Type a sentence, such as 'a photo of a cat and a boat'.")
        self.pictures.open(state.image)
        return replace(state, reading=str(reading))

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
