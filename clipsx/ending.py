"""How a command ends where it is not by its own work: Ctrl-C, a cluster's time is up, a reader that is gone."""

import contextlib
import io
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

AGAIN = 75  # exit code of a job that is to be queued again
UP = [getattr(signal, name) for name in ("SIGTERM", "SIGUSR1") if hasattr(signal, name)]  # a job's time is up
PATIENCE = 5.0  # seconds in which a command has ended that heard Ctrl-C, its helpers too


@contextlib.contextmanager
def interrupts() -> Iterator[list[int]]:
    """Ctrl-C as KeyboardInterrupt; the list is not empty once it came, as libraries make other errors of it.

    Python drops what is raised in a destructor, with a traceback, and numpy what is raised while it is imported: Ctrl-C
    is then sent again.
    """
    heard: list[int] = []
    ended, thread = threading.Event(), threading.get_ident()

    def again(seconds: float) -> None:
        if not ended.wait(seconds):
            signal.pthread_kill(thread, signal.SIGINT)  # also wakes a call that blocks

    def interrupt(number: int, frame: Any) -> None:
        heard.append(number)
        threading.Thread(target=again, args=(PATIENCE,), daemon=True).start()
        raise KeyboardInterrupt

    def dropped(what: Any) -> None:
        if what.exc_type is KeyboardInterrupt:
            threading.Thread(target=again, args=(0.05,), daemon=True).start()
        else:
            hook(what)

    ours = threading.current_thread() is threading.main_thread()
    ours = ours and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    hook = sys.unraisablehook
    if ours:
        signal.signal(signal.SIGINT, interrupt)
        sys.unraisablehook = dropped
    try:
        yield heard
    finally:
        ended.set()
        if ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            sys.unraisablehook = hook


@contextlib.contextmanager
def finishing() -> Iterator[Callable[[], None]]:
    """SIGTERM and SIGUSR1 wait for the next call of what this gives, which ends the command: SystemExit (`AGAIN`)."""
    heard: list[int] = []

    def check() -> None:
        if heard:
            name = signal.Signals(heard[0]).name
            print(f"clipsx: {name}: stopped with whole parts; the same call goes on there", file=sys.stderr)
            raise SystemExit(AGAIN)

    ours = UP if threading.current_thread() is threading.main_thread() else []
    before = {number: signal.signal(number, lambda number, _: heard.append(number)) for number in ours}
    try:
        yield check
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)


@contextlib.contextmanager
def printing() -> Iterator[None]:
    """Letters that the terminal lacks are printed as "?", warnings as a line without the code that they come from.

    Where nobody reads any more, the command ends without a word.

    Errors: SystemExit (141, as for other commands before `| head`); OSError where what is printed cannot be written.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    before = warnings.formatwarning
    warnings.formatwarning = lambda message, *_, **__: f"clipsx: {message}\n"
    try:
        try:
            yield
        finally:
            warnings.formatwarning = before
            _flush()
    except BrokenPipeError:
        raise SystemExit(128 + signal.SIGPIPE) from None


def _flush() -> None:
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python fails again at its end
        raise
