"""The command line: ``clipsx explain | evaluate | reproduce | lab | train | lab-measure | lab-report``.

Every command takes a model the same way: ``--model`` is what `clipsx.load` takes (a built-in name, an open_clip name, a
directory or a file), ``--pretrained`` an open_clip tag. A mistake is answered in one line on stderr and exit code 2.
"""

import argparse
import functools
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clipsx.clip import Clip


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit code: 0 done, 1 a notebook failed, 2 a mistake in the call, 130 interrupted."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if argv[:1] == ["train"]:  # its options belong to clipsx.sketchbook.training alone
        argv, rest = ["train"], argv[1:]
    else:
        rest = []
    options = _parser().parse_args(argv)
    options.rest = rest
    try:
        return options.command(options)
    except KeyboardInterrupt:
        print("clipsx: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        if os.environ.get("CLIPSX_TRACEBACK"):
            raise
        kind = "" if isinstance(error, (ValueError, OSError)) else f"{type(error).__name__}: "
        print(f"clipsx: {kind}{' '.join(str(error).split())}", file=sys.stderr)
        return 2


def _explain(options: argparse.Namespace) -> int:
    from clipsx import save
    from clipsx.explain import explain

    labels = [label.strip() for label in options.labels.split(",")]
    if not all(labels):
        raise ValueError(
            f"--labels {options.labels!r} holds a blank label: give names parted by commas, such as 'cat, boat'"
        )
    clip = _load(options)
    names = ("method", "depth", "surgery", "form", "tau", "templates", "size", "threshold", "opacity")
    for image in options.images:
        figure, table = explain(clip, image, labels, **{name: getattr(options, name) for name in names})
        stem = f"{Path(image).stem}-{options.method}{'' if options.surgery else '-raw'}"
        provenance = table.iloc[0].drop(["label", "cosine", "peak_x", "peak_y", "area", "constant"]).to_dict()
        for path in [
            *save.figure(figure, options.out, stem, provenance),
            save.table(table, options.out, stem),
        ]:
            print(path)
    return 0


def _evaluate(options: argparse.Namespace) -> int:
    from clipsx import datasets, save
    from clipsx.evaluation import explain

    clip = _load(options)
    halves = datasets.tuning_and_test(options.dataset or "sketchbook", options.root, options.count or 200)
    methods = tuple(name.strip() for name in options.methods.split(",")) if options.methods else clip.methods
    # The threshold is chosen on one half, everything is reported on the other.
    tuning, table = (explain.evaluate(clip, half, methods=methods) for half in halves)
    summary = explain.summarise(table, tuning)
    print(save.table(table, options.out, "evaluation"))
    print(save.table(summary, options.out, "evaluation-summary"))
    print(summary[["method", "surgery", "msc", "opposite", "miou", "threshold"]].round(2).to_string(index=False))
    return 0


def _reproduce(options: argparse.Namespace) -> int:
    from clipsx.reproduce import reproduce

    names = options.notebooks or None
    say = functools.partial(print, flush=True)
    given = _choice(options) | {"images": options.count, "timeout": options.timeout, "full": options.full}
    runs = reproduce(options.out, notebooks=names, on_progress=say, **given)
    return int(any(run.errors for run in runs))


def _lab(options: argparse.Namespace) -> int:
    import nbformat

    from clipsx import paths
    from clipsx.reproduce import PATIENT, find, inject

    chosen = _choice(options) | {"images": options.count}
    parameters = {name.upper(): value for name, value in chosen.items() if value is not None}
    folder = paths.notebooks()
    if options.dir is not None or parameters or not os.access(folder, os.W_OK) or "site-packages" in folder.parts:
        # Work on copies: installed notebooks stay as they are, and chosen parameters stand in the copies' own cells.
        target = Path(options.dir or "clipsx-notebooks").absolute()
        target.mkdir(parents=True, exist_ok=True)
        for source in find():
            if (target / source.name).exists():
                print(f"{target / source.name} is kept as it is")
            else:
                shutil.copyfile(source, target / source.name)
                if parameters:
                    nbformat.write(inject(nbformat.read(source, as_version=4), parameters), target / source.name)
        folder = target
    os.chdir(folder)
    # Root, as in a container, has to say so; JupyterLab still listens on this machine alone and asks for its token.
    root = ["--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    command = [sys.executable, "-m", "jupyterlab", *root, *options.jupyter]
    os.execve(sys.executable, command, PATIENT | os.environ)


def _train(options: argparse.Namespace) -> int:
    from clipsx.sketchbook import training as train

    train.main(options.rest)
    return 0


def _lab_measure(options: argparse.Namespace) -> int:
    from clipsx.sketchbook.laboratory.runs import write

    print(write(options.name or options.folder.resolve().name, options.folder, options.count or 150))
    return 0


def _lab_report(options: argparse.Namespace) -> int:
    from clipsx.sketchbook.laboratory import answers, results
    from clipsx.sketchbook.laboratory.report import report

    for file in report(options.out):
        print(file)
    print("\n".join(["", *answers.sentences(results())]))
    return 0


def _load(options: argparse.Namespace) -> "Clip":
    import clipsx

    return clipsx.load(
        options.model or "sketchbook",
        pretrained=options.pretrained,
        device=options.device,
        precision=options.precision,
        quickgelu=options.quickgelu,
    )


def _choice(options: argparse.Namespace) -> dict[str, Any]:
    root = None if options.root is None else str(Path(options.root).absolute())
    return {"model": options.model, "pretrained": options.pretrained, "dataset": options.dataset, "root": root}


def _parser() -> argparse.ArgumentParser:
    switch = argparse.BooleanOptionalAction
    model = argparse.ArgumentParser(add_help=False)
    model.add_argument("--model", help="built-in name, open_clip name, directory or file (default: sketchbook)")
    model.add_argument("--pretrained", help="open_clip tag, such as openai")
    device = argparse.ArgumentParser(add_help=False)
    device.add_argument("--device", help="cpu, cuda, … (default: cuda when there is one)")
    device.add_argument("--precision", default="fp32", help="fp32, fp16 or bf16 (default: %(default)s)")
    device.add_argument("--quickgelu", action=switch, help="state a local file's activation")
    data = argparse.ArgumentParser(add_help=False)
    data.add_argument("--dataset", help="sketchbook, voc2012 or folder (default: sketchbook)")
    data.add_argument("--root", help="where the data set lies")
    data.add_argument("--images", dest="count", type=_positive, help="how many samples to read (default: 200)")
    out = argparse.ArgumentParser(add_help=False)
    out.add_argument("--out", default="out", help="folder to write (default: %(default)s)")

    parser = argparse.ArgumentParser(prog="clipsx", description="Show, measure and repair what is wrong inside CLIP.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    sub = commands.add_parser(
        "explain", parents=[model, device, out], help="maps of labels on pictures: figure and table"
    )
    sub.add_argument("images", nargs="+", metavar="IMAGE")
    sub.add_argument("--labels", required=True, help="names parted by commas: 'cat, boat'")
    sub.add_argument("--method", default="clip-surgery", help="clip, maskclip, clip-surgery, … (default: %(default)s)")
    sub.add_argument("--depth", type=int, default=6, help="blocks on the second path (default: %(default)s)")
    sub.add_argument("--surgery", action=switch, default=True, help="feature surgery on the maps (default: yes)")
    sub.add_argument("--form", default="code", help="feature surgery as in the released code or the paper: code, paper")
    sub.add_argument("--tau", type=float, default=2.0, help="its temperature (default: %(default)s)")
    sub.add_argument("--templates", default="clip-surgery", help="prompt templates by name (default: %(default)s)")
    sub.add_argument("--size", type=_positive, help="side in pixels the model reads (default: its own)")
    sub.add_argument("--threshold", type=float, default=0.5, help="for the area in the table (default: %(default)s)")
    sub.add_argument("--opacity", type=float, default=0.6, help="of the map over the photo, 0…1 (default: %(default)s)")
    sub.set_defaults(command=_explain)

    sub = commands.add_parser("evaluate", parents=[model, device, data, out], help="methods on a data set: tables")
    sub.add_argument("--methods", help="names parted by commas (default: all that the model can do)")
    sub.set_defaults(command=_evaluate)

    sub = commands.add_parser("reproduce", parents=[model, data, out], help="run the notebooks: figures, tables, pages")
    sub.add_argument("notebooks", nargs="*", metavar="NOTEBOOK", help="names or numbers, such as 01 (default: all)")
    sub.add_argument("--full", action="store_true", help="five seeds where one serves otherwise (slow)")
    sub.add_argument("--timeout", type=float, help="seconds for each cell (default: none)")
    sub.set_defaults(command=_reproduce)

    sub = commands.add_parser("lab", parents=[model, data], help="open the notebooks in JupyterLab")
    sub.add_argument("--dir", help="work on copies in this folder (default: the checkout's, or ./clipsx-notebooks)")
    sub.add_argument("jupyter", nargs="*", metavar="-- …", help="options for JupyterLab, after --")
    sub.set_defaults(command=_lab)

    sub = commands.add_parser("train", help="train a built-in model again (see clipsx train --help)")
    sub.set_defaults(command=_train)

    sub = commands.add_parser("lab-measure", help="measure a cell of the laboratory's grid, or a built-in model")
    sub.add_argument("folder", type=Path, metavar="FOLDER", help="the model's folder, named as its run")
    sub.add_argument("--name", help="the run's name (default: the folder's); RUN@IMAGES for a checkpoint")
    sub.add_argument("--images", dest="count", type=_positive, help="scenes of the test world (default: 150)")
    sub.set_defaults(command=_lab_measure)

    sub = commands.add_parser("lab-report", parents=[out], help="the laboratory's tables and figures again")
    sub.set_defaults(command=_lab_report)
    return parser


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value


if __name__ == "__main__":
    sys.exit(main())
