"""reproduce.py on notebooks made here: errors that hide, parameters, pages that load nothing."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from clipsx import captions, cli, paths
from clipsx.reproduce import find, inject, reproduce, run, static_page
from helpers import from_terminal

PARAMETERS = new_code_cell("OUT = None\nWORDS = 'none'", metadata={"tags": ["parameters"]})

HIDDEN = {
    "callback": "import ipywidgets as w\nw.interactive_output(lambda x: 1 / 0, {'x': w.IntSlider()})",
    "cleared": "import ipywidgets as w\no = w.Output()\nwith o:\n    1 / 0\no.clear_output()",
    "appended": "import ipywidgets as w\n"
    "w.Output(outputs=[dict(output_type='error', ename='E', evalue='', traceback=[])])",
    "told": "import ipywidgets as w\nw.HTML('<div role=\"alert\">No such label.</div>')",
    "thread": "import threading\nt = threading.Thread(target=lambda: 1 / 0)\nt.start()\nt.join()",
    "plain": "1 / 0",
}
LOADS = re.compile(
    r"<(?:script|link|img|iframe)\b[^>]*(?:src|href)\s*=\s*[\"']?(?:https?:)?//|\bimport\(\"http", re.IGNORECASE
)


def write(path: Path, *cells: str) -> Path:
    notebook = new_notebook(cells=[new_markdown_cell("# A title\ntext"), PARAMETERS, *map(new_code_cell, cells)])
    nbformat.write(notebook, path)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("name", HIDDEN)
def test_a_hidden_error_fails_the_notebook(name: str, tmp_path: Path) -> None:
    result = run(write(tmp_path / "n.ipynb", HIDDEN[name]), tmp_path, {}, timeout=60)
    assert len(result.errors) >= 1
    assert result.page.exists()


@pytest.mark.slow
def test_parameters_files_and_page(tmp_path: Path) -> None:
    (tmp_path / "old.csv").write_text("a\n1\n")
    cells = [
        "import pathlib\n_ = pathlib.Path(OUT, 'new.csv').write_text('a\\n1\\n')",
        "import ipywidgets, IPython.display as d\nd.display(ipywidgets.IntSlider(description='gone'))",
        "import base64\npng = base64.b64decode(b'iVBORw0KGgo=')\n"
        "d.display({'image/png': base64.b64encode(png).decode(), "
        "'application/vnd.jupyter.widget-view+json': {'model_id': 'x'}}, raw=True)\nprint(WORDS)",
        "from clipsx.plots import styles\nprint('drawn for a', styles.current().name)",
    ]
    result = run(write(tmp_path / "n.ipynb", *cells), tmp_path, {"WORDS": "it's <b>"}, timeout=60, style="column")
    assert result.errors == []
    assert result.title == "A title"
    assert [file.name for file in result.files] == ["new.csv"]
    page = result.page.read_text()
    assert "it's &lt;b&gt;" in page
    assert 'alt="A title" src="data:image/png;base64,iVBOR' in page and "drawn for a column" in page
    assert 'type="application/vnd.jupyter.widget-view+json"' not in page
    assert "IntSlider(description=&#39;gone" not in page
    assert LOADS.search(page) is None


@pytest.mark.slow
def test_the_other_notebooks_run_after_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "00_bad.ipynb", "1 / 0")
    write(
        tmp_path / "01_good.ipynb",
        "import pathlib\n_ = pathlib.Path(OUT, 't.csv').write_text('model,x\\nm,1\\nm,2\\n')",
    )
    monkeypatch.setattr(paths, "notebooks", lambda: tmp_path)
    said: list[str] = []
    bad, good = reproduce(tmp_path / "out", timeout=60, on_progress=said.append)
    assert bad.errors == ["cell 3: ZeroDivisionError: division by zero"]
    assert not good.errors
    index = (tmp_path / "out" / "index.html").read_text()
    assert "ZeroDivisionError" in index
    assert 'href="01_good.html"' in index
    assert "model m" in index  # the provenance column, said once
    assert any("FAILED" in line for line in said)
    with pytest.raises(ValueError, match="01_good"):
        find(["01_god"])
    call = ["reproduce", "00", "--device", "cpu", "--out", str(tmp_path / "out"), "--timeout", "60"]
    assert cli.main(call) == 1


CHILDREN = """import os, pathlib, subprocess, time
child = subprocess.Popen(["sleep", "600"])
pathlib.Path("part").write_text(f"{os.getpid()} {child.pid}")
os.rename("part", "children")
time.sleep(600)"""
INTERRUPTED = """import pathlib, sys
from clipsx import captions, cli, paths
paths.notebooks = lambda: pathlib.Path(sys.argv[1])
sys.exit(cli.main(["reproduce", "--out", sys.argv[1] + "/out"]))"""


def alive(number: str) -> bool:
    """Whether a process runs; one that has ended and was not yet asked for does not."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", number], capture_output=True, text=True).stdout
    return bool(state.strip()) and not state.startswith("Z")


@pytest.mark.slow
def test_ctrl_c_ends_the_kernel_what_it_started_and_the_run(tmp_path: Path) -> None:
    for name in ("00_waits", "01_never"):
        write(tmp_path / f"{name}.ipynb", CHILDREN)
    call = [sys.executable, "-c", INTERRUPTED, str(tmp_path)]
    process = from_terminal(call)
    told, deadline = tmp_path / "out" / "children", time.monotonic() + 120
    while not told.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)
    said, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (130, "clipsx: interrupted\n")
    assert "01_never" not in said
    deadline = time.monotonic() + 10
    while (left := [n for n in told.read_text().split() if alive(n)]) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert left == []


def test_a_notebook_without_parameters_is_refused() -> None:
    with pytest.raises(ValueError, match="parameters"):
        inject(new_notebook(cells=[new_code_cell("x = 1")]), {"x": 2})


def test_pictures_have_the_alternative_texts_of_the_figures_that_their_cell_saves() -> None:
    cell = new_code_cell('save.figure(fig, OUT, "13_depths", about)\nLaboratoryPanel(found, out=OUT)')
    cell.outputs = [new_output("display_data", {"image/png": "iVBORw0KGgo="}) for _ in range(3)]
    page = static_page(new_notebook(cells=[cell]), "t")
    depths, panel = (captions.of(name).alt for name in ("depths", "LaboratoryPanel"))
    assert [page.index(f'alt="{words}"') for words in (depths, panel, "t")] == sorted(
        page.index(f'alt="{words}"') for words in (depths, panel, "t")
    )


def test_static_page_leaves_the_notebook_alone() -> None:
    notebook = new_notebook(cells=[new_markdown_cell("# t")], metadata={"widgets": {"state": {}}})
    static_page(notebook, "t")
    assert "widgets" in notebook.metadata


@pytest.mark.parametrize("name", ["", ".ipynb", " ", "77"])
def test_a_name_of_no_notebook_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="Unknown notebook"):
        find([name])


@pytest.mark.parametrize("value", ["/a b/it's $x", '"quoted" $(HOME)', "$$HOME, `pwd`; \\\\ #"])
def test_make_hands_over_what_it_was_given(value: str, tmp_path: Path) -> None:
    for name in ("clipsx", "python"):
        (tmp_path / name).write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
        (tmp_path / name).chmod(0o755)
    call = ["make", "-s", "-o", ".venv/installed", "reproduce", f"BIN={tmp_path}", f"ROOT={value}", f"OUT={value}"]
    done = subprocess.run(call, cwd=paths.PACKAGE.parent, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["reproduce", "--out", value, "--root", value]
