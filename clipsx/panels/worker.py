"""Dear work away from the kernel's main thread, so that Stop, and every other event, is heard while it runs."""

import contextvars
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from threading import Event, Timer

Step = tuple[str, Callable[[], object]]


class Worker:
    """Does one list of steps at a time. A new one, or `stop`, ends the one before at its next step and drops it.

    Args:
        on_progress: called with (done, total, words); only once work has taken `patience` seconds.
        on_error: called with the exception that ended a list.
        on_end: called when nothing is under way any more.
        patience: seconds.
    """

    def __init__(
        self,
        on_progress: Callable[[int, int, str], None],
        on_error: Callable[[Exception], None],
        on_end: Callable[[], None],
        patience: float = 0.3,
    ) -> None:
        self._progress, self._error, self._end, self._patience = on_progress, on_error, on_end, patience
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="clipsx-panel")
        self._stopped = Event()
        self._future: Future[None] | None = None

    @property
    def busy(self) -> bool:
        return self._future is not None and not self._future.done()

    def start(self, steps: Sequence[Step], finish: Callable[[], None]) -> None:
        """Run the steps in order, then `finish`, in the thread."""
        self._stopped.set()
        self._stopped = Event()
        context = contextvars.copy_context()  # so that the kernel knows which cell the thread's messages belong to
        self._future = self._pool.submit(context.run, self._run, list(steps), finish, self._stopped)

    def stop(self) -> None:
        """Drop what is under way: the step that runs is finished and kept, no other begins."""
        self._stopped.set()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait for the end of all work; True when it has ended."""
        return self._future is None or not wait([self._future], seconds).not_done

    def _run(self, steps: list[Step], finish: Callable[[], None], stopped: Event) -> None:
        place = [0]

        def tell() -> None:
            if not stopped.is_set() and place[0] < len(steps):
                self._progress(place[0], len(steps), steps[place[0]][0])

        timer = Timer(self._patience, tell)
        timer.daemon = True
        timer.start()
        try:
            for place[0], (_, call) in enumerate(steps):
                if stopped.is_set():
                    return
                if not timer.is_alive():
                    tell()
                call()
            if not stopped.is_set():
                finish()
        except Exception as error:
            if not stopped.is_set():
                self._error(error)
        finally:
            timer.cancel()
            if stopped is self._stopped:
                self._end()
