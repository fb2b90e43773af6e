"""How the goldens are kept and compared: units, what is compared loosely and why, files, and what moved."""

import fnmatch
import gzip
import io
import json
import platform
import re
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load, save

VALUES = Path(__file__).parent / "values"
VERSIONS = VALUES / "versions.json"
DECIDING = ("torch", "numpy")  # packages whose version decides how closely numbers must agree
LARGE = 200_000  # bytes of a table that is kept compressed
MOVED = ["table", "key", "column", "was", "is", "difference", "allowed"]


@dataclass(frozen=True)
class Unit:
    """How far a value may move under the recorded versions, and the scale of its thousandth under others.

    A scale of None: both are relative to the recorded value.
    """

    tolerance: float
    scale: float | None


UNITS = {
    "percent": Unit(1e-3, 100),
    "one": Unit(1e-5, 1),  # cosines, correlations, scores and shares of 1
    "relative": Unit(1e-6, None),
    "trained": Unit(1e-5, None),  # another CPU's kernels alone move training by 1e-6 in three epochs
    "points": Unit(0.5, 100),  # percent, at the end of a long computation
    "feature": Unit(1e-6, 1),
    "exact": Unit(0, 0),  # words, flags, counts
    "sentence": Unit(0, 0),  # its words, whatever its numbers
}
ELSEWHERE = 1e-3  # of the scale: what values may move by under other versions


@dataclass(frozen=True)
class Loose:
    """How far a value may move, whatever its unit, and why; `rows`: the share that may move farther elsewhere."""

    tolerance: float
    reason: str
    rows: float = 0.0


_DRAWN = "an end of a bootstrap interval: the draws may be made in another way"
_PIXELS = "hangs on which pixels reach a threshold: two at it may go either way, the smallest object has 170"
_PAIR = "a pair counts by the sign of its mSC, and one of some fifty is two points"
_ANCHOR = "hangs on the anchor, an argmax: another patch where two are alike to the last bit"
_RANK = "hangs on an order of scores, where two may be alike to the last bit"
_SEGMENT = "hangs on an argmax over labels at every pixel"
LOOSE: dict[str, Loose] = {
    # By "column" or "table.column", the latter first; * for any characters.
    **{
        f"{name}_{end}": Loose(1.0, _DRAWN)
        for name in ("msc", "opposite", "miou", "mAP", "mIoU")
        for end in ("low", "high")
    },
    "value_low": Loose(1.0, _DRAWN),
    "value_high": Loose(1.0, _DRAWN),
    "rank_low": Loose(0.1, _DRAWN),
    "rank_high": Loose(0.1, _DRAWN),
    "p": Loose(0.02, "a p-value of permutations: they may be drawn in another way"),
    "in@*": Loose(0.012, _PIXELS),
    "out@*": Loose(0.002, _PIXELS),
    "iou": Loose(0.5, _PIXELS),
    "miou": Loose(0.05, _PIXELS),
    "miou_at_0.6": Loose(0.05, _PIXELS),
    "fires": Loose(1.2, _PIXELS),
    "company_means.fires": Loose(0.05, _PIXELS),
    "opposite": Loose(2.1, _PAIR),
    "threshold": Loose(0.021, "the best of a grid of steps of 0.02, of which two may do alike"),
    "share": Loose(0.01, _ANCHOR, rows=0.02),
    "share_others": Loose(0.01, _ANCHOR, rows=0.02),
    "row": Loose(0.0, _ANCHOR, rows=0.25),
    "column": Loose(0.0, _ANCHOR, rows=0.25),
    "inside": Loose(0.01, _ANCHOR, rows=0.25),
    "decided": Loose(0.5, "hangs on an argmax, an order of scores or a bound on norms"),
    "auc": Loose(0.002, _RANK),
    "rank": Loose(0.002, _RANK),
    "CF1": Loose(1.0, _RANK),
    "OF1": Loose(1.0, _RANK),
    "mIoU": Loose(0.05, _SEGMENT),
}


def loose(table: str, column: str) -> Loose | None:
    """What `LOOSE` says of a column."""
    for name in (f"{table}.{column}", column):
        found = next((entry for pattern, entry in LOOSE.items() if fnmatch.fnmatchcase(name, pattern)), None)
        if found is not None:
            return found
    return None


def unit_of(column: str, units: dict[str, str]) -> str:
    """The unit of a value column, from a table's (patterns of) columns."""
    return next(unit for pattern, unit in units.items() if fnmatch.fnmatchcase(column, pattern))


# Versions -------------------------------------------------------------------------------------------------------------


def versions() -> dict[str, Any]:
    """What is running."""
    packages = {name: version(name) for name in ("torch", "numpy", "open_clip_torch", "pandas")}
    return {"python": platform.python_version(), **packages, "torch threads": 1}


def elsewhere() -> bool:
    """Whether torch or numpy are other versions than those that the values were recorded with."""
    recorded, running = json.loads(VERSIONS.read_text(encoding="utf-8")), versions()
    return any(recorded[name] != running[name] for name in DECIDING)


# Files ----------------------------------------------------------------------------------------------------------------


def only(table: pd.DataFrame, keys: tuple[str, ...], units: dict[str, str]) -> pd.DataFrame:
    """The key and value columns of a table, as a file gives them back; a column that is missing is named."""
    values = [column for pattern in units for column in fnmatch.filter(map(str, table.columns), pattern) or [pattern]]
    if missing := [name for name in (*keys, *values) if name not in table]:
        raise KeyError(f"The table has no column {', '.join(missing)}.")
    return _read(_written(table[[*keys, *values]]))


def _written(table: pd.DataFrame) -> bytes:
    return table.to_csv(index=False, lineterminator="\n", float_format="%.10g").encode()


def _read(content: bytes) -> pd.DataFrame:
    return pd.read_csv(io.BytesIO(content), low_memory=False)


def recorded(name: str) -> pd.DataFrame:
    """The recorded table. Errors: FileNotFoundError where none is."""
    packed = VALUES / f"{name}.csv.gz"
    return _read(gzip.decompress(packed.read_bytes()) if packed.exists() else (VALUES / f"{name}.csv").read_bytes())


def record(name: str, table: pd.DataFrame) -> None:
    """Write a table, compressed where it is large."""
    content = _written(table)
    for old in VALUES.glob(f"{name}.csv*"):
        old.unlink()
    if len(content) > LARGE:
        (VALUES / f"{name}.csv.gz").write_bytes(gzip.compress(content, 9, mtime=0))
    else:
        (VALUES / f"{name}.csv").write_bytes(content)


def recorded_features(name: str) -> dict[str, torch.Tensor]:
    """The recorded features. Errors: FileNotFoundError where none are."""
    return load((VALUES / f"{name}.safetensors").read_bytes())


def record_features(name: str, features: dict[str, torch.Tensor]) -> None:
    """Write features."""
    kept = {key: value.detach().contiguous() for key, value in features.items()}
    (VALUES / f"{name}.safetensors").write_bytes(save(kept))


def record_versions() -> None:
    """Write what is running."""
    VERSIONS.write_text(json.dumps(versions(), indent=1) + "\n", encoding="utf-8")


def files() -> set[str]:
    """The names of all that is recorded."""
    return {path.name.split(".")[0] for path in VALUES.iterdir() if path != VERSIONS}


# What moved -----------------------------------------------------------------------------------------------------------


def moved(
    name: str, was: pd.DataFrame, now: pd.DataFrame, keys: tuple[str, ...], units: dict[str, str],
    other: bool = False, exactly: bool = False,
) -> pd.DataFrame:  # fmt: skip
    """A row per value that moved farther than it may, per key that is missing or new (`MOVED`).

    was, now: as `only` and `recorded` give them; other: under other versions; exactly: whatever moved at all.
    Errors: ValueError for a key that stands twice.
    """
    before, after = _by_key(name, was, keys), _by_key(name, now, keys)
    found = [[name, key, "(row)", "there", "missing", np.nan, 0.0] for key in before.index.difference(after.index)]
    found += [[name, key, "(row)", "missing", "there", np.nan, 0.0] for key in after.index.difference(before.index)]
    both = before.index.intersection(after.index)
    for column in dict.fromkeys([*was.columns, *now.columns]):
        if column in keys:
            continue
        if column not in was or column not in now:
            found.append([name, "(all)", column, *_there(column in was), np.nan, 0.0])
            continue
        one, two = before.loc[both, column], after.loc[both, column]
        found += _column(name, column, unit_of(column, units), one, two, other, exactly)
    return pd.DataFrame(found, columns=MOVED)


def _there(before: bool) -> tuple[str, str]:
    return ("there", "missing") if before else ("missing", "there")


def _by_key(name: str, table: pd.DataFrame, keys: tuple[str, ...]) -> pd.DataFrame:
    words = [table[key].map(_word) for key in keys]
    index = pd.Index(
        [", ".join(f"{k}={w}" for k, w in zip(keys, row, strict=True)) for row in zip(*words, strict=True)]
    )
    if index.has_duplicates:
        raise ValueError(f"{name}: the key {index[index.duplicated()][0]} stands twice.")
    return table.set_index(index)


def _word(value: Any) -> str:
    """A key or an exact value in words: 6 and 6.0 are the same."""
    return f"{value:.10g}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def _column(
    name: str, column: str, unit: str, was: pd.Series, now: pd.Series, other: bool, exactly: bool
) -> list[list[Any]]:
    entry = loose(name, column)
    if UNITS[unit].scale == 0 and (entry is None or entry.tolerance == 0):
        one, two = ((part.map(_plain if unit == "sentence" and not exactly else _word)) for part in (was, now))
        wrong, apart, most = (one != two).to_numpy(), np.full(len(was), np.nan), np.zeros(len(was))
    else:
        one, two = was.to_numpy(float), now.to_numpy(float)
        apart = abs(two - one)
        most = np.zeros(len(was)) if exactly else allowed(name, column, unit, one, other)
        wrong = ~((apart <= most) | (np.isnan(one) & np.isnan(two)))
    if other and not exactly and entry is not None and wrong.sum() <= entry.rows * len(was):
        return []
    rows = zip(was.index, was, now, apart, most, wrong, strict=True)
    return [[name, key, column, *values] for key, *values, bad in rows if bad]


def allowed(name: str, column: str, unit: str, was: np.ndarray, other: bool = False) -> np.ndarray:
    """How far the values of a column may move: its unit's tolerance or, if any, its own; a thousandth elsewhere."""
    entry, relative = loose(name, column), UNITS[unit].scale is None
    scale = abs(was) if relative else np.full(was.shape, UNITS[unit].scale)
    own = UNITS[unit].tolerance * (scale if relative else np.ones(was.shape))
    most = own if entry is None else np.full(was.shape, entry.tolerance)
    return np.maximum(most, ELSEWHERE * scale) if other else most


def _plain(sentence: Any) -> str:
    """A sentence without its numbers."""
    return re.sub(r"[−+-]?\d+(\.\d+)?", "#", str(sentence))


def moved_features(
    name: str, was: dict[str, torch.Tensor], now: dict[str, torch.Tensor], other: bool = False, exactly: bool = False
) -> pd.DataFrame:
    """A row per tensor that moved farther than it may, with the entry that moved most (`MOVED`)."""
    found: list[list[Any]] = [
        [name, key, "(tensor)", *_there(key in was), np.nan, 0.0] for key in sorted({*was} ^ {*now})
    ]
    most = 0.0 if exactly else ELSEWHERE if other else UNITS["feature"].tolerance
    for key in (key for key in was if key in now):
        if was[key].shape != now[key].shape:
            found.append([name, key, "shape", tuple(was[key].shape), tuple(now[key].shape), np.nan, 0.0])
            continue
        apart = (now[key].double() - was[key].double()).abs().nan_to_num(torch.inf)
        place = int(apart.argmax())
        if float(apart.max()) > most:
            where = tuple(int(n) for n in np.unravel_index(place, apart.shape))
            ends = (float(part.flatten()[place]) for part in (was[key], now[key]))
            found.append([name, key, f"entry {where}", *ends, float(apart.max()), most])
    return pd.DataFrame(found, columns=MOVED)
