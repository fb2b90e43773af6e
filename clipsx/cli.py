"""The command line: ``clipsx explain | evaluate | segment | merge | models | reproduce | lab | train | cache | …``.

Every command that reads a model takes it the same way: ``--model`` is what `clipsx.load` takes (a built-in name, an
open_clip name, a directory or a file), ``--pretrained`` an open_clip tag or a file, ``--device``, ``--precision``,
``--quickgelu``, ``--positions``. Exit codes: 0 done; 1 a notebook failed, or clipsx itself did (with its traceback); 2
a mistake in the call, in one line on stderr (and its traceback where CLIPSX_TRACEBACK is set); 75 told to stop by
SIGTERM or SIGUSR1, with whole parts kept: queue it again; 130 interrupted; 141 nobody reads.
"""

import argparse
import functools
import os
import shutil
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clipsx import runs
from clipsx.ending import interrupts, printing
from clipsx.options import data, load, loading
from clipsx.parser import parser

# what stands under a figure of `explain`
MADE = ("model", "weights", "positions", "data", "image_size", "templates", "protocol")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit code. Errors: whatever is no mistake in the call."""
    with interrupts() as heard:
        try:
            with printing():
                options = parser(COMMANDS).parse_args(argv)
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
                print(f"clipsx: {_words(error)}", file=sys.stderr)
            return 2


def _words(error: Exception) -> str:
    """What an error says, in one line, without the system's number."""
    parts = (error.filename, error.strerror) if isinstance(error, OSError) and error.strerror else (error,)
    return " ".join(": ".join(str(part) for part in parts if part is not None).split()) or type(error).__name__


def _explain(options: argparse.Namespace) -> int:
    from clipsx import images, paths, reading, save
    from clipsx.explain import asked, explain, file_name
    from clipsx.plots.sheets import explained

    try:
        labels = asked(options.labels)
    except (ValueError, OSError) as error:
        raise type(error)(f"--labels: {error}") from None
    clip, readings = load(options), reading.readings(options.reading)
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
    from clipsx import chance, save

    if options.model is None:
        told = (options.dataset, options.root, options.count, options.split, options.vocabulary, *options.having)
        if any(told):
            raise ValueError("The shipped bands are of the built-in models' own data: say --model for other data.")
        from clipsx.sketchbook.laboratory import floors

        print(floors.write(options.out, options.starts))
        return 0
    clip = load(options)
    _, test = data(options, chance.IMAGES)
    table = chance.bands(chance.starts(chance.again(clip), test, options.starts))
    print(table[["reading", "measure", "mean", "sd", "low", "high", "n"]].round(2).to_string(index=False, na_rep=""))
    print(save.table(table, options.out, "chance"))
    return 0


def _datasets(options: argparse.Namespace) -> int:
    from clipsx import datasets

    print("sketchbook, photographs: built in\nfolder, coco-json: pictures of your own, under --root")
    for name, (title, words) in datasets.status(options.root).items():
        print(f"\n{name}: {title}\n    {words}")
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
    shown, whys = models.short(found)
    print(shown.to_string(index=False, na_rep=""))
    print(models.LEGEND, *(f"{n} {why}" for n, why in enumerate(whys, 1)), sep="\n")
    if options.out:
        print(save.table(found, options.out, "models"))
    return 0


def _stated(options: argparse.Namespace) -> dict[str, Any]:
    """The model and the data of a call, as `reproduce.parameters` takes them."""
    given = {name: getattr(options, name) for name in ("model", "pretrained", "dataset", "root")}
    return given | {"images": options.count, "options": loading(options)}


COMMANDS = {
    "explain": _explain,
    "evaluate": runs.evaluate,
    "segment": runs.segment,
    "merge": runs.merge,
    "unmix": runs.unmix,
    "reproduce": _reproduce,
    "lab": _lab,
    "train": _train,
    "lab-measure": _lab_measure,
    "chance": _chance,
    "datasets": _datasets,
    "cache": _cache,
    "models": _models,
}


if __name__ == "__main__":
    sys.exit(main())
