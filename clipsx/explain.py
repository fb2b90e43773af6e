"""One picture explained: maps of labels by one or several readings, and a table of them (`clipsx explain`)."""

import csv
import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from clipsx.clip import Clip
from clipsx.datasets import Vocabulary
from clipsx.images import Picture, decode, fitting
from clipsx.maps import is_constant, minmax, upsample
from clipsx.messages import require
from clipsx.paths import shortened
from clipsx.reading import Reading, readings
from clipsx.text import check_labels


def asked(text: str) -> list[str]:
    """Labels from one text, each once: parted by commas, as in CSV ('cat, "boat, sailing"'), or `@` and a file's name.

    The file holds a label a line, or is one that `Vocabulary.read` reads: then the names of its classes.
    Errors: OSError naming the file; ValueError for a blank label and quotes that do not pair.
    """
    if text.startswith("@"):
        try:
            return list(Vocabulary.read(text[1:]).names)
        except OSError as error:
            raise type(error)(f"The labels' file {text[1:]!r} cannot be read: {error.strerror}.") from None
    text = text.encode(errors="surrogateescape").decode(errors="replace")  # as a terminal without UTF-8 hands it over
    try:
        lines = list(csv.reader(text.strip().splitlines(), skipinitialspace=True, strict=True))
    except csv.Error as error:
        raise ValueError(f"The labels {text!r} are not understood ({error}): write 'cat, \"boat, sailing\"'.") from None
    labels = [label.strip() for line in lines for label in line]
    if not labels or not all(labels):
        raise ValueError(f"The labels {text!r} hold a blank one: give names such as 'cat, boat'.")
    return list(dict.fromkeys(labels))


def file_name(path: str, photo: Image.Image, shown: Iterable[Reading], decides: Any) -> str:
    """What files of an explanation are called: the picture's stem, the readings, and a digest of all that decides them.

    Names that would be too long are cut; the digest keeps apart what differs. decides: whatever `repr` tells apart.
    """
    told = hashlib.sha256(photo.tobytes() + repr((Path(path).absolute(), photo.size, decides)).encode()).hexdigest()
    return "-".join([shortened(Path(path).stem, 80), shortened("-".join(map(str, shown)), 100), told[:8]])


def explain(
    clip: Clip,
    image: Picture,
    labels: Sequence[str],
    reading: str | Reading | Iterable[str | Reading] = "clip-surgery+code",
    *,
    templates: str = "clip-surgery",
    size: int | None = None,
    threshold: float = 0.5,
    name: str = "a given picture",
) -> tuple[dict[Reading, Float[Tensor, "1 h w N"]], pd.DataFrame]:
    """Maps by reading, stretched to 0…1 over the patches, and a table with a row per reading and label.

    reading: one or several, from one walk of the tower; one label alone goes through feature surgery against the empty
    label. size: side in pixels that the model reads; name: what the table calls the picture. Its columns: those of the
    reading; `cosine`, the class feature's; `peak_x`, `peak_y`, where the map is highest, in pixels of the picture;
    `area`, the share (0…1) of the picture where it is at least `threshold`; `constant`, the map says nothing; and what
    made it. Peak and area are read off a map of at most 800 pixels a side: no map is finer than the patch grid.
    Errors: those of `text.check_labels`; ValueError for a threshold outside 0…1, and whatever `Reading` and `Clip`
    refuse.
    """
    require("threshold", threshold, 0, 1)
    photo, shown, labels = decode(image), readings(reading), check_labels(labels)
    width, height = fitting(photo.size)
    batch = clip.prepare(photo, size=size)  # (1, 3, h', w')
    text = clip.encode_labels(labels, templates)  # (N, D)
    alone = clip.encode_labels([""], templates) if len(labels) == 1 else None
    against = "" if alone is None else "; feature surgery against the empty label"
    about = {"image_size": "×".join(str(side) for side in batch.shape[-2:]), "templates": templates}
    about |= {"protocol": f"min-max per map; area at or above {threshold:g}{against}"}
    seen = clip.look(batch, shown)
    maps, rows = {}, []
    for one in shown:
        sim = seen.maps(one, text, alone)  # (1, h, w, N)
        cls = seen.cls if one.needs_texts else seen.features[one.features].cls  # (1, D)
        maps[one], flat, cosine = minmax(sim), is_constant(sim)[0].tolist(), (cls @ text.T)[0].tolist()
        for n, label in enumerate(labels):
            map = upsample(maps[one][..., [n]], (height, width))[0, :, :, 0]  # (H, W)
            y, x = divmod(int(map.argmax()), width)
            x, y = int((x + 0.5) * photo.width / width), int((y + 0.5) * photo.height / height)
            area = float((map >= threshold).float().mean())
            row = {"label": label, "cosine": cosine[n], "peak_x": x, "peak_y": y, "area": area, "constant": flat[n]}
            rows.append(one.columns(clip.tower) | row)
    return maps, pd.DataFrame(rows).assign(**clip.describe(), data=name, **about)
