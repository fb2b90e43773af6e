"""Deletion against plain loops over pixels; what cannot be deleted, in words; strips; ablations."""

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import clipsx
from clipsx.analyses import deletion
from clipsx.datasets import Sample
from clipsx.evaluation.stream import stream
from clipsx.statistics import bootstrap, interval
from helpers import masked, noise, tiny_clip

LABELS = ("cat", "dog", "boat")


@pytest.fixture(scope="module")
def clip() -> clipsx.Clip:
    return tiny_clip(image_size=32, layers=2, width=32, patch_size=8)


def literal(clip: clipsx.Clip, pixels: np.ndarray, n: int) -> float:
    """The score of a picture of the model's size, by its own forward pass."""
    cls = clip.encode_image(clip.prepare(Image.fromarray(pixels)))
    cosines = [float(cls[0] @ label) for label in clip.encode_labels(LABELS)]
    return 100 * (cosines[n] - sum(c for m, c in enumerate(cosines) if m != n) / (len(cosines) - 1))


def test_every_row_equals_the_loop(clip: clipsx.Clip) -> None:
    samples = [masked(32, 32, ("cat", "dog"), 1), masked(32, 32, ("boat",), 2)]
    (table,) = stream(clip, samples, [deletion.measure(clip, LABELS, "clip, clip-surgery@1+code", ("mean",))])
    assert len(table) == 3 * 5 and (table["why"] == "").all()
    for sample in samples:
        pixels, seen = np.array(sample.image), ~sample.ignore
        ground = [pixels[y, x] for y in range(32) for x in range(32) if seen[y, x]
                  and not any(mask[y, x] for mask in sample.masks.values())]  # fmt: skip
        colour = np.round(np.mean(ground, axis=0)).astype(np.uint8)
        for label, mask in sample.masks.items():
            n, object = LABELS.index(label), mask & seen
            rows = table[(table["image"] == sample.name) & (table["label"] == label)].set_index("region")
            regions = {deletion.OBJECT: object}
            dense = clip.encode_readings(clip.prepare(sample.image), "clip, clip-surgery@1")
            text = clip.encode_labels(LABELS)
            maps = {
                "clip": clipsx.similarity(dense["clip"], text),
                "clip-surgery@1+code": clipsx.feature_surgery(dense["clip-surgery@1"], text),
            }
            maps[deletion.REVERSED] = -maps["clip"]
            for name, sim in maps.items():
                map = clipsx.upsample(sim, (32, 32))[0, :, :, n].numpy()
                order = sorted((-map[y, x], y, x) for y in range(32) for x in range(32) if seen[y, x])
                regions[name] = np.zeros((32, 32), bool)
                for _, y, x in order[: object.sum()]:
                    regions[name][y, x] = True
            whole, blank = literal(clip, pixels, n), literal(clip, np.broadcast_to(colour, pixels.shape).copy(), n)
            for name, region in regions.items():
                gone, alone = pixels.copy(), pixels.copy()
                gone[region], alone[~region] = colour, colour
                assert rows.loc[name, "drop"] == pytest.approx(whole - literal(clip, gone, n), abs=1e-4)
                assert rows.loc[name, "insertion"] == pytest.approx(literal(clip, alone, n) - blank, abs=1e-4)
            assert rows["before"].to_numpy() == pytest.approx(whole, abs=1e-4)
            assert rows["area"].to_numpy() == pytest.approx(100 * object.sum() / seen.sum())


def test_what_cannot_be_deleted_is_said_and_counted(clip: clipsx.Clip) -> None:
    full, none, half = np.ones((32, 32), bool), np.zeros((32, 32), bool), np.tri(32, dtype=bool)
    samples = [
        Sample(noise(32, 32, 0), ("cat",), {"cat": full}, name="whole"),
        Sample(noise(32, 32, 1), ("cat",), {"cat": none}, name="nothing"),
        Sample(noise(32, 32, 2), ("cat", "dog"), {"cat": half, "dog": ~half}, name="no ground"),
        Sample(Image.new("RGB", (32, 32)), ("dog",), {"dog": half}, name="fine"),
    ]
    (table,) = stream(clip, samples, [deletion.measure(clip, LABELS)])
    why = table[table["fill"] == "blur"].groupby("image", sort=False)["why"].first()
    assert why.tolist() == [
        "the object covers the whole picture", "the object covers nothing that the model reads",
        "objects leave no ground to replace them by", "",
    ]  # fmt: skip
    found = deletion.summarise(table).set_index(["fill", "region"])
    assert found.loc[("mean", deletion.OBJECT), ["pairs", "left_out"]].tolist() == [1, 4]
    assert found.loc[("mean", "clip"), ["pairs", "left_out"]].tolist() == [1, 0]


def test_a_constant_map_has_no_brightest_place() -> None:
    flat, seen, object = torch.full((1, 4, 4, 1), 0.3), np.ones((8, 8), bool), np.tri(8, dtype=bool)
    scene = deletion.Scene(np.zeros((8, 8, 3), np.uint8), seen, {"cat": object}, ~object)
    found = deletion.regions(scene, "cat", {"clip": flat}, np.random.default_rng(0))
    moved = found[deletion.RANDOM]
    assert found["clip"] is None and moved is not None and moved.sum() == object.sum()


@pytest.mark.parametrize(
    ("labels", "options", "words"),
    [(("cat",), {}, "at least two"), (LABELS, {"fills": ("blurr",)}, "did you mean 'blur'")],
)
def test_what_is_refused(clip: clipsx.Clip, labels: tuple[str, ...], options: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        deletion.measure(clip, labels, **options)


def test_a_region_larger_than_the_picture() -> None:
    with pytest.raises(ValueError, match="5 pixels is larger than the picture, which has 4"):
        deletion.brightest(np.zeros((2, 2)), 5, np.ones((2, 2), bool))


@pytest.mark.slow
def test_means_paired_differences_and_the_same_numbers(clip: clipsx.Clip) -> None:
    samples = [masked(20, 28, ("cat", "dog"), n) for n in range(5)]  # another size than the model's
    one, two = (stream(clip, samples, [deletion.measure(clip, LABELS, "clip, maskclip")], batch=b)[0] for b in (2, 2))
    assert one.equals(two)
    rows = one[one["fill"] == "blur"]
    wide = rows.pivot(index=["image", "label"], columns="region", values="drop")  # noqa: PD010 (no aggregation)
    gaps, images = wide["clip"] - wide[deletion.RANDOM], wide.index.get_level_values("image").to_numpy()
    mean, drawn = bootstrap(gaps.to_numpy(), images)
    found = deletion.against(one, fill="blur").set_index("reading").loc["clip"]
    assert (found["difference"], found["low"], found["high"]) == pytest.approx((mean, *interval(drawn)))
    assert found["pairs"] == 10 and found["model"] == "tiny"
    with pytest.raises(ValueError, match="'gem' with fill 'mean' was not measured"):
        deletion.against(one, "gem")
    means = deletion.summarise(one).set_index(["fill", "region"])
    assert means.loc[("blur", "clip"), "drop"] == pytest.approx(rows[rows["region"] == "clip"]["drop"].mean())
    assert deletion.sentence(one, "maskclip").startswith("tiny: the model ")


def drops(**means: float) -> pd.DataFrame:
    """Rows of ten pictures whose drops spread by 1 around a mean for each region."""
    names = {"object": deletion.OBJECT, "random": deletion.RANDOM, "raw": "clip", "surgery": "clip-surgery"}
    rows = [
        {"image": f"{n}", "label": "cat", "region": names[name], "fill": "mean", "drop": mean + (n * seed) % 7 / 6}
        for seed, (name, mean) in enumerate(means.items(), 1)
        for n in range(10)
    ]
    return pd.DataFrame(rows).assign(insertion=0.0, why="", protocol="", model="a model")


@pytest.mark.parametrize(
    ("means", "said"),
    [
        ((15, 0, 0, 12), ("uses the object", "where nothing matters more", "CLIP Surgery finds it")),
        ((15, 0, 9, 12), ("uses the object", "at something that matters", "CLIP Surgery finds it")),
        ((15, 4, 0, 0), ("uses the object", "where even less matters", "is not shown to find")),
        ((0, 0, 0, 0), ("cannot be shown", "where nothing matters more", "is not shown to find")),
    ],
)
def test_the_sentence_says_what_the_intervals_say(means: tuple[float, ...], said: tuple[str, ...]) -> None:
    found = deletion.sentence(drops(**dict(zip(("object", "random", "raw", "surgery"), means, strict=True))))
    assert all(words in found for words in said) and "(10 pairs)" in found
    nothing = deletion.sentence(drops(object=1).assign(drop=np.nan, why="the object covers the whole picture"))
    assert nothing == "Nothing could be deleted: the object covers the whole picture."
