"""Where the package's own files and its cache are: the one place that knows a checkout from a wheel."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
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


@contextmanager
def whole(file: Path) -> Iterator[Path]:
    """A place to write to: what stands there at the end becomes `file`, whole or not at all. Its folder is made."""
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f".{file.name}.{secrets.token_hex(4)}.part")
    try:
        yield part
        os.replace(part, file)
    finally:
        part.unlink(missing_ok=True)


def write_whole(file: Path, content: bytes) -> None:
    """Write a file whole or not at all; its folder is made."""
    with whole(file) as part:
        part.write_bytes(content)
