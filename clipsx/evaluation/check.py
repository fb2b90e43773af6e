"""A check list for whoever has the weights: what was published for OpenAI's models, held against a run on VOC 2012."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from clipsx import paths
from clipsx.clip import Clip
from clipsx.datasets import Sample, fingerprint_of
from clipsx.datasets.protocol import digest
from clipsx.evaluation import summary
from clipsx.evaluation.protocols import PROTOCOLS
from clipsx.evaluation.tasks import both, evaluate
from clipsx.weights import digest as weights_of

B, L = "ViT-B-16", "ViT-L-14-336"
MODELS = {B: "openai", L: "openai"}
FILE = "check.json"
ALIKE = 0.05  # points that two machines' numbers may lie apart
GAIN = "CLIP Surgery (arXiv 2304.05653): a mean over data sets, from the least to the most of its backbones"
EXACT = "± 0.6 lie paper and released code of one method apart (SCLIP, 59.1 and 59.63)"
USUAL = 2.0  # points, and on few images half their interval more
NEAR = f"near: within {USUAL:g} points, as papers' numbers for one method lie apart, and half the interval over images"


@dataclass(frozen=True)
class Claim:
    """A published number: from low to high, and its tolerance; gain: over `clip` on the same images."""

    model: str
    protocol: str
    reading: str
    measure: str
    low: float
    high: float
    tolerance: float = 0.0
    source: str = GAIN
    gain: bool = False
    vocabulary: str | None = None


def _claims() -> tuple[Claim, ...]:
    found = []
    for model in MODELS:
        opposite = "CLIP Surgery: raw maps prefer the background on every backbone and data set"
        found.append(Claim(model, "clip-surgery-explain", "clip", "msc", -100, 0, source=opposite))
        for measure, low, high in (("msc", 47.7, 65.2), ("miou_searched", 22.1, 36.0)):
            found.append(Claim(model, "clip-surgery-explain", "clip-surgery", measure, low, high, gain=True))
    for name, low, high in (
        ("sclip-voc21", 59.1, 59.63), ("sclip-voc20", 80.4, 81.54), ("naclip-voc21", 58.9, 58.9),
        ("naclip-voc20", 79.7, 79.7), ("clearclip-voc21", 51.8, 51.8), ("clearclip-voc20", 80.9, 80.9),
    ):  # fmt: skip
        reading, words = name.partition("-")[0], PROTOCOLS[name].vocabulary
        found.append(Claim(B, name, reading, "mIoU", low, high, 0.6, EXACT, vocabulary=words))
    return tuple(found)


CLAIMS = _claims()


def check(
    clips: Mapping[str, Clip], tuning: Sequence[Sample], test: Sequence[Sample], out: str | Path, **options: Any
) -> dict[str, Any]:
    """Every one of `CLAIMS` for these models (by their names in it): values, verdicts, and what made them, plain.

    "inside": within low … high and the tolerance; "near": within `USUAL` points and half the image interval more (of a
    gain: of paired differences); else "far". out: where rows are kept, so that a check goes on where it stopped.
    options: of `evaluate`. Errors: ValueError for a model without claims; those of `evaluate`.
    """
    if unknown := sorted(set(clips) - set(MODELS)):
        raise ValueError(f"Nothing was published here for {', '.join(unknown)}: check {' or '.join(MODELS)}.")
    rows = []
    for name, clip in clips.items():
        for protocol in dict.fromkeys(claim.protocol for claim in CLAIMS if claim.model == name):
            own = [claim for claim in CLAIMS if (claim.model, claim.protocol) == (name, protocol)]
            asked = list(dict.fromkeys(["clip"] * any(c.gain for c in own) + [c.reading for c in own]))
            folder = Path(out, f"{name}-{protocol}")
            how = {"protocol": protocol, "vocabulary": own[0].vocabulary, "folder": folder} | options
            table = evaluate(clip, PROTOCOLS[protocol].task, tuning, test, asked, **how)
            gaps = gains(folder) if any(claim.gain for claim in own) else pd.DataFrame()
            rows += [asdict(claim) | judged(claim, gaps if claim.gain else table) for claim in own]
    models = {
        name: {"weights": weights_of(clip.model), "positions": clip.positions, "activation": activation(clip)}
        for name, clip in clips.items()
    }
    names = [test[n].name for n in range(len(test))]
    images = {"count": len(names), "names": digest(*names), "content": fingerprint_of(test)}
    versions = {name: version(name) for name in ("clipsx", "torch", "open_clip_torch", "timm", "numpy", "pillow")}
    return {"models": models, "images": images, "versions": versions, "near": NEAR, "checks": rows}


def gains(folder: Path) -> pd.DataFrame:
    """What readings of maps gain over `clip` on the same images, where a run of theirs lies: as `evaluate`'s table."""
    rows = next(iter(both(folder)[0].tables().values()))
    found = summary.against(rows, rows)  # the threshold searched on these images
    found["measure"] = found["measure"].replace("miou", "miou_searched")
    return found.drop(columns="value").rename(columns={"difference": "value"})


def judged(claim: Claim, table: pd.DataFrame) -> dict[str, Any]:
    """A claim's measured value, half the width of its image interval, and the verdict."""
    own: Any = table[table["measure"] == claim.measure].set_index("reading").loc[claim.reading]
    value, half = float(own["value"]), float((own["high"] - own["low"]) / 2)
    off = max(claim.low - value, value - claim.high, 0.0)
    near = USUAL + (half if half == half else 0.0)
    return {
        "value": value,
        "half": half if half == half else None,
        "verdict": "inside" if off <= claim.tolerance else "near" if off <= near else "far",
    }


def activation(clip: Clip) -> str:
    """What the towers' blocks compute with: QuickGELU, GELU, …; several where they differ."""
    found = {type(part).__name__ for part in clip.model.modules() if "GELU" in type(part).__name__}
    return ", ".join(sorted(found)) or "none with a name of its own"


def read(file: str | Path) -> dict[str, Any]:
    """What `write` wrote, here or elsewhere. Errors: FileNotFoundError; ValueError for another file."""
    try:
        other = json.loads(Path(file).read_text(encoding="utf-8"))
        checks = {_key(row): row for row in other["checks"]}
        return {"checks": checks} | {part: dict(other[part]) for part in ("models", "images", "versions")}
    except (ValueError, KeyError, TypeError):
        raise ValueError(
            f"{file} is no check list of clipsx: give the {FILE} that `clipsx evaluate --check` wrote."
        ) from None


def against(own: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """What differs from another machine's check, as `read` gives it, a line each; none where all is alike."""
    parts = {part: said for part, said in other.items() if part != "checks"}
    found = [
        f"{part} {name}: {own[part].get(name)}, there {said.get(name)}"
        for part, said in parts.items()
        for name in own[part] | said
        if own[part].get(name) != said.get(name)
    ]
    for row in own["checks"]:
        there = other["checks"].get(_key(row))
        if there is None:
            found.append(f"{_key(row)}: not checked there")
        elif abs(row["value"] - there["value"]) > ALIKE or row["verdict"] != there["verdict"]:
            found.append(
                f"{_key(row)}: {row['value']:.2f} {row['verdict']}, there {there['value']:.2f} {there['verdict']}"
            )
    return found


def _key(row: Mapping[str, Any]) -> str:
    return f"{row['model']} {row['protocol']} {row['reading']} {row['measure']}"


def write(found: Mapping[str, Any], folder: str | Path) -> Path:
    """Write a check as JSON; the file."""
    file = Path(folder, FILE)
    paths.write_whole(file, (json.dumps(found, indent=1, ensure_ascii=False) + "\n").encode())
    return file
