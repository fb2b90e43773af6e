"""Where the package's own files and its cache are: the one place that knows a checkout from a wheel."""

import errno
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
    """A place to write to: what stands there at the end becomes `file`, whole or not at all. Its folder is made.

    Errors: OSError, in words where the disk is full (or the quota, or the name too long).
    """
    part = file.with_name(f".{file.name[-100:]}.{secrets.token_hex(4)}.part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        yield part
        os.replace(part, file)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            free = f"Free space there, or empty the cache ({cache()}: `clipsx cache --clear`), or choose another place."
            raise OSError(
                error.errno, f"The disk of {file.parent} is full: {file.name} was not written. {free}"
            ) from None
        raise
    finally:
        part.unlink(missing_ok=True)


def reserve(part: Path) -> None:
    """Take all the room of a sparse file: where it is filled through memory, a full disk would kill the process.

    Errors: OSError where the disk has no such room.
    """
    if hasattr(os, "posix_fallocate"):
        with part.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, part.stat().st_size)


def write_whole(file: Path, content: bytes) -> None:
    """Write a file whole or not at all; its folder is made."""
    with whole(file) as part:
        part.write_bytes(content)
