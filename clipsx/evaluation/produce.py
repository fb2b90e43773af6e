"""Pictures segmented by words, without ground truth: index PNGs or COCO's RLE, with confidences (`clipsx segment`)."""

import importlib
import io
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
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
from clipsx.evaluation.parts import Parts
from clipsx.evaluation.protocols import Protocol
from clipsx.evaluation.protocols import protocol as named
from clipsx.evaluation.segment import BACKGROUND, OWN, predictor
from clipsx.evaluation.stream import Look, Measure, keep
from clipsx.images import decode
from clipsx.reading import Reading

NAME = "regions"  # of the measure, and its files
REGIONS = f"{NAME}.csv"
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
    """Segment pictures, write the files (`write`) into `out`, and give the table of labels; for one shard neither.

    labels: classes with their query words; with background words all that they win is background. protocol: of the
    task segment; options: those of `stream.keep`. Errors: those of `measure`, `stream.keep` and `write`.
    """
    check(form)
    rules = named(protocol, "segment")
    words = dict(zip(labels.names, labels.queries, strict=True))
    grounds = labels.background or rules.background
    size = clip.patch_size if rules.windows else rules.size  # what is seen beside windows costs next to nothing
    asks = measure(clip, labels.names, reading, grounds, words, rules)
    asks = replace(asks, about={**asks.about, "words": labels.name})
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
    """Files from the parts that lie in `folder`, and a table of the labels that won anywhere.

    `regions.csv`: a row per picture and label. png: `masks/NAME.png` for each picture, a pixel's value is its label's
    place in `labels.txt`; rle: `segments.json`, a whole COCO file, whose annotations have a `score`. Memory holds the
    regions of one part, however many pictures there are. The table: in how many pictures each label won, all its
    pixels, the mean of its confidences. Errors: those of `Parts` and `check`.
    """
    check(form)
    folder, parts = Path(folder), Parts.of(Path(folder))
    left = parts.complete()
    table = _regions(folder / REGIONS, parts)
    labels = dict(zip(table["place"].tolist(), table["label"], strict=True))
    (_png if form == "png" else _rle)(folder, parts, labels)
    return table.assign(**parts.measures[NAME]["about"] | left)


def _tables(parts: Parts) -> Iterator[pd.DataFrame]:
    return (table for table in (parts.read(NAME, start) for start in parts.starts) if len(table))


def _pictures(parts: Parts) -> Iterator[tuple[str, pd.DataFrame]]:
    """The name of every picture, and its regions."""
    return (picture for table in _tables(parts) for picture in table.groupby("image", sort=False))  # type: ignore[misc]


def _regions(file: Path, parts: Parts) -> pd.DataFrame:
    """Write the rows of all pictures, without their masks; a row per label, in the order of their places."""
    by, found = ["place", "label"], pd.DataFrame()
    with paths.whole(file) as part, part.open("w", encoding="utf-8", errors="backslashreplace", newline="") as text:
        for table in _tables(parts):
            table.drop(columns="mask").to_csv(text, index=False, header=found.empty, lineterminator="\n")
            own = table[[*by, "pixels", "confidence"]].assign(pictures=1)
            found = pd.concat([found, own]).groupby(by, as_index=False).sum()
    found["confidence"] /= found["pictures"]
    return found


def _png(folder: Path, parts: Parts, labels: Mapping[int, str]) -> None:
    paths.write_whole(folder / "labels.txt", "".join(f"{n} {label}\n" for n, label in labels.items()).encode())
    colours = np.random.default_rng(SEED).integers(32, 256, (256, 3))
    colours[0] = 0
    for name, rows in _pictures(parts):
        index = np.zeros((rows["height"].iloc[0], rows["width"].iloc[0]), np.uint16)
        for place, mask in zip(rows["place"], rows["mask"], strict=True):
            index[unpacked(mask)] = place
        picture = Image.fromarray(index if max(labels) > 255 else index.astype(np.uint8))
        if max(labels) <= 255:
            picture.putpalette(colours.astype(np.uint8).ravel().tolist())
        with paths.whole(folder / mask_of(name)) as file:
            picture.save(file, "PNG")


def _rle(folder: Path, parts: Parts, labels: Mapping[int, str]) -> None:
    categories = ({"id": place, "name": label} for place, label in labels.items() if place)
    lists = {"images": _images(parts), "annotations": _annotations(parts), "categories": categories}
    before = "{"
    with paths.whole(folder / "segments.json") as file, file.open("w", encoding="utf-8") as text:
        for name, entries in lists.items():
            text.write(f'{before}"{name}": [')
            for n, entry in enumerate(entries):
                text.write(",\n" * bool(n) + json.dumps(entry))
            before = "],\n"
        text.write("]}\n")


def _images(parts: Parts) -> Iterator[dict[str, Any]]:
    for number, (name, rows) in enumerate(_pictures(parts), 1):
        size = {side: int(rows[side].iloc[0]) for side in ("height", "width")}
        yield {"id": number, "file_name": name, **size}


def _annotations(parts: Parts) -> Iterator[dict[str, Any]]:
    coco, count = importlib.import_module("pycocotools.mask"), 0
    for number, (_, rows) in enumerate(_pictures(parts), 1):
        for row in rows[rows["place"] > 0].to_dict("records"):
            rle = coco.encode(np.asfortranarray(unpacked(row["mask"]).astype(np.uint8)))
            count += 1
            own = {"id": count, "image_id": number, "category_id": row["place"], "bbox": coco.toBbox(rle).tolist()}
            own |= {"segmentation": rle | {"counts": rle["counts"].decode()}}
            yield own | {"area": row["pixels"], "iscrowd": 0, "score": row["confidence"]}
