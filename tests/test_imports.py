"""What the package imports: declared, in no circle; matplotlib and widgets where figures and panels are made alone."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from clipsx import paths

PACKAGE = Path(__file__).parent.parent / "clipsx"
FILES = {
    ".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): file
    for file in sorted(PACKAGE.rglob("*.py"))
}
DRAW = re.compile(
    r"clipsx\.(plots|panels)(\..*)?|clipsx\.sketchbook\.(.*\.)?(plots|panel|report)|clipsx\.save"
)  # save.py takes figures, it makes none
WIDGETS = re.compile(r"clipsx\.panels(\..*)?|clipsx\.sketchbook\.(.*\.)?panel")


def statements(body: list[ast.stmt], inside: bool) -> Iterator[ast.Import | ast.ImportFrom]:
    """Imports that are carried out, those inside of functions if `inside`; none that are for type checkers alone."""
    for node in body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            yield from statements(node.orelse, inside)
        elif inside or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            handlers = [part for handler in getattr(node, "handlers", ()) for part in handler.body]
            parts = (getattr(node, name, []) for name in ("body", "orelse", "finalbody"))
            yield from statements([*(part for some in parts for part in some), *handlers], inside)


def imported(module: str, inside: bool) -> set[str]:
    """Dotted names that a module imports: `from a import b` is a.b where that is a module of ours, else a."""
    found = set()
    for node in statements(ast.parse(FILES[module].read_text(encoding="utf-8")).body, inside):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        else:
            assert node.level == 0, f"{module}: imports are written in full"
            base = str(node.module)
            found |= {base if f"{base}.{a.name}" not in FILES else f"{base}.{a.name}" for a in node.names}
    return found


def begins(module: str) -> set[str]:
    """Modules of ours that begin because of this one: packages around what it imports too, save those around itself."""
    found = set()
    for name in (name for name in imported(module, inside=False) if name in FILES):
        parts = name.split(".")
        around = {".".join(parts[:n]) for n in range(1, len(parts))}
        found |= {name} | {package for package in around if not f"{module}.".startswith(f"{package}.")}
    return found - {module}


def circle(graph: dict[str, set[str]]) -> list[str]:
    """The first circle in a graph, or nothing."""
    done: set[str] = set()

    def follow(module: str, trail: list[str]) -> list[str]:
        if module in trail:
            return [*trail[trail.index(module) :], module]
        if module not in done:
            for other in sorted(graph[module]):
                if found := follow(other, [*trail, module]):
                    return found
            done.add(module)
        return []

    return next((found for module in graph if (found := follow(module, []))), [])


def test_there_is_no_circle_of_imports() -> None:
    assert circle({"a": {"b", "c"}, "b": set(), "c": {"d"}, "d": {"c"}}) == ["c", "d", "c"]
    assert circle({module: begins(module) for module in FILES}) == []


def names(requirements: list[str]) -> set[str]:
    """Distributions as they are compared: small letters, dashes."""
    return {re.sub(r"[-_.]+", "-", re.split(r"[<>=!~\[; ]", line)[0]).lower() for line in requirements}


@pytest.fixture(scope="module")
def project() -> dict[str, list[str]]:
    table = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [line for name, some in table["optional-dependencies"].items() if name != "test" for line in some]
    return {"own": table["dependencies"], "extras": extras}


@pytest.mark.slow
def test_all_that_is_imported_is_declared(project: dict[str, list[str]]) -> None:
    """What a module begins with is a dependency; what a function asks for may be an extra's."""
    known, own = packages_distributions(), names(project["own"])
    missing: dict[str, list[str]] = {}
    for module in FILES:
        for inside, declared in ((False, own), (True, own | names(project["extras"]))):
            for top in {name.split(".")[0] for name in imported(module, inside)} - {"clipsx", *sys.stdlib_module_names}:
                if not names(known.get(top, [top])) & declared:
                    missing.setdefault(top, []).append(module)
    assert missing == {}


@pytest.mark.parametrize(("tops", "rooms"), [({"matplotlib", "seaborn"}, DRAW), ({"ipywidgets", "anywidget"}, WIDGETS)])
def test_figures_and_widgets_are_imported_where_they_are_made(tops: set[str], rooms: re.Pattern[str]) -> None:
    found = {m: used for m in FILES if (used := {n.split(".")[0] for n in imported(m, inside=True)} & tops)}
    assert {module: used for module, used in found.items() if not rooms.fullmatch(module)} == {}
    assert {name for name in imported("clipsx.save", inside=True) if name.startswith("matplotlib")} <= {
        "matplotlib.figure"
    }


def test_the_constraints_name_every_dependency(project: dict[str, list[str]]) -> None:
    lines = (paths.data() / "constraints.txt").read_text(encoding="utf-8").splitlines()
    stated = [line for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in stated)
    assert names(stated) == names(project["own"])


HEAVY = ("open_clip", "scipy", "pandas", "timm", "torchvision", "sklearn", "matplotlib", "ipywidgets")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "allowed"),
    [("import clipsx", ()), ("import clipsx; clipsx.Clip, clipsx.load, clipsx.Reading, clipsx.maps", ("torch",)),
     ("import clipsx.cli", ())],
)  # fmt: skip
def test_what_takes_seconds_is_imported_when_it_is_needed(words: str, allowed: tuple[str, ...]) -> None:
    call = f"{words}\nimport sys\nprint(*sys.modules)"
    known = subprocess.run([sys.executable, "-c", call], capture_output=True, text=True, check=True).stdout.split()
    assert {*HEAVY, "torch"} & set(known) == set(allowed)


def test_the_package_shows_what_it_has() -> None:
    import clipsx
    import clipsx.load

    assert set(clipsx.__all__) <= set(dir(clipsx))
    assert all(getattr(clipsx, name) is not None for name in clipsx.__all__)
    assert callable(clipsx.load)  # the function, also once its module is imported
    with pytest.raises(AttributeError, match="no attribute 'laod'"):
        clipsx.laod  # noqa: B018
