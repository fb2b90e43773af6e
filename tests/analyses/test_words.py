"""Words on pictures, against plain loops; and what can be asked of any sentence."""

import numpy as np
import pandas as pd
import pytest

import clipsx
from clipsx import verdicts
from clipsx.analyses import words
from clipsx.datasets import Sample, Sketchbook
from clipsx.evaluation.stream import stream
from clipsx.statistics import bootstrap, interval
from helpers import masked, noise, tiny_clip

LABELS = ("cat", "traffic_light", "dog", "light")
CAPTION = "A photo of a traffic light, a cat and a light"


@pytest.fixture(scope="module")
def clip() -> clipsx.Clip:
    return tiny_clip(image_size=32, layers=2, width=32, patch_size=8)


def unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


@pytest.mark.parametrize("asked", ["clip", "clip-surgery@1+code"])
def test_every_row_equals_the_loop(clip: clipsx.Clip, asked: str) -> None:
    samples = [
        masked(20, 28, ("cat", "traffic_light", "light"), 1).replace(captions=("a dog", CAPTION)),
        masked(17, 11, ("dog", "cat"), 2),  # no caption: "a photo of a dog and a cat"
        masked(9, 9, ("cat",), 3).replace(captions=("nothing of the kind",)),  # asked the sentence of its labels
    ]
    (table,) = stream(clip, samples, [words.measure(clip, LABELS, asked, caption=1, templates="photo")])
    assert list(zip(table["image"], table["label"], strict=True)) == [
        ("image 1", "cat"), ("image 1", "traffic_light"), ("image 1", "light"), ("image 2", "dog"), ("image 2", "cat"),
        ("image 3", "cat"),
    ]  # fmt: skip
    reading, depth = clipsx.Reading.parse(asked), 1 if "@" in asked else None
    assert table["source"].tolist() == ["caption"] * 3 + ["labels"] * 3
    for sample, text in zip(samples, (CAPTION, "a photo of a dog and a cat", "a photo of a cat"), strict=True):
        pieces, tokens = clip.encode_tokens(text)
        entries, each = list(pieces), list(tokens.numpy())
        if "traffic" in entries:
            t = entries.index("traffic")
            entries[t : t + 2], each[t : t + 2] = ["traffic_light"], [unit((each[t] + each[t + 1]) / 2)]
        dense = clip.encode_dense(clip.prepare(sample.image), reading.method, depth)
        similarity = clipsx.similarity if reading.surgery == "none" else clipsx.feature_surgery
        texts = (tokens.new_tensor(np.stack(each)), clip.encode_labels(LABELS, "photo"))
        size = (sample.size[1], sample.size[0])
        maps = [clipsx.upsample(clipsx.minmax(similarity(dense, text)), size)[0].numpy() for text in texts]
        for label, mask in sample.masks.items():
            row = table[(table["image"] == sample.name) & (table["label"] == label)].iloc[0]
            seen, place = ~sample.ignore, entries.index(label)
            shown = {
                "msc": maps[0][..., place],
                "msc_label": maps[1][..., LABELS.index(label)],
                "msc_end": maps[0][..., -1],
            }
            for name, map in shown.items():
                expected = 100 * (map[mask & seen].mean() - map[~mask & seen].mean())
                assert row[name] == pytest.approx(expected, abs=1e-3)
            on = {n: maps[0][..., n][mask & seen].mean() for n, w in enumerate(entries) if w not in (",",)}
            on = {n: value for n, value in on.items() if 0 < n < len(entries) - 1}
            rank = 1 + sum(value > on[place] for value in on.values())
            assert (row["rank"], row["words"], row["top"]) == (rank, len(on), 100 * (rank <= 3))
            assert row["chance"] == pytest.approx(300 / len(on)) and row["sentence"] == text
            assert row["difference"] == row["msc"] - row["msc_label"] and row["cut"] == 0 and not row["constant"]
    assert set(table["reading"]) == {asked} and set(table["how"]) == {"words in their sentence"}


def test_means_intervals_and_the_verdict(clip: clipsx.Clip) -> None:
    samples = [masked(20, 20, ("cat", "dog"), n) for n in range(6)]
    (table,) = stream(clip, samples, [words.measure(clip, LABELS)])
    means = words.by_label(table)
    assert means["label"].tolist() == ["cat", "dog"] and means["n"].tolist() == [6, 6] and "model" in means
    rows = table[table["label"] == "dog"]
    low, high = interval(bootstrap(rows["difference"].to_numpy(), rows["image"].to_numpy())[1])
    found = means.iloc[1]
    assert (found["difference_low"], found["difference_high"]) == (low, high)
    assert found["difference"] == pytest.approx(rows["difference"].mean())
    for shift, verdict in ((100, "higher"), (-100, "lower")):
        told = verdicts.words(table.assign(msc=table["msc"] + shift)).set_index(["measure", "against"])
        for against in ("0, neither side", "its label's map"):
            assert verdict in set(told.loc[[("msc", against)], "verdict"])
        assert told.loc[("top", "chance"), "difference"].item() == pytest.approx(
            (table["top"] - table["chance"]).mean()
        )
    assert verdicts.words(table.assign(msc=np.nan))["value"].isna().sum() == 2
    summary = words.summarise(table).set_index("map")
    for column, kind in words.MAPS.items():
        mean, drawn = bootstrap(table[column].to_numpy(), table["image"].to_numpy())
        assert (summary.loc[kind, "msc"], summary.loc[kind, "msc_low"]) == (mean, interval(drawn)[0])


def test_words_of_one_picture(clip: clipsx.Clip) -> None:
    sentence = words.read(clip, "a cat, a boat")
    sim = clip.maps(clip.prepare(noise(32, 32)), "clip", sentence.features)["clip"][0]  # (h, w, W)
    found = words.strengths(sentence, sim)
    for n in range(len(sentence.words)):
        row = found.iloc[n]
        assert row["strength"] == pytest.approx(float(sim[..., n].max()))
        assert float(sim[int(row["row"]), int(row["column"]), n]) == pytest.approx(float(sim[..., n].max()))
    order = sorted(sentence.places(), key=lambda n: -float(sim[..., n].max()))
    assert words.strongest(sentence, sim) == order[:3]
    assert found["rank"].tolist() == [order.index(n) + 1 if n in order else 0 for n in range(len(sentence.words))]
    fires = words.firing(sentence, sim, (1, 2))
    assert fires["fires"].is_monotonic_decreasing and sorted(fires["place"]) == list(range(len(sentence.words)))
    stretched = clipsx.minmax(sim[None])[0]
    for row in fires.to_dict("records"):
        assert row["fires"] == pytest.approx(float(stretched[1, 2, row["place"]]), abs=1e-6)
        assert row["word"] == sentence.words[row["place"]]


@pytest.mark.parametrize(
    ("captions", "labels", "expected"),
    [
        (("one", "two"), ("cat",), "two"),
        (("one",), ("cat",), "one"),
        ((), ("cat",), "a photo of a cat"),
        ((), ("umbrella", "traffic_light", "Apple"), "a photo of an umbrella, a traffic light and an Apple"),
        ((), (), words.EXAMPLE),
    ],
)
def test_the_sentence_of_a_sample(captions: tuple[str, ...], labels: tuple[str, ...], expected: str) -> None:
    assert words.sentence_of(Sample(noise(8, 8), labels, captions=captions), 1) == expected


@pytest.mark.parametrize("causal", [True, False])
def test_words_are_read_alone_on_demand_and_by_a_tower_that_is_not_causal(causal: bool) -> None:
    clip, alone = tiny_clip(image_size=32, layers=1, width=32, patch_size=8), True if causal else None
    if not causal:
        clip.model.attn_mask = None
    samples = [masked(20, 20, ("cat", "dog"), 1)]
    (table,) = stream(clip, samples, [words.measure(clip, LABELS, templates="plain", alone=alone)])
    assert set(table["how"]) == {"each word alone"}
    sample = masked(20, 20, ("cat", "dog"), 1)
    sim = clipsx.similarity(clip.encode_dense(clip.prepare(sample.image), "clip"), clip.encode_text(["cat"]))
    map = clipsx.upsample(clipsx.minmax(sim), (20, 20))[0, ..., 0].numpy()
    own = clipsx.metrics.msc(map, sample.masks["cat"], sample.ignore)
    assert table["msc"].iloc[0] == pytest.approx(own, abs=1e-3)


def test_what_cannot_be_measured_is_told(clip: clipsx.Clip) -> None:
    for sample in (
        Sample(noise(9, 9), ("cat",), name="no mask"),
        masked(9, 9, ("boat",), 1),  # not asked for
    ):
        with pytest.raises(ValueError, match="No picture has a mask of a label that its sentence names"):
            stream(clip, [sample], [words.measure(clip, LABELS)])
    with pytest.raises(ValueError, match="at least two different"):
        words.measure(clip, ["cat"])


def test_nouns_that_are_cut_are_not_measured(clip: clipsx.Clip) -> None:
    long = masked(20, 20, ("cat", "dog"), 1).replace(captions=("a cat " + "very " * 40 + "near a dog",))
    with pytest.warns(UserWarning, match="'dog'"):
        (table,) = stream(clip, [long], [words.measure(clip, LABELS)])
    assert table["label"].tolist() == ["cat"] and table["cut"].tolist() == [40 + 5 - 38]


@pytest.mark.slow
def test_the_built_in_world() -> None:
    clip, world = clipsx.load("sketchbook-random"), Sketchbook(seed=5, length=4)
    (table,) = stream(clip, world, [words.measure(clip, world.labels, "clip-surgery")])
    assert isinstance(table, pd.DataFrame) and len(table) == sum(len(world[n].labels) for n in range(4))
    assert table["msc"].between(-100, 100).all() and table["sentence"].iloc[0] == world[0].captions[0]
