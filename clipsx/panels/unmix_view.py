"""What the unmix panel shows: its state, and a run at one moment as pictures, table, words and code."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.figure import Figure

from clipsx import mfi, plots
from clipsx.clip import Clip
from clipsx.datasets import Sample
from clipsx.evaluation.explain import deep, similarities
from clipsx.metrics import mean_average_precision, msc
from clipsx.panels.base import map_at_pixels
from clipsx.panels.code import clip_code, samples_code
from clipsx.unmix import PROMPTS, Config, Gathered, UnmixedClip


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


@dataclass(frozen=True, eq=False)
class RunView:
    """A run of the projectors as it stands, under a panel's state."""

    clip: Clip
    unmixed: UnmixedClip | None  # None before the first epoch
    train: Gathered
    test: Gathered
    samples: Sequence[Sample]
    state: Unmixing
    run: Config  # what the projectors were trained with: the dials may have moved since
    rows: tuple[dict[str, float], ...]  # one per epoch
    before: Float[np.ndarray, "N N"]  # the labels' cosines
    after: Float[np.ndarray, "N N"]

    def sentence(self) -> str:
        """What came out, in words, on the test images."""
        if self.unmixed is None:
            return "Nothing is trained yet."
        p = self.unmixed.probabilities(self.test.positions, self.test.labels).numpy()  # (n, N)
        found, change = mean_average_precision(p, self.test.present), mfi.difference(self.before, self.after)
        before, after = (mfi.mean_off_diagonal(matrix) for matrix in (self.before, self.after))
        return (
            f"After {len(self.rows)} epochs the mean off-diagonal of the labels is {before:.3f} → {after:.3f} "
            f"({change['relative']:+.0f} %); mAP on {len(p)} test images {found:.1f} %."
        )

    def figure(self) -> Figure:
        """Losses, mAP, mean off-diagonal and the similarity matrix; below, the photo and its maps."""
        figure, axes = plots.row(4, 2, height=6)
        self.plot_curves(axes[0])
        self.plot_maps(axes[1])
        return figure

    def plot_curves(self, axes: np.ndarray) -> None:
        """Loss, mAP and mean off-diagonal by epoch, and the similarity matrix, on four axes."""
        before, order = mfi.mean_off_diagonal(self.before), plots.leaf_order(self.before)
        table = pd.DataFrame(list(self.rows), columns=["epoch", "asymmetric", "mfi", "mAP", "off_diagonal"])
        start = pd.DataFrame({"epoch": [0.0], "off_diagonal": [before]})
        parts = (
            (table, "asymmetric", "asymmetric loss"),
            (table, "mAP", "mAP, training images (%)"),
            (pd.concat([start, table[["epoch", "off_diagonal"]].astype(float)]), "off_diagonal", "mean off-diagonal"),
        )
        for ax, (rows, value, words) in zip(axes, parts, strict=False):
            ax.plot(rows["epoch"], rows[value], marker=".", color="#0173b2")
            ax.set(xlabel="epoch", xlim=(0, self.state.epochs + 0.5))
            ax.set_title(words, fontsize=10)
        axes[2].set_ylim(min(0, before) - 0.02, max(1, before))
        names = list(self.train.labels)
        shown = pd.DataFrame(self.after, names, names).iloc[order, order]
        plots.matrix(shown, axes[3]).set_title("labels, after" if self.rows else "labels, before", fontsize=10)

    def plot_maps(self, axes: np.ndarray) -> None:
        """The photo, then the label's map before the projectors, after them, and with CLIP Surgery, on four axes."""
        sample, label = self.samples[self.state.image], self.state.label
        mask = sample.masks.get(label)
        plots.overlay(
            sample.image, np.zeros(sample.image.size[::-1], np.float32), axes[0], 0.0, mask, f"photo: {label}"
        )
        choices = [("before", self.clip, "clip", "none")]
        if (after := self.unmixed) is not None:
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
                f"config = {self.state.config!r}",
                "projectors, log = fit(train.positions, train.present, text, train.labels, config)",
                "unmixed = UnmixedClip(clip, projectors, train.labels, config)",
                samples_code(self.samples),
                f"dense = unmixed.encode_dense(unmixed.prepare(samples[{self.state.image}].image), method='clip')",
                f"sim = clipsx.similarity(dense, unmixed.encode_labels([{self.state.label!r}], [PROMPTS[1]]))",
                "",
            ]
        )
