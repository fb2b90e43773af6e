"""A fresh clone holds all that the README names, imports, and tells of no machine it was made on."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from clipsx.cli import COMMANDS
from clipsx.parser import parser

TOP_LEVEL = {
    "README.md", "LICENSE", "CITATION.cff", "Makefile", "pyproject.toml", "environment.yml",
    "notebooks", "clipsx", "data", "tests",
}  # fmt: skip
MACHINE = re.compile(r"(?<![\w./<])/(?:" + "|".join(["work", "tmp", "root", "home", "Users", "mnt"]) + r")/\w")
MOST_MEGABYTES = 100


def output(*command: str, cwd: Path, **env: str) -> str:
    done = subprocess.run(command, cwd=cwd, env=os.environ | env, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def clone(repo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not (repo / ".git").exists() or shutil.which("git") is None:
        pytest.skip("not a git checkout, or no git")
    folder = tmp_path_factory.mktemp("fresh") / "clone"
    output("git", "-c", "safe.directory=*", "clone", "-q", "--no-hardlinks", str(repo), str(folder), cwd=repo)
    return folder


@pytest.fixture(scope="module")
def tracked(clone: Path) -> list[str]:
    return output("git", "ls-files", cwd=clone).splitlines()


@pytest.mark.slow
def test_top_level(tracked: list[str]) -> None:
    tops = {name.split("/")[0] for name in tracked}
    assert {top for top in tops if not top.startswith(".")} == TOP_LEVEL


@pytest.mark.parametrize("page", ["README.md", "data/laboratory/README.md"])
def test_pages_name_what_exists(page: str, clone: Path) -> None:
    text = (clone / page).read_text(encoding="utf-8")
    links = {a or b for a, b in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)|(?:src|href)=\"([^\"#]+)", text)}
    linked = [(clone / page).parent / link for link in links if "://" not in link]
    named = set(re.findall(r"`((?:notebooks|clipsx|data|tests)/[\w./-]+)`", text))
    files = [clone / name for name in named if not re.search(r"NAME|NN", name)]  # those are for the reader to write
    assert [path for path in sorted([*linked, *files]) if not path.exists()] == []
    makefile = (clone / "Makefile").read_text()
    shell = "\n".join(re.findall(r"`[^`]+`|```.*?```", text, re.DOTALL))
    for target in set(re.findall(r"\bmake ([a-z][\w-]*)", shell)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"make {target}"


def test_the_readme_calls_the_command_line_as_it_is(clone: Path) -> None:
    """Every call in the README's shell is understood."""
    shell = "\n".join(re.findall(r"```sh\n(.*?)```", (clone / "README.md").read_text(encoding="utf-8"), re.DOTALL))
    calls = [shlex.split(line, comments=True) for line in shell.splitlines() if line.startswith("clipsx ")]
    assert calls
    for call in calls:
        assert callable(parser(COMMANDS).parse_args(call[1:]).command)


@pytest.mark.slow
def test_every_module_imports(clone: Path, tmp_path: Path) -> None:
    script = (
        "import clipsx, importlib, pathlib, pkgutil, sys\n"
        "assert pathlib.Path(clipsx.__file__).is_relative_to(sys.argv[1]), clipsx.__file__\n"
        "for m in pkgutil.walk_packages(clipsx.__path__, 'clipsx.'): importlib.import_module(m.name)\n"
        "assert clipsx.paths.data().is_relative_to(sys.argv[1])\n"
    )
    output(sys.executable, "-c", script, str(clone), cwd=tmp_path, PYTHONPATH=str(clone))


def test_no_machine_paths(clone: Path, tracked: list[str]) -> None:
    found = []
    for name in tracked:
        content = (clone / name).read_bytes()
        if b"\0" in content:
            continue
        found += [f"{name}: {line[:120]}" for line in content.decode().splitlines() if MACHINE.search(line)]
    assert found == []


def test_size(clone: Path, tracked: list[str]) -> None:
    assert sum((clone / name).stat().st_size for name in tracked) < MOST_MEGABYTES * 1e6


def test_make_passes_on_what_it_is_told(clone: Path) -> None:
    told = {"MODEL": "ViT-B-16", "PRETRAINED": "openai", "DEVICE": "cpu", "PRECISION": "bf16", "QUICKGELU": "0"}
    told |= {"DATASET": "voc2012", "ROOT": "it's here", "IMAGES": "5", "POSITIONS": "bilinear"}
    for target in ("reproduce", "lab"):
        plan = output("make", "-n", target, *(f"{name}={value}" for name, value in told.items()), cwd=clone)
        assert "venv" in plan
        (line,) = [line for line in plan.splitlines() if f"clipsx {target}" in line]
        options = parser(COMMANDS).parse_args(shlex.split(line)[1:])
        names = ("model", "pretrained", "device", "precision", "positions", "dataset", "root", "count", "quickgelu")
        assert [getattr(options, name) for name in names] == [
            "ViT-B-16", "openai", "cpu", "bf16", "bilinear", "voc2012", "it's here", 5, False,
        ]  # fmt: skip
    plain = output("make", "-n", "lab", "QUICKGELU=1", cwd=clone)
    assert "clipsx lab --quickgelu --" in " ".join(plain.split())
