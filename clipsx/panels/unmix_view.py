"""What the unmix panel shows: its state, and a run at one moment as pictures, table, words and code."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.figure import Figure

from clipsx import mfi, plots
from clipsx.clip import Clip
from clipsx.datasets import Sample
from clipsx.metrics import mean_average_precision, msc
from clipsx.panels.code import recipe
from clipsx.panels.session import label_map
from clipsx.panels.state import Entries
from clipsx.panels.training import Moment
from clipsx.unmix import PROMPTS, Config, Gathered, Unmixed


@dataclass(frozen=True)
class Unmixing(Entries):
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


def draw_curves(
    axes: np.ndarray,
    log: Sequence[Mapping[str, float]],
    labels: Sequence[str],
    before: Float[np.ndarray, "N N"],
    after: Float[np.ndarray, "N N"],
    epochs: int,
) -> None:
    """Loss, mAP and mean off-diagonal by epoch, from the log of `fit`, and the labels' cosines, on four axes.

    The matrix has those from before the training below its diagonal and those from after it above, on one scale.
    """
    start, order = mfi.mean_off_diagonal(before), plots.leaf_order(before)
    table = pd.DataFrame(list(log), columns=["epoch", "asymmetric", "mfi", "mAP", "off_diagonal"])
    known = pd.concat([pd.DataFrame({"epoch": [0.0], "off_diagonal": [start]}), table[["epoch", "off_diagonal"]]])
    parts = (
        (table, "asymmetric", "asymmetric loss"),
        (table, "mAP", "mAP, training images (%)"),
        (known.astype(float), "off_diagonal", "mean off-diagonal"),
    )
    for ax, (rows, value, words) in zip(axes, parts, strict=False):
        ax.plot(rows["epoch"], rows[value], marker=".", color="#0173b2")
        ax.set(xlabel="epoch", xlim=(0, epochs + 0.5))
        ax.set_title(words, fontsize=10)
    axes[2].set_ylim(min(0, start) - 0.02, max(1, start))
    one, other = (matrix[np.ix_(order, order)] for matrix in (before, after))
    names = [labels[place] for place in order]
    shown = pd.DataFrame(np.tril(one, -1) + np.triu(other), names, names)
    plots.matrix(shown, axes[3]).set_title("labels: before, below the diagonal;\nafter, above it", fontsize=10)


def draw_maps(
    axes: np.ndarray,
    sample: Sample,
    label: str,
    labels: Sequence[str],
    before: Clip,
    after: Clip | None,
    reading: str = "clip",
) -> None:
    """The photo, then the label's map before the projectors, after them, and with CLIP Surgery, on four axes.

    reading: of the positions that the projectors learned from.
    """
    small = plots.reduced(sample)
    mask, blank = small.masks.get(label), np.zeros(small.size[::-1], np.float32)
    plots.overlay(small.image, blank, axes[0], 0.0, mask, f"photo: {plots.short(label)}")
    shown = {"before": (before, reading)}
    if after is not None:
        shown |= {"after": (after, reading), "after, CLIP Surgery\n+ feature surgery": (after, "clip-surgery+code")}
    for ax in axes[1 + len(shown) :]:
        ax.set_axis_off()
    for ax, (words, (clip, asked)) in zip(axes[1:], shown.items(), strict=False):
        text = clip.encode_labels(labels, [PROMPTS[1]])  # (N, D)
        map = label_map(clip, sample, asked, text, list(labels).index(label))
        score = "" if mask is None else f", mSC {msc(map, mask, small.ignore):.1f} %"
        plots.overlay(small.image, map, ax, outline=mask, title=f"{words}{score}")
    plots.scale(axes)


@dataclass(frozen=True, eq=False)
class RunView:
    """A run of the projectors as it stands, under a panel's state."""

    clip: Clip
    train: Gathered
    test: Gathered
    samples: Sequence[Sample]
    state: Unmixing
    before: Float[np.ndarray, "N N"]  # the labels' cosines
    now: Moment

    @cached_property
    def unmixed(self) -> Unmixed | None:
        """The projectors on their CLIP; None before the first epoch."""
        run, projectors, train = self.now.run, self.now.projectors, self.train
        return (
            None
            if projectors is None
            else Unmixed(self.clip, projectors, train.labels, run, train.reading, train.trained)
        )

    @property
    def run(self) -> Config:
        """What the projectors were trained with; before that, what the dials say."""
        return self.state.config if self.now.projectors is None else self.now.run

    def sentence(self) -> str:
        """What came out, in words, on the test images."""
        if self.unmixed is None:
            return "Nothing is trained yet."
        p = self.unmixed.probabilities(self.test.positions, self.test.labels).numpy()  # (n, N)
        found, change = mean_average_precision(p, self.test.present), mfi.difference(self.before, self.now.after)
        return (
            f"After {len(self.now.rows)} epochs the mean off-diagonal of the labels is {change['before']:.3f} → "
            f"{change['after']:.3f} ({change['relative']:+.0f} %); mAP on {len(p)} test images {found:.1f} %."
        )

    def figure(self, parts: Sequence[str] = ("curves", "maps")) -> Figure:
        """Losses, mAP, mean off-diagonal and the similarity matrix; below, the photo and its maps."""
        figure, axes = plots.row(4, len(parts), height=3 * len(parts), least=1.6, squeeze=False)
        if "curves" in parts:
            draw_curves(axes[0], self.now.rows, self.train.labels, self.before, self.now.after, self.run.epochs)
        if "maps" in parts:
            sample, after = self.samples[self.state.image], self.unmixed and self.unmixed.clip
            reading = str(self.train.reading)
            draw_maps(axes[-1], sample, self.state.label, self.train.labels, self.clip, after, reading)
        return figure

    def table(self) -> pd.DataFrame:
        """A row per epoch, with what made it."""
        return pd.DataFrame(self.now.rows).assign(**self.provenance())

    def provenance(self) -> dict[str, Any]:
        """CLIP, data, and the configuration of the run that is shown."""
        return self.train.about | asdict(self.run) | {"prompts": " / ".join(PROMPTS)}

    def code(self) -> str:
        """Code that trains the projectors that are shown and draws the figure."""
        whole = self.run.epochs * -(-len(self.train.present) // self.run.batch)
        return recipe("unmix", view=self, run=self.run, batches=self.now.batches, whole=whole)
