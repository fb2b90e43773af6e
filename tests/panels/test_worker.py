"""The worker: in order, one at a time, stale work dropped, Stop heard, errors told."""

from threading import Event

import pytest

from clipsx.panels.worker import Worker


class Log:
    """What a worker said."""

    def __init__(self, patience: float = 10.0) -> None:
        self.said: list[str] = []
        self.worker = Worker(
            on_progress=lambda done, total, words: self.said.append(f"{done}/{total} {words}"),
            on_error=lambda error: self.said.append(f"error {error}"),
            on_end=lambda: self.said.append("end"),
            patience=patience,
        )


def test_steps_then_finish_then_end() -> None:
    log = Log()
    log.worker.start(
        [("a", lambda: log.said.append("a")), ("b", lambda: log.said.append("b"))], lambda: log.said.append("done")
    )
    assert log.worker.wait(10)
    assert log.said == ["a", "b", "done", "end"]
    assert not log.worker.busy


def test_progress_only_after_patience() -> None:
    log, told = Log(patience=0.01), Event()
    log.worker._progress = lambda *_: told.set()
    log.worker.start([("slow", lambda: told.wait(10))], lambda: None)
    assert log.worker.wait(10)
    assert told.is_set()


def test_stop_is_heard_between_steps() -> None:
    log, begun, go_on = Log(), Event(), Event()
    log.worker.start(
        [("slow", lambda: (begun.set(), go_on.wait(10))), ("next", lambda: log.said.append("next"))],
        lambda: log.said.append("done"),
    )
    assert begun.wait(10)
    assert log.worker.busy
    log.worker.stop()
    go_on.set()
    assert log.worker.wait(10)
    assert log.said == ["end"]


def test_a_newer_list_drops_the_older_result() -> None:
    log, begun, go_on = Log(), Event(), Event()
    log.worker.start([("slow", lambda: (begun.set(), go_on.wait(10)))], lambda: log.said.append("stale"))
    assert begun.wait(10)
    log.worker.start([("new", lambda: None)], lambda: log.said.append("fresh"))
    go_on.set()
    assert log.worker.wait(10)
    assert log.said == ["fresh", "end"]


@pytest.mark.parametrize("where", ["step", "finish"])
def test_errors_are_told_and_the_worker_lives_on(where: str) -> None:
    log = Log()

    def fail() -> None:
        raise ValueError("no such thing")

    log.worker.start([("a", fail if where == "step" else lambda: None)], fail if where == "finish" else lambda: None)
    assert log.worker.wait(10)
    log.worker.start([], lambda: log.said.append("done"))
    assert log.worker.wait(10)
    assert log.said == ["error no such thing", "end", "done", "end"]
