"""The rule by which the built-in default stands or falls; it is written down in data/laboratory/README.md."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from clipsx import chance, datasets, paths, verdicts
from clipsx.analyses import deletion
from clipsx.evaluation import explain
from clipsx.evaluation.stream import stream
from clipsx.load import built_in, load

BARS = {"top1": ("top-1 (%)", 95.0), "mAP": ("mAP (%)", 85.0)}  # on the default dials: scores.json
MODELS = ("sketchbook", "sketchbook-home", "sketchbook-rn")
REPAIR = "clip-surgery"
COLUMNS = ("verdict", "what", "measure", "value", "against", "difference", "low", "high", "expect", "model")
PLACES = {"clip": "brightest of the raw map", REPAIR: "brightest of CLIP Surgery"}


def shipped() -> pd.DataFrame:
    """What `judged` gave for `MODELS` with its defaults, as it is in data/laboratory/default.csv."""
    return pd.read_csv(paths.data() / "laboratory" / "default.csv")


def judged(names: Sequence[str] = MODELS, images: int = 150, words: str | None = None) -> pd.DataFrame:
    """How built-in models stand by the rule: a row per model and condition, as `verdicts.differences` shows it.

    The verdict is "passes" or "fails": whether the difference comes out as `expect` says. Quality is that of a model's
    scores; all else is measured on `images` scenes of the default dials, the same for both sides.
    Errors: ValueError for a model that is not built in.
    """
    found = pd.DataFrame([row | {"model": name} for name in names for row in _conditions(name, images, words)])
    passed = np.where(found["verdict"] == found["expect"], "passes", "fails")
    return found.assign(verdict=passed)[list(COLUMNS)]


def _conditions(name: str, images: int, words: str | None) -> Iterator[dict[Any, Any]]:
    if name not in built_in():
        raise ValueError(f"{name!r} is not built in: the rule is for one of {', '.join(built_in())}.")
    scores = json.loads((built_in()[name] / "scores.json").read_text(encoding="utf-8"))
    for key, (measure, bar) in BARS.items():
        row = {"what": "recognition", "measure": measure, "value": scores[key], "against": f"at least {bar:g}"}
        gap = scores[key] - bar
        yield row | {"verdict": "higher" if gap >= 0 else "lower", "difference": gap, "expect": "higher"}
    clip, (_, test) = load(name), datasets.tuning_and_test("sketchbook", None, images)
    labels, asked = datasets.labels_of(test), ("clip", REPAIR)
    measures = [explain.measure(clip, labels, asked), deletion.measure(clip, labels, asked, ("mean",))]
    rows, gone = stream(clip, test, measures, words=words)
    maps = verdicts.background(rows, chance=chance.chance(clip, test)).query("measure == 'others'")
    for row, expect in zip(maps.to_dict("records"), ("lower", "higher"), strict=True):
        yield row | {"expect": expect}
    for region, base, expect in (
        (deletion.OBJECT, deletion.RANDOM, "higher"),  # the model uses the object
        ("clip", deletion.OBJECT, "lower"),  # its raw map points elsewhere
        (REPAIR, "clip", "higher"),  # and the repair finds it
    ):
        row = deletion.against(gone, base).set_index("reading").loc[region].to_dict()
        what, against = (PLACES.get(place, place) for place in (region, base))
        yield row | {"what": what, "against": against, "expect": expect}
