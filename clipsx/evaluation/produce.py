"""Pictures segmented by words, without ground truth: index PNGs or COCO's RLE, with confidences (`clipsx segment`)."""

import importlib
import io
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool
from PIL import Image

from clipsx import explain, paths
from clipsx.clip import Clip
from clipsx.datasets import Sample, Vocabulary
from clipsx.datasets.folder import pictures
from clipsx.datasets.protocol import digest, digests
from clipsx.evaluation.asked import Words, queries
from clipsx.evaluation.parts import Parts, joined
from clipsx.evaluation.protocols import Protocol
from clipsx.evaluation.protocols import protocol as named
from clipsx.evaluation.segment import BACKGROUND, OWN, predictor
from clipsx.evaluation.stream import Look, Measure, keep
from clipsx.images import decode
from clipsx.reading import Reading

NAME = "regions"  # of the measure, and its files
FORMATS = ("png", "rle")
SEED = 0  # of the palette


class Pictures(Sequence[Sample]):
    """The pictures of a folder, in the order of their paths, or of a list: a text file with a path a line, from it on.

    Errors: FileNotFoundError; ValueError for none, and for two whose masks would be one file.
    """

    def __init__(self, where: str | PathLike[str]) -> None:
        self.where = Path(where).expanduser()
        if self.where.is_dir():
            self.root, names = self.where, [file.relative_to(self.where).as_posix() for file in pictures(self.where)]
        else:
            lines = self.where.read_text(encoding="utf-8").splitlines()
            self.root, names = self.where.parent, [line.strip() for line in lines if line.strip()]
        if not names:
            raise ValueError(f"{self.where} holds no picture.")
        counts = Counter(map(mask_of, names))
        if twice := [name for name in names if counts[mask_of(name)] > 1]:
            raise ValueError(f"{self.where} names {twice[0]!r} twice, or two pictures whose masks would be one file.")
        self.names = tuple(names)

    def describe(self) -> dict[str, str]:
        return {"data": f"{self.where.absolute().name} n={len(self)}"}

    def fingerprint(self) -> str:
        return digest("pictures", self.names, digests(self.root, (self.root / name for name in self.names), False))

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Sample:  # type: ignore[override]
        return Sample(partial(decode, self.root / self.names[index]), name=self.names[index])


def asked(text: str) -> Vocabulary:
    """Labels from one text, as `explain.asked` takes it; those of a file with their query words and backgrounds."""
    labels = explain.asked(text)
    return Vocabulary.read(text[1:]) if text.startswith("@") else Vocabulary.single(labels)


def segment(
    clip: Clip,
    pictures: Sequence[Sample],
    labels: Vocabulary,
    reading: str | Reading = "clip-surgery",
    out: str | Path = "out",
    form: str = "png",
    protocol: str | None = None,
    **options: Any,
) -> pd.DataFrame:
    """Segment pictures, write the files (`write`) into `out`, and give their table; nothing of both for one shard.

    labels: classes with their query words; with background words all that they win is background. protocol: of the
    task segment; options: those of `stream.keep`. Errors: those of `measure`, `stream.keep` and `write`.
    """
    check(form)
    rules = named(protocol, "segment")
    words = dict(zip(labels.names, labels.queries, strict=True))
    grounds = labels.background or rules.background
    size = clip.patch_size if rules.windows else rules.size  # what is seen beside windows costs next to nothing
    asks = measure(clip, labels.names, reading, grounds, words, rules)
    keep(clip, pictures, [asks], folder=out, size=size, words="segmenting", **options)
    return pd.DataFrame() if options.get("shard", (1, 1))[1] > 1 else write(out, form)


def mask_of(name: str) -> Path:
    """Where the mask of a picture lies: under its own path, without what would lead out of the folder."""
    return Path("masks", *(part for part in Path(name).parts if part not in ("..", Path(name).anchor))).with_name(
        f"{Path(name).name}.png"
    )


def measure(
    clip: Clip,
    labels: Sequence[str],
    reading: str | Reading = "clip-surgery",
    grounds: Sequence[str] = (),
    words: Words | None = None,
    rules: Protocol = OWN,
) -> Measure:
    """A row per image and label that wins somewhere: `place` (1 … N, 0 for the background), `pixels`, `confidence`.

    confidence: the mean probability over its pixels, of a softmax over all query words with the protocol's scale, else
    the model's own; `mask`: its pixels, as a PNG of one bit. Arguments as in `segment.measure`. Memory does not grow
    with the labels: pixels come a few rows at a time.
    """
    names, rules = queries(labels), replace(rules, scale=rules.scale or clip.logit_scale)
    said, readings, asks = predictor(clip, names, [reading], grounds, rules.templates, words, rules)

    def rows(look: Look) -> Iterator[dict[str, Any]]:
        ((columns, best, odds),) = said(look)  # (H, W) both
        height, width = best.shape
        for k in np.unique(best).tolist():
            mask, place = best == k, (k + 1) % (len(names) + 1)
            row = {"image": look.name, "width": width, "height": height, "label": [BACKGROUND, *names][place]}
            row |= {"place": place, "pixels": int(mask.sum()), "confidence": float(odds[mask].mean())}
            yield columns | row | {"mask": packed(mask)}

    about = {"templates": str(rules.templates), "labels": len(names), "protocol": str(rules)}
    return Measure(NAME, rows, readings, about=about, asks=asks, empty="There is no picture to segment.")


def packed(mask: Bool[np.ndarray, "H W"]) -> bytes:
    """A mask as a PNG of one bit."""
    file = io.BytesIO()
    Image.fromarray(mask).save(file, "PNG")
    return file.getvalue()


def unpacked(mask: bytes) -> Bool[np.ndarray, "H W"]:
    """What `packed` packed."""
    return np.asarray(Image.open(io.BytesIO(mask)))


def check(form: str) -> None:
    """Errors: ImportError where RLE is asked for and pycocotools is not there."""
    try:
        importlib.import_module("pycocotools.mask") if form == "rle" else None
    except ImportError:
        raise ImportError("COCO's RLE needs pycocotools: pip install 'clipsx[data]', or take --format png.") from None


def write(folder: str | Path, form: str = "png") -> pd.DataFrame:
    """Files from the parts that lie in `folder`, and the table of their regions.

    png: `masks/NAME.png` for each picture, a pixel's value is its label's place in `labels.txt`; rle:
    `segments.json`, a whole COCO file, whose annotations have a `score`. Errors: those of `Parts` and `check`.
    """
    check(form)
    folder, parts = Path(folder), Parts.of(Path(folder))
    left = parts.complete()
    (_png if form == "png" else _rle)(folder, parts)
    table = joined(part.drop(columns="mask") for part in _tables(parts))
    return table.assign(**parts.measures[NAME]["about"] | left)


def _tables(parts: Parts) -> Iterator[pd.DataFrame]:
    return (table for table in (parts.read(NAME, start) for start in parts.starts) if len(table))


def _labels(parts: Parts) -> dict[int, str]:
    """The labels that won anywhere, by their places."""
    each = (dict(zip(table["place"], table["label"], strict=True)) for table in _tables(parts))
    return dict(sorted({int(place): str(label) for some in each for place, label in some.items()}.items()))


def _png(folder: Path, parts: Parts) -> None:
    labels = _labels(parts)
    paths.write_whole(folder / "labels.txt", "".join(f"{n} {label}\n" for n, label in labels.items()).encode())
    colours = np.random.default_rng(SEED).integers(32, 256, (256, 3))
    colours[0] = 0
    for table in _tables(parts):
        for name, rows in table.groupby("image", sort=False):
            index = np.zeros((rows["height"].iloc[0], rows["width"].iloc[0]), np.uint16)
            for place, mask in zip(rows["place"], rows["mask"], strict=True):
                index[unpacked(mask)] = place
            picture = Image.fromarray(index if max(labels) > 255 else index.astype(np.uint8))
            if max(labels) <= 255:
                picture.putpalette(colours.astype(np.uint8).ravel().tolist())
            with paths.whole(folder / mask_of(str(name))) as file:
                picture.save(file, "PNG")


def _rle(folder: Path, parts: Parts) -> None:
    coco = importlib.import_module("pycocotools.mask")
    found, numbers = {"images": [], "annotations": []}, {}
    for row in (row for table in _tables(parts) for row in table.to_dict("records")):
        size = {"height": row["height"], "width": row["width"]}
        if row["image"] not in numbers:
            numbers[row["image"]] = len(numbers) + 1
            found["images"].append({"id": len(numbers), "file_name": row["image"], **size})
        if row["place"]:
            rle = coco.encode(np.asfortranarray(unpacked(row["mask"]).astype(np.uint8)))
            own = {"id": len(found["annotations"]) + 1, "image_id": numbers[row["image"]], "category_id": row["place"]}
            own |= {"segmentation": rle | {"counts": rle["counts"].decode()}, "bbox": coco.toBbox(rle).tolist()}
            own |= {"area": row["pixels"], "iscrowd": 0, "score": row["confidence"]}
            found["annotations"].append(own)
    found["categories"] = [{"id": place, "name": label} for place, label in _labels(parts).items() if place]
    paths.write_whole(folder / "segments.json", json.dumps(found, ensure_ascii=False).encode())
