"""Commands over many pictures: measured, segmented, unmixed, in one process or in shards that are put together."""

import argparse
import contextlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipsx.ending import finishing
from clipsx.options import data, load, shard_here

if TYPE_CHECKING:
    import pandas as pd

    from clipsx.clip import Clip
    from clipsx.datasets import Sample
    from clipsx.plots import Cell

SEEDS = ["reading", "measure", "before", "mean", "difference", "sd", "seeds"]
DIFFERENCES = ["verdict", "what", "measure", "value", "difference", "low", "high", "model"]
SHOWN = ["reading", "measure", "value", "low", "high", "n"]  # of a table, at the end of `clipsx evaluate`


def evaluate(options: argparse.Namespace) -> int:
    from clipsx import datasets
    from clipsx.evaluation import compare, protocols, tasks

    if options.check:
        return _check(options)
    chosen = tasks.chooses(options.task, protocols.protocol(options.protocol, options.task))
    tuning, test = data(options, alone=not chosen)
    if options.count is None and options.dataset not in (None, *datasets.ROOTLESS):
        words = f", {len(tuning)} others to choose thresholds on" if chosen else ""
        print(f"{len(test)} pictures to report on{words}; --limit takes fewer.", flush=True)
    models, asked = _models(options, test)
    several, table = len(models) > 1, None
    with _running(options) as how:
        how["segmenter"] = options.segmenter
        for n, model in enumerate(models, 1):
            clip, folder = model(), Path(options.out, f"{compare.RUN}{n}" if several else "")
            table = tasks.evaluate(clip, options.task, tuning, test, asked, folder=folder, **how)
            if several:
                compare.keep_matrix(clip, datasets.labels_of(test), folder)
            else:
                models = [lambda clip=clip: clip]  # which is not loaded again
    if how["shard"][1] > 1:
        return 0
    code = merge(options) if several or table is None else _tabled(table, options.out)
    drawn = Path(options.out, "changed-2.png" if several else "pictures.png").exists()  # of the same run
    if options.pictures and options.projectors is None and not drawn:
        _pictured(models, options, test)
    return code


def _pictured(models: "Sequence[Callable[[], Clip]]", options: argparse.Namespace, test: "Sequence[Sample]") -> None:
    """Draw the pictures of a model that came out worst and best; of several those that changed most from the first."""
    import pandas as pd

    from clipsx.evaluation import compare, protocols
    from clipsx.plots import outcomes

    rules, (first, *others) = protocols.protocol(options.protocol, options.task), models
    if not others:
        clip = first()
        rows = outcomes.worst_and_best(clip, rules, options.out, test, options.pictures, options.segmenter)
        return _drawn("pictures", rows, options.out, clip.describe())
    changes = pd.read_csv(Path(options.out, "changed.csv"))
    for n, other in enumerate(others, 2):
        own = changes[changes["model"].str.endswith(f"{compare.RUN}{n})")]
        before, after = (outcomes.mapped(model(), rules, own, test, options.segmenter) for model in (first, other))
        about = own[["model", "against", "measure"]].iloc[0].to_dict()
        _drawn(f"changed-{n}", outcomes.changed(before, after, own), options.out, about)
    return None


def _drawn(name: str, rows: "Sequence[Sequence[Cell]]", out: str, about: Any) -> None:
    from clipsx import save
    from clipsx.plots import closed, sheet

    if rows:
        kind = "09_pictures" if name == "pictures" else "changed"
        print(*save.figure(closed(sheet(rows)), out, name, about, kind=kind), sep="\n")


def _models(options: argparse.Namespace, test: "Sequence[Sample]") -> "tuple[list[Callable[[], Clip]], str]":
    """What gives the models of a call, each in its turn, and the readings to ask; projectors come behind their CLIP."""
    pairs = getattr(options, "pairs", None) or [(None, None)]
    if options.projectors is None:
        return [partial(load, options, *pair) for pair in pairs], options.readings or ""
    from clipsx.unmix.heads import Unmixed, kept

    folders = kept(options.projectors)
    if len(pairs) > 1:
        raise ValueError("Projectors belong to one CLIP: give --projectors with one --model.")
    clip = load(options, *pairs[0])
    heads = [Unmixed.load(folder, clip) for folder in folders]
    for head in heads:
        head.require_apart(test)
    return [lambda: clip, *(partial(getattr, head, "clip") for head in heads)], options.readings or str(
        heads[0].reading
    )


def _check(options: argparse.Namespace) -> int:
    import pandas as pd

    from clipsx import datasets
    from clipsx.evaluation import check

    other = check.read(options.against) if options.against else None
    tuning, test = datasets.tuning_and_test(options.dataset or "voc2012", options.root, options.count or 40)
    names = check.MODELS if options.model is None else {options.model: options.pretrained}
    clips = {name: load(options, name, pretrained) for name, pretrained in names.items()}
    found = check.check(clips, tuning, test, options.out, workers=options.workers)
    table, file = pd.DataFrame(found["checks"]), check.write(found, options.out)
    sources = [f"inside, {source}" for source in dict.fromkeys(table["source"])]
    print(table.drop(columns=["vocabulary", "source"]).round(2).to_string(index=False), *sources, sep="\n")
    print(found["near"], file, sep="\n")
    if other is not None:
        print(*check.against(found, other) or [f"Alike in all: {options.against}"], sep="\n")
    return 0


def segment(options: argparse.Namespace) -> int:
    from clipsx.evaluation import produce

    try:
        labels = produce.asked(options.labels)
    except (ValueError, OSError) as error:
        raise type(error)(f"--labels: {error}") from None
    pictures, clip = produce.Pictures(options.images), load(options)
    with _running(options) as how:
        table = produce.segment(clip, pictures, labels, options.reading, options.out, options.format, **how)
    return 0 if table.empty else _produced(table, options)


def merge(options: argparse.Namespace) -> int:
    from clipsx import save
    from clipsx.evaluation import compare, produce, results
    from clipsx.evaluation.parts import Parts
    from clipsx.evaluation.tasks import merged

    if compare.runs(options.out):
        table, differences, changed = compare.compared(options.out)
        seeds = compare.over_seeds(table)
        print((seeds[SEEDS] if len(seeds) else differences[DIFFERENCES]).round(3).to_string(index=False, na_rep=""))
        files = results.write(table, options.out)
        rest = {"differences": differences, "changed": changed, "seeds": seeds}
        print(*files, *(save.table(some, options.out, name) for name, some in rest.items() if len(some)), sep="\n")
        return 0
    if produce.NAME in Parts.of(Path(options.out)).measures:
        return _produced(produce.write(options.out, options.format), options)
    return _tabled(merged(options.out), options.out)


def unmix(options: argparse.Namespace) -> int:
    from dataclasses import replace

    from clipsx import save
    from clipsx.unmix import run
    from clipsx.unmix.study import RUN
    from clipsx.unmix.training import Config

    stated = {key: value for key in ("epochs", "lr") if (value := getattr(options, key)) is not None}
    config = replace(RUN if options.dataset in (None, "sketchbook") else Config(), **stated)
    train, test = data(options)
    how = {"reading": options.reading, "size": options.size, "words": "unmix"}
    tables = run.run(load(options), train, test, options.out, seeds=range(options.seeds), config=config, **how)
    for table, title in zip(tables, ("recognition", "segmentation"), strict=True):
        if len(table):
            print(table.iloc[:, :6].round(3).to_string(index=False, na_rep=""))
            print(save.table(table, options.out, title))
    return 0


@contextlib.contextmanager
def _running(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """How a run over many pictures is carried out; its shard is told at the end."""
    i, n = options.shard or shard_here()
    how = {name: getattr(options, name) for name in ("protocol", "workers", "batch", "engine")}
    with finishing() as check:
        yield how | {"shard": (i, n), "between": check}
    if n > 1:
        print(f"shard {i}/{n} is made; once all are: clipsx merge {options.out}")


def _produced(table: "pd.DataFrame", options: argparse.Namespace) -> int:
    from clipsx import save
    from clipsx.evaluation import produce

    most = table.sort_values("pixels", ascending=False).head(20)
    print(most[["label", "pictures", "pixels", "confidence"]].round(3).to_string(index=False))
    made = "masks" if options.format == "png" else "segments.json"
    print(save.table(table, options.out, "table"), *(Path(options.out, n) for n in (produce.REGIONS, made)), sep="\n")
    return 0


def _tabled(table: "pd.DataFrame", out: str) -> int:
    from clipsx.evaluation import results

    print(table[SHOWN].round(2).to_string(index=False, na_rep=""))
    for file in results.write(table, out):
        print(file)
    return 0
