"""A panel's state: validated in words, small, and the same after JSON."""

import json

import pytest

from clipsx.panels.state import State, accepted, turned
from clipsx.reading import Reading
from helpers import tiny_clip, tiny_resnet, unchecked


def test_state_survives_json() -> None:
    state = State(image=3, labels=("cat", ""), shown="cat", patch=(1, 2), reading="clip-surgery@3+paper(tau=4)")
    again = State().updated(json.loads(json.dumps(state.plain())))
    assert again == state


def test_unknown_entry_names_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"no 'readng'.*'reading'"):
        State().updated({"readng": "clip"})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"reading": "clip-surgey"}, "'clip-surgery'.*at 1 of"),
        ({"reading": "clip-surgery-released"}, "does not apply to this image tower: its class token"),  # ResNet only
        ({"reading": "clip+off"}, "none, code, paper"),
        ({"reading": "clip-surgery@two"}, "a whole number of blocks"),
        ({"reading": "clip-surgery@5"}, "the tower's blocks"),
        ({"reading": "clip-surgery@0"}, "depth must be"),
        ({"reading": "maskclip@2"}, "depth"),
        ({"reading": "clip+code(tau=-1)"}, "tau must be"),
        ({"attention": "kv"}, "qk, vv"),
        ({"block": 4}, "blocks 0 to 3"),
        ({"threshold": 1.5}, "threshold must be a finite number in 0…1"),
        ({"opacity": float("inf")}, "opacity must be a finite number in 0…1"),
        ({"labels": []}, "one label at least"),
        ({"labels": ["cat", " cat"]}, "'cat' is there already"),
        ({"labels": ["  "]}, "label of blanks"),
    ],
)
def test_what_cannot_be_shown_is_said(changes: dict, words: str) -> None:
    with unchecked(), pytest.raises(ValueError, match=words):
        State().updated(changes).checked(tiny_clip(layers=4))


@pytest.mark.slow
def test_a_reading_is_kept_in_its_shortest_text() -> None:
    given = State().updated({"reading": Reading("clip-surgery", 3, "code", 4)})
    assert given.checked(tiny_clip()).reading == "clip-surgery@3+code(tau=4)"
    assert State(reading=" maskclip +none").checked(tiny_clip()).reading == "maskclip"
    assert State().checked(tiny_resnet()).reading == State.reading


def test_controls_turn_parts_of_a_reading() -> None:
    assert turned("clip-surgery@3+code", "method", "maskclip") == "maskclip+code"
    assert turned("maskclip+paper(tau=4)", "method", "clip-surgery") == "clip-surgery+paper(tau=4)"
    assert turned("clip-surgery", "depth", 2) == "clip-surgery@2"
    assert turned("clip-surgery@2", "surgery", "paper") == "clip-surgery@2+paper"
    assert turned("clip+code", "tau", 5.0) == "clip+code(tau=5)"
    assert turned("clip-surgery@3+code(tau=4)", "method", "legrad") == "legrad"


def test_accepted_labels() -> None:
    assert accepted(("cat ", "", "dog")) == (("cat", "", "dog"), [])
    kept, refused = accepted(("cat", "cat", "  ", ""))
    assert kept == ("cat", "")
    assert len(refused) == 2
    assert "'cat'" in refused[0]
    assert "blanks" in refused[1]
