"""Label sets of well-known data sets, as text reads them, for analyses that need labels but no pictures."""

from clipsx.datasets.voc import LABELS, SPOKEN
from clipsx.messages import nearest
from clipsx.sketchbook.world import Sketchbook

COCO = (
    "person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant, stop sign, "
    "parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe, backpack, umbrella, "
    "handbag, tie, suitcase, frisbee, skis, snowboard, sports ball, kite, baseball bat, baseball glove, skateboard, "
    "surfboard, tennis racket, bottle, wine glass, cup, fork, knife, spoon, bowl, banana, apple, sandwich, orange, "
    "broccoli, carrot, hot dog, pizza, donut, cake, chair, couch, potted plant, bed, dining table, toilet, tv, laptop, "
    "mouse, remote, keyboard, cell phone, microwave, oven, toaster, sink, refrigerator, book, clock, vase, scissors, "
    "teddy bear, hair drier, toothbrush"
)
CONTEXT = (
    "aeroplane, bag, bed, bedclothes, bench, bicycle, bird, boat, book, bottle, building, bus, cabinet, car, cat, "
    "ceiling, chair, cloth, computer, cow, cup, curtain, dog, door, fence, floor, flower, food, grass, ground, horse, "
    "keyboard, light, motorbike, mountain, mouse, person, plate, platform, potted plant, road, rock, sheep, shelves, "
    "sidewalk, sign, sky, snow, sofa, table, track, train, tree, truck, tv monitor, wall, water, window, wood"
)
CITYSCAPES = (
    "road, sidewalk, building, wall, fence, pole, traffic light, traffic sign, vegetation, terrain, sky, person, "
    "rider, car, truck, bus, train, motorcycle, bicycle"
)
VOCABULARIES: dict[str, tuple[str, ...]] = {
    "sketchbook": tuple(Sketchbook.NOUNS),
    "voc-20": tuple(SPOKEN.get(label, label) for label in LABELS),
    "coco-80": tuple(COCO.split(", ")),
    "context-59": tuple(CONTEXT.split(", ")),
    "cityscapes-19": tuple(CITYSCAPES.split(", ")),
}


def vocabulary(name: str) -> tuple[str, ...]:
    """The labels of a set by its name in `VOCABULARIES`, or those of a text with commas or lines, each once.

    Errors: ValueError for an unknown name (with the nearest), and for fewer than two different labels.
    """
    if name in VOCABULARIES:
        return VOCABULARIES[name]
    labels = tuple(dict.fromkeys(word.strip() for word in name.replace("\n", ",").split(",") if word.strip()))
    if len(labels) < 2:
        raise ValueError(f"{name!r} is no label set{nearest(name, VOCABULARIES)}. Or type labels with commas between.")
    return labels
