"""The live panel of CLIP Surgery: what its controls do to its state, and the state to its pictures."""

import re
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from threading import RLock
from typing import Any

from PIL import Image

from clipsx import images
from clipsx.clip import Clip
from clipsx.datasets import Sample
from clipsx.messages import brief
from clipsx.panels.base import FigurePanel
from clipsx.panels.elements import UPLOAD_LIMIT, line, outline, pane, png, thumb
from clipsx.panels.layout import PARTS, Layout
from clipsx.panels.session import Picture, Session, usual
from clipsx.panels.state import NO_LABEL, State, accepted, turned, updated
from clipsx.panels.view import View, stretched
from clipsx.paths import write_whole

PAGE = 8  # thumbnails at a time
LABELS = 6  # labels that a panel starts with, the sample's own first
STOPPED = "Stopped: the pictures show the last state that was ready."
SENT = 640  # pixels a side that go to the browser


class SurgeryPanel(FigurePanel):
    """A picture, labels, and their maps before and after CLIP Surgery, live.

    Args:
        clip: the model; None for the built-in sketchbook CLIP.
        samples: a sequence of `Sample`; None for scenes of the sketchbook.
        out: where figures, tables and pictures of one's own are written.
        state: entries of `State`, such as reading="maskclip+code"; `SurgeryPanel(clip, samples, **panel.state)` shows
            the same again.

    Errors: ValueError for a state that this model or these samples cannot show; later ones are told in the panel.
    """

    def __init__(
        self,
        clip: Clip | None = None,
        samples: Sequence[Sample] | None = None,
        *,
        out: str | Path = "out",
        **state: Any,
    ) -> None:
        super().__init__(out)
        self.clip, self.samples = usual(clip, samples)
        self.session = Session(self.clip)
        self._state = self._checked(updated(State(), state))
        self._own: dict[str, Picture] = {}
        self._left: dict[int | str, dict[str, Any]] = {}  # labels of pictures that were left, and the one shown
        self._sent: dict[str, Any] = {}
        self._lock = RLock()
        if "image" not in state:
            self._state = replace(self._state, image=self._first())
        self._picture = self._open(self._state.image)
        self._ui = Layout(self.clip, list(getattr(self.samples, "labels", ())), self._tools, self._line)
        self._controls = self._ui.controls
        self.children = self._ui.rows
        self._listen()
        self._adopt(self._state)
        self._turn()

    # State ----------------------------------------------------------------------------------------------------------

    @property
    def view(self) -> View:
        """The present picture under the present state."""
        with self._lock:
            return View(self.session, self.samples, self._picture, self._state)

    @property
    def stem(self) -> str:
        """What is saved is named after the picture and the label shown."""
        words = f"surgery-{self._picture.sample.name or 'picture'}-{self._state.shown or 'empty-label'}"
        return re.sub(r"[^\w-]+", "-", words)[:80].strip("-")

    def _checked(self, state: State) -> State:
        return state.checked(self.clip, len(self.samples))

    def _adopt(self, state: State, news: str = "") -> None:
        """Labels that are left out are the usual ones; what needs no walk of the tower is shown at once."""
        picture = self._picture if state.image == self._state.image else self._open(state.image)
        labels = self._usual(picture) if state.labels is None else accepted(state.labels)[0]
        with self._lock:
            shown = state.shown if state.shown in labels else labels[0]
            self._picture, self._state = picture, replace(state, labels=labels, shown=shown)
        self._fill()
        steps = self.session.steps(picture, labels, self._state)
        if steps:
            self._worker.start(steps, self._show)
        else:
            self._worker.stop()
            self._show()

    def _put(self) -> None:
        self._ui.put(self._state)

    def _usual(self, picture: Picture) -> tuple[str, ...]:
        """Labels to start with: those that are there, then others, so that feature surgery has something to compare."""
        there = picture.sample.labels
        return tuple(dict.fromkeys([*there, *self._ui.chips.known]))[: max(LABELS, len(there))] or ("",)

    # Pictures -------------------------------------------------------------------------------------------------------

    def _open(self, image: int | str) -> Picture:
        if isinstance(image, int):
            sample = self.samples[image]
            try:
                _ = sample.image, sample.masks  # opened here, where what is wrong with them can still be told
            except Exception as error:
                raise ValueError(f"{sample.name or f'Sample {image}'} cannot be shown: {brief(error)}") from None
            return Picture(sample)
        if image not in self._own:
            self._own[image] = _named(image, images.decode(image))
        return self._own[image]

    def take(self, data: bytes) -> None:
        """Show a picture of one's own, from the bytes of a file. What cannot be read is told in the panel.

        The file is kept under `out` as it is, so that state and code can name it.
        """
        with self._told():
            if len(data) > UPLOAD_LIMIT:
                raise ValueError(
                    f"The picture is {len(data) / 1e6:.1f} MB; at most {UPLOAD_LIMIT / 1e6:g} MB are taken."
                )
            with images.opened(data) as image:
                kind = str(image.format).lower()
            path = self.out / "pictures" / f"own-{sha256(data).hexdigest()[:8]}.{kind}"
            own = _named(str(path), images.decode(data))
            write_whole(path, data)
            self._own[str(path)] = own
            self._turn()
            self._choose(str(path))

    def _choose(self, image: int | str) -> None:
        """Another picture, with the labels that it was left with; a new one takes edited labels over, else its own."""
        s, untouched = self._state, self._state.labels == self._usual(self._picture)
        new = {"labels": None, "shown": None} if untouched else {}
        self._left[s.image] = {"labels": s.labels, "shown": s.shown}
        self.restore({"image": image, "patch": None, **self._left.get(image, new)})

    def _turn(self, _: Any = None) -> None:
        """The gallery's page: pictures of one's own first."""
        gallery, count = self._ui.gallery, len(self.samples)
        start = gallery.page * PAGE
        gallery.pages = max(1, -(-count // PAGE))
        there: dict[int | str, Picture] = {**self._own}
        bad: list[str] = []
        for i in range(start, min(start + PAGE, count)):
            try:
                there[i] = self._open(i)
            except ValueError as error:
                bad.append(str(error))
        gallery.thumbs = [thumb(key, picture.shown) for key, picture in there.items()]
        if bad:
            self._tell(f"Left out of the gallery, {len(bad)} of its pictures here: {' '.join(bad)}")

    def _first(self) -> int:
        """The first sample that can be opened; 0 where none can, for its error."""
        for i in range(len(self.samples)):
            try:
                self._open(i)
                return i
            except ValueError:
                continue
        return 0

    # Showing --------------------------------------------------------------------------------------------------------

    def _show(self) -> None:
        """Send the browser what has changed."""
        with self._lock:
            view, ui = self.view, self._ui
            s, sample, raw = view.state, view.picture.sample, view.raw
            scene = (view.picture.key, s.labels, s.reading, s.size)
            with ui.pictures.hold_sync():
                if self._sent.get("picture") != view.picture.key:
                    shown = view.picture.shown
                    outlines = {label: outline(mask) for label, mask in shown.masks.items()}
                    sent = {"bytes": png(shown.image, SENT), "size": list(shown.image.size)}
                    ui.pictures.picture = {**sent, "outlines": outlines}
                if self._sent.get("scene") != scene:
                    columns = (("raw", "repaired"), view.titles[:2], (raw, view.repaired), view.numbers)
                    ui.pictures.scene = {
                        "title": sample.name or "picture",
                        "under": ", ".join(sample.labels) or "true regions not known",
                        "words": f"{sample.image.width} × {sample.image.height} pixels",
                        "grid": list(raw.values.shape[1:]),
                        "labels": list(view.labels),
                        "panes": [pane(*column) for column in zip(*columns, strict=True)],
                    }
                ui.pictures.attention = {
                    "title": view.titles[2][0],
                    "under": view.titles[2][1],
                    "words": view.inside,
                    "anchor": list(view.anchor),
                    "map": stretched(view.attention).tobytes(),
                }
            self._sent = {"picture": view.picture.key, "scene": scene}
            ui.chips.scores = view.scores
            self._code.code = view.code()
            self._ready = (view.picture, s)

    # What is heard --------------------------------------------------------------------------------------------------

    def _listen(self) -> None:
        ui = self._ui
        super()._listen()
        ui.pictures.observe(lambda change: self._heard(patch=change["new"]), "patch")
        ui.chips.observe(self._on_chips, ["labels", "shown"])
        ui.gallery.observe(self._on_chosen, "chosen")
        ui.gallery.observe(self._turn, "page")
        ui.gallery.on_msg(self._on_message)
        ui.stop.on_click(self._on_stop)

    def _heard(self, **change: Any) -> None:
        """What was moved is an entry of the state, or a part of its reading."""
        if not self._quiet:
            for part in change.keys() & set(PARTS):
                reading = turned(self._state.reading, part, change.pop(part))
                change["reading"] = turned(reading, "tau", self._ui.tau.value) if part == "surgery" else reading
        super()._heard(**change)

    def _on_chosen(self, change: dict[str, Any]) -> None:
        if not self._quiet:
            self._choose(change["new"])

    def _on_chips(self, _: dict[str, Any]) -> None:
        """Labels were added, removed or edited, or another is shown. What is refused is told, and taken off again."""
        if self._quiet:
            return
        offered, place = self._ui.chips.labels, self._ui.chips.shown
        labels, refused = accepted(tuple(offered))
        if not labels:
            labels, refused = self._state.labels, [*refused, NO_LABEL]
        wanted = offered[place].strip() if 0 <= place < len(offered) else None
        if not refused and (labels, wanted) == (self._state.labels, self._state.shown):
            return  # the other half of one message from the browser, which was heard already
        self.restore({"labels": labels, "shown": wanted if wanted in labels else self._state.shown})
        if refused:
            self._tell(" ".join(refused))

    def _on_message(self, _: Any, content: dict[str, Any], buffers: Sequence[memoryview]) -> None:
        if content.get("kind") == "refused":
            self._tell(str(content.get("words")))
        elif content.get("kind") == "picture" and buffers:
            self.take(bytes(buffers[0]))

    def _on_stop(self, _: Any = None) -> None:
        self._worker.stop()
        self._back()
        self._tell(STOPPED, "status")

    def _back(self) -> None:
        with self._lock:
            self._picture, self._state = self._ready or (self._picture, self._state)
        self._fill()

    def _on_progress(self, done: int, total: int, words: str) -> None:
        self._ui.progress.max, self._ui.progress.value = total, done
        self._ui.busy.layout.display = "flex"
        self._tell(f"{words} ({done + 1} of {total})", "status")

    def _on_end(self) -> None:
        if self._ui.busy.layout.display != "none":
            self._ui.busy.layout.display = "none"
            if STOPPED not in self._ui.status.value:
                self._tell("", "status")

    def _tell(self, words: str, role: str = "alert") -> None:
        (self._line if role == "alert" else self._ui.status).value = line(words, role)


def _named(path: str, photo: Image.Image) -> Picture:
    """A picture of one's own, and the code that opens its file."""
    name = Path(path).stem
    code = f"clipsx.datasets.Sample(clipsx.images.decode({path!r}), (), name={name!r})"
    return Picture(Sample(photo, (), name=name), code)
