"""Protocols: what decides a published number beside model, data and reading, as frozen rows by name.

A number stands under its protocol alone: every table says which, and tables of different ones are not joined.
"""

from dataclasses import dataclass, fields, replace
from typing import Any

import pandas as pd

from clipsx.evaluation.windows import Windows
from clipsx.messages import nearest

OURS = "+antialias"  # after a name: windows by our own rule of resizing
ONE = ("background",)
SCENES = (
    "sky", "wall", "tree", "wood", "grass", "road", "sea", "river", "mountain", "sands", "desk", "bed", "building",
    "cloud", "lamp", "door", "window", "wardrobe", "ceiling", "shelf", "curtain", "stair", "floor", "hill", "rail",
    "fence",
)  # fmt: skip
# SCLIP's words for what is no class, as NACLIP's files (MIT) have them too


@dataclass(frozen=True)
class Protocol:
    """How one task is measured. Defaults are this suite's own; `words` says what no other field does.

    size: side in pixels that pictures are squashed to (None: the model's own); windows: instead, at their proportions;
    templates: of prompts; background: words for what is no class; scale: factor on
    similarities before the softmax over query words (None: plain argmax); least: a pixel whose best probability lies
    below is background; area: so is a class with at most this share of all pixels said to be objects; mean: of IoU;
    rule: of scores of labels from cosines (feature surgery, where the reading has it, comes instead); absent: classes
    without a positive image; yes: the score that says yes (None: of the best OF1 on other images); more: measures
    beside the task's own; source: who published by it; vocabulary: the wording that its released code feeds, where that
    is known (it decides a number, but not how it is measured).
    """

    name: str
    task: str
    words: str = ""
    size: int | None = None
    windows: Windows | None = None
    templates: str = "clip-surgery"
    background: tuple[str, ...] = ()
    scale: float | None = None
    least: float = 0.0
    area: float = 0.0
    mean: str = "of sums over images, then over the classes there"
    rule: str = "cosine"
    absent: str = "masked"
    yes: float | None = None
    more: tuple[str, ...] = ()
    source: str = ""
    vocabulary: str = ""

    def __str__(self) -> str:
        """Its name, and what differs from this suite's own way, in words."""
        known: dict[str, Any] = {f.name: f.default for f in fields(self)} | {"name": "", "task": ""}
        told = {
            "size": f"{self.size} × {self.size}, squashed", "windows": str(self.windows),
            "templates": f"templates {self.templates}", "background": f"background = {len(self.background)} words",
            "scale": f"softmax over query words × {round(self.scale or 0, 2)}, best word of a class",
            "least": f"background below {self.least}",
            "area": f"classes of at most {self.area} of the objects' pixels left out", "mean": f"IoU {self.mean}",
            "rule": f"scores by {self.rule}", "absent": f"absent classes {self.absent}", "yes": f"yes from {self.yes}",
            "words": self.words, "source": self.source,
        }  # fmt: skip
        said = [words for name, words in told.items() if getattr(self, name) != known[name]]
        return self.name + (f": {', '.join(said)}" if said else "")


TASKS = ("explain", "segment", "recognise", "points")
MMSEG = "of sums over images, over the classes there or said"
PER_IMAGE = "of each image and class there, over images, then classes"
SURGERY = "CLIP Surgery (Li et al. 2023)"
SOFTMAX = "softmax(100·cosine)"
ASSUMED = "templates assumed"
HEAD = "the spatial head at every position"  # of Unmix-CLIP, behind projectors or none
_OWN = (
    Protocol(
        "clip-surgery-explain", "explain", "threshold of mIoU chosen on other images, searched on these, fixed at 0.6",
        224, more=("miou_searched", "miou_fixed"), source=SURGERY,
    ),
    Protocol("clip-surgery-segment", "segment", "no background, no threshold", 512, source=SURGERY),
    Protocol(
        "clip-surgery-segment-per-image", "segment", "its text read otherwise", 512, mean=PER_IMAGE, source=SURGERY
    ),
    Protocol("maskclip-context59", "segment", ASSUMED, windows=Windows(520), mean=MMSEG, source="MaskCLIP"),
    Protocol("maskclip-coco-stuff", "segment", ASSUMED, windows=Windows(512), mean=MMSEG, source="MaskCLIP"),
    Protocol("maskclip-voc20", "segment", ASSUMED, windows=Windows(512), mean=MMSEG, source="MaskCLIP"),
    Protocol("maskclip-cityscapes", "segment", ASSUMED, windows=Windows(512), mean=MMSEG, source="MaskCLIP"),
    Protocol("unmix-segment", "segment", size=448, templates="photo", source="Unmix-CLIP"),
    Protocol("softmax", "recognise", rule=SOFTMAX),
    Protocol("centring", "recognise", rule="centring"),
    Protocol("clip-surgery-recognise", "recognise", "size not published", 224, rule=SOFTMAX, source=SURGERY),
    Protocol(
        "tai-dpt-zero-shot", "recognise", "theirs keeps the middle at 224", 224, templates="photo",
        source="zero-shot CLIP of TaI-DPT",
    ),
    Protocol(
        "dualcoop", "recognise", size=448, templates="photo", rule=SOFTMAX, absent="as 0", yes=0.5, source="DualCoOp"
    ),
    Protocol("unmix-recognise", "recognise", size=448, rule=HEAD, yes=0.5, source="Unmix-CLIP"),
    Protocol("clip-surgery-points", "points", size=512, source=SURGERY),
)  # fmt: skip
# Method family and data set: short side, window / stride (none: whole), scale, background below, share of the area.
_FAMILIES = """
sclip voc21 336 224/112 65 .1 .1 | coco-object 336 224/112 50 .1 0 | context60 336 224/112 50 .1 0
sclip voc20 336 224/112 40 0 0 | context59 336 224/112 40 0 0 | ade20k 336 224/112 40 0 0
sclip coco-stuff 448 224/112 40 0 0 | cityscapes 560 224/112 40 0 0
naclip voc21 336 whole 40 .1 0 | voc20 336 whole 40 0 0 | coco-object 336 224/112 40 .1 0
naclip context60 336 224/112 40 .1 0 | context59 336 224/112 40 0 0 | ade20k 336 224/112 40 0 0
naclip coco-stuff 336 224/112 40 0 0 | cityscapes 560 224/112 40 0 0
clearclip voc21 448 448/224 50 .5 0 | coco-object 448 448/224 50 .4 0 | context60 448 448/224 50 .15 0
clearclip voc20 448 448/224 50 0 0 | context59 448 448/224 50 0 0 | ade20k 448 448/224 50 0 0
clearclip coco-stuff 448 448/224 50 0 0 | cityscapes 448 224/224 50 0 0
proxyclip voc21 336 336/112 40 .2 0 | coco-object 336 336/112 40 .25 0 | context60 336 336/112 40 .15 0
proxyclip voc20 336 336/112 40 0 0 | context59 336 336/112 40 0 0 | ade20k 448 336/112 40 0 0
proxyclip coco-stuff 336 336/112 40 0 0 | cityscapes 448 224/112 40 0 0
sc-clip voc21 336 224/112 50 .15 .1 | coco-object 336 224/112 55 .35 0 | context60 336 224/112 40 .15 0
sc-clip voc20 336 224/112 40 0 0 | context59 336 224/112 40 0 0 | ade20k 336 224/112 40 0 0
sc-clip coco-stuff 336 224/112 40 0 0 | cityscapes 560 224/112 40 0 0
itaclip voc21 336 224/28 60 .1 .1 | coco-object 336 224/28 50 .1 0 | context60 336 224/28 55 .1 0
itaclip coco-stuff 448 224/28 40 0 0 | cityscapes 560 224/28 40 0 0
"""
_NOTES = {"naclip": "without PAMR", "itaclip": "without PAMR, 26 background words for its 44"}
_PLAIN: dict[str, str] = dict.fromkeys(("clearclip-voc21", "clearclip-voc20"), "voc21.clearclip")
WITH_BACKGROUND = ("voc21", "coco-object", "context60")  # data sets, as the names of these protocols end


def _rows() -> dict[str, Protocol]:
    found = [Protocol(task, task) for task in TASKS] + list(_OWN)
    for line in _FAMILIES.strip().splitlines():
        family, _, rest = line.partition(" ")
        for row in rest.split(" | "):
            data, short, cut, scale, least, area = row.split()
            crop, stride = (None, 112) if cut == "whole" else map(int, cut.split("/"))
            one = family == "clearclip" or data == "context60"
            words = () if data not in WITH_BACKGROUND else ONE if one else SCENES
            windows = Windows(int(short), crop, stride, pad=family == "clearclip")
            how = {"scale": float(scale), "least": float(least), "area": float(area), "background": words}
            how["vocabulary"] = f"{data}.sclip" if family in ("sclip", "naclip") else _PLAIN.get(f"{family}-{data}", "")
            name, note = f"{family}-{data}", _NOTES.get(family, "")
            found.append(Protocol(name, "segment", note, None, windows, "imagenet", mean=MMSEG, **how))
    return {protocol.name: protocol for protocol in found}


PROTOCOLS: dict[str, Protocol] = _rows()


def protocol(name: str | None, task: str) -> Protocol:
    """A protocol by its name, "+antialias" behind it for windows by our own rule of resizing; none: the task's own.

    Errors: ValueError for an unknown name (with the nearest of the task), and for a protocol of another task.
    """
    bare = (name or task).removesuffix(OURS)
    found = PROTOCOLS.get(bare)
    if found is None:
        raise ValueError(
            f"Unknown protocol {name!r}{nearest(bare, [n for n, p in PROTOCOLS.items() if p.task == task])}."
        )
    if found.task != task:
        raise ValueError(
            f"The protocol {name!r} is of the task {found.task}, not {task}: say --task {found.task}, or another."
        )
    if name == bare or name is None:
        return found
    if found.windows is None:
        raise ValueError(f"The protocol {bare!r} squashes pictures by our own rule already: leave {OURS} out.")
    return replace(found, name=name, windows=replace(found.windows, antialias=True))


def named(words: object) -> str | None:
    """The protocol that a table's words begin with; None where they begin with none."""
    name = str(words).partition(":")[0].partition(";")[0]
    return name if name.removesuffix(OURS) in PROTOCOLS else None


def require_one(*tables: pd.DataFrame) -> None:
    """Errors: ValueError for rows of different protocols, naming them: their numbers do not compare."""
    each = (table["protocol"].unique() for table in tables if "protocol" in table)
    names = sorted({name for words in each for name in map(named, words) if name is not None})
    if len(names) > 1:
        raise ValueError(
            f"Rows of different protocols do not stand in one table: {', '.join(names)}. Take one table each."
        )
