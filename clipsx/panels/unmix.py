"""The live panel of Unmix-CLIP: train the projectors, watch classes come apart, look at maps before and after."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from threading import Event
from typing import Any

import ipywidgets as W
import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from matplotlib.figure import Figure

from clipsx import mfi, paths, plots
from clipsx.clip import Clip
from clipsx.datasets import Sample
from clipsx.evaluate import deep, similarities
from clipsx.metrics import mean_average_precision, msc
from clipsx.panels.base import FigurePanel, map_at_pixels, png_of
from clipsx.panels.code import clip_code, samples_code
from clipsx.unmix import PROMPTS, Config, Gathered, Projectors, UnmixedClip, fit, projected_matrix

PAUSE = 0.8  # seconds between two drawings while it trains: training, not drawing, is what the time is for


@dataclass(frozen=True)
class Unmixing:
    """What the panel's controls say: the next run, and the picture and label whose maps are shown."""

    weight: float = 0.2
    alpha: float = 0.1
    lr: float = 5e-4
    epochs: int = 20
    batch: int = 8
    seed: int = 0
    image: int = 0
    label: str = ""

    @property
    def config(self) -> Config:
        """The run."""
        own = asdict(self)
        return Config(**{name: own[name] for name in ("weight", "alpha", "lr", "epochs", "batch", "seed")})


class UnmixPanel(FigurePanel):
    """Projectors trained while one watches: losses, mAP, the similarity matrix; then maps before and after.

    Args:
        clip: the frozen model.
        train, test: features of two splits, from `clipsx.unmix.gather`.
        samples: pictures whose maps are shown.
        out: where figures, tables and projectors are written.
        state: entries of `Unmixing`; `UnmixPanel(…, **panel.state)` shows the same again, and goes on with its run.

    Errors: ValueError for a state that cannot be shown; later ones are told in the panel.
    """

    stem = "unmix"
    patience = 5.0  # a panel that trains is shown while it trains

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
        super().__init__(out)
        self.clip, self.train, self.test, self.samples = clip, train, test, samples
        self.text = torch.stack([clip.encode_labels(train.labels, [prompt]) for prompt in PROMPTS])  # (2, N, D)
        self.rows: list[dict[str, float]] = []
        self.projectors: Projectors | None = None
        self._matrix = np.asarray(mfi.similarity_matrix(self.text[1]).cpu())  # (N, N), as the run has it now
        self._order = plots.leaf_order(self._matrix)
        self._before = mfi.mean_off_diagonal(self._matrix)
        self._stopped, self._drawn, self._began = Event(), 0.0, (0.0, 0)
        self._state = self._checked(replace(Unmixing(), **state))
        self.run = self._state.config  # what the projectors were trained with: the dials may have moved since
        self._build()
        self._adopt(self._state)

    def _build(self) -> None:
        wide, style = W.Layout(width="330px"), {"description_width": "96px"}
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
            control.style, control.layout = style, wide
            also = {"label": ""} if name == "image" else {}  # another picture is asked for one of its own labels
            control.observe(lambda change, name=name, also=also: self._heard(**{name: change["new"]}, **also), "value")
            control.tooltip = name
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
        self._curves, self._maps = (W.Image(format="png", layout=W.Layout(max_width="100%")) for _ in range(2))
        self._words = W.HTML()
        c = self._controls
        dials = W.HBox([W.VBox([c["weight"], c["alpha"]]), W.VBox([c["lr"], c["epochs"]])])
        buttons = W.HBox([self._go, self._halt, self._reset, self._bar, self._eta], layout={"align_items": "center"})
        shown = W.HBox([c["image"], c["label"]])
        tools = W.HBox([*self._tools.children[:3], self._keep, self._code])
        title = W.HTML("<b>Unmix, live</b>")
        self.children = [title, dials, buttons, self._curves, shown, self._maps, self._words, tools, self._line]

    # State ----------------------------------------------------------------------------------------------------------

    @property
    def unmixed(self) -> UnmixedClip | None:
        """The trained model; None before the first epoch."""
        if self.projectors is None:
            return None
        return UnmixedClip(self.clip, self.projectors, self.train.labels, self.run)

    def _checked(self, state: Unmixing) -> Unmixing:
        if not 0 <= state.image < len(self.samples):
            raise ValueError(f"There are {len(self.samples)} pictures, counted from 0: not {state.image}.")
        if min(state.epochs, state.batch) < 1 or state.lr <= 0 or min(state.alpha, state.weight) < 0:
            raise ValueError("Epochs, batch and learning rate must be above 0, α and λ not below.")
        shown = [name for name in self.samples[state.image].labels if name in self.train.labels]
        known = state.label in self.train.labels
        return state if known else replace(state, label=(shown or list(self.train.labels))[0])

    def _adopt(self, state: Unmixing) -> None:
        words = (
            "These dials make another run: Train starts it." if self.rows and state.config != self._state.config else ""
        )
        self._state = state
        self._fill()
        self._code.code = self.code()
        self._go.description = "Resume" if self._file.exists() else "Train"
        if not self._worker.busy:
            self._worker.start([("reading the picture", self._draw_maps)], lambda: self._ready(words))

    def _ready(self, words: str) -> None:
        self._draw_curves()
        self._tell(words, "status")

    def _fill(self) -> None:
        """Put the state into the controls, without hearing them."""
        with self._unheard():
            for name, control in self._controls.items():
                control.value = getattr(self._state, name)

    # Training -------------------------------------------------------------------------------------------------------

    @property
    def _file(self) -> Path:
        """The checkpoint of the run that the dials describe: of this CLIP, these images, this configuration."""
        words = repr((self.train.about, self.train.labels, len(self.train.present), self._state.config))
        return paths.cache() / "unmix" / f"{sha256(words.encode()).hexdigest()[:20]}.pt"

    def start(self) -> None:
        """Train, or go on where the run of these dials was stopped; `wait` waits for it."""
        if self._worker.busy and self._halt.disabled is False:
            return
        self._worker.wait()
        self._stopped.clear()
        self._go.disabled, self._halt.disabled, self._reset.disabled = True, False, True
        self._bar.max, self._bar.value, self._began = self._state.epochs, 0, (0.0, 0)
        self._tell("")
        self._worker.start([("training", self._train)], self._finish)

    def wait(self, seconds: float | None = None) -> bool:
        """Wait for the end of training; False when `seconds` are over first. An interrupt stops it, nothing is lost."""
        try:
            return self._worker.wait(seconds)
        except KeyboardInterrupt:
            self.stop()
            return self._worker.wait()

    def stop(self) -> None:
        """Stop after the present batch; what was learned is shown, and the run can go on from its last epoch."""
        self._stopped.set()

    def reset(self) -> None:
        """Forget the run of these dials."""
        self.stop()
        self._worker.wait()
        self._file.unlink(missing_ok=True)
        self.rows, self.projectors, self._bar.value, self._eta.value = [], None, 0, ""
        self._matrix = np.asarray(mfi.similarity_matrix(self.text[1]).cpu())
        self._adopt(self._state)

    def _train(self) -> None:
        self.rows, self.run = [], self._state.config
        try:
            self.projectors, self.rows = fit(
                self.train.positions, self.train.present, self.text, self.train.labels, self.run,
                self._on_epoch, self._stopped.is_set, self._file,
            )  # fmt: skip
        finally:
            self._go.disabled, self._halt.disabled, self._reset.disabled = False, True, False

    def _on_epoch(self, row: dict[str, float], projectors: Projectors) -> None:
        now, epoch = time.monotonic(), int(row["epoch"])
        if not self._began[0]:
            self._began = (now, epoch)
        self.rows.append(row)
        self._bar.value = epoch
        pace = (now - self._began[0]) / max(1, epoch - self._began[1])
        self._eta.value = f"epoch {epoch} of {self._state.epochs}, {pace * (self._state.epochs - epoch):.0f} s to go"
        if now - self._drawn > PAUSE or epoch == self._state.epochs:
            self._matrix = np.asarray(projected_matrix(projectors, self.text[1]).cpu())
            self._draw_curves()
            self._drawn = time.monotonic()

    def _finish(self) -> None:
        if self.projectors is not None:
            self._matrix = np.asarray(projected_matrix(self.projectors, self.text[1]).cpu())
        self._go.description = "Resume" if len(self.rows) < self._state.epochs and self.rows else "Train"
        self._bar.value = len(self.rows)
        self._eta.value = f"{len(self.rows)} of {self._state.epochs} epochs"
        self._draw_curves()
        self._draw_maps()
        self._words.value = f'<div aria-live="polite" class="clipsx-words">{self.sentence()}</div>'
        self._tell("")

    def sentence(self) -> str:
        """What came out, in words, on the test images."""
        if self.projectors is None or self.unmixed is None:
            return "Nothing is trained yet."
        p = self.unmixed.probabilities(self.test.positions, self.test.labels).numpy()  # (n, N)
        found, now = mean_average_precision(p, self.test.present), mfi.mean_off_diagonal(self._matrix)
        change = mfi.difference(np.asarray(mfi.similarity_matrix(self.text[1]).cpu()), self._matrix)
        return (
            f"After {len(self.rows)} epochs the mean off-diagonal of the labels is {self._before:.3f} → {now:.3f} "
            f"({change['relative']:+.0f} %); mAP on {len(p)} test images {found:.1f} %."
        )

    # Pictures -------------------------------------------------------------------------------------------------------

    def _draw_curves(self) -> None:
        figure, axes = plots.row(4, height=2.8)
        self._plot_curves(axes)
        self._curves.value = png_of(figure)

    def _draw_maps(self) -> None:
        figure, axes = plots.row(4, height=3.2)
        self._plot_maps(axes)
        self._maps.value = png_of(figure)

    def figure(self) -> Figure:
        """Losses, mAP, mean off-diagonal and the similarity matrix; below, the photo and its maps."""
        figure, axes = plots.row(4, 2, height=6)
        self._plot_curves(axes[0])
        self._plot_maps(axes[1])
        return figure

    def _plot_curves(self, axes: Any) -> None:
        table = pd.DataFrame(list(self.rows), columns=["epoch", "asymmetric", "mfi", "mAP", "off_diagonal"])
        start = pd.DataFrame({"epoch": [0.0], "off_diagonal": [self._before]})
        parts = (
            (table, "asymmetric", "asymmetric loss"),
            (table, "mAP", "mAP, training images (%)"),
            (pd.concat([start, table[["epoch", "off_diagonal"]].astype(float)]), "off_diagonal", "mean off-diagonal"),
        )
        for ax, (rows, value, words) in zip(axes, parts, strict=False):
            ax.plot(rows["epoch"], rows[value], marker=".", color="#0173b2")
            ax.set(xlabel="epoch", xlim=(0, self._state.epochs + 0.5))
            ax.set_title(words, fontsize=10)
        axes[2].set_ylim(min(0, self._before) - 0.02, max(1, self._before))
        names = list(self.train.labels)
        shown = pd.DataFrame(self._matrix, names, names).iloc[self._order, self._order]
        plots.matrix(shown, axes[3]).set_title("labels, after" if self.rows else "labels, before", fontsize=10)

    def _plot_maps(self, axes: Any) -> None:
        sample, label = self.samples[self._state.image], self._state.label
        mask = sample.masks.get(label)
        plots.overlay(
            sample.image, np.zeros(sample.image.size[::-1], np.float32), axes[0], 0.0, mask, f"photo: {label}"
        )
        after = self.unmixed
        choices = [("before", self.clip, "clip", "none")]
        if after is not None:
            choices += [("after", after, "clip", "none"), ("after + surgery", after, "clip-surgery", "code")]
        for ax in axes[1 + len(choices) :]:
            ax.set_axis_off()
        for ax, (words, clip, method, surgery) in zip(axes[1:], choices, strict=False):
            map = self._map(clip, sample, method, surgery, list(self.train.labels).index(label))
            score = "" if mask is None else f", mSC {msc(map, mask, sample.ignore):.1f} %"
            plots.overlay(sample.image, map, ax, outline=mask, title=f"{words}{score}")

    def _map(self, clip: Clip, sample: Sample, method: str, surgery: str, label: int) -> Float[np.ndarray, "H W"]:
        dense = clip.encode_dense(clip.prepare(sample.image), method, **deep(clip, method))
        sim = similarities(dense, clip.encode_labels(self.train.labels, [PROMPTS[1]]), surgery, 2.0)[..., [label]]
        return map_at_pixels(sim, sample.image.size[::-1])

    # To take away ---------------------------------------------------------------------------------------------------

    def table(self) -> pd.DataFrame:
        """A row per epoch, with what made it."""
        return pd.DataFrame(self.rows).assign(**self.provenance())

    def provenance(self) -> dict[str, Any]:
        """CLIP, data, and the configuration of the run that is shown."""
        return self.train.about | asdict(self.run) | {"prompts": " / ".join(PROMPTS)}

    def code(self) -> str:
        """Code that trains the same projectors, without a panel."""
        about = self.clip.describe()
        return "\n".join(
            [
                "import torch, clipsx, clipsx.datasets",
                "from clipsx.unmix import PROMPTS, Config, UnmixedClip, fit, gather",
                "",
                clip_code(about["model"], about["weights"]),
                f"# the training images: {self.train.about.get('data', 'given samples')}",
                "train = gather(clip, images)",
                "text = torch.stack([clip.encode_labels(train.labels, [prompt]) for prompt in PROMPTS])",
                f"config = {self._state.config!r}",
                "projectors, log = fit(train.positions, train.present, text, train.labels, config)",
                "unmixed = UnmixedClip(clip, projectors, train.labels, config)",
                samples_code(self.samples),
                f"dense = unmixed.encode_dense(unmixed.prepare(samples[{self._state.image}].image), method='clip')",
                f"sim = clipsx.similarity(dense, unmixed.encode_labels([{self._state.label!r}], [PROMPTS[1]]))",
                "",
            ]
        )

    def save_projectors(self, name: str = "unmixed") -> Any:
        """`UnmixedClip.save` into a folder under `out`; None where there is nothing yet, as is told."""
        if self.unmixed is None:
            return self._tell("Nothing is trained yet: press Train first.")
        return self._save(lambda: self.unmixed.save(self.out / name))  # type: ignore[union-attr]
