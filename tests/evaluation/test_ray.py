"""The second engine: the same rows as one process, also where an actor is killed, and errors that are told."""

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import clipsx
from clipsx.datasets import Sample
from clipsx.evaluation import ray as engine
from clipsx.evaluation import recognise, segment
from clipsx.evaluation import stream as streams
from clipsx.evaluation.stream import Look, Measure, stream
from helpers import masked, tiny_clip

LABELS, COUNT, PART = ("cat", "dog"), 5, 2


def tiny() -> clipsx.Clip:
    return tiny_clip(image_size=32, layers=1, width=32, patch_size=16)


@pytest.fixture(scope="module")
def clip() -> clipsx.Clip:
    return tiny()


def measures(clip: clipsx.Clip) -> list[Measure]:
    return [recognise.measure(clip, LABELS, templates="photo"), segment.measure(clip, LABELS, templates="photo")]


class Killing(Sequence[Sample]):
    """Pictures of which one ends the process that opens it, unless it is this one, or was ended before."""

    labels = LABELS

    def __init__(self, folder: Path) -> None:
        self.own, self.token = os.getpid(), folder / "killed"

    def __len__(self) -> int:
        return COUNT

    def __getitem__(self, index: Any) -> Sample:
        if index == 2 and os.getpid() != self.own and not self.token.exists():
            self.token.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return masked(20, 24, LABELS, index)


def compare(folder: Path) -> None:
    """Rows of one process beside those of actors of which one is killed; nothing is made a second time."""
    import ray

    for name in (__name__, "helpers"):  # of which actors know nothing
        ray.cloudpickle.register_pickle_by_value(sys.modules[name])
    streams.PART, clip, samples = PART, tiny(), Killing(folder)
    scores, pixels = stream(clip, samples, measures(clip), batch=2)
    how: dict[str, Any] = {"batch": 2, "engine": "ray", "folder": folder / "out"}
    before = signal.signal(signal.SIGTERM, told := lambda *_: None)
    heard: list[Any] = []
    found = stream(
        clip, samples, measures(clip), workers=1, between=lambda: heard.append(signal.getsignal(signal.SIGTERM)), **how
    )
    assert set(heard) == {told} and len(heard) == 4
    signal.signal(signal.SIGTERM, before)
    assert samples.token.exists() and not ray.is_initialized()
    pd.testing.assert_frame_equal(found[0], scores, atol=1e-6)
    pd.testing.assert_frame_equal(found[1], pixels, check_exact=True)
    ray.init = None  # what is made needs no actors
    again = stream(clip, samples, measures(clip), **how)
    pd.testing.assert_frame_equal(again[0], found[0], check_exact=True)


@pytest.mark.ray
@pytest.mark.slow
def test_actors_make_the_same_rows_also_where_one_is_killed(tmp_path: Path) -> None:
    """In a process of its own: what checks shapes in these tests cannot be sent to another one."""
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'clipsx[scale]'")
    code = f"import pathlib, sys; import test_ray; test_ray.compare(pathlib.Path({str(tmp_path)!r}))"
    places = [str(place) for place in (Path(__file__).parent, Path(__file__).parents[1], Path(__file__).parents[2])]
    env = os.environ | {"PYTHONPATH": os.pathsep.join([*places, os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr


def test_an_actor_tells_errors_in_its_rows(clip: clipsx.Clip) -> None:
    def rows(look: Look) -> list[dict[str, Any]]:
        return [{"image": look.name, "share": 1 / (look.number - 3)}]

    samples, how = [masked(20, 24, LABELS, n) for n in range(4)], {"part": 2, "size": None, "batch": "auto"}
    maker = engine.Maker(clip, samples, [Measure("shares", rows)], how)
    good, bad = (maker({"start": start}) for start in (0, 2))
    (table,), unread = pickle.loads(good["part"])
    assert table["share"].tolist() == [-1 / 3, -1 / 2] and unread == [] and good["error"] == ""
    assert bad == {"start": 2, "part": b"", "error": "ZeroDivisionError: division by zero"}


def test_without_ray_it_says_what_to_install(clip: clipsx.Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    samples = [masked(20, 24, LABELS, n) for n in range(2)]
    with pytest.raises(ImportError, match=r"needs Ray: pip install 'clipsx\[scale\]'"):
        stream(clip, samples, measures(clip), engine="ray")
    with pytest.raises(ValueError, match=r"Unknown engine 'rai'; did you mean 'ray'"):
        stream(clip, samples, measures(clip), engine="rai")
