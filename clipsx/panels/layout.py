"""The controls of the surgery panel and where they stand."""

import html

import ipywidgets as W

from clipsx.clip import Clip
from clipsx.methods import METHODS, PAIRS, able
from clipsx.panels.elements import Chips, Gallery, Pictures, colours
from clipsx.panels.state import RELATIONS, State
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
        surgeries = [("off" if name == "none" else name, name) for name in SURGERIES]
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
        grid = W.GridBox(columns, layout=W.Layout(grid_template_columns="repeat(4, minmax(0, 1fr))", grid_gap="0 12px"))
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
        self.depth.disabled = row.blocks is not None
        self.tau.disabled = reading.surgery == "none" or len(state.labels) == 1
        self.chips.labels, self.chips.shown = list(state.labels), state.labels.index(state.shown or "")
        self.pictures.shown, self.pictures.patch = self.chips.shown, state.patch and list(state.patch)
        self.pictures.threshold, self.pictures.opacity = state.threshold, state.opacity
        self.gallery.chosen = state.image
