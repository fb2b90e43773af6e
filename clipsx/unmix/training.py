"""Training of the projectors on features that were computed once: seeded, resumable, interruptible, streamed."""

import hashlib
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from clipsx import arrays, progress
from clipsx.messages import require
from clipsx.metrics import mean_average_precision
from clipsx.mfi import mean_off_diagonal, named_once, similarity_matrix
from clipsx.unmix.losses import asymmetric_loss, mfi_loss
from clipsx.unmix.projectors import Projectors, spatial_head

VERSION = 1  # of a checkpoint
Features = Shaped[np.ndarray, "n P D"]


@dataclass(frozen=True)
class Config:
    """What decides a run; the published values, but for epochs, which are for small data.

    Errors: ValueError naming an entry that is negative, NaN or infinite, and fewer than one epoch or image a batch.
    """

    epochs: int = 10
    batch: int = 32
    lr: float = 0.002
    momentum: float = 0.9
    alpha: float = 7e-5  # of the MFI loss, beside a batch mean of the asymmetric loss
    weight: float = 0.2  # λ, of the pairs inside it
    form: str = "class"
    negative: bool = True  # with negative prompts
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in {"epochs": 1, "batch": 1, "seed": 0}.items():
            require(name, getattr(self, name), least, whole=True)
        for name in ("lr", "momentum", "alpha", "weight"):
            require(name, getattr(self, name), 0)


def fit(
    features: Features,
    labels: Shaped[np.ndarray, "n N"],
    text: Float[Tensor, "2 N D"],
    names: Sequence[str],
    config: Config | None = None,
    on_epoch: Callable[[dict[str, float], Projectors], None] | None = None,
    stop: Callable[[], bool] | None = None,
    checkpoint: Path | None = None,
) -> tuple[Projectors, list[dict[str, float]]]:
    """Train projectors with CLIP frozen, where `text` is; return them in eval mode, and a log with a row per epoch.

    features: (n, P, D) positions of every image, an array or memory map, read batch by batch; P = 1 for class tokens.
    labels: 0 / 1; text: features of the negative and the positive prompts; names: of the classes, in order.
    on_epoch gets each row (epoch, loss, asymmetric, mfi, mAP of training images as the epoch saw them, off_diagonal)
    and the projectors as they stand.
    stop is asked at every batch; it and Ctrl-C leave the projectors as they are, usable. checkpoint: written whole or
    not at all after every epoch; a run goes on from there as if it had not stopped. Classes without a positive image
    are named in a warning and left out of the asymmetric loss. Features are not augmented, unlike the paper's.
    Errors: ValueError that names what does not fit, holds NaN, is twice or empty, and for another run's checkpoint.
    Source: Unmix-CLIP, L = ASL + α·L_MFI; SGD with momentum, cosine.
    """
    config = config or Config()
    _check(features, labels, text, names)
    projectors = Projectors(text.shape[-1], config.seed).train().to(text.device)
    optimizer = torch.optim.SGD(projectors.parameters(), config.lr, config.momentum)
    told = hashlib.sha256(text.detach().cpu().contiguous().numpy().tobytes()).hexdigest()
    run = {"version": VERSION, "config": asdict(config), "labels": list(names), "text": told}
    log = _resume(checkpoint, projectors, optimizer, run)
    steps = math.ceil(len(labels) / config.batch)
    mask = torch.from_numpy(labels.any(axis=0))  # (N,)
    if absent := [name for name, there in zip(names, mask.tolist(), strict=True) if not there]:
        warnings.warn(f"No positive image, left out of the asymmetric loss: {', '.join(absent)}.", stacklevel=2)
    try:
        for epoch in range(len(log), config.epochs):
            order = np.random.default_rng([config.seed, epoch]).permutation(len(labels))
            sums, seen = np.zeros(3), np.zeros((len(labels), len(names)), np.float32)
            for step in range(steps):
                if stop and stop():
                    return projectors.eval(), log
                chosen = np.sort(order[step * config.batch : (step + 1) * config.batch])
                done = (epoch * steps + step) / (config.epochs * steps)  # 0 … 1
                for group in optimizer.param_groups:
                    group["lr"] = config.lr * 0.5 * (1 + math.cos(math.pi * done))
                positions = _batch(features, chosen).to(text.device)  # (B, P, D)
                classes = projectors.project_text(text)  # (2, N, d)
                p = spatial_head(projectors.project_image(positions), classes, config.negative)  # (B, N)
                asymmetric = asymmetric_loss(p, torch.from_numpy(labels[chosen]), mask=mask)
                rows = (classes if config.negative else classes[1:]).flatten(0, 1)  # (M, d)
                mixed = mfi_loss(rows, config.weight, config.form)
                loss = asymmetric + config.alpha * mixed
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                seen[chosen] = p.detach().cpu().numpy()
                sums += np.array([loss.item(), asymmetric.item(), mixed.item()]) / steps
            row = {"epoch": epoch + 1, **dict(zip(("loss", "asymmetric", "mfi"), sums.tolist(), strict=True))}
            off_diagonal = mean_off_diagonal(projected_matrix(projectors, text[1]))
            row |= {"mAP": mean_average_precision(seen, labels), "off_diagonal": off_diagonal}
            log.append(row)
            if checkpoint is not None:
                state = {"projectors": projectors.state_dict(), "optimizer": optimizer.state_dict()}
                progress.write(checkpoint, run | {"log": log} | state)
            if on_epoch:
                on_epoch(row, projectors)
    except KeyboardInterrupt:
        pass  # as `stop`: what was learned so far is returned
    return projectors.eval(), log


@torch.no_grad()
def projected_matrix(projectors: Projectors, text: Float[Tensor, "M D"]) -> Float[Tensor, "M M"]:
    """Cosines of label features after projection, BatchNorm as in use; the projectors' mode is left as it was."""
    training = projectors.training
    matrix = similarity_matrix(projectors.eval().project_text(text))
    projectors.train(training)
    return matrix


def _batch(features: Features, chosen: Shaped[np.ndarray, " B"]) -> Float[Tensor, "B P D"]:
    rows = torch.from_numpy(np.asarray(features[chosen], dtype=np.float32))
    finite = torch.isfinite(rows).flatten(1).all(dim=1)  # (B,)
    if not finite.all():
        raise ValueError(f"The features of image {int(chosen[int((~finite).nonzero()[0])])} hold NaN or infinity.")
    return rows


def _check(features: Features, labels: np.ndarray, text: Tensor, names: Sequence[str]) -> None:
    shape, given = tuple(features.shape), tuple(text.shape)
    if len(names) < 2:
        raise ValueError("Give at least two different labels.")
    named_once(names, labels.shape[1])
    arrays.binary(labels, "labels")
    if not len(labels):
        raise ValueError("The split is empty: there is no image to train on.")
    if len(shape) != 3 or shape[0] != len(labels):
        raise ValueError(f"The features are {shape}: (images, positions, width) for {len(labels)} images.")
    if given != (2, len(names), shape[2]):
        raise ValueError(f"The text is {given}, not {(2, len(names), shape[2])} as the features ask.")
    if not labels.any():
        raise ValueError("No label has a positive image: there is nothing to learn from.")
    if not bool(torch.isfinite(text).all()):
        raise ValueError("The text features hold NaN or infinity.")


def _resume(
    file: Path | None, projectors: Projectors, optimizer: torch.optim.Optimizer, run: dict[str, Any]
) -> list[dict[str, float]]:
    """Put a checkpoint's state into place and return its log; an empty one where there is none."""
    if file is None or not file.exists():
        return []
    state = progress.read(file)
    for name, value in run.items():
        if state.get(name) != value:
            raise ValueError(f"{file} is of a run with another {name}: take another file, or the same {name}.")
    with progress.adopting(file):
        projectors.load_state_dict(state["projectors"])
        optimizer.load_state_dict(state["optimizer"])
        return list(state["log"])
