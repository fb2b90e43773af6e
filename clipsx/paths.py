"""Where the package's own files and its cache are: the one place that knows a checkout from a wheel."""

import os
import tempfile
from pathlib import Path

import platformdirs

PACKAGE = Path(__file__).resolve().parent


def _shipped(checkout: str, wheel: str) -> Path:
    inside = PACKAGE / wheel
    return inside if inside.is_dir() else PACKAGE.parent / checkout


def data() -> Path:
    """The folder of the built-in models and gallery."""
    return _shipped("data", "_data")


def notebooks() -> Path:
    """The folder of the notebooks."""
    return _shipped("notebooks", "_notebooks")


def cache() -> Path:
    """The folder for what can be computed again: $CLIPSX_CACHE, else the user's cache folder. Not created here."""
    stated = os.environ.get("CLIPSX_CACHE")
    return Path(stated).expanduser() if stated else Path(platformdirs.user_cache_dir("clipsx"))


def write_whole(file: Path, content: bytes) -> None:
    """Write a file whole or not at all; its folder is made."""
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, part = tempfile.mkstemp(dir=file.parent, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
        os.replace(part, file)
    except BaseException:
        Path(part).unlink(missing_ok=True)
        raise
