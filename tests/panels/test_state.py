"""A panel's state: validated in words, small, and the same after JSON."""

import json

import pytest

from clipsx.panels.state import State, accepted, plain, takes_depth, updated
from helpers import tiny_clip, tiny_resnet, unchecked


def test_state_survives_json() -> None:
    state = State(image=3, labels=("cat", ""), shown="cat", patch=(1, 2), tau=4)
    again = updated(State(), json.loads(json.dumps(plain(state))))
    assert again == state


def test_unknown_entry_names_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"no 'dept'.*'depth'"):
        updated(State(), {"dept": 3})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"method": "clip-surgey"}, "'clip-surgery'"),
        ({"method": "clip-surgery-released"}, "not to be had with tiny"),  # ResNet only
        ({"surgery": "on"}, "off, code, paper"),
        ({"attention": "kv"}, "qk, vv"),
        ({"depth": 0}, "4 blocks, give 1 to 4"),
        ({"depth": 5}, "4 blocks, give 1 to 4"),
        ({"block": 4}, "blocks 0 to 3"),
        ({"tau": -1.0}, "tau is -1"),
        ({"tau": float("nan")}, "tau is nan"),
        ({"threshold": 1.5}, "from 0 to 1"),
        ({"opacity": float("inf")}, "from 0 to 1"),
        ({"image": 9}, "samples 0 to 2"),
        ({"image": -1}, "samples 0 to 2"),
        ({"labels": []}, "one label at least"),
        ({"labels": ["cat", " cat"]}, "'cat' is there already"),
        ({"labels": ["  "]}, "label of blanks"),
    ],
)
def test_what_cannot_be_shown_is_said(changes: dict, words: str) -> None:
    with unchecked(), pytest.raises(ValueError, match=words):
        updated(State(depth=4), changes).checked(tiny_clip(layers=4), 3)


def test_depth_is_silent_where_no_method_reads_it() -> None:
    assert not takes_depth(tiny_resnet(), "clip-surgery")
    assert not takes_depth(tiny_clip(), "maskclip")
    assert takes_depth(tiny_clip(), "clip-surgery")
    State(depth=6).checked(tiny_resnet(), 1)
    with pytest.raises(ValueError, match=r"'maskclpi' is not to be had with tiny-rn.*'maskclip'"):
        State(method="maskclpi").checked(tiny_resnet(), 1)


def test_accepted_labels() -> None:
    assert accepted(("cat ", "", "dog")) == (("cat", "", "dog"), [])
    kept, refused = accepted(("cat", "cat", "  ", ""))
    assert kept == ("cat", "")
    assert len(refused) == 2
    assert "'cat'" in refused[0]
    assert "blanks" in refused[1]
