"""CLIP's contrastive training on the sketchbook: seeded by step, checkpointed, continued as if it had not stopped."""

import copy
import hashlib
import math
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pandas as pd
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from safetensors.torch import save
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from clipsx import paths, progress
from clipsx.metrics import mean_average_precision
from clipsx.sketchbook.training.pools import Pool, draw_pool, exam, normalise
from clipsx.sketchbook.training.recipes import Recipe
from clipsx.sketchbook.world import Sketchbook

REPORT = 400  # steps between two lines of the log
CHECK_SEED, CHECKED = 1000, 300  # a world that no recipe draws from, for the log; scenes of it
Tokenizer = Callable[[list[str]], Tensor]


def contrastive_loss(
    image: Float[Tensor, "B D"], text: Float[Tensor, "T D"], which: Int[Tensor, " B"], scale: Float[Tensor, ""]
) -> Float[Tensor, ""]:
    """CLIP's symmetric loss (Radford et al. 2021), where one caption may belong to several images of the batch.

    image, text: unit length; which: the row of `text` that belongs to each image; scale: the factor on cosines.
    """
    logits = scale * image @ text.T  # (B, T)
    owners = F.one_hot(which, len(text)).T.to(logits)  # (T, B)
    of_text = F.cross_entropy(logits.T, owners / owners.sum(dim=1, keepdim=True))
    return (F.cross_entropy(logits, which) + of_text) / 2


def encode_text(model: Any, tokenizer: Tokenizer, texts: list[str]) -> Float[Tensor, "T D"]:
    """Text features of unit length, with gradient, cut at the longest text instead of padded to the context length."""
    ids = tokenizer(texts)
    ids = ids[:, : int((ids != 0).sum(dim=1).max())]  # (T, L)
    length = ids.shape[1]
    x = model.token_embedding(ids) + model.positional_embedding[:length]  # (T, L, C)
    x = model.ln_final(model.transformer(x, attn_mask=model.attn_mask[:length, :length]))
    last = x[torch.arange(len(x)), ids.argmax(dim=1)]  # (T, C): the end token has the highest id
    return F.normalize((last @ model.text_projection).float(), dim=1)


@torch.no_grad()
def scores(model: open_clip.CLIP, tokenizer: Tokenizer, questions: list[tuple[Tensor, np.ndarray]]) -> dict[str, float]:
    """Top-1 on scenes of one object and mAP on scenes of one to three, in %, by cosine with "a photo of a {noun}"."""
    model.eval()
    text = encode_text(model, tokenizer, [f"a photo of a {noun}" for noun in Sketchbook.NOUNS])  # (N, D)

    def cosines(images: Tensor) -> np.ndarray:
        parts = [model.encode_image(normalise(part), normalize=True) @ text.T for part in images.split(50)]
        return torch.cat(parts).numpy()  # (length, N)

    (one, truth), (several, present) = ((cosines(images), targets) for images, targets in questions)
    model.train()
    top1 = 100 * float(truth[np.arange(len(one)), one.argmax(axis=1)].mean())
    return {"top1": round(top1, 2), "mAP": round(mean_average_precision(several, present), 2)}


def halved(model: torch.nn.Module) -> dict[str, Tensor]:
    """The weights as they are shipped, in float16."""
    return {name: value.detach().half().contiguous() for name, value in model.state_dict().items()}


def _optimizer(model: torch.nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    rest = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": recipe.weight_decay}, {"params": rest, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=recipe.lr, betas=(0.9, 0.98), fused=True)


def _worlds(recipe: Recipe) -> list[Sketchbook]:
    """One world per stage; stages alike in their number of objects share one."""
    size, kinds = recipe.model["vision_cfg"]["image_size"], [s.objects for s in recipe.stages]
    seeds = [recipe.seed + 10 + kinds.index(s.objects) for s in recipe.stages]
    return [
        Sketchbook(seed, s.pool, s.co_occurrence, s.background_bias, size, s.objects)
        for seed, s in zip(seeds, recipe.stages, strict=True)
    ]


def fit(
    model: open_clip.CLIP, tokenizer: Tokenizer, recipe: Recipe, log: Path, work: Path, compiled: bool = False
) -> list[dict[str, Any]]:
    """Train `model` in place; return the log, also written to the CSV `log`.

    work: the folder of the checkpoint, from which a run that was cut off goes on; pools of scenes lie beside it, and
    checkpoints after each stage: a recipe that begins as another one did goes on from there. The weights after each
    stage stay in `work` too, as `after-IMAGES.safetensors`.
    compiled: let torch compile the image tower (a fifth faster, needs a C++ compiler).
    A stage with `restart` begins a new cycle (warm restarts, Loshchilov & Hutter 2017) from what would be shipped
    before it: weights rounded to float16, a new optimizer, warm-up and cosine again.
    """
    ends = np.cumsum([s.images // recipe.batch for s in recipe.stages]).tolist()
    optimizer = _optimizer(model, recipe)
    shared = [work.parent / "begun" / f"{_beginning(recipe, n)}.pt" for n in range(1, len(recipe.stages) + 1)]
    if not (work / "checkpoint.pt").exists() and (begun := next(filter(_sound, reversed(shared)), None)):
        paths.copy_whole(begun, work / "checkpoint.pt")
    state = _resume(work / "checkpoint.pt", model, optimizer)
    check_scenes = exam(CHECK_SEED, CHECKED, recipe.model["vision_cfg"]["image_size"])
    model.train().visual.to(memory_format=torch.channels_last)
    worker: Any = _worker(model, recipe.bfloat16)
    visual = torch.compile(worker.visual) if compiled else worker.visual
    losses, began = [], time.perf_counter()
    with _painter() as painter:
        left = [n for n, end in enumerate(ends) if end > state["step"]]
        worlds = _worlds(recipe)
        drawn = {n: painter.submit(draw_pool, worlds[n], work.parent / "pools") for n in left}
        for n, stage in [(n, recipe.stages[n]) for n in left]:
            pool = Pool(drawn[n].result(), worlds[n], stage)
            if hasattr(worker.visual, "patch_dropout"):
                worker.visual.patch_dropout.prob = stage.patch_dropout
            if stage.restart and state["step"] == ends[n - 1]:
                model.load_state_dict(halved(model))
                optimizer = _optimizer(model, recipe)
                worker.load_state_dict(model.state_dict())
            for step in range(state["step"], ends[n]):
                images, texts, which = pool.batch(np.random.default_rng([recipe.seed, step]), recipe.batch)
                torch.manual_seed(recipe.seed * 10**7 + step)  # patch dropout
                for group in optimizer.param_groups:
                    group["lr"] = _rate(recipe, ends, n, step)
                optimizer.zero_grad()
                with sdpa_kernel(SDPBackend.MATH):  # on a CPU, few tokens: plain products are faster
                    image = F.normalize(visual(images.to(worker.visual.conv1.weight)).float(), dim=1)  # (B, D)
                    text = encode_text(worker, tokenizer, texts)  # (T, D)
                    loss = contrastive_loss(image, text, which, worker.logit_scale.float().exp())
                    loss.backward()
                _hand_over(worker, model)
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                model.logit_scale.data.clamp_(0, math.log(recipe.largest_scale))
                worker.load_state_dict(model.state_dict())  # rounded, where it computes in bfloat16
                losses.append(loss.item())
                if (step + 1) % REPORT == 0 or step + 1 == ends[n]:
                    state["seconds"] += time.perf_counter() - began
                    row = {"step": step + 1, "images": (step + 1) * recipe.batch, "stage": n}
                    row |= {"loss": round(float(np.mean(losses)), 4), "scale": round(model.logit_scale.exp().item(), 2)}
                    row |= scores(model, tokenizer, check_scenes) | {"seconds": round(state["seconds"])}
                    state |= {"step": step + 1, "log": [*state["log"], row]}
                    learnt = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
                    progress.write(work / "checkpoint.pt", state | learnt)
                    _write_log(state, log)
                    print(" ".join(f"{key}={value}" for key, value in row.items()), flush=True)
                    losses, began = [], time.perf_counter()
            # A checkpoint to look into: how long must one train for what?
            paths.write_whole(work / f"after-{ends[n] * recipe.batch}.safetensors", save(halved(model)))
            paths.copy_whole(work / "checkpoint.pt", shared[n])
    _write_log(state, log)  # also where the checkpoint was at the end already
    return state["log"]


def _serve() -> None:
    """In the painter's process: Ctrl-C is for the parent, who then ends it so that it leaves nothing half drawn."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))


@contextmanager
def _painter() -> Iterator[ProcessPoolExecutor]:
    """A process that draws; where training fails or is interrupted, nobody waits for what it would draw."""
    with ProcessPoolExecutor(1, initializer=_serve) as painter:
        try:
            yield painter
        except BaseException:
            children = list(painter._processes.values())
            painter.shutdown(wait=False, cancel_futures=True)
            for child in children:
                while child.is_alive():  # again, where it has begun the next one
                    child.terminate()
                    child.join(1)
            raise


def _worker(model: open_clip.CLIP, bfloat16: bool) -> open_clip.CLIP:
    """A copy that computes where `model` learns: bfloat16 is twice as fast where the processor has it.

    The logit scale stays exact.
    """
    worker = copy.deepcopy(model)
    if bfloat16:
        worker.bfloat16().logit_scale.data = model.logit_scale.data.clone()
    return worker


def _hand_over(worker: torch.nn.Module, model: torch.nn.Module) -> None:
    """What the copy found, to the weights that are kept in float32: gradients, and statistics of batch norms."""
    for one, other in zip(worker.parameters(), model.parameters(), strict=True):
        other.grad = None if one.grad is None else one.grad.to(other)
        one.grad = None
    for one, other in zip(worker.buffers(), model.buffers(), strict=True):
        other.copy_(one)


def _beginning(recipe: Recipe, count: int) -> str:
    """A name for all that decides the weights after the first `count` stages; rates depend on the whole cycle."""
    ends = next((n for n, s in enumerate(recipe.stages) if n >= count and s.restart), len(recipe.stages))
    lengths = [stage.images for stage in recipe.stages[:ends]]
    return hashlib.sha256(repr((replace(recipe, stages=recipe.stages[:count]), lengths)).encode()).hexdigest()[:16]


def _rate(recipe: Recipe, ends: list[int], stage: int, step: int) -> float:
    """Linear warm-up, then a cosine to zero, in each cycle; ends: the step at which each stage is over."""
    starts = [n for n, s in enumerate(recipe.stages) if n == 0 or s.restart]
    first = max(n for n in starts if n <= stage)
    after = min([n for n in starts if n > stage], default=len(ends))
    begin = ends[first - 1] if first else 0
    done = (step - begin) / (ends[after - 1] - begin)  # 0 … 1, of the cycle
    peak = recipe.stages[first].restart or recipe.lr
    return peak * min(1, (step - begin + 1) / recipe.warmup) * 0.5 * (1 + math.cos(math.pi * done))


def _sound(shared: Path) -> bool:
    """Whether there is a shared checkpoint; a damaged one is passed over with a word."""
    try:
        return shared.exists() and bool(progress.read(shared))
    except ValueError as error:
        warnings.warn(f"Not used: {error}", stacklevel=3)
        return False


def _resume(checkpoint: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    if not checkpoint.exists():
        return {"step": 0, "seconds": 0.0, "log": []}
    saved = progress.read(checkpoint)
    with progress.adopting(checkpoint):
        model.load_state_dict(saved.pop("model"))
        optimizer.load_state_dict(saved.pop("optimizer"))
        return {name: saved[name] for name in ("step", "seconds", "log")}


def _write_log(state: dict[str, Any], log: Path) -> None:
    paths.write_whole(log, pd.DataFrame(state["log"]).to_csv(index=False, lineterminator="\n").encode())
