"""A fresh clone holds all that the README names, imports, and tells of no machine it was made on."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

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


def test_top_level(tracked: list[str]) -> None:
    tops = {name.split("/")[0] for name in tracked}
    assert {top for top in tops if not top.startswith(".")} == TOP_LEVEL


def test_readme_names_what_exists(clone: Path) -> None:
    readme = (clone / "README.md").read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)|(?:src|href)=\"([^\"#]+)", readme)
    paths = {a or b for a, b in links}
    paths |= set(re.findall(r"`((?:notebooks|clipsx|data|tests)/[\w./-]+)`", readme))
    missing = [path for path in sorted(paths) if "://" not in path and not (clone / path).exists()]
    assert missing == []
    makefile = (clone / "Makefile").read_text()
    for target in set(
        re.findall(r"\bmake ([a-z][\w-]*)", "\n".join(re.findall(r"`[^`]+`|```.*?```", readme, re.DOTALL)))
    ):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"make {target}"


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


def test_make_knows_its_targets(clone: Path) -> None:
    plan = output("make", "-n", "reproduce", "MODEL=ViT-B-16", "PRETRAINED=openai", "IMAGES=5", cwd=clone)
    assert "venv" in plan
    assert "--model 'ViT-B-16' --pretrained 'openai'" in " ".join(plan.split())
