"""The command line: ``clipsx explain | evaluate | models | reproduce | lab | train | cache | lab-measure | …``.

Every command that reads a model takes it the same way: ``--model`` is what `clipsx.load` takes (a built-in name, an
open_clip name, a directory or a file), ``--pretrained`` an open_clip tag or a file, ``--device``, ``--precision``,
``--quickgelu``, ``--positions``. Exit codes: 0 done; 1 a notebook failed, or clipsx itself did (with its traceback); 2
a mistake in the call, in one line on stderr (and its traceback where CLIPSX_TRACEBACK is set); 130 interrupted; 141
nobody reads.
"""

import argparse
import functools
import os
import shutil
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipsx.ending import interrupts, printing
from clipsx.options import Parser, device, positive, share

if TYPE_CHECKING:
    from clipsx.clip import Clip

TASKS = ("explain", "segment", "recognise", "points")  # of `evaluation.tasks`
# what stands under a figure of `explain`
MADE = ("model", "weights", "positions", "data", "image_size", "templates", "protocol")
SHOWN = ["reading", "measure", "value", "low", "high", "n"]  # of a table, at the end of `clipsx evaluate`


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit code. Errors: whatever is no mistake in the call."""
    with interrupts() as heard:
        try:
            with printing():
                options = _parser().parse_args(argv)
                code = options.command(options)
                if heard:  # and swallowed by a library that went on
                    raise KeyboardInterrupt
                return code
        except SystemExit:
            raise
        except BaseException as error:
            if heard or isinstance(error, KeyboardInterrupt):
                print("clipsx: interrupted", file=sys.stderr)
                return 130
            missing = isinstance(error, ImportError) and error.name is not None
            if missing or not isinstance(error, ValueError | OSError | ImportError):
                raise  # Python's own ImportError is of an installation that is not whole; ours say what is missing
            if os.environ.get("CLIPSX_TRACEBACK"):
                traceback.print_exc()
            else:
                print(f"clipsx: {' '.join(str(error).split()) or type(error).__name__}", file=sys.stderr)
            return 2


def _explain(options: argparse.Namespace) -> int:
    from clipsx import images, paths, reading, save
    from clipsx.explain import asked, explain, file_name
    from clipsx.plots.sheets import explained

    try:
        labels = asked(options.labels)
    except (ValueError, OSError) as error:
        raise type(error)(f"--labels: {error}") from None
    clip, readings = _load(options), reading.readings(options.reading)
    about = {name: getattr(options, name) for name in ("templates", "size", "threshold")}
    for image in options.images:
        photo, name = images.decode(image), paths.shortened(Path(image).name, 255)
        maps, table = explain(clip, photo, labels, readings, name=name, **about)
        figure = explained(photo, maps, labels, options.opacity)
        decides = (labels, about, options.opacity, options.precision, clip)
        stem = file_name(image, photo, readings, decides)
        made = {column: table[column].iloc[0] for column in MADE}
        made["reading"] = ", ".join(map(str, readings))
        for file in [
            *save.figure(figure, options.out, stem, made, kind="explain"),
            save.table(table, options.out, stem),
        ]:
            print(file)
    return 0


def _evaluate(options: argparse.Namespace) -> int:
    from clipsx import datasets, save
    from clipsx.evaluation.tasks import evaluate

    clip = _load(options)
    tuning, test = datasets.tuning_and_test(options.dataset or "sketchbook", options.root, options.count or 200)
    how = {name: getattr(options, name) for name in ("workers", "batch", "segmenter")} | {"folder": options.out}
    table = evaluate(clip, options.task, tuning, test, options.readings or (), **how)
    print(table[SHOWN].round(2).to_string(index=False, na_rep=""))
    print(save.table(table, options.out, "table"))
    return 0


def _reproduce(options: argparse.Namespace) -> int:
    from clipsx.reproduce import reproduce

    say = functools.partial(print, flush=True)
    how = {"notebooks": options.notebooks or None, "timeout": options.timeout, "on_progress": say}
    how["style"] = options.style
    runs = reproduce(options.out, full=options.full, **how, **_stated(options))
    return int(any(run.errors for run in runs))


def _lab(options: argparse.Namespace) -> int:
    import nbformat

    from clipsx import datasets, paths
    from clipsx.reproduce import PATIENT, find, inject, parameters

    datasets.check(options.dataset or "sketchbook", options.root)
    given, folder = parameters(**_stated(options)), paths.notebooks()
    if options.dir is not None or given or not os.access(folder, os.W_OK) or "site-packages" in folder.parts:
        # Work on copies: installed notebooks stay as they are, and chosen parameters stand in the copies' own cells.
        target = Path(options.dir or "clipsx-notebooks").absolute()
        target.mkdir(parents=True, exist_ok=True)
        for source in find():
            if (target / source.name).exists():
                print(f"{target / source.name} is kept as it is")
            else:
                shutil.copyfile(source, target / source.name)
                if given:
                    nbformat.write(inject(nbformat.read(source, as_version=4), given), target / source.name)
        folder = target
    os.chdir(folder)
    # Root, as in a container, has to say so; JupyterLab still listens on this machine alone and asks for its token.
    root = ["--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    command = [sys.executable, "-m", "jupyterlab", *root, *options.jupyter]
    os.execve(sys.executable, command, PATIENT | os.environ)


def _train(options: argparse.Namespace) -> int:
    from clipsx.sketchbook.training import remake

    print(remake(options.name, options.out, options.work, options.threads, options.compile))
    return 0


def _lab_measure(options: argparse.Namespace) -> int:
    from clipsx.sketchbook.laboratory.runs import write

    name = options.folder.resolve().name if options.name is None else options.name
    print(write(name, options.folder, options.count or 150, words=name))
    return 0


def _chance(options: argparse.Namespace) -> int:
    from clipsx import chance, datasets, save

    if options.model is None:
        from clipsx.sketchbook.laboratory import floors

        print(floors.write(options.out, options.starts))
        return 0
    clip = _load(options)
    _, test = datasets.tuning_and_test(options.dataset or "sketchbook", options.root, options.count or chance.IMAGES)
    table = chance.bands(chance.starts(chance.again(clip), test, options.starts))
    print(table[["reading", "measure", "mean", "sd", "low", "high", "n"]].round(2).to_string(index=False, na_rep=""))
    print(save.table(table, options.out, "chance"))
    return 0


def _cache(options: argparse.Namespace) -> int:
    from clipsx import cache, paths

    if options.clear is not None:
        cache.clear(options.clear)
    kept = cache.kept()
    print(f"{paths.cache()}: {sum(size for _, size in kept.values()) / 1e6:,.1f} of {cache.budget() / 1e6:,.0f} MB")
    for kind, (count, size) in kept.items():
        print(f"{kind:12} {count:7,} files {size / 1e6:10,.1f} MB")
    return 0


def _models(options: argparse.Namespace) -> int:
    from clipsx import models, save

    found = models.table(options.match)
    print(models.short(found).to_string(index=False, na_rep=""))
    print(models.LEGEND)
    if options.out:
        print(save.table(found, options.out, "models"))
    return 0


def _lab_report(options: argparse.Namespace) -> int:
    from clipsx.sketchbook.laboratory import answers, results
    from clipsx.sketchbook.laboratory.report import report

    for file in report(options.out):
        print(file)
    print("\n".join(["", *answers.sentences(results())]))
    return 0


def _options(options: argparse.Namespace) -> dict[str, Any]:
    """What `clipsx.load` is told beside the model, where it was stated."""
    given = {name: getattr(options, name) for name in ("device", "precision", "quickgelu", "positions")}
    return {name: value for name, value in given.items() if value is not None}


def _load(options: argparse.Namespace) -> "Clip":
    from clipsx.load import load

    return load(options.model or "sketchbook", options.pretrained, **_options(options))


def _stated(options: argparse.Namespace) -> dict[str, Any]:
    """The model and the data of a call, as `reproduce.parameters` takes them."""
    given = {name: getattr(options, name) for name in ("model", "pretrained", "dataset", "root")}
    return given | {"images": options.count, "options": _options(options)}


def _parser() -> argparse.ArgumentParser:
    from clipsx.load import PRECISIONS
    from clipsx.towers import POSITIONS

    model = Parser(add_help=False)
    model.add_argument("--model", help="built-in name, open_clip name, directory or file (default: sketchbook)")
    model.add_argument("--pretrained", help="open_clip tag, such as openai, or a weights file")
    model.add_argument("--device", type=device, help="cpu, cuda, … (default: cuda when there is one)")
    model.add_argument("--precision", choices=PRECISIONS, metavar="NAME", help="fp32, fp16, bf16 … (default: fp32)")
    model.add_argument("--quickgelu", action=argparse.BooleanOptionalAction, help="state a local file's activation")
    words = f"how they meet another size: {', '.join(POSITIONS)} (default: the first, or the model's own rule)"
    model.add_argument("--positions", choices=POSITIONS, metavar="RULE", help=words)
    data = Parser(add_help=False)
    data.add_argument("--dataset", help="sketchbook, photographs, voc2012, folder (default: sketchbook)")
    data.add_argument("--root", help="where the data set lies")
    data.add_argument("--images", dest="count", type=positive, help="how many samples to read (default: 200)")
    out = Parser(add_help=False)
    out.add_argument("--out", default="out", help="folder to write (default: %(default)s)")

    parser = Parser(prog="clipsx", description="Show, measure and repair what is wrong inside CLIP.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Any, words: str, *parents: Parser) -> Parser:
        sub = commands.add_parser(name, parents=parents, help=words, description=words)
        sub.set_defaults(command=run)
        return sub

    readings = "method[@depth][+code|paper[(tau=x)]], parted by commas"
    sub = command("explain", _explain, "maps of labels on pictures: figure and table", model, out)
    sub.add_argument("images", nargs="+", metavar="PICTURE")
    sub.add_argument("--labels", required=True, help="names: 'cat, \"boat, sailing\"', or @FILE, one a line")
    sub.add_argument("--reading", default="clip-surgery+code", help=f"{readings} (default: %(default)s)")
    sub.add_argument("--templates", default="clip-surgery", help="prompt templates by name (default: %(default)s)")
    sub.add_argument("--size", type=positive, help="side in pixels the model reads (default: its own)")
    sub.add_argument("--threshold", type=share, default=0.5, help="for the area in the table (default: %(default)s)")
    sub.add_argument("--opacity", type=share, default=0.6, help="of a map over the photo (default: %(default)s)")

    sub = command("evaluate", _evaluate, "readings on a data set: a table, resumable", model, data, out)
    sub.add_argument("--readings", help=f"{readings} (default: all that the model can do, with and without +code)")
    sub.add_argument("--task", choices=TASKS, default="explain", help="what is measured (default: %(default)s)")
    words = "of the task points: %(default)s, a SAM's hub name or folder (default: %(default)s)"
    sub.add_argument("--segmenter", default="random-walker", help=words)
    sub.add_argument("--workers", type=int, default=0, help="processes that open pictures (default: 0, this one)")
    sub.add_argument("--batch", type=positive, default=16, help="pictures at a time (default: %(default)s)")

    sub = command("reproduce", _reproduce, "run the notebooks: figures, tables, pages", model, data, out)
    sub.add_argument("notebooks", nargs="*", metavar="NOTEBOOK", help="names or numbers, such as 01 (default: all)")
    sub.add_argument("--full", action="store_true", help="five seeds where one serves otherwise (slow)")
    sub.add_argument("--style", help="of figures: screen, column (3.3 inches), text (6.9) (default: $CLIPSX_STYLE)")
    sub.add_argument("--timeout", type=positive, help="seconds for each cell (default: none)")

    sub = command("lab", _lab, "open the notebooks in JupyterLab", model, data)
    sub.add_argument("--dir", help="work on copies in this folder (default: the checkout's, or ./clipsx-notebooks)")
    sub.add_argument("jupyter", nargs="*", metavar="-- …", help="options for JupyterLab, after --")

    sub = command("train", _train, "train a built-in CLIP again, on the CPU")
    sub.add_argument("name", metavar="NAME", help="a built-in model, or lab-CELL-sSEED of the laboratory's grid")
    sub.add_argument("--out", type=Path, help="folder of the model (default: ./NAME)")
    sub.add_argument("--work", type=Path, help="folder of checkpoint and scenes (default: in the cache)")
    sub.add_argument("--threads", type=positive, help="threads (default: all cores)")
    sub.add_argument("--compile", action="store_true", help="compile the image tower: faster, needs a C++ compiler")

    sub = command("lab-measure", _lab_measure, "measure a cell of the laboratory's grid, or a built-in model")
    sub.add_argument("folder", type=Path, metavar="FOLDER", help="the model's folder, named as its run")
    sub.add_argument("--name", help="the run's name (default: the folder's); RUN@IMAGES for a checkpoint")
    sub.add_argument("--images", dest="count", type=positive, help="scenes of the test world (default: 150)")

    sub = command(
        "models", _models, "models and methods: on what each method stands on each, or that it does not apply"
    )
    sub.add_argument("match", nargs="?", default="", metavar="WORD", help="of names that hold it (default: all)")
    sub.add_argument("--out", help="folder for the whole table, with the reasons in words")

    words = "random starts of a model's architecture as bands; without --model the shipped ones again (chance.csv)"
    sub = command("chance", _chance, words, model, data, out)
    sub.add_argument("--starts", type=positive, default=20, help="seeds, at least two (default: %(default)s)")

    sub = command("cache", _cache, "what is kept on disk, and its budget ($CLIPSX_CACHE_BUDGET, in bytes)")
    sub.add_argument("--clear", nargs="?", const="", metavar="KIND", help="delete it: one kind, or all")

    command("lab-report", _lab_report, "the laboratory's tables and figures again", out)
    return parser


if __name__ == "__main__":
    sys.exit(main())
