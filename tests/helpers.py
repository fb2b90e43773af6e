"""Small models and pictures that many tests share."""

import contextlib
import functools
import io
import resource
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jaxtyping
import numpy as np
import open_clip
import torch
from open_clip.model import CLIP
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image

import clipsx
from clipsx.datasets import Sample

TEXT = {"context_length": 40, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}
VIT = {"image_size": 64, "layers": 6, "width": 48, "head_width": 16, "patch_size": 16}
RESNET = {"image_size": 64, "layers": [1, 1, 1, 1], "width": 16, "head_width": 32}


@functools.cache
def tokenizer() -> open_clip.SimpleTokenizer:
    return open_clip.SimpleTokenizer(context_length=TEXT["context_length"])


def tiny_model(seed: int = 0, quick_gelu: bool = False, vision: dict[str, Any] | None = None) -> CLIP:
    """An open_clip model of seeded random weights in eval mode, every parameter moved off its initial value."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = CLIP(32, dict(vision or VIT), dict(TEXT), quick_gelu=quick_gelu)
        with torch.no_grad():
            for name, value in model.named_parameters():
                if name != "logit_scale":
                    value.add_(torch.randn_like(value) * 0.1 * value.std(correction=0).clamp(min=0.2))
    return model.eval()


def tiny_clip(seed: int = 0, **vision: Any) -> clipsx.Clip:
    """A small vision transformer as a Clip; keywords change open_clip's vision configuration."""
    config = {**VIT, **vision}
    preprocess = image_transform_v2(PreprocessCfg(size=config["image_size"]), is_train=False)
    return clipsx.Clip(tiny_model(seed, vision=config), preprocess, tokenizer(), name="tiny", weights=f"seed {seed}")


def tiny_resnet(seed: int = 0) -> clipsx.Clip:
    """A small ModifiedResNet as a Clip."""
    preprocess = image_transform_v2(PreprocessCfg(size=RESNET["image_size"]), is_train=False)
    return clipsx.Clip(tiny_model(seed, vision=RESNET), preprocess, tokenizer(), name="tiny-rn", weights=f"seed {seed}")


def noise(height: int, width: int, seed: int = 0) -> Image.Image:
    """A picture of random pixels."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def png(image: Image.Image) -> bytes:
    """A picture as the bytes of a PNG."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def masked(height: int, width: int, labels: Sequence[str], seed: int = 0, name: str = "") -> Sample:
    """A picture of random pixels with a random mask for every label, and three rows at the top that count nowhere."""
    ignore = np.zeros((height, width), bool)
    ignore[:3] = True
    masks = {
        label: np.random.default_rng(10 * seed + n).random((height, width)) < 0.4 for n, label in enumerate(labels)
    }
    return Sample(noise(height, width, seed), tuple(labels), masks, (), ignore, name or f"image {seed}")


def export_voc(samples: Sequence[Sample], labels: Sequence[str], base: Path) -> Path:
    """Samples in VOC's layout, as the split "val" with its labels.txt; labels: the names of mask values 1, 2, …"""
    pictures, masks, lists = base / "JPEGImages", base / "SegmentationClass", base / "ImageSets" / "Segmentation"
    for folder in (pictures, masks, lists):
        folder.mkdir(parents=True)
    for sample in samples:
        places = sample.index_map(labels)  # (H, W)
        values = np.where(places < 0, 255, (places + 1) % (len(labels) + 1))  # background is the last place
        indexed = Image.fromarray(values.astype(np.uint8))
        indexed.putpalette([channel for i in range(256) for channel in (64 * i % 256, 37 * i % 256, 151 * i % 256)])
        indexed.save(masks / f"{sample.name}.png")
        sample.image.save(pictures / f"{sample.name}.jpg", quality=95)
    (base / "labels.txt").write_text("\n".join(labels), encoding="utf-8")
    (lists / "val.txt").write_text("\n".join(sample.name for sample in samples), encoding="utf-8")
    return base


def random_images(batch: int, height: int, width: int, seed: int = 0) -> torch.Tensor:
    """Normalised random pixels (B, 3, H, W)."""
    return torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(seed))


@contextlib.contextmanager
def unchecked() -> Iterator[None]:
    """Shapes in signatures not checked for a while, as for users: our own error messages are what is looked at."""
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)


def from_terminal(call: list[str], **options: Any) -> subprocess.Popen[str]:
    """A program as a terminal starts it: a group of its own, which Ctrl-C reaches, also where these tests ignore it."""
    options |= {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a program inherits what is ignored, no handler
    try:
        return subprocess.Popen(call, start_new_session=True, **options)
    finally:
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def full_disk(limit: int = 10_000) -> Iterator[None]:
    """No file may grow beyond `limit` bytes, as on a disk that is full; processes that are started inherit it."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
