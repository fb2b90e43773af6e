"""Trained projectors on disk: safetensors beside a JSON that says what they belong to."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save

from clipsx import paths
from clipsx.unmix.projectors import PROMPTS, Projectors
from clipsx.unmix.training import VERSION, Config

WEIGHTS, WORDS = "projectors.safetensors", "unmix.json"


def write(folder: Path, projectors: Projectors, labels: Sequence[str], config: Config, clip: dict[str, str]) -> Path:
    """Write both files; the JSON, which holds the other's checksum, last.

    clip: model, weights and sha256 of the CLIP whose features were projected.
    """
    folder.mkdir(parents=True, exist_ok=True)
    weights = save({name: value.detach().cpu().contiguous() for name, value in projectors.state_dict().items()})
    words = {"version": VERSION, "width": projectors.width, "labels": list(labels), "prompts": list(PROMPTS)}
    words |= {"config": asdict(config), "clip": clip, "sha256": hashlib.sha256(weights).hexdigest()}
    paths.write_whole(folder / WEIGHTS, weights)
    paths.write_whole(folder / WORDS, (json.dumps(words, indent=1, ensure_ascii=False) + "\n").encode())
    return folder


def read(
    folder: Path, clip: str, name: str, labels: Sequence[str] | None = None
) -> tuple[Projectors, list[str], Config]:
    """The projectors, their labels and configuration. clip: the sha256 of the CLIP at hand; name: what it is called.

    Errors: as `Unmixed.load` says.
    """
    try:
        words: dict[str, Any] = json.loads((folder / WORDS).read_text(encoding="utf-8"))
        weights = (folder / WEIGHTS).read_bytes()
        if words["version"] != VERSION:
            raise ValueError(
                f"{folder} is of version {words['version']}, this package reads {VERSION}: train it again."
            )
        if words["clip"]["sha256"] != clip:
            made = f"{words['clip']['model']} ({words['clip']['weights']})"
            raise ValueError(f"{folder} belongs to {made}; {name} has other weights. Load that CLIP, or train again.")
        known, config = list(words["labels"]), Config(**words["config"])
        checksum, width = words["sha256"], int(words["width"])
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{folder / WORDS} was cut short or is not ours ({error}): save it again.") from None
    if labels is not None and list(labels) != known:
        at = next((i for i, pair in enumerate(zip(labels, known, strict=False)) if pair[0] != pair[1]), None)
        place = (
            f"{len(labels)} labels, not {len(known)}"
            if at is None
            else f"label {at} is {labels[at]!r}, not {known[at]!r}"
        )
        raise ValueError(f"{folder} was trained on other labels or in another order: {place}.")
    if hashlib.sha256(weights).hexdigest() != checksum:
        raise ValueError(f"{folder / WEIGHTS} was cut short or belongs to another {WORDS}: save it again.")
    projectors = Projectors(width)
    try:
        projectors.load_state_dict(load(weights))
    except (SafetensorError, RuntimeError) as error:
        raise ValueError(f"{folder / WEIGHTS} does not hold projectors of width {width} ({error}).") from None
    return projectors.eval(), known, config
