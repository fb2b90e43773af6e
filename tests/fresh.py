"""Code run in a process of its own, forked from one that has imported the libraries, nothing of the package."""

import functools
import io
import multiprocessing
import os
import sys
import traceback
import warnings
from contextlib import redirect_stderr, redirect_stdout
from multiprocessing.connection import Connection
from pathlib import Path

PRELOADED = ["torch", "open_clip", "pandas", "matplotlib.pyplot"]


@functools.cache
def _server() -> multiprocessing.context.ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


def run(code: str, folder: Path) -> str:
    """Run code alone, in `folder`, a warning about its syntax being an error; return all that it said at its end.

    Errors: AssertionError with that where it did not end well.
    """
    reader, writer = _server().Pipe(duplex=False)
    process = _server().Process(target=_run, args=(code, str(folder), writer))
    process.start()
    writer.close()  # here: one that is killed ends what is waited for
    said, error = reader.recv()
    process.join()
    assert not error, f"{said}\n{error}"
    return said


def _run(code: str, folder: str, writer: Connection) -> None:
    os.chdir(folder)
    sys.path[0] = folder
    warnings.simplefilter("error", SyntaxWarning)
    said, error = io.StringIO(), ""
    with redirect_stdout(said), redirect_stderr(said):
        try:
            exec(compile(code, "code", "exec"), {"__name__": "__main__"})
        except BaseException:
            error = traceback.format_exc()
    writer.send((said.getvalue(), error))
