"""The recipes of the built-in CLIPs: everything that decides a model's weights."""

from dataclasses import dataclass
from typing import Any

MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)


@dataclass(frozen=True)
class Stage:
    """A stretch of training: its pictures, and how its captions speak."""

    images: int  # images seen
    pool: int  # different scenes among them
    objects: tuple[int, int]
    alone: float  # share of captions that name one object of the scene, in one of the 85 templates
    colours: float  # share of captions that name colours
    ground: float  # share of captions that name the background
    patch_dropout: float = 0.0
    co_occurrence: float = 0.6
    background_bias: float = 0.6
    restart: float | None = None  # a new cycle begins here, with this peak rate: see `loop.fit`


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a model's weights."""

    model: dict[str, Any]  # open_clip's model_cfg, without the vocabulary
    stages: tuple[Stage, ...]
    seed: int = 7
    batch: int = 64
    lr: float = 1e-3
    warmup: int = 300
    weight_decay: float = 0.05
    largest_scale: float = 100.0  # the logit scale is clamped here, as CLIP's is at 100
    bfloat16: bool = False  # forward and backward in bfloat16, weights kept in float32
    begins: str | None = None  # the built-in model whose shipped weights it goes on from


TEXT = {"context_length": 32, "width": 128, "heads": 4, "layers": 3}
STAGES = (
    Stage(60_000, 24_000, (1, 1), alone=1.0, colours=0.0, ground=0.0, patch_dropout=0.6),
    Stage(90_000, 40_000, (1, 3), alone=0.6, colours=0.0, ground=0.3, patch_dropout=0.6),
    Stage(110_000, 40_000, (1, 4), alone=0.5, colours=0.3, ground=0.5, patch_dropout=0.5),
    Stage(24_000, 40_000, (1, 4), alone=0.5, colours=0.3, ground=0.5, patch_dropout=0.2),
    Stage(64_000, 40_000, (1, 4), alone=0.5, colours=0.3, ground=0.5, patch_dropout=0.5, restart=6e-4),
    Stage(24_000, 40_000, (1, 4), alone=0.5, colours=0.3, ground=0.5, patch_dropout=0.2),
)
RESNET_STAGES = (
    Stage(20_000, 12_000, (1, 1), alone=1.0, colours=0.0, ground=0.0),
    Stage(24_000, 10_000, (1, 3), alone=0.6, colours=0.0, ground=0.3),
    Stage(20_000, 10_000, (1, 4), alone=0.5, colours=0.3, ground=0.5),
)
VIT = {
    "embed_dim": 128,
    "vision_cfg": {"image_size": 96, "layers": 8, "width": 128, "head_width": 32, "patch_size": 8},
    "text_cfg": TEXT,
}
RESNET = {
    "embed_dim": 128,
    "vision_cfg": {"image_size": 160, "layers": [1, 1, 1, 1], "width": 16, "head_width": 64},
    "text_cfg": TEXT,
}
ANYWHERE = (  # a third cycle, in which no ground is anything's home: chosen by the laboratory
    Stage(64_000, 20_000, (1, 4), alone=0.5, colours=0.3, ground=0.5, patch_dropout=0.5, background_bias=0.0),
    Stage(16_000, 20_000, (1, 4), alone=0.5, colours=0.3, ground=0.5, patch_dropout=0.2, background_bias=0.0),
)
RECIPES = {
    "sketchbook": Recipe(VIT, ANYWHERE, lr=6e-4, bfloat16=True, begins="sketchbook-home"),
    "sketchbook-home": Recipe(VIT, STAGES),
    "sketchbook-rn": Recipe(RESNET, RESNET_STAGES),
    "sketchbook-random": Recipe(VIT, ()),
}
