"""Train the built-in CLIPs: open_clip's model, CLIP's symmetric contrastive loss, scenes of the sketchbook.

One recipe is one model. Scenes are drawn once into a pool per stage; a step draws its scenes, flips and captions from (seed, step)
alone, so a run that was cut off goes on from its checkpoint as if nothing had happened.
"""

import csv
import gzip
import json
import math
import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from clipsx.datasets.sketchbook import FORMS, Sketchbook, phrase
from clipsx.metrics import mean_average_precision
from clipsx.text import TEMPLATES

MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
REPORT = 200  # steps between two lines of the log
TEST_SEED, CHECK_SEED = (
    2000,
    1000,
)  # worlds that no training run draws from (those use the recipe's seed and the hundred after it)


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


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a model's weights."""

    model: dict
    stages: tuple[Stage, ...]
    seed: int = 7
    batch: int = 64
    lr: float = 1e-3
    warmup: int = 300
    weight_decay: float = 0.05


TEXT = {"context_length": 32, "width": 128, "heads": 4, "layers": 3}
STAGES = (
    Stage(60_000, 24_000, (1, 1), alone=1.0, colours=0.0, ground=0.0, patch_dropout=0.6),
    Stage(90_000, 40_000, (1, 3), alone=0.6, colours=0.0, ground=0.3, patch_dropout=0.6),
    Stage(110_000, 40_000, (1, 4), alone=0.5, colours=0.3, ground=0.5, patch_dropout=0.5),
    Stage(24_000, 40_000, (1, 4), alone=0.5, colours=0.3, ground=0.5, patch_dropout=0.2),
)
RESNET_STAGES = (
    Stage(40_000, 12_000, (1, 1), alone=1.0, colours=0.0, ground=0.0),
    Stage(60_000, 20_000, (1, 3), alone=0.6, colours=0.0, ground=0.3),
    Stage(60_000, 20_000, (1, 4), alone=0.5, colours=0.3, ground=0.5),
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
RECIPES = {
    "sketchbook": Recipe(VIT, STAGES),
    "sketchbook-rn": Recipe(RESNET, RESNET_STAGES),
    "sketchbook-random": Recipe(VIT, ()),
}


# ---- vocabulary ------------------------------------------------------------------------------------------------------


def learn_merges(words: Counter[str], limit: int = 600) -> list[tuple[str, str]]:
    """Byte-pair merges, most frequent first, until every word is one symbol (Sennrich et al. 2016)."""
    spelled = {(*word[:-1], word[-1] + "</w>"): count for word, count in words.items()}
    merges: list[tuple[str, str]] = []
    while len(merges) < limit:
        pairs: Counter[tuple[str, str]] = Counter()
        for symbols, count in spelled.items():
            for pair in zip(symbols, symbols[1:], strict=False):
                pairs[pair] += count
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        spelled = {_merged(symbols, best): count for symbols, count in spelled.items()}
    return merges


def _merged(symbols: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    out: list[str] = []
    for symbol in symbols:
        if out and (out[-1], symbol) == pair:
            out[-1] += symbol
        else:
            out.append(symbol)
    return tuple(out)


def write_vocabulary(path: Path) -> int:
    """Write open_clip's `bpe_path` format for the words of the captions and templates; return the vocabulary's size."""
    lines = [*TEMPLATES["clip-surgery"], *FORMS]
    names = [*Sketchbook.NOUNS, *Sketchbook.COLOURS, *Sketchbook.BACKGROUNDS]
    words = Counter(
        w for line in lines for w in line.lower().replace("{}", " ").split() for w in [w.strip(".,'")] if w.isalpha()
    )
    words.update({name: 100 for name in names} | {"and": 100, "an": 100, "on": 100, "in": 100})
    merges = learn_merges(words)
    text = "\n".join(["#version: clipsx", *(" ".join(pair) for pair in merges)])
    path.write_bytes(gzip.compress(text.encode(), mtime=0))
    return 512 + len(merges) + 2


# ---- scenes and captions ---------------------------------------------------------------------------------------------


def draw_pool(world: Sketchbook, folder: Path) -> tuple[Path, Path]:
    """Draw every scene once: pictures as (n, size, size, 3) uint8, and in JSON what each shows. Kept, and found again by name."""
    name = world.describe()["data"].replace(" ", "_")
    pictures, scenes, part = (folder / f"{name}.{suffix}" for suffix in ("npy", "json", f"{os.getpid()}.part"))
    if not (pictures.exists() and scenes.exists()):
        folder.mkdir(parents=True, exist_ok=True)
        out = np.lib.format.open_memmap(part, mode="w+", dtype=np.uint8, shape=(len(world), world.size, world.size, 3))
        words = []
        for i in range(len(world)):
            out[i] = np.asarray(world[i].image)
            scene = world.scene(i)
            words.append([scene.ground, [[t.colour, t.noun] for t in scene.things]])
        out.flush()
        scenes.write_text(json.dumps(words))
        os.replace(part, pictures)
    return pictures, scenes


@dataclass(frozen=True)
class Named:
    """An object as a caption sees it."""

    colour: str
    noun: str


def caption(rng: np.random.Generator, ground: str, things: Sequence[Named], stage: Stage) -> tuple[str, str]:
    """A caption of the scene, and its meaning: the words that are left when form and order are taken away."""
    alone = rng.random() < stage.alone
    chosen = [things[rng.integers(len(things))]] if alone else [things[i] for i in rng.permutation(len(things))]
    colours, where = rng.random() < stage.colours, ground if rng.random() < stage.ground else None
    meaning = phrase(sorted(chosen, key=lambda t: (t.noun, t.colour)), colours, where)
    if alone and not colours and where is None and rng.random() < 0.7:
        return str(rng.choice(TEMPLATES["clip-surgery"])).format(chosen[0].noun), meaning
    return str(rng.choice(FORMS)).format(phrase(chosen, colours, where)), meaning


class Pool:
    """The scenes of a stage, drawn; batches come out ready for the model."""

    def __init__(self, files: tuple[Path, Path], stage: Stage) -> None:
        self.pictures = np.load(files[0], mmap_mode="r")  # (n, S, S, 3)
        self.scenes = [(ground, [Named(*t) for t in things]) for ground, things in json.loads(files[1].read_text())]
        self.stage = stage

    def batch(self, rng: np.random.Generator, size: int) -> tuple[Tensor, list[str], Tensor]:
        """Images (B, 3, S, S), the batch's different captions (T of them), and which of them each image has (B,)."""
        chosen = np.sort(rng.choice(len(self.scenes), size, replace=False))
        images = torch.from_numpy(self.pictures[chosen]).permute(0, 3, 1, 2).float() / 255  # (B, 3, S, S)
        flip = torch.from_numpy(rng.random(size) < 0.5)
        images[flip] = images[flip].flip(3)
        texts: dict[str, str] = {}  # meaning: the caption that says it
        which = []
        for i in chosen:
            text, meaning = caption(rng, *self.scenes[i], self.stage)
            texts.setdefault(meaning, text)
            which.append(list(texts).index(meaning))
        return normalise(images), list(texts.values()), torch.tensor(which)


def normalise(images: Tensor) -> Tensor:
    """0 … 1 → what the model reads. (B, 3, H, W)"""
    return (images - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]


# ---- training --------------------------------------------------------------------------------------------------------


def contrastive_loss(image: Tensor, text: Tensor, which: Tensor, scale: Tensor) -> Tensor:
    """CLIP's symmetric loss (Radford et al. 2021), where one caption may belong to several images of the batch.

    image (B, D) and text (T, D) of unit length; which (B,) is the row of `text` that belongs to each image.
    """
    logits = scale * image @ text.T  # (B, T)
    owners = F.one_hot(which, len(text)).T.to(logits)  # (T, B)
    return (F.cross_entropy(logits, which) + F.cross_entropy(logits.T, owners / owners.sum(dim=1, keepdim=True))) / 2


def encode_text(model: open_clip.CLIP, tokenizer: Callable, texts: list[str]) -> Tensor:
    """(T, D), unit length; what `model.encode_text` gives, cut at the longest text instead of padded to the context length."""
    ids = tokenizer(texts)
    ids = ids[:, : int((ids != 0).sum(dim=1).max())]  # (T, L)
    length = ids.shape[1]
    x = model.token_embedding(ids) + model.positional_embedding[:length]  # (T, L, C)
    x = model.ln_final(model.transformer(x, attn_mask=model.attn_mask[:length, :length]))
    return F.normalize(
        x[torch.arange(len(x)), ids.argmax(dim=1)] @ model.text_projection, dim=1
    )  # the end token has the highest id


def exam(seed: int, length: int, size: int) -> list[tuple[Tensor, np.ndarray]]:
    """Scenes of one object, and of one to three: images (length, 3, S, S) uint8 and which nouns are present (length, N)."""
    worlds = [Sketchbook(seed=seed, length=length, size=size, objects=objects) for objects in ((1, 1), (1, 3))]
    drawn = [[world[i] for i in range(length)] for world in worlds]
    return [
        (
            torch.stack([torch.from_numpy(np.array(s.image)).permute(2, 0, 1) for s in samples]),
            np.array([[n in s.labels for n in Sketchbook.NOUNS] for s in samples]),
        )
        for samples in drawn
    ]


@torch.no_grad()
def scores(model: open_clip.CLIP, tokenizer: Callable, questions: list[tuple[Tensor, np.ndarray]]) -> dict[str, float]:
    """Top-1 on scenes of one object and mAP on scenes of one to three, in %, by cosine with "a photo of a {noun}"."""
    model.eval()
    text = encode_text(model, tokenizer, [f"a photo of a {noun}" for noun in Sketchbook.NOUNS])  # (N, D)
    one, several = (
        torch.cat(
            [model.encode_image(normalise(part.float() / 255), normalize=True) @ text.T for part in images.split(50)]
        ).numpy()
        for images, _ in questions
    )
    model.train()
    top1 = questions[0][1][np.arange(len(one)), one.argmax(axis=1)].mean()
    return {"top1": 100 * float(top1), "mAP": mean_average_precision(several, questions[1][1])}


def train(
    name: str, out: Path, work: Path, recipe: Recipe | None = None, threads: int | None = None, compiled: bool = False
) -> Path:
    """Train a recipe into `out` (open_clip's directory format, train.json, log.csv, scores.json); go on from `work` if it was begun.

    Raises:
        ValueError: the name is not a recipe.
    """
    if recipe is None:
        if name not in RECIPES:
            raise ValueError(f"no recipe {name!r}: choose one of {', '.join(RECIPES)}")
        recipe = RECIPES[name]
    torch.set_num_threads(threads or os.cpu_count() or 1)
    torch.manual_seed(recipe.seed)
    out.mkdir(parents=True, exist_ok=True)
    work.mkdir(parents=True, exist_ok=True)
    vocabulary = write_vocabulary(out / "bpe.txt.gz")
    tokenizer = open_clip.SimpleTokenizer(
        bpe_path=str(out / "bpe.txt.gz"), context_length=recipe.model["text_cfg"]["context_length"]
    )
    config = recipe.model | {
        "text_cfg": recipe.model["text_cfg"]
        | {"vocab_size": vocabulary, "tokenizer_kwargs": {"bpe_path": "bpe.txt.gz"}}
    }
    architecture = config | {"text_cfg": {k: v for k, v in config["text_cfg"].items() if k != "tokenizer_kwargs"}}
    architecture["vision_cfg"] = architecture["vision_cfg"] | (
        {"patch_dropout": 0.5} if "patch_size" in architecture["vision_cfg"] else {}
    )
    model = open_clip.CLIP(
        architecture["embed_dim"],
        open_clip.CLIPVisionCfg(**architecture["vision_cfg"]),
        open_clip.CLIPTextCfg(**architecture["text_cfg"]),
    )
    _run(model, tokenizer, recipe, out, work, compiled)
    _save(model, config, recipe, out)
    final = scores(model, tokenizer, exam(TEST_SEED, 2000, recipe.model["vision_cfg"]["image_size"]))
    protocol = f"cosine with 'a photo of a {{noun}}'; 2000 scenes each, seed {TEST_SEED}, default dials; top1: one object; mAP: one to three, absent classes masked; %"
    (out / "scores.json").write_text(
        json.dumps({**{k: round(v, 2) for k, v in final.items()}, "protocol": protocol}, indent=1) + "\n"
    )
    return out


def _run(model: torch.nn.Module, tokenizer: Callable, recipe: Recipe, out: Path, work: Path, compiled: bool) -> None:
    size = recipe.model["vision_cfg"]["image_size"]
    kinds = [s.objects for s in recipe.stages]  # stages alike in their number of objects share a world
    worlds = [
        Sketchbook(
            recipe.seed + 10 + kinds.index(s.objects), s.pool, s.co_occurrence, s.background_bias, size, s.objects
        )
        for s in recipe.stages
    ]
    ends = np.cumsum([s.images // recipe.batch for s in recipe.stages]).tolist()
    steps = ends[-1] if ends else 0
    decay = [p for p in model.parameters() if p.ndim >= 2]
    rest = [p for p in model.parameters() if p.ndim < 2]
    optimizer = torch.optim.AdamW(
        [{"params": decay, "weight_decay": recipe.weight_decay}, {"params": rest, "weight_decay": 0.0}],
        lr=recipe.lr,
        betas=(0.9, 0.98),
        fused=True,
    )
    checkpoint, step, seconds, log = work / "checkpoint.pt", 0, 0.0, []
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        step, seconds, log = saved["step"], saved["seconds"], saved["log"]
    if steps == 0:
        return
    check_scenes = exam(CHECK_SEED, 300, size)
    model.visual.to(memory_format=torch.channels_last)
    visual = torch.compile(model.visual) if compiled else model.visual
    with ProcessPoolExecutor(1) as painter:
        pools = [painter.submit(draw_pool, world, work.parent / "pools") for world in worlds]
        current, pool, mean_loss, began = -1, None, 0.0, time.perf_counter()
        while step < steps:
            stage = int(np.searchsorted(ends, step, side="right"))
            if stage != current:
                current, pool = stage, Pool(pools[stage].result(), recipe.stages[stage])
                if hasattr(model.visual, "patch_dropout") and isinstance(
                    model.visual.patch_dropout, open_clip.transformer.PatchDropout
                ):
                    model.visual.patch_dropout.prob = recipe.stages[stage].patch_dropout
            images, texts, which = pool.batch(np.random.default_rng([recipe.seed, step]), recipe.batch)
            torch.manual_seed(recipe.seed * 10**7 + step)  # patch dropout
            for group in optimizer.param_groups:
                group["lr"] = (
                    recipe.lr * min(1, (step + 1) / recipe.warmup) * 0.5 * (1 + math.cos(math.pi * step / steps))
                )
            image = F.normalize(visual(images), dim=1)  # (B, D)
            loss = contrastive_loss(image, encode_text(model, tokenizer, texts), which, model.logit_scale.exp())
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            model.logit_scale.data.clamp_(0, math.log(100))
            step += 1
            mean_loss += loss.item() / REPORT
            if step % REPORT == 0 or step == steps:
                seconds, began = seconds + time.perf_counter() - began, time.perf_counter()
                check = scores(model, tokenizer, check_scenes)
                log.append({"step": step, "images": step * recipe.batch, "stage": stage, "loss": round(mean_loss, 4), "scale": round(model.logit_scale.exp().item(), 2),
                            "top1": round(check["top1"], 2), "mAP": round(check["mAP"], 2), "seconds": round(seconds)})  # fmt: skip
                mean_loss, began = 0.0, time.perf_counter()
                print(log[-1], flush=True)
                torch.save(
                    {
                        "model": model.state_dict(),
                        "optimizer": optimizer.state_dict(),
                        "step": step,
                        "seconds": seconds,
                        "log": log,
                    },
                    work / "checkpoint.part",
                )
                os.replace(work / "checkpoint.part", checkpoint)
                with open(out / "log.csv", "w", newline="") as file:
                    writer = csv.DictWriter(file, list(log[0]))
                    writer.writeheader()
                    writer.writerows(log)


def _save(model: torch.nn.Module, config: dict, recipe: Recipe, out: Path) -> None:
    """open_clip's own directory format, weights in float16."""
    preprocess = {"mean": MEAN, "std": STD, "interpolation": "bicubic", "resize_mode": "squash"}
    (out / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": config, "preprocess_cfg": preprocess}, indent=1) + "\n"
    )
    save_file({k: v.half().contiguous() for k, v in model.state_dict().items()}, out / "open_clip_model.safetensors")
    (out / "train.json").write_text(json.dumps(asdict(recipe), indent=1) + "\n")
