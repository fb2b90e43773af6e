"""What the command line is told: every command's options, in words."""

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path

from clipsx.options import Model, Parser, above_zero, batch, device, pair, positive, shard, share

TASKS = ("explain", "segment", "recognise", "points")  # of `evaluation.tasks`, which is dear to import
FORMATS = ("png", "rle")  # of `evaluation.produce`


def parser(commands: Mapping[str, Callable[[argparse.Namespace], int]]) -> argparse.ArgumentParser:
    """The options of every command, by its name; what is parsed holds the function to run as `command`."""
    from clipsx.load import PRECISIONS
    from clipsx.towers import POSITIONS

    model = Parser(add_help=False)
    model.add_argument(
        "--model", action=Model, help="built-in name, open_clip name, directory or file (default: sketchbook)"
    )
    model.add_argument("--pretrained", action=Model, help="open_clip tag, such as openai, or a weights file")
    model.add_argument("--device", type=device, help="cpu, cuda, … (default: cuda when there is one)")
    model.add_argument("--precision", choices=PRECISIONS, metavar="NAME", help="fp32, fp16, bf16 … (default: fp32)")
    model.add_argument("--quickgelu", action=argparse.BooleanOptionalAction, help="state a local file's activation")
    words = f"how they meet another size: {', '.join(POSITIONS)} (default: the first, or the model's own rule)"
    model.add_argument("--positions", choices=POSITIONS, metavar="RULE", help=words)
    data = Parser(add_help=False)
    data.add_argument("--dataset", help="by name, as `clipsx datasets` lists them (default: sketchbook)")
    data.add_argument(
        "--root", help="where the data set lies: its folder, or one that holds it (default: $CLIPSX_DATA)"
    )
    words = "how many samples to read (default: all; 200 scenes of the sketchbook)"
    data.add_argument("--images", "--limit", dest="count", metavar="N", type=positive, help=words)
    read = Parser(add_help=False)
    read.add_argument("--split", help="of the data set, such as val (default: its own)")
    read.add_argument("--others", metavar="SPLIT", help="choose or train on this split (default: every other image)")
    read.add_argument("--annotations", metavar="FILE", help="of coco-json: a file of your own in COCO's format")
    words = "the wording of its classes: a name such as voc21.sclip, or a file, a class a line"
    read.add_argument("--vocabulary", metavar="NAME|FILE", help=words)
    words = "another option of it, such as difficult=excluded, crowd=excluded, regions=boxes, images=all"
    read.add_argument("--with", dest="having", action="append", default=[], type=pair, metavar="NAME=VALUE", help=words)
    out = Parser(add_help=False)
    out.add_argument("--out", default="out", help="folder to write (default: %(default)s)")

    running = Parser(add_help=False)
    words = "how it is measured, such as clip-surgery-explain, sclip-voc21 (default: the task's own)"
    running.add_argument("--protocol", metavar="NAME", help=words)
    running.add_argument("--workers", type=int, default=0, help="processes that open pictures (default: 0, this one)")
    words = "pictures at a time, or auto: as many as fit and pay (default: %(default)s)"
    running.add_argument("--batch", type=batch, default=16, help=words)
    words = "who makes the parts: own, or ray with --workers actors, on $RAY_ADDRESS or here (default: %(default)s)"
    running.add_argument("--engine", choices=("own", "ray"), default="own", help=words)
    words = "make the i-th of n parts of the work, for `merge` (default: of the Slurm array's or torchrun's, else all)"
    running.add_argument("--shard", type=shard, metavar="i/n", help=words)

    whole = Parser(prog="clipsx", description="Show, measure and repair what is wrong inside CLIP.")
    sub_parsers = whole.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, words: str, *parents: Parser) -> Parser:
        sub = sub_parsers.add_parser(name, parents=parents, help=words, description=words)
        sub.set_defaults(command=commands[name])
        return sub

    readings = "method[@depth][+code|paper[(tau=x)]], parted by commas"
    sub = command("explain", "maps of labels on pictures: figure and table", model, out)
    sub.add_argument("images", nargs="+", metavar="PICTURE")
    sub.add_argument("--labels", required=True, help="names: 'cat, \"boat, sailing\"', or @FILE, one a line")
    sub.add_argument("--reading", default="clip-surgery+code", help=f"{readings} (default: %(default)s)")
    sub.add_argument("--templates", default="clip-surgery", help="prompt templates by name (default: %(default)s)")
    sub.add_argument("--size", type=positive, help="side in pixels the model reads (default: its own)")
    sub.add_argument("--threshold", type=share, default=0.5, help="for the area in the table (default: %(default)s)")
    sub.add_argument("--opacity", type=share, default=0.6, help="of a map over the photo (default: %(default)s)")

    sub = command("evaluate", "readings of models on a data set: tables, resumable", model, data, read, running, out)
    sub.add_argument("--readings", help=f"{readings} (default: all that the model can do, with and without +code)")
    sub.add_argument("--task", choices=TASKS, default="explain", help="what is measured (default: %(default)s)")
    words = "measure a CLIP and, behind it, projectors that `clipsx unmix` saved: one folder, or that of all seeds"
    sub.add_argument("--projectors", metavar="FOLDER|FILE", help=words)
    words = "instead: hold OpenAI's ViT-B-16 and ViT-L-14-336 (or a --model) against what was published, on VOC 2012"
    sub.add_argument("--check", action="store_true", help=words)
    sub.add_argument("--against", metavar="FILE", help="of --check: another machine's check.json, to compare with")
    words = (
        "worst and best pictures to draw, with maps; of several models those that changed most (default: 2; 0: none)"
    )
    sub.add_argument("--pictures", type=int, default=2, choices=range(100), metavar="N", help=words)
    words = "of the task points: %(default)s, a SAM's hub name or folder (default: %(default)s)"
    sub.add_argument("--segmenter", default="random-walker", help=words)

    words = "pictures segmented by words alone: index PNGs or COCO's RLE, resumable"
    sub = command("segment", words, model, running, out)
    sub.add_argument("--images", required=True, metavar="FOLDER|LIST", help="a folder, or a text file, a path a line")
    sub.add_argument(
        "--labels", required=True, help="names, or @FILE: a class a line, its query words parted by commas"
    )
    sub.add_argument("--reading", default="clip-surgery", help="one reading (default: %(default)s)")
    sub.add_argument("--format", choices=FORMATS, default="png", help="(default: %(default)s)")

    sub = command("merge", "what shards have made, as one: nothing missing, doubled or of another run")
    sub.add_argument("out", metavar="OUT", help="the folder that they were given")
    sub.add_argument("--format", choices=FORMATS, default="png", help="of segments (default: %(default)s)")

    words = "projectors trained on one part of a data set and tested on another: weights, tables over seeds"
    sub = command("unmix", words, model, data, read, out)
    sub.add_argument("--reading", help="which positions, a reading without surgery (default: the paper's)")
    sub.add_argument("--size", type=positive, help="side in pixels the model reads (default: its own)")
    sub.add_argument("--seeds", type=positive, default=5, help="trainings (default: %(default)s)")
    sub.add_argument("--epochs", type=positive, help="(default: 20 on the sketchbook, else 10)")
    sub.add_argument("--lr", type=above_zero, help="(default: 5e-4 on the sketchbook, else 0.002 as published)")

    sub = command("reproduce", "run the notebooks: figures, tables, pages", model, data, out)
    sub.add_argument("notebooks", nargs="*", metavar="NOTEBOOK", help="names or numbers, such as 01 (default: all)")
    sub.add_argument("--full", action="store_true", help="compute anew what is shipped: chance, five seeds (slow)")
    sub.add_argument("--style", help="of figures: screen, column (3.3 inches), text (6.9) (default: $CLIPSX_STYLE)")
    sub.add_argument("--timeout", type=positive, help="seconds for each cell (default: none)")

    sub = command("lab", "open the notebooks in JupyterLab", model, data)
    sub.add_argument("--dir", help="work on copies in this folder (default: the checkout's, or ./clipsx-notebooks)")
    sub.add_argument("jupyter", nargs="*", metavar="-- …", help="options for JupyterLab, after --")

    sub = command("train", "train a built-in CLIP again, on the CPU")
    sub.add_argument("name", metavar="NAME", help="a built-in model, or lab-CELL-sSEED of the laboratory's grid")
    sub.add_argument("--out", type=Path, help="folder of the model (default: ./NAME)")
    sub.add_argument("--work", type=Path, help="folder of checkpoint and scenes (default: in the cache)")
    sub.add_argument("--threads", type=positive, help="threads (default: all cores)")
    sub.add_argument("--compile", action="store_true", help="compile the image tower: faster, needs a C++ compiler")

    sub = command("lab-measure", "measure a cell of the laboratory's grid, or a built-in model")
    sub.add_argument("folder", type=Path, metavar="FOLDER", help="the model's folder, named as its run")
    sub.add_argument("--name", help="the run's name (default: the folder's); RUN@IMAGES for a checkpoint")
    sub.add_argument("--images", dest="count", type=positive, help="scenes of the test world (default: 150)")

    sub = command("models", "models and methods: on what each method stands on each, or that it does not apply")
    sub.add_argument("match", nargs="?", default="", metavar="WORD", help="of names that hold it (default: all)")
    sub.add_argument("--out", help="folder for the whole table, with the reasons in words")

    words = "random starts of a model's architecture as bands; without --model the shipped ones again (chance.csv)"
    sub = command("chance", words, model, data, read, out)
    sub.add_argument("--starts", type=positive, default=20, help="seeds, at least two (default: %(default)s)")

    sub = command("datasets", "which data sets are there: what is missing, where to get it, where it belongs")
    sub.add_argument("--root", help="a folder that holds them (default: $CLIPSX_DATA, else this one)")

    sub = command("cache", "what is kept on disk, and its budget ($CLIPSX_CACHE_BUDGET, in bytes)")
    sub.add_argument("--clear", nargs="?", const="", metavar="KIND", help="delete it: one kind, or all")

    return whole
