"""Ray as a second engine: actors that hold the model make the same parts, on one machine or many."""

import importlib
import pickle
import signal
from collections.abc import Generator, Iterable, Sequence
from typing import Any

import pandas as pd
from tqdm.auto import tqdm

from clipsx.clip import Clip
from clipsx.datasets import Sample
from clipsx.evaluation.looks import Measure, fitted
from clipsx.evaluation.stream import make as made
from clipsx.messages import brief


class Maker:
    """Model, data and measures as an actor holds them: from a part's first picture to its rows."""

    def __init__(self, clip: Clip, samples: Sequence[Sample], measures: Sequence[Measure], how: dict[str, Any]) -> None:
        self.given, how["batch"] = (clip, samples, measures), fitted(clip, measures, how["size"], how["batch"])
        self.how = how

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """The part, pickled; an error is told in its row, as Ray would drop the part or end the run."""
        found = {"start": row["start"], "part": b"", "error": ""}
        try:
            ((_, *part),) = made(*self.given, [int(row["start"])], **self.how)
            return found | {"part": pickle.dumps(part)}
        except Exception as error:
            return found | {"error": f"{type(error).__name__}: {brief(error, 500)}"}


def make(
    clip: Clip,
    samples: Sequence[Sample],
    measures: Sequence[Measure],
    starts: Iterable[int],
    *,
    workers: int = 0,
    words: str | None = None,
    **how: Any,
) -> Generator[tuple[int, list[pd.DataFrame], list[str]], None, None]:
    """As `stream.make`, in the order in which parts are done; `workers`: actors (0: one for each free GPU or core).

    The cluster is that of $RAY_ADDRESS, or one of this machine alone that ends with the run. Model, data and measures
    are sent once to each node; rows come back here. An actor that dies is started again, with its part.
    Errors: ImportError without Ray; RuntimeError, after all other parts, for one that an actor could not make.
    """
    try:
        ray, data = (importlib.import_module(name) for name in ("ray", "ray.data"))
    except ImportError:
        raise ImportError("The engine 'ray' needs Ray: pip install 'clipsx[scale]'.") from None
    rows, own = [{"start": start} for start in starts], not ray.is_initialized()
    if not rows:
        return
    if own:
        before = signal.getsignal(signal.SIGTERM)
        ray.init(include_dashboard=False, log_to_driver=False, logging_level="warning")
        if callable(before):  # Ray puts its own in its place, which would end the run within a part
            signal.signal(signal.SIGTERM, before)
    try:
        context = data.DataContext.get_current()
        context.enable_progress_bars, failed = False, []
        kind = "GPU" if clip.device.type == "cuda" else "CPU"
        actors = min(len(rows), workers or int(ray.cluster_resources().get(kind, 1)))
        given = ray.put((clip, samples, measures, how))

        class Actor(Maker):
            def __init__(self) -> None:
                super().__init__(*ray.get(given))

        parts = data.from_items(rows, override_num_blocks=len(rows)).map(
            Actor, compute=data.ActorPoolStrategy(size=actors), num_gpus=int(kind == "GPU"), num_cpus=1
        )
        counts = {row["start"]: min(how["part"], len(samples) - row["start"]) for row in rows}
        total = sum(counts.values())
        with tqdm(desc=words, total=total, unit=" pictures", leave=False, disable=words is None) as bar:
            for row in parts.iter_rows():
                bar.update(counts[row["start"]])
                if row["error"]:
                    failed.append(f"from picture {row['start']} on: {row['error']}")
                else:
                    yield row["start"], *pickle.loads(row["part"])
        if failed:
            raise RuntimeError(f"{len(failed)} of {len(rows)} parts could not be made ({failed[0]}).")
    finally:
        if own:
            ray.shutdown()
