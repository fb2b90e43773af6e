"""Options of the command line: what their texts can be, what they name, and a parser that answers in one line."""

import argparse
import json
import os
import re
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

from clipsx.messages import require

if TYPE_CHECKING:
    from clipsx.clip import Clip


class Model(argparse.Action):
    """--model and --pretrained, the last of each, and `pairs` of all: a second tag is of the model before it."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        setattr(namespace, self.dest, values)
        pairs = namespace.pairs = list(getattr(namespace, "pairs", None) or [])
        place = ("model", "pretrained").index(self.dest)
        if not pairs or pairs[-1][place] is not None:
            pairs.append((pairs[-1][0] if pairs and place else None, None))
        pairs[-1] = (values, pairs[-1][1]) if not place else (pairs[-1][0], values)


class Parser(argparse.ArgumentParser):
    """argparse's parser; a mistake is answered in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {' '.join(message.split())} (usage: {self.prog} --help)\n")


def positive(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text[:10]) < 10**9:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return int(text)


def above_zero(text: str, most: float = float("inf"), words: str = "is not a number from 0 on") -> float:
    try:
        require("it", value := float(text), 0, most)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} {words}") from None
    return value


share = partial(above_zero, most=1, words="does not lie in 0…1")


def batch(text: str) -> int | str:
    return text if text == "auto" else positive(text)


def shard(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text)
    i, n = map(int, found.groups()) if found else (0, 0)
    if not 1 <= i <= n:
        raise argparse.ArgumentTypeError(f"{text!r} is not i/n with i in 1…n, such as 1/4 … 4/4")
    return i, n


def shard_here(told: Mapping[str, str] = os.environ) -> tuple[int, int]:
    """Which shard is this process's: of its Slurm array, of torchrun's processes in it; (1, 1) outside of both.

    Errors: ValueError where a Slurm array has gaps, so that its tasks do not count to their number.
    """
    task, first, step, tasks = (
        int(told.get(f"SLURM_ARRAY_TASK_{name}") or other)
        for name, other in (("ID", 0), ("MIN", 0), ("STEP", 1), ("COUNT", 1))
    )
    rank, ranks = (int(told.get(name) or other) for name, other in (("RANK", 0), ("WORLD_SIZE", 1)))
    place = (task - first) // step if tasks > 1 else 0
    if place >= tasks:
        raise ValueError(f"The Slurm array has gaps (task {task} of {tasks} from {first} on): say --shard i/n.")
    return place * ranks + rank + 1, tasks * ranks


def device_here(told: Mapping[str, str] = os.environ) -> str | None:
    """The GPU of this one of torchrun's processes; None where the default serves."""
    import torch

    count = torch.cuda.device_count() if "LOCAL_RANK" in told else 0
    return f"cuda:{int(told['LOCAL_RANK']) % count}" if count else None


def pair(text: str) -> tuple[str, Any]:
    """A name and its value: what JSON reads as a number or a list is one, else the text itself."""
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form NAME=VALUE")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def device(text: str) -> str:
    import torch

    try:
        torch.zeros(1, device=text).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise argparse.ArgumentTypeError(f"{text!r} cannot be used here: {str(error).splitlines()[0]}") from None
    return text


def loading(options: argparse.Namespace) -> dict[str, Any]:
    """What `clipsx.load` is told beside the model, where it was stated."""
    given = {name: getattr(options, name) for name in ("device", "precision", "quickgelu", "positions")}
    given["device"] = given["device"] or device_here()
    return {name: value for name, value in given.items() if value is not None}


def load(options: argparse.Namespace, *pair: str | None) -> "Clip":
    """The model of a call, or another one's (model, pretrained) with its options."""
    from clipsx.load import load as loaded

    model, pretrained = pair or (options.model, options.pretrained)
    return loaded(model or "sketchbook", pretrained, **loading(options))


def data(options: argparse.Namespace, count: int | None = None, alone: bool = False) -> tuple[Any, Any]:
    """The images to choose or train on (none where it is `alone`), and those to report on, `count` by default."""
    from clipsx import datasets

    given = {name: getattr(options, name) for name in ("split", "others", "annotations", "vocabulary")}
    given = {name: value for name, value in given.items() if value is not None} | dict(options.having)
    return datasets.tuning_and_test(
        options.dataset or "sketchbook", options.root, options.count or count, alone=alone, **given
    )
