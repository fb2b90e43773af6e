"""The tables behind the notebooks, small, as keys and values: every call into clipsx that the goldens make is here.

A function per table, registered by `table` with its key columns and its value columns by unit (`compare.UNITS`); what a
function returns beside them is dropped. `FEATURES` holds the same for raw features, as named tensors. Each is a pure
function: one torch thread, the CPU, and a cache of label features that always begins the same.
"""

import gzip
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, wraps
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load, save

import clipsx
from clipsx import chance, datasets, mfi, unmix, verdicts
from clipsx.analyses import attention, coactivation, companions, redundancy, words
from clipsx.evaluation import explain, points, recognise, summary
from clipsx.evaluation.stream import stream
from clipsx.methods import able, serving
from clipsx.panels import MatrixPanel, SurgeryPanel, likeness, sentence
from clipsx.sketchbook import laboratory
from clipsx.sketchbook.laboratory import answers, measures, runs

IMAGES, TRAIN = 20, 40  # scenes that are measured, and that projectors learn from
FEW = 3  # scenes that every method is asked of
DEPTHS = (1, 6, 8)
PAPERS = ("clip", "maskclip", "clip-surgery", "clip-surgery-released")
RUN = {"epochs": 3, "batch": 8, "lr": 5e-4, "alpha": 0.1}  # of the projectors
UNSEEN = ("red", "blue", "green", "yellow", "grass", "water", "sand", "sky", "brick", "snow")
LABEL_SETS = ("sketchbook", "voc-20")
TEMPLATES = ("clip-surgery", "imagenet", "photo", "plain")
STORED = Path(__file__).parent / "unmix_features.safetensors.gz"
SETTING = "method surgery tau depth"


# How a table is registered and computed -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Table:
    """How a table is made, its key columns, and its value columns ("in@*" for all of that start) with their units."""

    make: Callable[[], pd.DataFrame]
    keys: tuple[str, ...]
    units: dict[str, str]
    slow: bool


TABLES: dict[str, Table] = {}
FEATURES: dict[str, Callable[[], dict[str, torch.Tensor]]] = {}


@contextmanager
def alone(nouns: bool = True) -> Iterator[None]:
    """One torch thread and a cache of label features that holds the nouns (`known`) or nothing; both are put back."""
    threads, kept = torch.get_num_threads(), os.environ.get("CLIPSX_CACHE")
    torch.set_num_threads(1)
    try:
        with tempfile.TemporaryDirectory() as folder:
            os.environ["CLIPSX_CACHE"] = folder
            for file, content in known().items() if nouns else ():
                (Path(folder) / file).parent.mkdir(parents=True, exist_ok=True)
                (Path(folder) / file).write_bytes(content)
            yield
    finally:
        torch.set_num_threads(threads)
        os.environ.pop("CLIPSX_CACHE")
        if kept is not None:
            os.environ["CLIPSX_CACHE"] = kept


@cache
def known() -> dict[Path, bytes]:
    """The files of a cache that holds the nouns of both vision transformers: nearly every table asks for them."""
    with alone(nouns=False):
        for name in ("sketchbook", "sketchbook-random"):
            clipsx.load(name, device="cpu").encode_labels(datasets.vocabulary("sketchbook"))
        folder = Path(os.environ["CLIPSX_CACHE"])
        return {file.relative_to(folder): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def once(make: Callable[..., Any]) -> Callable[..., Any]:
    """Computed the first time only, `alone`, so that it does not matter which table asks for it first."""

    @cache
    @wraps(make)
    def made(*arguments: Any) -> Any:
        with alone():
            return make(*arguments)

    return made


def table(keys: str, slow: bool = False, **units: str) -> Callable[[Callable[[], pd.DataFrame]], Any]:
    """Register a function as a table: its key columns, and per unit its value columns, with blanks between."""

    def register(make: Callable[[], pd.DataFrame]) -> Callable[[], pd.DataFrame]:
        of = {column: unit for unit, columns in units.items() for column in columns.split()}
        TABLES[make.__name__] = Table(once(make), tuple(keys.split()), of, slow)
        return make

    return register


def features(make: Callable[[], dict[str, torch.Tensor]]) -> Callable[[], dict[str, torch.Tensor]]:
    """Register a function that gives raw features by name."""
    FEATURES[make.__name__] = once(make)
    return make


def long(wide: pd.DataFrame, row: str, column: str, value: str) -> pd.DataFrame:
    """A matrix as a row per cell."""
    return wide.rename_axis(index=row, columns=None).reset_index().melt(row, var_name=column, value_name=value)


# What many tables share -----------------------------------------------------------------------------------------------


@once
def model(name: str) -> Any:
    """A shipped model, on the CPU."""
    return clipsx.load(name, device="cpu")


def worlds(images: int = IMAGES) -> tuple[Sequence[Any], Sequence[Any]]:
    """The scenes on which a threshold is chosen, which are also learned from, and those that are measured."""
    return datasets.tuning_and_test("sketchbook", None, images)


@once
def rows(name: str, half: int, asked: Any = explain.DEFAULT) -> pd.DataFrame:
    """A model's rows of `explain`, on the tuning (0) or the test (1) half."""
    clip, world = model(name), worlds()[half]
    return stream(clip, world, [explain.measure(clip, world.labels, asked)])[0]


@once
def looked() -> list[pd.DataFrame]:
    """All that notebooks 01, 02 and 05 ask of the test half, from one walk a picture."""
    clip, world = model("sketchbook"), worlds()[1]
    measures = [attention.shares(clip), attention.cosines(clip), redundancy.measure(clip, world.labels)]
    measures += [redundancy.sweep(clip, world.labels), coactivation.measure(clip, world.labels)]
    return stream(clip, world, measures)


def shares() -> pd.DataFrame:
    return looked()[0]


def cosines() -> pd.DataFrame:
    return looked()[1]


def redundant() -> pd.DataFrame:
    return looked()[2]


def swept() -> pd.DataFrame:
    return looked()[3]


def coactivated() -> pd.DataFrame:
    return looked()[4]


@once
def measured() -> dict[str, pd.DataFrame]:
    """The laboratory's three tables of the built-in model."""
    return measures.measure(model("sketchbook"), length=IMAGES, depths=DEPTHS)


# 00 and 03: one picture in a panel ------------------------------------------------------------------------------------


@once
def panels() -> dict[str, tuple[pd.DataFrame, pd.DataFrame, str]]:
    """The panels of notebooks 00 and 03: their table, where the anchor is and looks, their sentence."""
    samples = datasets.load("sketchbook", size=192)
    sample = samples[1]
    labels = [*sample.labels, *(name for name in samples.labels if name not in sample.labels)][:5]
    states = {
        "start": {},
        "attention only": {"reading": "clip-surgery"},
        "redundant": {"labels": [*labels, ""], "shown": ""},
        "anchor": {"attention": "qk"},
    }
    return {name: _panel(samples, name, state) for name, state in states.items()}


def _panel(samples: Sequence[Any], name: str, state: dict[str, Any]) -> tuple[pd.DataFrame, pd.DataFrame, str]:
    with tempfile.TemporaryDirectory() as out:
        panel = SurgeryPanel(model("sketchbook"), samples, out=out, image=1, **state)
        panel.wait()
        view = panel.view
    said = likeness(view) if name == "redundant" else sentence(view)
    (row, column), covered = view.anchor, view.covered
    inside = np.nan if covered is None else 100 * float((view.attention * covered).sum())
    looks = {"relation": view.state.attention, "row": row, "column": column, "inside": inside}
    return view.table(), pd.DataFrame([looks]), said


@table(f"panel label kind {SETTING}", slow=True, percent="msc iou", one="score", exact="present constant threshold")
def panel_maps() -> pd.DataFrame:
    return pd.concat([shown.assign(panel=name) for name, (shown, _, _) in panels().items()])


@table("panel relation", percent="inside", exact="row column")
def panel_anchors() -> pd.DataFrame:
    return pd.concat([looks.assign(panel=name) for name, (_, looks, _) in panels().items()])


# 01: background preference --------------------------------------------------------------------------------------------

SUMMARY = {
    "percent": "msc msc_low msc_high opposite opposite_low opposite_high miou miou_low miou_high miou_at_0.6",
    "one": "threshold",
    "exact": "threshold_chosen pairs images left_out labels",
}


@table(f"image label {SETTING}", percent="msc area", one="in@* out@*", exact="size constant labels")
def background_rows() -> pd.DataFrame:
    return rows("sketchbook", 1)


@once
def summaries() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Of the model, and of random weights: the level of chance."""
    floor = rows("sketchbook-random", 1, "clip")
    return summary.summarise(rows("sketchbook", 1), rows("sketchbook", 0)), summary.summarise(floor)


@table("of method surgery", slow=True, **SUMMARY)
def background_summary() -> pd.DataFrame:
    trained, floor = summaries()
    return summary.joined(trained.assign(of="model"), floor.assign(of="chance"))


@table("method surgery threshold", percent="miou")
def background_curve() -> pd.DataFrame:
    return summary.curve(rows("sketchbook", 1), by=["method", "surgery"])


@table("by map at", percent="msc")
def background_split() -> pd.DataFrame:
    split = {column: summary.split_by(rows("sketchbook", 1), column) for column in ("label", "size")}
    found = pd.concat([long(wide, "map", "at", "msc").assign(by=column) for column, wide in split.items()])
    return found.assign(map=found["map"].str.replace("+", " + "))


@table("image label block kind", slow=True, percent="share share_others chance", exact="cells")
def attention_shares() -> pd.DataFrame:
    return shares()


@table("image block part", one="cosine cosine_text")
def attention_cosines() -> pd.DataFrame:
    return cosines()


@table("kind part block", percent="share share_others chance", one="cosine cosine_text")
def attention_blocks() -> pd.DataFrame:
    return attention.by_block(shares(), cosines())


# 02: noisy activations ------------------------------------------------------------------------------------------------


@table("image method label", percent="shared", one="correlation", exact="present labels")
def redundancy_rows() -> pd.DataFrame:
    return redundant()


@table("method label present", percent="shared", one="correlation")
def redundancy_labels() -> pd.DataFrame:
    return redundancy.by_label(redundant())


@table("image label varied form labels tau", percent="energy msc iou")
def surgery_rows() -> pd.DataFrame:
    return swept()


@table("varied form labels tau", percent="energy msc iou")
def surgery_means() -> pd.DataFrame:
    return redundancy.averaged(swept())


# 04: similarity matrices ----------------------------------------------------------------------------------------------


@table("model label_set templates", slow=True, one="mean std min max", exact="classes")
def similarity_summary() -> pd.DataFrame:
    return pd.DataFrame(
        {"model": name, "label_set": labels, "templates": templates}
        | mfi.summarise(mfi.similarity_matrix(model(name).encode_labels(datasets.vocabulary(labels), templates)))
        for name in ("sketchbook", "sketchbook-random")
        for labels in LABEL_SETS
        for templates in TEMPLATES
    )


@once
def sides() -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
    """Both matrices of notebook 04's panel."""
    models = {name: model(name) for name in ("sketchbook", "sketchbook-random")}
    with tempfile.TemporaryDirectory() as out:
        panel = MatrixPanel(models, out=out, right="sketchbook")
        panel.wait()
        return panel.view.labels, {side: panel.view.matrix(side).to_numpy() for side in ("left", "right")}


@table("side a b", slow=True, one="similarity")
def similarity_pairs() -> pd.DataFrame:
    labels, found = sides()
    every = len(labels) * (len(labels) - 1) // 2
    return pd.concat([mfi.pairs(m, labels, every).assign(side=side) for side, m in found.items()])


@table("sides", percent="relative", one="before after absolute")
def similarity_change() -> pd.DataFrame:
    _, found = sides()
    return pd.DataFrame([mfi.difference(found["left"], found["right"])]).assign(sides="left → right")


# 05: mutual feature information ---------------------------------------------------------------------------------------


@once
def matrices() -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
    """The labels, and their class × class matrices: company in the data, text, maps."""
    test = worlds()[1]
    labels = tuple(test.labels)
    text = mfi.similarity_matrix(model("sketchbook").encode_labels(labels)).numpy()
    active = coactivation.as_matrix(coactivated(), labels).to_numpy()
    together = companions.co_occurrence(companions.presence(test, labels))
    return labels, {"together": together, "text": text, "active": active}


@table("image a b", percent="fires others", one="score", exact="companion")
def company_rows() -> pd.DataFrame:
    return coactivated()


@table("a b", one="together text active", exact="mates")
def company_matrices() -> pd.DataFrame:
    labels, found = matrices()
    every = found | {"mates": companions.often_together(found["together"])}
    columns = {name: long(pd.DataFrame(m, labels, labels), "a", "b", name) for name, m in every.items()}
    return pd.concat([part.set_index(["a", "b"]) for part in columns.values()], axis=1).reset_index()


@once
def accompanied() -> pd.DataFrame:
    _, found = matrices()
    together, mates = found["together"], companions.often_together(found["together"])
    measure = {"text similarity": found["text"], "co-activation": found["active"]}
    return pd.DataFrame([companions.follow(together, m, mates) | {"measure": name} for name, m in measure.items()])


@table("measure", slow=True, one="auc companions rest rank rank_low rank_high p", exact="classes pairs")
def company_tests() -> pd.DataFrame:
    return accompanied()


@table("companion", percent="fires others", one="score")
def company_means() -> pd.DataFrame:
    return coactivated().groupby("companion")[["score", "fires", "others"]].mean().reset_index()


# 06: unmixing, from stored features -----------------------------------------------------------------------------------


def gathered(size: int | None = None) -> tuple[Any, Any]:
    """Features of the scenes to learn from and of those to test on, as `fit` reads them, gathered anew."""
    clip, found = model("sketchbook"), []
    for samples in (worlds(TRAIN)[0], worlds()[1]):
        with tempfile.TemporaryDirectory() as folder:
            got = unmix.gather(clip, samples, size=size, folder=Path(folder))
            found.append(unmix.Gathered(np.array(got.positions), np.array(got.cls), got.present))
    return found[0], found[1]


def prompts() -> torch.Tensor:
    """Features of the negative and the positive prompts of every noun, (2, N, D)."""
    labels = worlds()[1].labels
    return torch.stack([model("sketchbook").encode_labels(labels, [prompt]) for prompt in unmix.PROMPTS])


def unseen() -> torch.Tensor:
    """Features of labels that are not trained on."""
    return model("sketchbook").encode_labels(UNSEEN, [unmix.PROMPTS[1]])


def store() -> None:
    """Write the stored features anew, read at 64 pixels so that they are few; what is recorded of 06 changes."""
    with alone():
        kept = {"prompts": prompts(), "unseen": unseen()}
        for name, split in zip(("train", "test"), gathered(64), strict=True):
            parts = {"positions": split.positions, "cls": split.cls, "present": split.present}
            kept |= {f"{name} {part}": torch.from_numpy(values) for part, values in parts.items()}
    STORED.write_bytes(gzip.compress(save(kept), 9, mtime=0))


@once
def stored() -> tuple[Any, Any, torch.Tensor, torch.Tensor]:
    """The splits to learn from and to test on, the prompts, and the unseen labels, from the file."""
    kept = load(gzip.decompress(STORED.read_bytes()))
    train, test = (
        unmix.Gathered(*(kept[f"{name} {part}"].numpy() for part in ("positions", "cls", "present")))
        for name in ("train", "test")
    )
    return train, test, kept["prompts"], kept["unseen"]


def _fit(train: Any, text: torch.Tensor) -> tuple[Any, list[dict[str, float]]]:
    return unmix.fit(train.positions, train.present, text, worlds()[1].labels, unmix.Config(**RUN))


@once
def ablated() -> tuple[pd.DataFrame, dict[tuple[str, int], np.ndarray]]:
    train, test, text, held = stored()
    settings = {name: unmix.SETTINGS[name] for name in ("unmix", "without MFI loss")}
    return unmix.ablate(train, test, text, worlds()[1].labels, unmix.Config(**RUN), settings, seeds=(0,), held=held)


@once
def recognised() -> pd.DataFrame:
    train, test, text, _ = stored()
    tuning, scores = (recognise.ruled(split.cls[:IMAGES], text[1]) for split in (train, test))
    scores |= {name: p for (name, _), p in ablated()[1].items()}
    return recognise.summarise(scores, test.present, (tuning, train.present[:IMAGES]))


@table("epoch", trained="loss asymmetric mfi mAP off_diagonal")
def unmix_epochs() -> pd.DataFrame:
    train, _, text, _ = stored()
    return pd.DataFrame(_fit(train, text)[1])


@table("setting seed", relative="alpha alpha·lambda before held_before", trained="mAP CF1 OF1 after held_after")
def unmix_settings() -> pd.DataFrame:
    return ablated()[0].rename(columns=lambda name: name.replace("held ", "held_"))


@table("setting image label", one="probability")
def unmix_probabilities() -> pd.DataFrame:
    labels = worlds()[1].labels
    every = {name: pd.DataFrame(p, columns=list(labels)) for (name, _), p in ablated()[1].items()}
    return pd.concat([long(p, "image", "label", "probability").assign(setting=name) for name, p in every.items()])


@table("rule", trained="mAP mAP_low mAP_high CF1 OF1", one="yes_from", exact="images labels absent")
def unmix_recognition() -> pd.DataFrame:
    return recognised().rename(columns={"threshold": "yes_from"})


@table("when method surgery", percent="mIoU mIoU_low mIoU_high", one="inside_companions inside_others", exact="images")
def unmix_maps() -> pd.DataFrame:
    train, _, text, _ = stored()
    clip, test, projectors = model("sketchbook"), worlds(6)[1], _fit(train, text)[0]
    after = unmix.Unmixed(clip, projectors, test.labels, unmix.Config(**RUN)).clip
    found = unmix.maps({"before": clip, "after": after}, test, test.labels)
    return found.rename(columns={"companions": "inside_companions", "others": "inside_others"})


@table("epoch", points="mAP off_diagonal test_mAP")
def unmix_end_to_end() -> pd.DataFrame:
    """Features gathered anew at the model's own size, then projectors: all in points, as bits add up in training."""
    (train, test), text = gathered(), prompts()
    projectors, log = _fit(train, text)
    found = pd.DataFrame(log).assign(off_diagonal=lambda t: 100 * t["off_diagonal"])
    p = unmix.probabilities(projectors, test.positions, text, unmix.Config(**RUN)).numpy()
    found.loc[found.index[-1], "test_mAP"] = recognise.summarise({"unmix": p}, test.present, resamples=2)["mAP"][0]
    return found


# 10, 11 and 12: methods side by side, words, points ----------------------------------------------------------------


@once
def beside() -> list[pd.DataFrame]:
    """What notebooks 10, 11 and 12 measure, of a few scenes, from one walk a picture."""
    clip, world = model("sketchbook"), worlds(FEW)[1]
    every = (*clip.methods, *able(clip.tower, texts=True), "free(vv,itself,ffn,blocks=depth)")
    return stream(clip, world, [
        explain.measure(clip, world.labels, every),
        words.measure(clip, world.labels, "clip, clip-surgery+code"),
        points.measure(clip, world.labels, "clip, clip-surgery+code"),
    ])  # fmt: skip


@table("image method label", percent="msc", exact="authority constant")
def methods_rows() -> pd.DataFrame:
    return beside()[0]


@table("image reading label", percent="msc msc_label msc_end", exact="sentence how rank words")
def words_rows() -> pd.DataFrame:
    return beside()[1]


@table("image reading label", percent="accuracy outside chance iou", exact="positives negatives")
def points_rows() -> pd.DataFrame:
    return beside()[2]


# 13: the laboratory ---------------------------------------------------------------------------------------------------

COSINES = ("cosine", "similarity", "co-activation")
DECIDED = ("top-1", "mAP", "absent companion", "anchors off", "attention inside", "high-norm", "mSC without high-norm")


@once
def shipped() -> Any:
    return laboratory.results()


@table("run column", exact="shown")
def laboratory_wide() -> pd.DataFrame:
    wide = runs.wide(shipped()).set_index("run")
    shown = wide.map(lambda value: f"{value:g}" if isinstance(value, float) else str(value))
    return long(shown, "run", "column", "shown")


@table("run measure", relative="value low high")
def laboratory_tidy() -> pd.DataFrame:
    return runs.tidy(shipped())


@table("number seed", relative="value low high other", exact="says cell measure than expect seen verdict")
def laboratory_hypotheses() -> pd.DataFrame:
    return answers.hypotheses(shipped())


DIFFERENCE = {"relative": "value difference low high", "exact": "verdict measure against"}


@table("run what", **DIFFERENCE)
def laboratory_models() -> pd.DataFrame:
    return answers.by_model(shipped())


@table("what", **DIFFERENCE)
def laboratory_answers() -> pd.DataFrame:
    """Over all models of the grid, and every cell against the centre."""
    return pd.concat([answers.over_models(answers.by_model(shipped())), answers.by_cell(shipped())])


@table("method depth surgery label_set", slow=True, **SUMMARY)
def measured_maps() -> pd.DataFrame:
    return measured()["maps"]


@table("kind part block", slow=True, percent="share share_others chance", one="cosine cosine_text")
def measured_blocks() -> pd.DataFrame:
    return measured()["blocks"]


@table("measure", slow=True, percent="points decided value_low value_high", one="cosine p")
def measured_values() -> pd.DataFrame:
    """The value stands in the column of its kind: in points, a cosine, decided by an argmax or a rank, a p-value."""
    found = measured()["measures"].rename(columns={"low": "value_low", "high": "value_high"})
    kinds = found["measure"].map(_kind)
    return found.assign(**{kind: found["value"].where(kinds == kind) for kind in ("points", "cosine", "decided", "p")})


def _kind(measure: str) -> str:
    if measure.endswith("Mantel p"):
        return "p"
    return "cosine" if measure.startswith(COSINES) else "decided" if measure.startswith(DECIDED) else "points"


@table("method depth surgery label_set", slow=True, **SUMMARY)
def measured_resnet() -> pd.DataFrame:
    """Maps of the laboratory's ResNet, read larger than it was trained."""
    clip = model("lab-resnet-s7")
    maps = explain.measure(clip, measures.SETS, measures.asked(clip))
    tuned, tested = (
        stream(clip, measures.world(seed, 8, 256), [maps], size=256)[0] for seed in (measures.TUNING, measures.TEST)
    )
    return summary.summarise(tested, tuned, measures.ROW)


# What is said ---------------------------------------------------------------------------------------------------------


@table("about", sentence="said")
def sentences() -> pd.DataFrame:
    """What the notebooks print, but for the laboratory: words count, their numbers stand in the other tables."""
    found = {f"panel, {name}": said for name, (_, _, said) in panels().items()}
    tables = {
        "background": verdicts.background(
            rows("sketchbook", 1), rows("sketchbook", 0), chance.shipped().query("model == 'sketchbook'")
        ),
        "attention": verdicts.attention(shares()),
        "submodules": verdicts.submodules(cosines()),
        "redundancy": verdicts.redundancy(redundant()),
        "repair": verdicts.repair(swept()),
        "company": verdicts.companions(accompanied().assign(model="sketchbook")).assign(against="classes permuted"),
        "unmixed": pd.concat([unmix.against(ablated()[1], stored()[1].present), verdicts.unmixed(ablated()[0])]),
    }
    for name, table in tables.items():
        parts = table[["verdict", "what", "measure", "against"]].astype(str).agg(" ".join, axis=1)
        found[name] = "; ".join(parts)
    return pd.DataFrame({"about": list(found), "said": list(found.values())})


# Raw features ---------------------------------------------------------------------------------------------------------


def _encoded(name: str, sizes: Sequence[Any], depths: Sequence[int], pictures: int = 2) -> dict[str, torch.Tensor]:
    """Class and patch features of a model by the papers' methods, at all depths and sizes; parity holds the others."""
    clip, found = model(name), {}
    for size in sizes:
        for number in range(pictures):
            images = clip.prepare(worlds()[1][number].image, size=size)
            for method in [name for name in PAPERS if name in clip.methods]:
                deep = serving(method, clip.tower).blocks is None
                for depth in depths if deep else (1,):
                    dense = clip.encode_dense(images, method=method, depth=depth if deep else None)
                    words = f"size {size or clip.image_size}, image {number}, {method}, depth {depth}"
                    found |= {f"{words}, cls": dense.cls, f"{words}, patches": dense.patches}
    return found


@features
def features_vit() -> dict[str, torch.Tensor]:
    return _encoded("sketchbook", [None], DEPTHS)


@features
def features_vit_resized() -> dict[str, torch.Tensor]:
    return _encoded("sketchbook", [(64, 80)], DEPTHS, pictures=1)


@features
def features_resnet() -> dict[str, torch.Tensor]:
    return _encoded("sketchbook-rn", [160, (128, 224)], (1,))


@features
def features_labels() -> dict[str, torch.Tensor]:
    """Label features of two models: nouns, an unknown word, two words, the empty label."""
    labels, own = ["cat", "boat", "aeroplane", "red umbrella", ""], ["a small {}.", "{} on water"]
    kinds = {name: name for name in TEMPLATES} | {"own": own}
    return {
        f"{name}, {kind}": model(name).encode_labels(labels, templates)
        for name in ("sketchbook", "sketchbook-rn")
        for kind, templates in kinds.items()
    }
