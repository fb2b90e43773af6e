"""The live panel of Unmix-CLIP: train the projectors, watch classes come apart, look at maps before and after."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

import ipywidgets as W

from clipsx import paths
from clipsx.clip import Clip
from clipsx.datasets import Sample
from clipsx.evaluation.typical import Typical, typical
from clipsx.messages import require
from clipsx.panels.base import FigurePanel
from clipsx.panels.elements import image, png_of, spoken
from clipsx.panels.training import Training
from clipsx.panels.unmix_view import RunView, Unmixing
from clipsx.panels.worker import Step, Worker
from clipsx.unmix import PROMPTS, Config, Gathered, Unmixed, same_positions

PAUSE = 0.8  # seconds between two drawings while it trains: training, not drawing, is what the time is for


class UnmixPanel(FigurePanel):
    """Projectors trained while one watches: losses, mAP, the similarity matrix; then maps before and after.

    Args:
        clip: the frozen model.
        train, test: features of two splits, from `clipsx.unmix.gather`.
        samples: pictures whose maps are shown.
        out, state: as of every panel (`FigurePanel`); entries of `Unmixing`: the same again goes on with its run.

    Errors: also ValueError for splits of other positions.
    """

    stem, doing = "unmix", "reading the picture"

    def __init__(
        self,
        clip: Clip,
        train: Gathered,
        test: Gathered,
        samples: Sequence[Sample],
        *,
        out: str | Path = "out",
        **state: Any,
    ) -> None:
        same_positions(train, test)
        super().__init__(out)
        self.clip, self.train, self.test, self.samples = clip, train, test, samples
        self._trainer = Worker(self._on_progress, self._on_error, lambda: self._lock(False))
        self._stopped, self._drawn, self._began = Event(), 0.0, (0.0, 0)
        self._stale: set[str] = set()  # pictures that have to be drawn anew
        self._state = self._checked(Unmixing().updated(state))
        self.training = Training(clip, train, self._state.config)
        self.text = self.training.text  # (2, N, D)
        self._build()

    def _build(self) -> None:
        wide, style = W.Layout(width="auto"), {"description_width": "96px"}
        log = {"base": 10, "step": 0.25, "readout_format": ".0e", "continuous_update": False}
        self._controls = {
            "weight": W.FloatSlider(description="λ, of pairs", min=0, max=1, step=0.05, continuous_update=False),
            "alpha": W.FloatLogSlider(description="α, of MFI", min=-5, max=1, **log),
            "lr": W.FloatLogSlider(description="learning rate", min=-5, max=-2, **log),
            "epochs": W.IntSlider(description="epochs", min=1, max=200, continuous_update=False),
            "image": W.IntSlider(description="picture", min=0, max=len(self.samples) - 1, continuous_update=False),
            "label": W.Dropdown(description="label", options=list(self.train.labels)),
        }
        for name, control in self._controls.items():
            control.style, control.layout, control.tooltip = style, wide, name
        self._go = W.Button(description="Train", icon="play", button_style="primary")
        self._halt = W.Button(description="Stop", icon="stop", disabled=True)
        self._reset = W.Button(description="Reset", icon="undo")
        self._keep = W.Button(description="Save projectors", icon="save")
        self._bar = W.IntProgress(layout={"width": "200px"})
        self._eta = W.HTML()
        self._go.on_click(lambda _: self.start())
        self._halt.on_click(lambda _: self.stop())
        self._reset.on_click(lambda _: self.reset())
        self._keep.on_click(lambda _: self.save_projectors())
        self._pictures = {"curves": image(), "maps": self._picture}
        c = self._controls
        dials = W.Box([c["weight"], c["alpha"], c["lr"], c["epochs"]]).add_class("clipsx-fours")
        buttons = W.HBox([self._go, self._halt, self._reset, self._bar, self._eta], layout={"align_items": "center"})
        self._tools.children = [*self._tools.children[:3], self._keep, self._code]
        shown = [W.Box([c["image"], c["label"]]).add_class("clipsx-fours"), self._picture, self._words]
        self._begin("Unmix, live", dials, buttons, self._pictures["curves"], *shown)

    # State ----------------------------------------------------------------------------------------------------------

    @property
    def unmixed(self) -> Unmixed | None:
        """The projectors on their CLIP, `unmixed.clip` the CLIP after them; None before the first epoch."""
        return self.view.unmixed

    @property
    def run(self) -> Config:
        """What the projectors were trained with: the dials may have moved since."""
        return self.training.now.run

    @property
    def rows(self) -> list[dict[str, float]]:
        """The log of the run, a row per epoch."""
        return list(self.training.now.rows)

    def choose(self) -> Typical:
        """Show the object that the projectors' change is most typical of, in maps as they learned; why it is that one.

        Errors: ValueError before the first epoch; those of `typical`.
        """
        if self.unmixed is None:
            raise ValueError("Nothing is trained yet: there is no change to choose a picture by.")
        found = typical(self.clip, self.samples, str(self.train.reading), self.unmixed.clip, templates=PROMPTS[1:])
        self.restore({"image": found.shown.image, "label": found.shown.label or ""})
        return found

    def _checked(self, state: Unmixing) -> Unmixing:
        require("image", state.image, 0, len(self.samples) - 1, whole=True)
        if min(state.epochs, state.batch) < 1 or state.lr <= 0 or min(state.alpha, state.weight) < 0:
            raise ValueError("Epochs, batch and learning rate must be above 0, α and λ not below.")
        shown = [name for name in self.samples[state.image].labels if name in self.train.labels]
        known = state.label in self.train.labels
        return state if known else replace(state, label=(shown or list(self.train.labels))[0])

    def _adopt(self, state: Unmixing, news: str = "") -> None:
        other = self.training.now.rows and state.config != self.run
        super()._adopt(state, "These dials make another run: Train starts it." if other else news)
        self._go.description = "Resume" if self.training.file(state.config).exists() else "Train"

    def _steps(self) -> list[Step]:
        self._stale.update(self._pictures)
        return super()._steps()

    def _heard(self, **change: Any) -> None:
        """Another picture is asked for one of its own labels."""
        super()._heard(**change, **({"label": ""} if "image" in change else {}))

    # Training -------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Train, or go on where the run of these dials was stopped; `wait` and `finished` wait for it."""
        if not self._halt.disabled:
            return
        self._trainer.wait()
        self._stopped.clear()
        self._lock(True)
        self._bar.max, self._bar.value, self._began = self._state.epochs, 0, (0.0, 0)
        self._tell("")
        train = partial(self.training.go, self._state.config, lambda: self._on_epoch(), self._stopped.is_set)
        self._trainer.start([("training", train)], self._finish)

    def wait(self, seconds: float | None = None) -> bool:
        """Wait for the end of training; False when `seconds` are over first. An interrupt stops it, nothing is lost."""
        workers = (self._worker, self._trainer, self._worker)  # what was trained is drawn
        try:
            return all(worker.wait(seconds) for worker in workers)
        except KeyboardInterrupt:
            self.stop()
            return all(worker.wait() for worker in workers)

    async def finished(self) -> None:
        """Await the end of training, as `wait`; meanwhile the kernel hears Stop and all other controls."""
        try:
            while not self.wait(0):
                await asyncio.sleep(0.05)
        except asyncio.CancelledError:  # as an interrupt reaches a cell that awaits
            self.stop()
            self.wait()

    def stop(self) -> None:
        """Stop after the present batch; what was learned is shown, and the run can go on from its last epoch."""
        self._stopped.set()

    def reset(self) -> None:
        """Forget the run of these dials."""
        self.stop()
        self._trainer.wait()
        self.training.forget(self._state.config)
        self._bar.value, self._eta.value = 0, ""
        self._adopt(self._state)

    def _lock(self, trains: bool) -> None:
        self._go.disabled, self._halt.disabled, self._reset.disabled = trains, not trains, trains

    def _on_epoch(self) -> None:
        now, epoch, last = time.monotonic(), len(self.rows), self.run.epochs
        if not self._began[0]:
            self._began = (now, epoch)
        self._bar.value = epoch
        pace = (now - self._began[0]) / max(1, epoch - self._began[1])
        self._eta.value = f"epoch {epoch} of {last}, {pace * (last - epoch):.0f} s to go"
        if now - self._drawn > PAUSE:
            self._stale.add("curves")
            if not self._worker.busy:  # else it draws them before it ends, or the next epoch does
                self._worker.start([(self.doing, self._draw)], lambda: None)
            self._drawn = time.monotonic()

    def _finish(self) -> None:
        rows, last = self.training.now.rows, self.run.epochs
        self._go.description = "Resume" if 0 < len(rows) < last else "Train"
        self._bar.value, self._eta.value = len(rows), f"{len(rows)} of {last} epochs"
        self._adopt(self._state)

    # To take away ---------------------------------------------------------------------------------------------------

    @property
    def view(self) -> RunView:
        before, now = self.training.before, self.training.now
        return RunView(self.clip, self.train, self.test, self.samples, self._state, before, now)

    def _draw(self) -> None:
        """Draw what is stale, each from the run and the state of its moment; more may become stale meanwhile."""
        while self._stale:
            part, view = self._stale.pop(), self.view
            self._pictures[part].value = png_of(partial(view.figure, [part]))
            if part == "maps":
                self._words.value = spoken(view.sentence())
            self._code.code = view.code()

    def save_projectors(self, name: str = "unmixed") -> Path | None:
        """`Unmixed.save` into a folder under `out`; None where there is nothing yet, as is told."""
        unmixed = self.unmixed
        if unmixed is None:
            self._tell("Nothing is trained yet: press Train first.")
            return None
        return self._save(lambda: unmixed.save(self.out / paths.component(name)))
