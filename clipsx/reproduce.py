"""Run the notebooks headless and lay their figures, tables and pages out as one folder that needs no network."""

import asyncio
import atexit
import copy
import importlib.metadata
import logging
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
from jinja2 import Environment, PackageLoader
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbconvert import HTMLExporter

from clipsx import captions, datasets, paths, tables
from clipsx.client import StrictClient
from clipsx.load import SUFFIXES, built_in, load
from clipsx.messages import nearest
from clipsx.plots import styles

# torch's threads wait for one another by spinning: with a busy core they would spin for most of the time.
PATIENT = {"GOMP_SPINCOUNT": "10000"}
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
WRITTEN = {".png", ".pdf", ".svg", ".csv", ".tex", ".md"}
ROWS_SHOWN = 12  # of a table, on the index page

PAGES = PackageLoader("clipsx", "pages")  # jinja2 templates


@dataclass
class Run:
    """What one notebook left behind: its page, the files it wrote, its errors (none: it passed), its seconds."""

    name: str
    title: str
    page: Path
    files: list[Path] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    seconds: float = 0.0


def find(names: Sequence[str] | None = None) -> list[Path]:
    """The shipped notebooks in order, or those whose names start with one of ``names`` (``"01"`` is enough).

    Raises ValueError for a name that no notebook starts with, with the nearest ones.
    """
    every = {path.stem: path for path in sorted(paths.notebooks().glob("[0-9]*.ipynb"))}
    starts = tuple(every) if names is None else tuple(name.removesuffix(".ipynb") for name in names)
    for start in starts:
        if not start or not any(stem.startswith(start) for stem in every):
            raise ValueError(f"Unknown notebook {start!r}{nearest(start, every)}.")
    return [path for stem, path in every.items() if stem.startswith(starts)]


def inject(notebook: nbformat.NotebookNode, given: dict[str, Any]) -> nbformat.NotebookNode:
    """Append assignments to the cell tagged ``parameters`` (in place) and return the notebook.

    Raises ValueError when no cell carries the tag.
    """
    for cell in notebook.cells:
        if "parameters" in cell.metadata.get("tags", ()):
            cell.source += "".join(f"\n{name} = {value!r}" for name, value in given.items())
            return notebook
    raise ValueError("the notebook has no cell tagged 'parameters'")


def parameters(
    *,
    model: str | None = None,
    pretrained: str | None = None,
    options: Mapping[str, Any] | None = None,
    dataset: str | None = None,
    root: str | Path | None = None,
    images: int | None = None,
    full: bool = False,
) -> dict[str, Any]:
    """What a call states, as notebooks name it; what lies on disk by its whole path, as they run in other folders."""

    def whole(path: str | Path) -> str:
        return str(Path(path).expanduser().absolute())

    if model is not None and model not in built_in() and Path(whole(model)).exists():
        model = whole(model)
    if pretrained is not None and pretrained.endswith(SUFFIXES):
        pretrained = whole(pretrained)
    given = {"MODEL": model, "PRETRAINED": pretrained, "OPTIONS": dict(options or {}) or None, "DATASET": dataset}
    given |= {"ROOT": None if root is None else whole(root), "IMAGES": images, "FULL": full or None}
    return {name: value for name, value in given.items() if value is not None}


def static_page(notebook: nbformat.NotebookNode, title: str) -> str:
    """HTML of an executed notebook that loads nothing: a widget is replaced by the picture it left beside itself."""
    page = copy.deepcopy(notebook)
    page.metadata.pop("widgets", None)
    page.metadata["title"] = title
    for cell in page.cells:
        described = _described(cell.source)
        for output in list(cell.get("outputs", ())):
            if "image/png" in output.get("data", {}):
                output.setdefault("metadata", {}).setdefault("image/png", {})["alt"] = next(described, title)
            widget = output.get("data", {}).pop(WIDGET_VIEW, None)
            twice = "clipsx-still" in output.get("data", {}).get("text/html", "")  # for JupyterLab, beside the same
            if twice or (widget is not None and set(output["data"]) <= {"text/plain"}):
                cell.outputs.remove(output)
    quiet = logging.getLogger("clipsx.nbconvert")  # it warns of every picture without a description
    quiet.setLevel(logging.ERROR)
    exporter = HTMLExporter(template_name="lab", template_file="offline.html.j2", extra_loaders=[PAGES], log=quiet)
    return exporter.from_notebook_node(page)[0]


def _described(source: str) -> Iterator[str]:
    """Alternative texts of the figures of a cell, in the order of its code: those that it saves, and a panel's."""
    names = re.findall(r'(?:save\.figure\(.*?OUT, |save_figure\(name=)"(\w+)"|(\w+Panel)\(', source)
    told = (captions.of(saved or panel) for saved, panel in names)
    return (caption.alt for caption in told if caption)


def run(path: Path, out: Path, given: dict[str, Any], timeout: int | None = None, style: str | None = None) -> Run:
    """Execute one notebook with the parameters ``given``, write its page to ``out`` and return what it left behind.

    It runs in ``out``, which is its ``OUT``: installed notebooks may lie where nothing can be written. ``timeout`` is
    in seconds for each cell, None waits for ever. ``style``: that of its figures. Errors are
    returned, not raised; KeyboardInterrupt is.
    """
    notebook = inject(nbformat.read(path, as_version=4), given | {"OUT": "."})
    title = re.search("^# (.*)", notebook.cells[0].source, re.MULTILINE)
    result = Run(path.stem, title[1] if title else path.stem, out / f"{path.stem}.html")
    client = StrictClient(notebook, timeout=timeout, kernel_name="python3", resources={"metadata": {"path": out}})
    client.extra_arguments = ["--log-level=ERROR"]
    before, start = _files(out), time.perf_counter()
    try:
        stated = {"PYDEVD_DISABLE_FILE_VALIDATION": "1"} | ({styles.VARIABLE: style} if style else {})
        client.execute(env=PATIENT | os.environ | stated)
    except (CellExecutionError, CellTimeoutError, DeadKernelError, asyncio.CancelledError) as error:
        if client.interrupted:
            if client.km is not None:  # it was still being started
                client._cleanup_kernel()
                atexit.unregister(client._cleanup_kernel)
            raise KeyboardInterrupt from None
        if not client.seen:
            client.seen.append((str(error).strip() or type(error).__name__).splitlines()[0])
    result.seconds = time.perf_counter() - start
    result.errors = list(dict.fromkeys([*client.seen, *client.errors_in_widgets()]))
    result.files = [file for file, stamp in _files(out).items() if before.get(file) != stamp]
    paths.write_whole(result.page, static_page(notebook, result.title).encode(errors="replace"))
    return result


def reproduce(
    out: str | Path = "out",
    *,
    notebooks: Sequence[str] | None = None,
    timeout: int | None = None,
    style: str | None = None,
    on_progress: Callable[[str], None] = print,
    **stated: Any,
) -> list[Run]:
    """Run the notebooks, each with the given model and data, and write ``out/index.html`` over all that they made.

    stated: as in `parameters`: model, pretrained, options (of `clipsx.load`: device, precision, quickgelu, positions),
    dataset, root; images, the number of samples that the analyses read; full, compute anew what is shipped.
    style: of the figures, "screen", "column" or "text".
    What is not stated, or None, keeps the notebook's own value. All notebooks run, also after one has failed; look at
    ``Run.errors``. Raises ValueError or OSError before the first one starts when the model, the data set or a
    notebook's name is wrong.
    """
    chosen, given = find(notebooks), parameters(**stated)
    style = styles.named(style).name if style else None
    out = Path(out).absolute()
    about = load(given.get("MODEL", "sketchbook"), given.get("PRETRAINED"), **given.get("OPTIONS", {})).describe()
    about |= datasets.described(datasets.load(given.get("DATASET", "sketchbook"), given.get("ROOT")))
    out.mkdir(parents=True, exist_ok=True)
    runs: list[Run] = []
    for number, path in enumerate(chosen, 1):
        on_progress(f"[{number}/{len(chosen)}] {path.stem} …")
        runs.append(run(path, out, given, timeout, style))
        outcome = f"FAILED: {runs[-1].errors[0]}" if runs[-1].errors else f"{len(runs[-1].files)} files"
        on_progress(f"[{number}/{len(chosen)}] {path.stem}: {outcome}, {runs[-1].seconds:.0f} s")
        # Written after each notebook, so that an interrupted run leaves a page over what is done.
        paths.write_whole(out / "index.html", _index(runs, about, out).encode(errors="replace"))
    on_progress(f"{out / 'index.html'}")
    return runs


def _files(out: Path) -> dict[Path, int]:
    return {f: f.stat().st_mtime_ns for f in sorted(out.rglob("*")) if f.suffix in WRITTEN}


def _index(runs: Sequence[Run], about: dict[str, Any], out: Path) -> str:
    versions = {name: importlib.metadata.version(name) for name in ("clipsx", "torch", "open_clip_torch")}
    facts = about | versions | {"made": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC", "cores": os.cpu_count()}
    page = Environment(loader=PAGES, autoescape=True).get_template("index.html.j2")
    return page.render(runs=runs, facts=facts, out=out, table=_table, caption=captions.of)


def _table(file: Path) -> tuple[int, pd.DataFrame, dict[Any, Any]]:
    """A CSV file's number of rows, its first rows, and the columns with one value: its provenance, said once."""
    table = pd.read_csv(file)
    varying, constant = tables.split(table)
    return len(table), varying.head(ROWS_SHOWN), constant
