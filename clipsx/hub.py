"""What is downloaded: a word before it begins, an end to waiting, and one clear message where it fails."""

import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from clipsx.messages import brief

PATIENCE = 4.0  # seconds in which a host must answer at all


def looking(name: str, source: object) -> None:
    """Say at once that something may be downloaded: the libraries that do it take seconds to import."""
    print(f"clipsx: looking for {name} ({source}) …", file=sys.stderr, flush=True)


@contextmanager
def reaching(name: str, source: str, advice: str) -> Iterator[bool]:
    """Where libraries may download: whether the hub answers. Where it does not, they take what was downloaded before.

    name, source: what is asked for, as messages say it; advice: what to do without a network.
    Errors: ConnectionError where a download fails, ImportError where a package is missing, each in one sentence.
    """
    from huggingface_hub import constants

    answers = _answers(constants.ENDPOINT)
    before, constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE or not answers
    try:
        yield answers
    except ImportError as error:
        raise ImportError(f"{name} needs a package that is not installed: {brief(error)}.") from None
    except (OSError, RuntimeError) as error:
        why = brief(error) if answers else f"{constants.ENDPOINT} does not answer."
        words = f"{name} ({source}) could not be downloaded: {why} Check the network, or {advice}"
        raise ConnectionError(words) from None
    finally:
        constants.HF_HUB_OFFLINE = before


def _answers(url: str) -> bool:
    """Whether a host answers within `PATIENCE`, its name looked up, through the proxies of the environment."""
    found = []

    def ask() -> None:
        try:
            urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=PATIENCE).close()
            found.append(True)
        except urllib.error.HTTPError:
            found.append(True)  # an answer all the same
        except (OSError, ValueError):
            pass

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(PATIENCE)
    return bool(found)
