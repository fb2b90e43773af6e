"""Panels over pictures: samples, and pictures of one's own, that a gallery chooses among."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clipsx import datasets
from clipsx.clip import Clip
from clipsx.datasets import Sample
from clipsx.load import load
from clipsx.panels.base import FigurePanel
from clipsx.panels.elements import Gallery
from clipsx.panels.pictures import Pictures
from clipsx.panels.session import Session
from clipsx.panels.state import Entries

PAGE = 8  # thumbnails at a time
WORLD: dict[str, Any] = {"seed": 7, "length": 40, "size": 192}  # of scenes, where no samples are given


class PicturePanel(FigurePanel):
    """A panel whose state has an `image`: a place in the samples, or the path of a picture that was taken.

    Args:
        clip: the model; None for the built-in sketchbook CLIP.
        samples: a sequence of `Sample`; None for scenes of the sketchbook.
        out, state: as of every panel (`FigurePanel`).

    Heirs say what their state's `entries` are; they make their parts, and show the first state, in `_build`.
    """

    entries: type[Entries]

    def __init__(
        self,
        clip: Clip | None = None,
        samples: Sequence[Sample] | None = None,
        *,
        out: str | Path = "out",
        **state: Any,
    ) -> None:
        super().__init__(out)
        self.clip = load("sketchbook") if clip is None else clip
        self.samples = datasets.load("sketchbook", **WORLD) if samples is None else samples
        self.session, self.pictures = Session(self.clip), Pictures(self.samples)
        self._gallery = Gallery()
        first = {} if "image" in state else {"image": self.pictures.first()}
        self._state = self._checked(self.entries().updated(first | state))
        self._build()

    def _build(self) -> None:
        raise NotImplementedError

    def take(self, data: bytes) -> None:
        """Show a picture of one's own, from the bytes of a file. What cannot be read is told in the panel.

        The file is kept under `out` as it is, so that state and code can name it.
        """
        with self._told():
            path = self.pictures.take(data, self.out / "pictures")
            self._choose(path)
            self._turn()

    def _choose(self, image: int | str) -> None:
        self._heard(image=image)

    def _turn(self, _: Any = None) -> None:
        """The gallery's page: pictures of one's own first."""
        gallery, count = self._gallery, len(self.pictures.samples)
        start = gallery.page * PAGE
        gallery.pages = max(1, -(-count // PAGE))
        gallery.thumbs, bad = self.pictures.thumbs(range(start, min(start + PAGE, count)))
        if bad:
            self._tell(f"Left out of the gallery, {len(bad)} of its pictures here: {' '.join(bad)}")

    def _listen(self) -> None:
        super()._listen()
        self._gallery.observe(lambda change: self._quiet or self._choose(change["new"]), "chosen")
        self._gallery.observe(self._turn, "page")
        self._gallery.on_msg(self._on_message)
        self._turn()

    def _put(self) -> None:
        super()._put()
        self._gallery.chosen = self._state.image

    def _on_message(self, _: Any, content: dict[str, Any], buffers: Sequence[memoryview]) -> None:
        if content.get("kind") == "refused":
            self._tell(str(content.get("words")))
        elif content.get("kind") == "picture" and buffers:
            self.take(bytes(buffers[0]))
