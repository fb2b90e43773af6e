"""What every test shares: checked shapes, one thread a worker, a cache of its own, real data where there is some."""

import os
from collections.abc import Iterator
from pathlib import Path

# Shapes and types in signatures are checked here and only here, but in the quick tier; the hook must stand before
# clipsx is first imported. The numeric tower: an int may stand where a float is asked for, as everywhere in Python.
import jaxtyping

if os.environ.get("CLIPSX_SHAPES") != "0":
    jaxtyping.install_import_hook("clipsx", "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))")

import matplotlib
import pytest
import torch

matplotlib.use("agg")
torch.set_num_threads(1)

REPO = Path(__file__).parent.parent
OF_REAL_DATA = {"real", "voc", "clip_features"}  # fixtures
CHECKED = ("test_towers", "test_families", "test_methods", "test_view", "test_points")  # whose slow tests alone do it


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tiers that no test has to name: what drives a browser lies in its folder, what reads real data asks for it."""
    for item in items:
        if OF_REAL_DATA & {*getattr(item, "fixturenames", ())}:
            item.add_marker("real")
        if "browser" in item.path.relative_to(REPO).parts:
            item.add_marker("browser")


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: who waits for a process or a page leaves its own to another."""
    return min(8, (os.cpu_count() or 1) + 1)


@pytest.fixture(autouse=True)
def _shapes(request: pytest.FixtureRequest) -> Iterator[None]:
    """Checked in quick tests: half the time of slow ones would go to looking again at the same functions' calls."""
    slow = request.node.get_closest_marker("slow") is not None
    jaxtyping.config.update("jaxtyping_disable", slow and request.path.stem not in CHECKED)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="session")
def repo() -> Path:
    """The checkout."""
    return REPO


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Label features cached by the tests never meet the user's own cache; the variable reaches subprocesses too."""
    os.environ["CLIPSX_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def real() -> Path:
    """Folder of real CLIP features and photographs: CLIPSX_REAL, else ../shared/real beside the checkout."""
    folder = Path(os.environ.get("CLIPSX_REAL", REPO.parent / "shared" / "real"))
    if not folder.is_dir():
        pytest.skip("no real data: set CLIPSX_REAL to a folder with clip_features/ and VOCdevkit/")
    return folder


@pytest.fixture(scope="session")
def voc(real: Path) -> Path:
    """A VOCdevkit with a few photographs and their masks."""
    folder = real / "VOCdevkit"
    if not folder.is_dir():
        pytest.skip(f"no photographs: {folder.name} is missing in the folder of real data")
    return folder


@pytest.fixture(scope="session")
def clip_features(real: Path) -> Path:
    """Real CLIP features, as npz files."""
    folder = real / "clip_features"
    if not folder.is_dir():
        pytest.skip(f"no real features: {folder.name} is missing in the folder of real data")
    return folder
