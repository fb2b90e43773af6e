"""What a reading costs: time beside the model's own image encoding, alternating with it on the same images."""

import time
from collections.abc import Callable, Iterable
from statistics import median
from typing import Any

import pandas as pd
import torch
from PIL import Image

from clipsx.clip import Clip
from clipsx.reading import Reading, readings

TOGETHER = "all in one pass"
LARGEST, PAYS = 64, 1.05  # a batch; how much faster the double has to be


def cost(
    clip: Clip, asked: str | Reading | Iterable[str | Reading], size: int | None = None, batch: int = 1, pairs: int = 5
) -> pd.DataFrame:
    """A row per reading, and one for all that need no texts in one walk: `ratio` to `encode_image`, median of `pairs`.

    The two alternate, so that a busy machine slows both. Feature surgery is not in it: it costs next to nothing beside
    a walk; one text is asked for. size: what the model reads (its own by default); batch: images at a time, of noise:
    what they show costs nothing. Errors: those of `Clip.maps`.
    """
    once = clip.prepare(Image.new("RGB", (8, 8)), size=size)  # (1, 3, H, W)
    images = torch.randn(batch, *once.shape[1:], generator=torch.Generator().manual_seed(0)).to(once)
    shown = list(dict.fromkeys(reading.features for reading in readings(asked)))
    text = torch.ones(1, clip.embed_dim, device=images.device) * clip.embed_dim**-0.5
    asks = {str(reading): [reading] for reading in shown}
    if together := [reading for reading in shown if not reading.needs_texts]:
        asks[TOGETHER] = together
    rows = []
    for name, some in asks.items():
        times = [
            (_seconds(lambda some=some: clip.maps(images, some, text), images),
             _seconds(lambda: clip.encode_image(images), images))
            for _ in range(pairs + 1)
        ][1:]  # fmt: skip  # the first warms up
        ratio = median(own / plain for own, plain in times)
        row = {"reading": name, "ratio": ratio, "milliseconds": 1000 * median(own for own, _ in times) / batch}
        rows.append(row | {"authority": "" if name == TOGETHER else some[0].columns(clip.tower)["authority"]})
    height, width = images.shape[2:]
    about = {"image_size": f"{height}×{width}", "batch": batch, "device": str(images.device), "dtype": str(clip.dtype)}
    return pd.DataFrame(rows).assign(**clip.describe(), **about, threads=torch.get_num_threads())


def fitting(clip: Clip, asked: Iterable[Reading], blocks: bool, size: Any, largest: int = LARGEST) -> int:
    """The batch that a walk fits in memory with, doubled from 4 on while it pays; at most `largest`."""
    once = clip.prepare(Image.new("RGB", (8, 8)), size=size)  # (1, 3, H, W)
    shown, best, pace = tuple(asked), 1, 0.0
    batch = min(4, largest)
    while batch <= largest:
        images = once.expand(batch, -1, -1, -1).contiguous()
        try:
            new = batch / min(_seconds(lambda some=images: clip.look(some, shown, blocks), images) for _ in range(2))
        except torch.OutOfMemoryError:
            break
        if new < PAYS * pace:
            break
        best, pace, batch = batch, new, 2 * batch
    return best


def _seconds(call: Callable[[], Any], images: torch.Tensor) -> float:
    start = time.perf_counter()
    call()
    if images.is_cuda:
        torch.cuda.synchronize(images.device)
    return time.perf_counter() - start
