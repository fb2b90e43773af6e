"""Zero-shot segmentation against plain loops over pixels, with and without backgrounds."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

import clipsx
from clipsx import upsample
from clipsx.datasets import Sample, Sketchbook
from clipsx.evaluation import segment
from clipsx.evaluation.stream import stream
from clipsx.reading import Reading
from helpers import masked, noise, tiny_clip, unchecked

LABELS = ("cat", "dog", "sky")
SAMPLES = (masked(20, 28, ("cat",), 1), masked(17, 11, ("cat", "dog"), 2), masked(12, 15, ("boat", "dog"), 3))


@pytest.fixture(scope="module")
def clip() -> clipsx.Clip:
    return tiny_clip(image_size=32, layers=2, width=32, patch_size=8)


def run(clip: clipsx.Clip, samples: Any, labels: Any = LABELS, asked: Any = "clip", grounds: Any = ()) -> pd.DataFrame:
    return stream(clip, samples, [segment.measure(clip, labels, asked, grounds, ["{}"])])[0]


def loop(
    clip: clipsx.Clip, sample: Sample, labels: list[str], grounds: list[str], reading: Reading
) -> dict[str, list[int]]:
    """Pixels of every class that are hits, said, true; pixel by pixel."""
    text = clip.encode_labels([*labels, *grounds], ["{}"])
    dense = clip.encode_dense(clip.prepare(sample.image), reading.method, reading.depth)
    best = upsample(reading.similarities(dense, text), sample.size[::-1])[0].argmax(-1).numpy()
    counts: dict[str, list[int]] = {}
    for y, x in np.ndindex(best.shape):
        there = [label for label, mask in sample.masks.items() if mask[y, x]]
        true = there[-1] if there else "background"  # where masks overlap, the later one
        if sample.ignore[y, x] or (true not in labels and not (grounds and true == "background")):
            continue
        said = labels[best[y, x]] if best[y, x] < len(labels) else "background"
        for place, name in ((0, said if said == true else None), (1, said), (2, true)):
            if name is not None:
                counts.setdefault(name, [0, 0, 0])[place] += 1
    return counts


@pytest.mark.parametrize("grounds", [[], ["grass", "water"]])
def test_rows_count_pixels(clip: clipsx.Clip, grounds: list[str]) -> None:
    asked = ("clip", "maskclip+code", "clip-surgery@1")
    table = run(clip, SAMPLES, asked=asked, grounds=grounds)
    assert list(dict.fromkeys(table["reading"])) == list(asked)
    for text in asked:
        for sample in SAMPLES:
            rows = table[(table["reading"] == text) & (table["image"] == sample.name)].set_index("label")
            expected = loop(clip, sample, list(LABELS), grounds, Reading.parse(text))
            assert {name: rows.loc[name, segment.PARTS].tolist() for name in rows.index} == expected
    assert ("background" in set(table["label"])) == bool(grounds)
    assert table["protocol"].str.contains("all pixels, background = 2 grounds" if grounds else "objects only").all()
    assert set(table["labels"]) == {3} and set(table["data"]) == {"3 given samples"}


@pytest.mark.parametrize("extra", [[], ["grass", "water"]])
def test_the_mean_is_over_classes_of_sums_over_images(extra: list[str]) -> None:
    world = Sketchbook(seed=3, length=6, size=32)
    clip, labels = tiny_clip(image_size=32, layers=2, width=32, patch_size=8), list(world.NOUNS)
    sums: dict[str, np.ndarray] = {}
    for sample in world:
        for name, counts in loop(clip, sample, labels, extra, Reading("maskclip")).items():
            sums[name] = sums.get(name, np.zeros(3)) + counts
    ious = [hits / (said + true - hits) for hits, said, true in sums.values() if true]
    rows = run(clip, world, labels, "maskclip", extra)
    (found,) = segment.summarise(rows, resamples=20).to_dict("records")
    assert found["mIoU"] == pytest.approx(100 * np.mean(ious))
    assert found["mIoU_low"] <= found["mIoU_high"] and found["images"] == 6
    assert ("all pixels" in found["protocol"]) == bool(extra) and "bootstrap" in found["protocol"]
    assert found["reading"] == "maskclip" and found["model"] == "tiny" and found["labels"] == 18


def crafted() -> pd.DataFrame:
    """Two readings, three images, two classes; one class is only ever said."""
    rows = [
        ("clip", "a", "cat", 4, 6, 5), ("clip", "a", "sky", 0, 1, 0), ("clip", "b", "cat", 1, 1, 3),
        ("clip", "b", "dog", 2, 5, 2), ("clip", "c", "dog", 0, 0, 4), ("maskclip", "a", "cat", 5, 5, 5),
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=["reading", "image", "label", *segment.PARTS])
    return table.assign(protocol="argmax", model="tiny", depth=[None, None, None, None, None, 1])


def test_draws_are_of_images() -> None:
    """Every draw by hand: images that are drawn twice count twice, in hits as in all else."""
    found = segment.summarise(crafted(), resamples=60).set_index("reading")
    counts = {"a": {"cat": (4, 6, 5), "sky": (0, 1, 0)}, "b": {"cat": (1, 1, 3), "dog": (2, 5, 2)},
              "c": {"dog": (0, 0, 4)}}  # fmt: skip

    def miou(weights: dict[str, int]) -> float:
        each = []
        for label in ("cat", "dog", "sky"):
            hits, said, true = (
                sum(n * counts[i].get(label, (0, 0, 0))[k] for i, n in weights.items()) for k in range(3)
            )
            each += [100 * hits / (said + true - hits)] if true else []
        return sum(each) / len(each)

    assert found.loc["clip", "mIoU"] == pytest.approx(miou({"a": 1, "b": 1, "c": 1}))
    drawn = np.random.default_rng(0).multinomial(3, np.full(3, 1 / 3), size=60)
    values = [miou(dict(zip("abc", weights.tolist(), strict=True))) for weights in drawn]
    low, high = np.quantile(values, [0.025, 0.975])
    assert (found.loc["clip", "mIoU_low"], found.loc["clip", "mIoU_high"]) == pytest.approx((low, high))
    assert found["images"].to_dict() == {"clip": 3, "maskclip": 1}
    assert found.loc["maskclip", "mIoU"] == 100 and np.isnan(found.loc["maskclip", "mIoU_low"])
    assert set(found["model"]) == {"tiny"}


def test_what_is_ignored_or_not_asked_for_counts_nowhere(clip: clipsx.Clip) -> None:
    sample = SAMPLES[1]
    table = run(clip, [sample])
    flipped = {label: np.where(sample.ignore, ~mask, mask) for label, mask in sample.masks.items()}
    pd.testing.assert_frame_equal(run(clip, [sample.replace(masks=flipped)]), table)
    assert table["true"].sum() == int((np.any(list(sample.masks.values()), axis=0) & ~sample.ignore).sum())
    boat = SAMPLES[2]
    rows = run(clip, [boat], grounds=["grass"])
    hidden = boat.masks["boat"] & ~boat.masks["dog"]  # the later mask lies on top
    assert rows["true"].sum() == int((~boat.ignore & ~hidden).sum())
    assert rows["said"].sum() == rows["true"].sum()


def test_nothing_to_segment_is_told(clip: clipsx.Clip) -> None:
    blank = Sample(noise(32, 32), ("cat",))
    with pytest.raises(ValueError, match="nothing to segment"):
        run(clip, [blank], ["cat", "dog"])
    with pytest.raises(ValueError, match="nothing to segment"):
        run(clip, [SAMPLES[0]], ["boat", "dog"])
    for labels in (["cat"], ["cat", "cat"]):
        with unchecked(), pytest.raises(ValueError, match="at least two"):
            run(clip, [blank], labels)
    with pytest.raises(ValueError, match="did you mean 'maskclip'"):
        run(clip, [blank], asked="maskclp")
