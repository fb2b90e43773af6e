"""What the words of a sentence light up: a map per word, and whether a noun's map prefers its own object."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from torch import Tensor

from clipsx.clip import Clip
from clipsx.datasets import Sample
from clipsx.evaluation.asked import queries
from clipsx.evaluation.stream import Look, Measure
from clipsx.evaluation.summary import constants
from clipsx.maps import is_constant, minmax
from clipsx.metrics import msc
from clipsx.reading import Reading, readings
from clipsx.sentence import Sentence
from clipsx.statistics import estimate

STRONGEST = 3  # words that are marked, as in the paper's figure
EXAMPLE = "a photo of a cat and a boat"
MAPS = {"msc": "word", "msc_label": "label", "msc_end": "end token"}  # whose map a column of `measure` is of


def sentence_of(sample: Sample, caption: int = 0) -> str:
    """A sample's caption (the last, where it has fewer); of one without, a sentence of its labels (`labelled`)."""
    return sample.captions[min(caption, len(sample.captions) - 1)] if sample.captions else labelled(sample.labels)


def labelled(labels: Sequence[str]) -> str:
    """A sentence of labels: "a photo of a cat and a boat"; that very one where there is none."""
    names = [name.replace("_", " ") for name in labels if name]
    things = [f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}" for name in names]
    listed = ", ".join(things[:-1]) + " and " + things[-1] if len(things) > 1 else "".join(things)
    return f"a photo of {listed}" if listed else EXAMPLE


def read(clip: Clip, text: str, alone: bool | None = None) -> Sentence:
    """A sentence's words, in their sentence or each alone (`Sentence.how`); alone None: as the model allows."""
    return clip.encode_words(text, alone=not clip.reads_words if alone is None else alone)


def strengths(sentence: Sentence, sim: Float[Tensor, "h w W"]) -> pd.DataFrame:
    """A row per entry of a sentence: how strongly it is found in one picture, and where.

    `strength`: the highest value of its map (a cosine, without feature surgery); `row`, `column`: the patch that has
    it; `rank`: 1 for the strongest word; 0 for punctuation and the specials, which are not ranked.
    """
    high, place = sim.flatten(0, 1).float().cpu().max(dim=0)  # (W,) both
    table = pd.DataFrame({"place": range(len(sentence.words)), "word": sentence.words, "kind": sentence.kinds})
    table["strength"], (table["row"], table["column"]) = high.numpy(), divmod(place.numpy(), sim.shape[1])
    words = table["kind"] == "word"
    table["rank"] = table["strength"].where(words).rank(ascending=False, method="first").fillna(0).astype(int)
    return table


def strongest(sentence: Sentence, sim: Float[Tensor, "h w W"], count: int = STRONGEST) -> list[int]:
    """The places of the strongest words, the strongest first."""
    ranked = strengths(sentence, sim).query("rank > 0").sort_values("rank")
    return ranked["place"].head(count).tolist()


def firing(sentence: Sentence, sim: Float[Tensor, "h w W"], patch: tuple[int, int]) -> pd.DataFrame:
    """Which words fire at a patch (row, column): a row per entry, the highest first.

    `fires`: the entry's map there, stretched to 0…1 over the picture: 1 where it is highest; `value`: as it stands.
    """
    stretched = minmax(sim[None])[0]  # (h, w, W)
    found = {"word": sentence.words, "kind": sentence.kinds, "place": range(len(sentence.words))}
    found |= {name: m[patch].float().cpu().numpy() for name, m in (("fires", stretched), ("value", sim))}
    return pd.DataFrame(found).sort_values("fires", ascending=False, kind="stable", ignore_index=True)


def measure(
    clip: Clip,
    labels: Sequence[str],
    asked: str | Sequence[str | Reading] = "clip",
    caption: int = 0,
    templates: str | Sequence[str] = "clip-surgery",
    alone: bool | None = None,
) -> Measure:
    """Whether a noun's word map prefers its own object: a row per image, reading and label with a mask that is named.

    The sentence is the picture's caption, or one of its labels where it has none, or one that names none of its objects
    (`sentence`, `source`). A label of several words is read as one word, with the unit mean of their features.
    Columns, in %: `msc` of the word's map, `msc_label` of the label's own map (its prompts, among all labels) and
    `msc_end` of the end token's, all on the label's object; `difference`, word less label; `constant`: the word's map
    says nothing. `rank`: the word's place among the sentence's `words` by the mean of their stretched maps on the
    object, 1 the highest; `top`, whether it is among the first three, and `chance`, how often it would be by chance,
    both in %. `cut`: how many words of the sentence the model does not read; `how` it reads the others (`read`).
    Errors: ValueError for fewer than two labels, and where no picture has a mask of a label that is read.
    Source: CLIP Surgery, multimodal visualisation; the measure is ours, over exact masks.
    """
    names, shown = queries(labels), readings(asked)
    text = clip.encode_labels(names, templates)  # (N, D)
    columns = {reading: reading.columns(clip.tower) for reading in shown}

    def named(sentence: str, here: Sequence[str]) -> tuple[Sentence, dict[str, int]]:
        """A sentence in which labels of several words are one, and where the labels stand."""
        whole = read(clip, sentence, alone)
        for label in sorted(here, key=len, reverse=True):  # "traffic light" before "light"
            whole = whole.together(whole.find(label))
        return whole, {label: places[0] for label in here if (places := whole.find(label))}

    def rows(look: Look) -> Iterator[dict[str, Any]]:
        sample, seen = look.sample, ~look.sample.ignore
        here = [a for a in sample.labels if a in names and a in sample.masks and (sample.masks[a] & seen).any()]
        if not here:
            return
        source = "caption" if sample.captions else "labels"
        sentence, found = named(sentence_of(sample, caption), here)
        if not found:
            source, (sentence, found) = "labels", named(labelled(here), here)
        about = {"image": look.name, "sentence": sentence.text, "source": source, "how": sentence.how}
        about |= {"cut": len(sentence.cut)}
        entries, own = sentence.places(), [names.index(label) for label in found]
        for reading in shown:
            sim = look.similarities(reading, sentence.features)  # (1, h, w, W)
            words, constant = look.at_pixels(sim), is_constant(sim)[0].tolist()  # (H, W, W)
            prompts = look.at_pixels(look.similarities(reading, text)[..., own])  # (H, W, n)
            for n, (label, place) in enumerate(found.items()):
                mask = sample.masks[label]
                kinds = {"msc": words[..., place], "msc_label": prompts[..., n], "msc_end": words[..., -1]}
                scores = {name: msc(map, mask, sample.ignore) for name, map in kinds.items()}
                on = words[mask & seen].mean(axis=0, dtype=np.float64)[entries]  # (words,)
                rank = 1 + int((on > on[entries.index(place)]).sum())
                row = about | {"label": label} | scores | {"difference": scores["msc"] - scores["msc_label"]}
                row |= {"constant": constant[place], "words": len(on), "rank": rank}
                row |= {"top": 100.0 * (rank <= STRONGEST), "chance": 100 * min(1, STRONGEST / len(on))}
                yield row | columns[reading]

    about = {"templates": str(templates), "labels": len(names), "protocol": "min-max per map"}
    empty = "No picture has a mask of a label that its sentence names: there is nothing to measure."
    asks = {"names": names, "caption": caption, "alone": alone}
    return Measure("words-alone" if alone else "words", rows, shown, about=about, asks=asks, empty=empty)


def _means(rows: pd.DataFrame, columns: Sequence[str]) -> dict[str, float]:
    """Means with their 95 % image-bootstrap intervals."""
    found: dict[str, float] = {}
    for name in columns:
        found |= estimate(name, rows[name].to_numpy(float), rows["image"].to_numpy())
    return found


def summarise(table: pd.DataFrame) -> pd.DataFrame:
    """Mean mSC of `measure` over pairs: a row per reading, way of reading words (`how`), and whose map (`MAPS`)."""
    found = []
    for (reading, how), rows in table.groupby(["reading", "how"], sort=False):
        for column, kind in MAPS.items():
            means = _means(rows.assign(msc=rows[column]), ["msc"])
            found.append({"reading": reading, "how": how, "map": kind, "n": len(rows)} | means)
    return pd.DataFrame(found).assign(**constants(table, ["reading"]))


def by_label(table: pd.DataFrame) -> pd.DataFrame:
    """Means of `measure` by reading, `how` and label, with the intervals of the difference; `n` pairs each."""
    keys, found = ["reading", "how", "label"], []
    for key, rows in table.groupby(keys, sort=False):
        means = rows[[*MAPS, "top", "chance"]].mean()
        found.append({**dict(zip(keys, key, strict=True)), **means, **_means(rows, ["difference"]), "n": len(rows)})
    return pd.DataFrame(found).sort_values(keys, ignore_index=True).assign(**constants(table, keys))
