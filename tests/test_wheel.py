"""The wheel, installed into an empty environment outside the checkout, brings the built-in model and the notebooks."""

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from zipfile import ZipFile

import pytest

from helpers import noise

pytestmark = pytest.mark.slow
MOST_MEGABYTES = 40


def call(*command: str | Path, cwd: Path) -> str:
    """Standard output of a command that knows nothing of this checkout."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    env["JUPYTER_PATH"] = f"{sys.prefix}/share/jupyter"  # the dependencies' own files, which a .pth does not bring
    done = subprocess.run([str(c) for c in command], cwd=cwd, env=env, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(repo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    call(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=repo)
    return next(folder.glob("*.whl"))


def test_what_is_in_it(wheel: Path) -> None:
    names = ZipFile(wheel).namelist()
    shipped = ("sketchbook/open_clip_config.json", "constraints.txt", "vocabularies/voc-20.txt", "laboratory/README.md")
    shipped += ("photographs/cat.toml", "photographs/README.md")
    assert {f"clipsx/_data/{name}" for name in shipped} <= set(names)
    assert any(name.startswith("clipsx/_notebooks/00_") for name in names)
    for ending in (".js", ".css", ".py.jinja"):
        assert any(name.startswith("clipsx/panels/") and name.endswith(ending) for name in names), ending
    assert "clipsx/pages/index.html.j2" in names
    assert {name.split("/")[0].split("-")[0] for name in names} == {"clipsx"}
    assert not any(part in name for name in names for part in (".pt", ".ipynb_checkpoints", "__pycache__"))
    assert wheel.stat().st_size < MOST_MEGABYTES * 1e6


def test_installed_alone(wheel: Path, tmp_path: Path) -> None:
    home = tmp_path / "venv"
    venv.create(home, with_pip=False, symlinks=True)
    python = home / "bin" / "python"
    call(sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps", wheel, cwd=tmp_path)
    # The dependencies are those of this environment, not installed a second time; its own .pth files are not read.
    site = Path(call(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=tmp_path).strip())
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n" + sysconfig.get_path("platlib") + "\n")
    script = "import clipsx, sys; print(clipsx.__file__.startswith(sys.prefix))"
    assert call(python, "-c", script, cwd=tmp_path) == "True\n"
    noise(40, 40).save(tmp_path / "scene.png")
    command = home / "bin" / "clipsx"
    said = call(command, "explain", "scene.png", "--labels", "cat, boat", "--out", "made", cwd=tmp_path)
    assert {Path(line).suffix for line in said.split()} == {".pdf", ".png", ".svg", ".csv"}
    call(command, "reproduce", "00", "--images", "4", "--out", "all", cwd=tmp_path)
    assert "00_" in (tmp_path / "all" / "index.html").read_text()
