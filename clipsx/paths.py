"""Where the package's own files and its cache are: the one place that knows a checkout from a wheel."""

import errno
import os
import re
import secrets
import shutil
import tempfile
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
    found = Path(stated).expanduser() if stated else Path(platformdirs.user_cache_dir("clipsx"))
    return found if stated or found.is_absolute() else Path(tempfile.gettempdir(), "clipsx")  # a user without a home


def component(name: str) -> str:
    """A name that stays in its folder, as it is. Errors: ValueError for one with / or \\, for "..", for blanks."""
    if name in (".", "..") or not name.strip() or re.search(r"[/\\\x00-\x1f\x7f]", name):
        raise ValueError(f"{name!r} cannot name a file: give a plain name without / and \\, such as 'maps'.")
    return name


def shortened(text: str, length: int) -> str:
    """A text as the start of a file's name, cut to at most `length` bytes; what cannot stand in one is "_"."""
    clean = re.sub(r"[/\\\x00-\x1f\x7f]", "_", text.encode(errors="surrogateescape").decode(errors="replace"))
    return clean.encode()[:length].decode(errors="ignore")


CLOSED = (errno.EACCES, errno.EPERM, errno.EROFS)
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # the disk, the user's share of it, what one file may take


@contextmanager
def whole(file: Path) -> Iterator[Path]:
    """A place to write to: the file or folder there at the end becomes `file`, whole or not at all.

    Its folder is made; a folder takes the place of an older one. Errors: OSError, in words where the disk (or the
    quota) is full, where nothing may be written, and where the name is too long.
    """
    token = secrets.token_hex(8)
    part, old = (file.with_name(f".{token}.{end}") for end in ("part", "old.part"))
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        yield part
        if part.is_dir() and file.is_dir():
            os.replace(file, old)
        os.replace(part, file)
    except OSError as error:
        if error.errno in FULL:
            free = f"Free space there, or empty the cache ({cache()}: `clipsx cache --clear`), or choose another place."
            words = f"The disk of {file.parent} is full: {file.name} was not written. {free}"
        elif error.errno in CLOSED:
            words = f"{file.name} cannot be written in {file.parent} ({error.strerror}): choose another place."
        elif error.errno == errno.ENAMETOOLONG:
            words = f"The name {file.name[:40]}… is too long for the disk of {file.parent}: choose a shorter one."
        else:
            raise
        raise OSError(error.errno, words) from None
    finally:
        if old.exists() and not file.exists():
            os.replace(old, file)
        for rest in (part, old):
            shutil.rmtree(rest) if rest.is_dir() and not rest.is_symlink() else rest.unlink(missing_ok=True)


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


def copy_whole(source: Path, file: Path) -> None:
    """Copy a file whole or not at all; its folder is made."""
    with whole(file) as part:
        shutil.copyfile(source, part)
