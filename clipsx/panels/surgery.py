"""The live panel of CLIP Surgery: what its controls do to its state, and the state to its pictures."""

import html
import re
from dataclasses import replace
from threading import RLock
from typing import Any

import ipywidgets as W

from clipsx.clip import Clip
from clipsx.methods import METHODS, PAIRS, able
from clipsx.panels.elements import Chips, Gallery, Pictures, colours, line, outline
from clipsx.panels.gallery import PicturePanel
from clipsx.panels.pictures import Picture
from clipsx.panels.state import NO_LABEL, RELATIONS, State, accepted, turned
from clipsx.panels.view import View
from clipsx.panels.worker import Step
from clipsx.reading import SURGERIES, TAU, Reading

PARTS = ("method", "depth", "surgery", "tau")  # of a reading
COLUMNS = (("threshold", "opacity"), ("method", "depth"), ("surgery", "tau"), ("attention", "block"))


class Layout:
    """Controls by the entry of the state that they move, the parts that the browser draws, and the panel's rows."""

    def __init__(self, clip: Clip, known: list[str], gallery: Gallery, tools: W.Widget, alert: W.HTML) -> None:
        blocks = clip.tower.blocks
        whole = W.Layout(width="100%", margin="2px 0")
        wide = {"layout": whole, "style": {"description_width": "64px"}}
        few = {"layout": whole, "style": {"description_width": "64px", "button_width": "auto"}}
        methods = [(METHODS[name].title, name) for name in (*clip.methods, *able(clip.tower, texts=True))]
        surgeries = [*zip(("off", "released", "paper"), SURGERIES, strict=True)]
        relations = [(PAIRS[name], name) for name in RELATIONS]
        self._tower = clip.tower
        self.method = W.Dropdown(description="method", options=methods, **wide)
        self.depth = W.IntSlider(description="depth", min=1, max=blocks, **wide)
        self.tau = W.FloatSlider(description="τ", value=TAU, max=20, step=0.5, readout_format=".1f", **wide)
        self.controls = {
            "threshold": W.FloatSlider(description="threshold", max=1, step=0.01, **wide),
            "opacity": W.FloatSlider(description="opacity", max=1, step=0.01, **wide),
            "method": self.method,
            "depth": self.depth,
            "surgery": W.ToggleButtons(description="surgery", options=surgeries, **few),
            "tau": self.tau,
            "attention": W.ToggleButtons(description="attention", options=relations, **few),
            "block": W.IntSlider(description="block", max=blocks - 1, **wide),
        }
        self.gallery, self.chips = gallery, Chips(known=known)
        self.pictures = Pictures(colours=colours(), layout=W.Layout(margin="4px 0 8px"))
        self.links = [  # straight to the canvas, in the browser
            W.jslink((self.controls["threshold"], "value"), (self.pictures, "threshold")),
            W.jslink((self.controls["opacity"], "value"), (self.pictures, "opacity")),
            W.jslink((self.chips, "shown"), (self.pictures, "shown")),
        ]
        self.progress = W.IntProgress(layout=W.Layout(width="160px"))
        self.stop = W.Button(description="Stop", icon="stop", layout=W.Layout(width="76px"))
        self.busy = W.HBox([self.progress, self.stop], layout=W.Layout(display="none", align_items="center"))
        self.status = W.HTML()

        columns = [W.VBox([self.controls[name] for name in pair]) for pair in COLUMNS]
        grid = W.Box(columns).add_class("clipsx-fours")
        about = f"{html.escape(clip.name)} · {html.escape(clip.weights)}"
        head = W.HTML(f'<b>CLIP Surgery, live</b> <span class="clipsx-quiet">· {about}</span>')
        foot = W.HBox([self.busy, self.status], layout=W.Layout(min_height="32px", align_items="center"))
        self.rows = [head, self.gallery, self.chips, self.pictures, grid, tools, foot, alert]

    def put(self, state: State) -> None:
        """Put a state, whose labels are filled in, where the controls show it; the depth is the one it came to."""
        assert state.labels is not None
        reading = Reading.parse(state.reading)
        row, depth = reading.plan(self._tower)
        methods = list(self.method.options)
        if reading.method not in (name for _, name in methods):  # a free combination
            self.method.options = [*methods, (reading.method, reading.method)]
        values = vars(state) | vars(reading) | {"depth": depth, "block": state.block % self._tower.blocks}
        if reading.surgery == "none":  # the slider keeps what feature surgery begins with when it is chosen
            values["tau"] = self.tau.value
        self.tau.max = max(self.tau.max, values["tau"])
        for name, control in self.controls.items():
            control.value = values[name]
        self.depth.disabled, self.controls["surgery"].disabled = row.blocks is not None, bool(row.texts)
        self.tau.disabled = reading.surgery == "none" or len(state.labels) == 1
        self.chips.labels, self.chips.shown = list(state.labels), state.labels.index(state.shown or "")
        self.pictures.shown, self.pictures.patch = self.chips.shown, state.patch and list(state.patch)
        self.pictures.threshold, self.pictures.opacity = state.threshold, state.opacity
        self.gallery.chosen = state.image


LABELS = 6  # labels that a panel starts with, the sample's own first
STOPPED = "Stopped: the pictures show the last state that was ready."


class SurgeryPanel(PicturePanel):
    """A picture, labels, and their maps before and after CLIP Surgery, live.

    Args: as of `PicturePanel`; entries of `State`, such as reading="maskclip+code".
    """

    entries = State

    def _build(self) -> None:
        self._left: dict[int | str, dict[str, Any]] = {}  # labels of pictures that were left, and the one shown
        self._sent: dict[str, Any] = {}
        self._lock = RLock()
        known = getattr(self.samples, "labels", ())
        self._ui = Layout(self.clip, list(known), self._gallery, self._tools, self._line)
        self._controls, self.children = self._ui.controls, self._ui.rows
        self._listen()
        self._adopt(self._state)

    # State ----------------------------------------------------------------------------------------------------------

    @property
    def view(self) -> View:
        state = self._state
        return View(self.session, self.samples, self.pictures.open(state.image), state)

    @property
    def stem(self) -> str:
        """What is saved is named after the picture and the label shown."""
        words = f"surgery-{self.view.picture.sample.name or 'picture'}-{self._state.shown or 'empty-label'}"
        return re.sub(r"[^\w-]+", "-", words)[:80].strip("-")

    def _checked(self, state: State) -> State:
        """Labels that are left out are the usual ones."""
        state, picture = state.checked(self.clip), self.pictures.open(state.image)
        labels = self._usual(picture) if state.labels is None else accepted(state.labels)[0]
        return replace(state, labels=labels, shown=state.shown if state.shown in labels else labels[0])

    def _steps(self) -> list[Step]:
        """What needs no walk of the tower is shown at once."""
        return self.session.steps(self.view.picture, self._state.labels or (), self._state)

    def _put(self) -> None:
        self._ui.put(self._state)

    def _usual(self, picture: Picture) -> tuple[str, ...]:
        """Labels to start with: those that are there, then others, so that feature surgery has something to compare."""
        there = picture.sample.labels
        return tuple(dict.fromkeys([*there, *getattr(self.samples, "labels", ())]))[: max(LABELS, len(there))] or ("",)

    # Pictures -------------------------------------------------------------------------------------------------------

    def _choose(self, image: int | str) -> None:
        """Another picture, with the labels that it was left with; a new one takes edited labels over, else its own."""
        s, untouched = self._state, self._state.labels == self._usual(self.view.picture)
        new = {"labels": None, "shown": None} if untouched else {}
        self._left[s.image] = {"labels": s.labels, "shown": s.shown}
        self.restore({"image": image, "patch": None, **self._left.get(image, new)})

    # Showing --------------------------------------------------------------------------------------------------------

    def _shown(self, state: State, news: str) -> None:
        """Send the browser what has changed."""
        with self._lock:
            ui, view = self._ui, self.view
            if view.state is not state:
                return  # another one is on its way
            picture = view.picture
            scene = (picture.key, state.labels, state.reading, state.size)
            with ui.pictures.hold_sync():
                if self._sent.get("picture") != picture.key:
                    outlines = {label: outline(mask) for label, mask in picture.shown.masks.items()}
                    ui.pictures.picture = {**picture.sent, "outlines": outlines}
                if self._sent.get("scene") != scene:
                    ui.pictures.scene = view.scene()
                ui.pictures.attention = view.looks()
            self._sent = {"picture": picture.key, "scene": scene}
            ui.chips.scores = view.scores
            super()._shown(state, news)

    # What is heard --------------------------------------------------------------------------------------------------

    def _listen(self) -> None:
        ui = self._ui
        super()._listen()
        ui.pictures.observe(lambda change: self._heard(patch=change["new"]), "patch")
        ui.chips.observe(self._on_chips, ["labels", "shown"])
        ui.stop.on_click(self._on_stop)

    def _heard(self, **change: Any) -> None:
        """What was moved is an entry of the state, or a part of its reading."""
        if not self._quiet:
            for part in change.keys() & set(PARTS):
                reading = turned(self._state.reading, part, change.pop(part))
                change["reading"] = turned(reading, "tau", self._ui.tau.value) if part == "surgery" else reading
        super()._heard(**change)

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

    def _on_stop(self, _: Any = None) -> None:
        self._worker.stop()
        self._back()
        self._tell(STOPPED, "status")

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
