"""Objects that are marked as unclear (VOC's difficult ones, COCO's crowds), and the three ways to count them."""

from collections.abc import Iterable

from clipsx.messages import nearest

TREATMENTS = {
    "positive": "as objects",
    "negative": "as if they were not there",
    "excluded": "neither way",
}
"""How unclear objects count, in words. Excluded: a picture with no clear object of a class says nothing of that class;
their pixels, where they are known, count nowhere."""


def checked(treatment: str, what: str) -> str:
    """A treatment. Errors: ValueError for an unknown one (with the nearest)."""
    if treatment not in TREATMENTS:
        raise ValueError(f"{what} cannot be {treatment!r}{nearest(treatment, TREATMENTS)}.")
    return treatment


def treated(objects: Iterable[tuple[str, bool]], treatment: str) -> tuple[set[str], set[str]]:
    """The labels that are there, and those that nothing is said of. objects: label, and whether it is unclear."""
    found = list(objects)
    clear = {label for label, unclear in found if not unclear}
    rest = {label for label, _ in found} - clear
    return (clear | rest, set()) if treatment == "positive" else (clear, rest if treatment == "excluded" else set())
