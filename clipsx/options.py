"""Options of the command line: what their texts can be, and a parser that answers in one line."""

import argparse
from typing import NoReturn

from clipsx.messages import require


class Parser(argparse.ArgumentParser):
    """argparse's parser; a mistake is answered in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {' '.join(message.split())} (usage: {self.prog} --help)\n")


def positive(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text[:10]) < 10**9:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return int(text)


def share(text: str) -> float:
    try:
        require("it", value := float(text), 0, 1)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} does not lie in 0…1") from None
    return value


def device(text: str) -> str:
    import torch

    try:
        torch.zeros(1, device=text).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise argparse.ArgumentTypeError(f"{text!r} cannot be used here: {str(error).splitlines()[0]}") from None
    return text
