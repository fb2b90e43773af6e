"""JupyterLab with a headless Chromium before it: notebooks are opened and run there as a person does it."""

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import pytest

SETUP = """
import warnings
import numpy as np
import clipsx
from clipsx import unmix
from clipsx.analyses import coactivation
from clipsx.datasets import Sketchbook
from clipsx.evaluation.stream import stream
from clipsx.panels import CompanionsPanel, MatrixPanel, PointsPanel, SurgeryPanel, UnmixPanel, WordsPanel
from clipsx.sketchbook.laboratory.panel import LaboratoryPanel

warnings.filterwarnings("ignore")
clip, world = clipsx.load("sketchbook-random"), Sketchbook(seed=3, length=10, size=64, objects=(2, 3))
trained, scenes = clipsx.load("sketchbook"), Sketchbook(seed=102, length=4, size=192)
labels = list(world.labels)
(rows,) = stream(clip, world, [coactivation.measure(clip, labels, "clip-surgery@1+code", templates="photo")], size=64)
got = unmix.gather(clip, world)
"""
PANELS = {  # a cell each: those that one test file turns and types in alone, then one of every kind
    "live": "SurgeryPanel(trained)",
    "pointed": "PointsPanel(clip, world)",
    "worded": "WordsPanel(trained, scenes, image=1)",
    "surgery": "SurgeryPanel(clip, world)",
    "matrices": "MatrixPanel({'a': clip}, labels='cat, dog, fish')",
    "companions": "CompanionsPanel(clip, world, rows, {'map': np.eye(len(labels))}, labels)",
    "points": "PointsPanel(clip, world)",
    "unmix": "UnmixPanel(clip, got, got, world, epochs=2)",
    "words": "WordsPanel(clip, world)",
    "laboratory": "LaboratoryPanel()",
}

KERNEL = {"name": "python3", "display_name": "Python 3"}
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]

# Runs the notebook through JupyterLab itself: a menu clicked before the kernel is joined would ask for another kernel.
RUN_ALL = """async (whole) => {
    const notebook = window.jupyterapp.shell.currentWidget;
    await notebook.context.ready;
    await notebook.sessionContext.ready;
    await notebook.sessionContext.session.kernel.info;
    const done = window.jupyterapp.commands.execute("notebook:run-all-cells");
    if (whole) await done;
}"""
# What never comes (a dialog stands there, a kernel died, no picture is drawn) ends with the words on the screen.
ENDS = """(given) => Promise.race([(FUNCTION)(given), new Promise((_, fail) =>
    setTimeout(() => fail(new Error(`waited in vain before: ${document.body.innerText.slice(-3000)}`)), 300_000))])"""


@dataclass(frozen=True)
class Lab:
    """A running JupyterLab and a browser."""

    folder: Path
    url: str
    token: str
    browser: Any

    def opened(self, name: str, notebook: nbformat.NotebookNode | list[str], whole: bool = True) -> Any:
        """A page of 1280 × 900 with a notebook, or code cells of these texts, that ran; not `whole`: it still runs."""
        if isinstance(notebook, list):
            cells = [nbformat.v4.new_code_cell(text) for text in notebook]
            notebook = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": KERNEL})
        nbformat.write(notebook, self.folder / f"{name}.ipynb")
        self._start_kernel(f"{name}.ipynb")
        page = self.page(name)
        page.awaited(RUN_ALL, whole)
        page.set_default_timeout(60_000)
        return page

    def panels(self, name: str) -> Any:
        """A notebook with a cell for each of `PANELS`, which ran; `page.panel(name)` is what the cell shows."""
        page = self.opened(name, [SETUP, *PANELS.values()])
        cells = page.locator(".jp-Notebook .jp-CodeCell")
        page.kinds = list(PANELS)[3:]  # one of every kind
        page.panel = lambda name: cells.nth(1 + list(PANELS).index(name)).locator(".clipsx-panel")
        return page

    def page(self, name: str) -> Any:
        """A page of 1280 × 900 that shows a notebook of this name; `awaited`: its `evaluate` of what may never come."""
        page = self.browser.new_page(viewport={"width": 1280, "height": 900})
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        page.set_default_timeout(300_000)
        page.errors = []
        page.awaited = lambda function, given=None: page.evaluate(ENDS.replace("FUNCTION", function), given)
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        page.goto(f"{self.url}/lab/tree/{name}.ipynb?token={self.token}&reset")
        page.locator(".jp-Notebook .jp-CodeCell").first.wait_for()
        return page

    def ask(self, path: str, method: str = "GET", data: dict[str, Any] | None = None) -> Any:
        """The answer of Jupyter's own interface; None where it says nothing."""
        headers = {"Authorization": f"token {self.token}", "Content-Type": "application/json"}
        body = None if data is None else json.dumps(data).encode()
        request = urllib.request.Request(f"{self.url}/api/{path}", body, headers, method=method)
        with urllib.request.urlopen(request, timeout=120) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def _start_kernel(self, path: str) -> None:
        """Give the notebook its kernel before the page opens, so that JupyterLab joins it and asks nothing."""
        self.ask("sessions", "POST", {"path": path, "name": path, "type": "notebook", "kernel": {"name": "python3"}})


@pytest.fixture(scope="session")
def lab(repo: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """JupyterLab, its settings its own, and a Chromium."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        pytest.skip("no Chromium: apt-get install chromium")
    folder = tmp_path_factory.mktemp("lab")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex(16)
    own = {
        name: str(folder / ".jupyter" / name) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
    }
    options = {
        "ServerApp.ip": "127.0.0.1",
        "ServerApp.port": str(port),
        "ServerApp.root_dir": str(folder),
        "ServerApp.allow_root": "True",
        "ServerApp.open_browser": "False",
        "IdentityProvider.token": token,
        "LabApp.expose_app_in_browser": "True",
        "LabApp.news_url": "None",
        "LabServerApp.workspaces_dir": str(folder / ".workspaces"),
        "LabServerApp.user_settings_dir": str(folder / ".settings"),
    }
    log = (folder / "lab.log").open("wb")
    server = subprocess.Popen(
        [sys.executable, "-m", "jupyterlab", *(f"--{key}={value}" for key, value in options.items())],
        env=os.environ | own | {"PYTHONPATH": os.pathsep.join([str(repo), os.environ.get("PYTHONPATH", "")])},
        stdout=log,
        stderr=subprocess.STDOUT,
    )
    try:
        _wait(f"http://127.0.0.1:{port}/api?token={token}", server)
        with sync_api.sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
            yield Lab(folder, f"http://127.0.0.1:{port}", token, browser)
            browser.close()
    finally:
        server.terminate()
        server.wait(30)
        log.close()


@pytest.fixture(scope="session")
def page(lab: Lab) -> Any:
    """The panels that tests turn and type in, one after another."""
    return lab.panels("panels")


def _wait(url: str, server: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        assert server.poll() is None, "JupyterLab ended"
        try:
            urllib.request.urlopen(url, timeout=2).close()
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    pytest.fail("JupyterLab did not answer")
