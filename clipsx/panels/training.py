"""Runs of the projectors while one watches: trained from their checkpoints on, stopped, forgotten; without a widget."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
from jaxtyping import Float

from clipsx import mfi, paths, progress
from clipsx.clip import Clip
from clipsx.unmix import Config, Gathered, Projectors, fit, projected_matrix, prompt_features


@dataclass(frozen=True, eq=False)
class Moment:
    """A run at one moment: what it is trained with (the dials may have moved since) and what has come of it."""

    run: Config
    after: Float[np.ndarray, "N N"]  # the labels' cosines
    rows: tuple[dict[str, float], ...] = ()  # one per epoch
    projectors: Projectors | None = None  # None before the first epoch
    batches: int = 0


class Training:
    """The runs of a CLIP on the features of a split; `now` is the one that was begun last, as it stands."""

    def __init__(self, clip: Clip, train: Gathered, run: Config) -> None:
        self.train = train
        self.text = prompt_features(clip, train.labels)  # (2, N, D)
        self.before = np.asarray(mfi.similarity_matrix(self.text[1]).cpu())  # (N, N)
        content = (np.ascontiguousarray(part) for part in (train.cls, train.present))
        self._content = [sha256(part.tobytes()).hexdigest() for part in content]  # tells runs apart
        self.now = Moment(run, self.before)

    def file(self, run: Config) -> Path:
        """The checkpoint of a run: of this CLIP, these images, this configuration."""
        words = repr((self._content, self.train.about, self.train.labels, str(self.train.reading), run))
        return paths.cache() / "unmix" / f"{sha256(words.encode()).hexdigest()[:20]}.pt"

    def forget(self, run: Config) -> None:
        """As if the run had never been begun."""
        self.file(run).unlink(missing_ok=True)
        self.now = Moment(run, self.before)

    def go(self, run: Config, seen: Callable[[], None], stopped: Callable[[], bool]) -> None:
        """Train, or go on where the run was stopped: after a batch at which `stopped` says so.

        seen: called after every epoch, of which `now` is then a copy: training goes on in its own projectors.
        """
        train, a_epoch, asked = self.train, -(-len(self.train.present) // run.batch), 0  # batches
        self.now = Moment(run, self.before, self._known(run))
        start = len(self.now.rows) * a_epoch

        def stop() -> bool:
            nonlocal asked
            asked += not stopped()
            return stopped()

        def on_epoch(row: dict[str, float], projectors: Projectors) -> None:
            rows = (*self.now.rows, row)
            self.now = self._moment(run, rows, copy.deepcopy(projectors).eval(), int(row["epoch"]) * a_epoch)
            seen()

        projectors, rows = fit(
            train.positions, train.present, self.text, train.labels, run, on_epoch, stop, self.file(run)
        )
        self.now = self._moment(run, tuple(rows), projectors, start + asked)

    def _moment(self, run: Config, rows: tuple[dict[str, float], ...], projectors: Projectors, batches: int) -> Moment:
        return Moment(run, np.asarray(projected_matrix(projectors, self.text[1]).cpu()), rows, projectors, batches)

    def _known(self, run: Config) -> tuple[dict[str, float], ...]:
        """The epochs that the checkpoint knows; what is wrong with one is for `fit` to say."""
        try:
            return tuple(progress.read(self.file(run))["log"])
        except Exception:
            return ()
