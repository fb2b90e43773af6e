"""Train a built-in CLIP again: open_clip's model, CLIP's symmetric contrastive loss, scenes of the sketchbook.

`clipsx train sketchbook` makes, in a folder: the model in open_clip's own format, its recipe, log and scores.
"""

import json
import os
import platform
from dataclasses import asdict
from pathlib import Path
from typing import Any

import open_clip
import torch
from safetensors.torch import load_file, save

from clipsx import paths
from clipsx.messages import require_known
from clipsx.sketchbook.training import grid
from clipsx.sketchbook.training.loop import fit, halved, scores
from clipsx.sketchbook.training.pools import exam
from clipsx.sketchbook.training.recipes import MEAN, RECIPES, STD, Recipe
from clipsx.sketchbook.training.vocabulary import write_vocabulary

TEST_SEED, TEST_LENGTH = 2000, 2000  # scenes that neither training nor its log has seen


def train(
    recipe: Recipe, out: Path, work: Path, compiled: bool = False, test_length: int = TEST_LENGTH, command: str = ""
) -> dict[str, Any]:
    """Train a recipe into the folder `out`; return its scores.

    out: gets open_clip_config.json, open_clip_model.safetensors (float16), bpe.txt.gz, train.json, log.csv and
    scores.json; work: where the checkpoint lies, from which an interrupted run goes on. A recipe without stages keeps
    its random weights; one that begins with a built-in model goes on from the weights that are shipped.
    """
    out.mkdir(parents=True, exist_ok=True)
    work.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(recipe.seed)
    text_cfg = recipe.model["text_cfg"] | {"vocab_size": write_vocabulary(out / "bpe.txt.gz")}
    tokenizer = open_clip.SimpleTokenizer(str(out / "bpe.txt.gz"), context_length=text_cfg["context_length"])
    # The vision transformer only has the part that drops patches if it is made with some.
    dropout = {"patch_dropout": 0.5} if "patch_size" in recipe.model["vision_cfg"] else {}
    model = open_clip.CLIP(recipe.model["embed_dim"], recipe.model["vision_cfg"] | dropout, text_cfg)
    if recipe.begins:
        whole = load_file(paths.data() / recipe.begins / "open_clip_model.safetensors")
        model.load_state_dict({name: value.float() for name, value in whole.items()})
    log = fit(model, tokenizer, recipe, out / "log.csv", work, compiled) if recipe.stages else []
    config = recipe.model | {"text_cfg": text_cfg | {"tokenizer_kwargs": {"bpe_path": "bpe.txt.gz"}}}
    preprocess = {"mean": MEAN, "std": STD, "interpolation": "bicubic", "resize_mode": "squash"}
    _write(out / "open_clip_config.json", {"model_cfg": config, "preprocess_cfg": preprocess})
    half = halved(model)
    paths.write_whole(out / "open_clip_model.safetensors", save(half))
    model.load_state_dict(half)  # what is scored is what is shipped
    size = recipe.model["vision_cfg"]["image_size"]
    protocol = (
        f"cosine with 'a photo of a {{noun}}'; {test_length} scenes each, seed {TEST_SEED}, default dials; "
        "top1: scenes of one object; mAP: scenes of one to three, absent classes masked; in %"
    )
    found = scores(model, tokenizer, exam(TEST_SEED, test_length, size)) | {"protocol": protocol}
    _write(out / "scores.json", found)
    made = {"command": command, "torch": torch.__version__, "open_clip": open_clip.__version__}
    spent = {"images": log[-1]["images"], "minutes": round(log[-1]["seconds"] / 60, 1)} if log else {}
    _write(out / "train.json", made | spent | {"machine": platform.machine(), "recipe": asdict(recipe)})
    return found


def _write(file: Path, content: dict[str, Any]) -> None:
    paths.write_whole(file, (json.dumps(content, indent=1) + "\n").encode())


def remake(
    name: str, out: Path | None = None, work: Path | None = None, threads: int | None = None, compiled: bool = False
) -> str:
    """Train a recipe, or a cell of the laboratory's grid, by its name; return where it lies and its scores, in words.

    out: ./NAME by default; work: in the cache; threads: all cores. Errors: ValueError for an unknown name.
    """
    require_known("recipe", name, [*RECIPES, *grid.cells()])
    threads = threads or os.cpu_count() or 1
    torch.set_num_threads(threads)
    out, work = out or Path(name), work or paths.cache() / "train" / name
    command = f"clipsx train {name} --threads {threads}{' --compile' if compiled else ''}"
    found = train(grid.recipe(name), out, work, compiled, command=command)
    return f"{out}: top-1 {found['top1']} %, mAP {found['mAP']} %  ({found['protocol']})"
